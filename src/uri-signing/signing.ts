import type { Context, Principal } from '../context.ts'
import { isProblem, Problem } from '../errors.ts'
import type { ContainerForm } from './container.ts'
import type { Current } from './directory.ts'
import type { Needed, Promises } from './promises.ts'
import type { Signer } from './signers.ts'
import { createTurns } from './turns.ts'
import type { Placement } from './uri.ts'
import {
  type Renewal,
  renewalSecondsOf,
  renewToken,
  type SignedUri,
  type SignInput,
  signInPool,
  signUri,
  type UriVerdict,
  verifyUri,
} from './uri-token.ts'
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
/** A signature of an RSA key of 8192 bits takes 50 ms: of those of all tenants, this many are made at once. */
const AT_ONCE = 3
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

  const inTurn = createTurns(AT_ONCE)

  /** Signs by turns of tenants, unless it is over before the turn comes. */
  const pairSigner =
    (tenantId: string, isOver = () => false): SignInput =>
    (key, input) =>
      inTurn(tenantId, async () => {
        if (isOver()) throw new Problem('internal')
        return signInPool(key, input)
      })

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
          const signPair = pairSigner(current.row.tenantId)
          return signUri(toSignRequest(request, signer), signer.key, now, signPair)
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
          return signAll(requests, signers, { now, tenantId: current.row.tenantId })
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

    /**
     * The same, with the token that a cache would answer with, once its promise is durable; null where it would not.
     * @throws Problem as `verify`; `rotation_conflict`, `ttl_too_long`
     */
    async renew(
      principal: Principal,
      xmlId: string,
      { uri, cookies }: { uri: string; cookies?: readonly string[] | string | undefined },
    ): Promise<{ verdict: UriVerdict; renewal: Renewal | null }> {
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        const current = await keysOf(principal, xmlId)
        const { document, now } = { document: current.document(), now: seconds() }
        const verdict = await verifyUri({ uri, cookies, document, now })
        const { code, claims, normalised } = verdict
        const lifetime = claims && renewalSecondsOf(claims)
        if (code !== 200 || normalised === undefined || !lifetime) {
          return { verdict, renewal: null }
        }
        const { issuer, key } = document.renewal
        if (!key.usable()?.signingKey) return { verdict, renewal: null }
        checkTtl({ ttl: lifetime })
        const signer = current.signer(issuer, key.kid)
        const needed = { exp: Math.ceil(now) + lifetime, ttl: lifetime, renewalTtl: lifetime }
        if (await promises.cover(signer, current, needed)) {
          const signPair = pairSigner(current.row.tenantId)
          const renewal = await renewToken({ claims, uri: normalised, document, now }, signPair)
          return { verdict, renewal: renewal ?? null }
        }
      }
      throw replaced()
    },
  }

  async function signAll(
    requests: readonly UriRequest[],
    signers: readonly Signer[],
    { now, tenantId }: { now: number; tenantId: string },
  ): Promise<SignedUri[]> {
    const signed: SignedUri[] = []
    const pending: Promise<void>[] = []
    let isOver = false
    const signPair = pairSigner(tenantId, () => isOver)
    async function keep(item: number, made: Promise<SignedUri>): Promise<void> {
      try {
        signed[item] = await made
      } catch (error) {
        throw ofItem(item, error)
      }
    }
    try {
      for (const [item, request] of requests.entries()) {
        if (item % TURN === TURN - 1) await new Promise((resolve) => setImmediate(resolve))
        const signer = signers[item]
        if (!signer) throw new Problem('internal')
        const made = itemwise(item, () =>
          signUri(toSignRequest(request, signer), signer.key, now, signPair),
        )
        if (!(made instanceof Promise)) signed[item] = made
        else {
          const one = keep(item, made)
          // Heard below; one that fails while this loop waits would else be nobody's, and end the process.
          one.catch(() => undefined)
          pending.push(one)
        }
      }
      await Promise.all(pending)
      return signed
    } finally {
      // Of the rest of a batch that is refused nobody hears, but nothing is left behind.
      isOver = true
      await Promise.allSettled(pending)
    }
  }
}

const replaced = () =>
  new Problem('overloaded', 'The keys are being replaced again and again; try once more')

function checkTtl({ ttl, renewalTtl = 0 }: Pick<UriRequest, 'ttl' | 'renewalTtl'>): void {
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
    throw ofItem(item, error)
  }
}

function ofItem(item: number, error: unknown): unknown {
  if (!isProblem(error)) return error
  const { code, detail, extra } = error
  return new Problem(code, `batch/${item}: ${detail}`, { extra: { ...extra, item } })
}
