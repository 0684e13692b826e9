import type { Context, Principal } from '../context.ts'
import { isProblem, Problem } from '../errors.ts'
import { isHmac } from './algorithms.ts'
import type { ContainerForm } from './container.ts'
import type { Current } from './directory.ts'
import type { Needed, Promises } from './promises.ts'
import type { Signer } from './signers.ts'
import { createTurns } from './turns.ts'
import type { Placement } from './uri.ts'
import { type SignedUri, signUri, type UriVerdict, verifyUri } from './uri-token.ts'
import type { Visible } from './visible.ts'

export interface SigningParts {
  context: Context
  visible: Visible
  promises: Promises
}

export interface UriRequest {
  uri: string
  /** Seconds. */
  ttl: number
  issuer?: string | undefined
  kid?: string | undefined
  container?: ContainerForm | undefined
  placement?: Placement | undefined
  /** NumericDate. */
  nbf?: number | undefined
  renewable?: boolean | undefined
  /** Seconds; default: `ttl`. */
  renewalTtl?: number | undefined
  renewalDepth?: number | undefined
  audience?: string | readonly string[] | undefined
}

/** Seconds: a year. A key is needed as long as the last token under it. */
export const MAX_URI_TTL = 366 * 86_400
/** Documents that may follow one another while a token is made. */
const ATTEMPTS = 3
/** Signatures of key pairs that one batch has made at once. */
const AT_ONCE = 2
/** URIs of a batch after which others are served. */
const TURN = 64

export type UriSigner = ReturnType<typeof createSigning>

/** Signs and verifies URIs with the keys of delivery services. */
export function createSigning({ context, visible, promises }: SigningParts) {
  /** Whole nanoseconds would not fit a number. */
  const seconds = () => Number(context.now() / 1_000_000n) / 1000

  async function keysOf(principal: Principal, xmlId: string): Promise<Current> {
    const entry = visible(principal, xmlId)
    const { current } = entry instanceof Promise ? await entry : entry
    if (current) return current
    throw new Problem('keys_missing', `${xmlId.slice(0, 64)} has no keys`)
  }

  return {
    /**
     * Signs a URI, once its promise is durable.
     * @throws Problem `delivery_service_not_found`, `tenant_forbidden`, `keys_missing`, `issuer_not_found`,
     * `key_not_found`, `key_rejected`, `rotation_unsafe`, `rotation_conflict`, `uri_invalid`, `ttl_too_long`
     */
    async sign(principal: Principal, xmlId: string, request: UriRequest): Promise<SignedUri> {
      checkTtl(request)
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        const current = await keysOf(principal, xmlId)
        const now = seconds()
        const signer = current.signer(request.issuer, request.kid)
        const covered = promises.cover(signer, current, neededBy(request, now))
        if (covered === true || (await covered)) {
          return signUri(toSignRequest(request, signer), signer.key, now)
        }
      }
      throw replaced()
    },

    /** Signs all or none. @throws Problem as `sign`, with `item`: the place of the first that is refused */
    async signBatch(
      principal: Principal,
      xmlId: string,
      requests: readonly UriRequest[],
    ): Promise<SignedUri[]> {
      for (const [item, request] of requests.entries()) itemwise(item, () => checkTtl(request))
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        const current = await keysOf(principal, xmlId)
        const now = seconds()
        const signers = requests.map((request, item) =>
          itemwise(item, () => current.signer(request.issuer, request.kid)),
        )
        const covered = [...neededBySigner(requests, signers, now)].map(([signer, needed]) =>
          promises.cover(signer, current, needed),
        )
        const waits = covered.filter((one) => one instanceof Promise)
        if ((await Promise.all(waits)).every((one) => one)) {
          return signAll(requests, signers, now)
        }
      }
      throw replaced()
    },

    /**
     * What a cache would say of a URI, and why.
     * @throws Problem `delivery_service_not_found`, `tenant_forbidden`, `keys_missing`
     */
    async verify(
      principal: Principal,
      xmlId: string,
      { uri, cookies }: { uri: string; cookies?: readonly string[] | string | undefined },
    ): Promise<UriVerdict> {
      const current = await keysOf(principal, xmlId)
      return verifyUri({ uri, cookies, document: current.document(), now: seconds() })
    },
  }

  async function signAll(
    requests: readonly UriRequest[],
    signers: readonly Signer[],
    now: number,
  ): Promise<SignedUri[]> {
    const signed: SignedUri[] = []
    const pending: Promise<void>[] = []
    // So that a batch of pairs does not stand before the one URI of somebody else.
    const inTurn = createTurns(AT_ONCE)
    try {
      for (const [item, request] of requests.entries()) {
        if (item % TURN === TURN - 1) await new Promise((resolve) => setImmediate(resolve))
        const signer = signers[item]
        if (!signer) throw new Problem('internal')
        const make = () =>
          itemwise(item, () => signUri(toSignRequest(request, signer), signer.key, now))
        if (isHmac(signer.key.alg)) signed[item] = await make()
        else {
          const one = inTurn(() => keep(signed, item, make()))
          // Heard below; one that fails while this loop waits would else be nobody's, and end the process.
          one.catch(() => undefined)
          pending.push(one)
        }
      }
      await Promise.all(pending)
      return signed
    } finally {
      // Of one that is refused nobody hears, but none is left behind.
      await Promise.allSettled(pending)
    }
  }
}

async function keep(
  signed: SignedUri[],
  item: number,
  one: SignedUri | Promise<SignedUri>,
): Promise<void> {
  signed[item] = await one
}

const replaced = () =>
  new Problem('overloaded', 'The keys are being replaced again and again; try once more')

function checkTtl({ ttl, renewalTtl = 0 }: UriRequest): void {
  if (ttl > MAX_URI_TTL || renewalTtl > MAX_URI_TTL) {
    throw new Problem('ttl_too_long', `A URI may be valid for ${MAX_URI_TTL} s at most`)
  }
}

const renewalOf = ({ renewable, renewalTtl, ttl }: UriRequest): number =>
  renewable ? (renewalTtl ?? ttl) : 0

const neededBy = (request: UriRequest, now: number): Needed => ({
  exp: Math.floor(now) + request.ttl,
  ttl: request.ttl,
  renewalTtl: renewalOf(request),
})

/** One promise for each key, as far as the furthest of its tokens needs. */
function neededBySigner(
  requests: readonly UriRequest[],
  signers: readonly Signer[],
  now: number,
): Map<Signer, Needed> {
  const needed = new Map<Signer, Needed>()
  for (const [item, request] of requests.entries()) {
    const signer = signers[item]
    if (!signer) continue
    const one = neededBy(request, now)
    const before = needed.get(signer)
    if (!before) needed.set(signer, one)
    else {
      before.exp = Math.max(before.exp, one.exp)
      before.ttl = Math.max(before.ttl, one.ttl)
      before.renewalTtl = Math.max(before.renewalTtl, one.renewalTtl)
    }
  }
  return needed
}

const toSignRequest = (request: UriRequest, { issuer }: Signer) => ({
  uri: request.uri,
  issuer,
  ttl: request.ttl,
  container: request.container,
  placement: request.placement,
  nbf: request.nbf,
  renewable: request.renewable
    ? { seconds: renewalOf(request), depth: request.renewalDepth }
    : undefined,
  audience: request.audience,
})

/** Says which item of a batch is refused. */
function itemwise<T>(item: number, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (!isProblem(error)) throw error
    const { code, detail, extra } = error
    throw new Problem(code, `batch/${item}: ${detail}`, { extra: { ...extra, item } })
  }
}
