import type { Context, Principal } from '../context.ts'
import {
  type Algorithm,
  MAX_TOKEN_SIZE,
  type SigningKey,
  screenCompact,
  signCompact,
} from '../core/index.ts'
import { isProblem, Problem } from '../errors.ts'
import type { Ring } from '../store/rings.ts'
import { toSeconds } from '../time.ts'
import { applyProfile, checkUnprofiled, type Profile } from './profiles.ts'
import type { Promises } from './promises.ts'
import type { Signer } from './signer.ts'
import type { View } from './view.ts'

export interface SignRequest {
  claims: Record<string, unknown>
  /** Seconds. */
  ttl: number
  profile?: string | undefined
  typ?: string | undefined
  header?: Record<string, unknown> | undefined
  algorithm?: Algorithm | undefined
}

export interface Signed {
  token: string
  kid: string
  /** NumericDate: seconds. */
  exp: number
}

interface Bounded {
  claims: Record<string, unknown>
  typ: string
  header: Record<string, unknown>
  iss: string | undefined
}

export interface SignParts {
  context: Context
  view: View
  promises: Promises
  signer: Signer
  issuerOf(ring: Ring): string | undefined
  /** Seconds, where the ring sets none. */
  maxTokenTtl: number
  profile(ring: Ring, name: string): Promise<Profile | undefined>
  onSigned(ring: string, key: SigningKey): void
}

/** Rings whose keys speak for the server itself: nobody signs with them through the API. */
const OURS_ALONE: ReadonlySet<string> = new Set(['access', 'audit'])

/** A rotation may take the key between two looks, and where many follow one another that happens time and again. */
const ATTEMPTS = 30

export function createSigning(parts: SignParts) {
  const { context, view, promises, signer, issuerOf, onSigned } = parts

  function keyOf(ring: Ring, asked: Algorithm | undefined): SigningKey {
    const alg = asked ?? ring.algorithms[0]
    const signers = view.ring(ring.name)?.signers
    const key = signers?.get(alg) ?? (asked || !ring.reserved ? undefined : first(signers))
    if (key) return key
    if (!ring.algorithms.includes(alg)) {
      const offered = ring.algorithms.join(', ')
      throw new Problem('algorithm_unavailable', `Ring ${ring.name} has ${offered}, not ${alg}`)
    }
    throw new Problem('not_ready', `Ring ${ring.name} cannot sign yet`)
  }

  /** A durable promise first, then the signature: the key stays published until the token has expired. */
  async function signWithPromise(
    ring: Ring,
    request: SignRequest,
    header: Record<string, unknown>,
    claims: Record<string, unknown>,
  ): Promise<Signed> {
    const exp = claims['exp'] as number
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const key = keyOf(ring, request.algorithm)
      const covered = promises.cover(key.kid, exp, request.ttl)
      if (covered !== true && !(await covered)) {
        await new Promise((resolve) => setImmediate(resolve))
        continue
      }
      const token = await signCompact(key, header, claims, signer.sign)
      checkReadable(token, header)
      onSigned(ring.name, key)
      return { token, kid: key.kid, exp }
    }
    throw new Problem('not_ready', `Ring ${ring.name} is rotating; try again`)
  }

  /** Who may mint what: `sign` on the ring, or on the profile, which then bounds the claims (product.md section 4). */
  function checkMay(ring: Ring, { profile }: SignRequest, principal: Principal): void {
    const resource = { ring: ring.name, ...(profile !== undefined && { profile }) }
    if (principal.may('sign', resource)) return
    const needed = profile === undefined ? `ring:${ring.name}` : `profile:${ring.name}/${profile}`
    throw new Problem('forbidden', `This needs sign@${needed}`)
  }

  function unprofiled(ring: Ring, { claims, ttl, typ, header }: SignRequest): Bounded {
    checkUnprofiled({ claims, ttl, typ, header })
    return { claims, typ: typ ?? 'JWT', header: header ?? {}, iss: issuerOf(ring) }
  }

  async function profiled(ring: Ring, request: SignRequest, name: string): Promise<Bounded> {
    const { claims, ttl, typ, header } = request
    checkUnprofiled({ claims, ttl, typ, header })
    const profile = await parts.profile(ring, name)
    if (!profile) throw new Problem('profile_not_found', `No profile ${ring.name}/${name}`)
    const minted = applyProfile(profile, { claims, ttl, typ, header })
    return { ...minted, typ: minted.typ ?? 'JWT', iss: minted.iss ?? issuerOf(ring) }
  }

  function ringNamed(name: string): Ring {
    const ring = view.ring(name)?.ring
    if (!ring) throw new Problem('ring_not_found', `No ring ${name}`)
    if (OURS_ALONE.has(ring.id)) {
      throw new Problem('ring_reserved', `The keys of ring ${ring.name} sign for this server only`)
    }
    return ring
  }

  /** All that can be refused is refused here, before anything is signed; most requests wait for nothing. */
  function bound(
    ring: Ring,
    request: SignRequest,
    principal: Principal,
  ): Bounded | Promise<Bounded> {
    checkMay(ring, request, principal)
    const { profile } = request
    return profile === undefined
      ? checked(ring, request, unprofiled(ring, request))
      : profiled(ring, request, profile).then((bounded) => checked(ring, request, bounded))
  }

  function checked(ring: Ring, { ttl, algorithm }: SignRequest, bounded: Bounded): Bounded {
    const limit = ring.maxTokenTtl ?? parts.maxTokenTtl
    if (ttl > limit) {
      throw new Problem('ttl_too_long', `Ring ${ring.name} allows at most ${limit} s`)
    }
    keyOf(ring, algorithm)
    const flaw = flawOf(bounded.claims, MAX_DEPTH)
    if (flaw !== undefined) throw new Problem('invalid_request', `The claims ${flaw}`)
    return bounded
  }

  function mint(ring: Ring, request: SignRequest, bounded: Bounded): Promise<Signed> {
    const { claims, typ, header, iss } = bounded
    const now = toSeconds(context.now())
    const times = { iat: now, nbf: now, exp: now + request.ttl }
    const all = { ...(iss !== undefined && { iss }), ...claims, ...times, jti: context.newId() }
    return signWithPromise(ring, request, { ...header, typ }, all)
  }

  return {
    /**
     * Signs one JWT; sets `iss iat nbf exp jti`.
     * @throws Problem `ring_not_found`, `ring_reserved`, `forbidden`, `claim_reserved`, `profile_violation`,
     * `ttl_too_long`, `algorithm_unavailable`, `invalid_request`, `not_ready`
     */
    async sign(ringName: string, request: SignRequest, principal: Principal): Promise<Signed> {
      const ring = ringNamed(ringName)
      const bounded = bound(ring, request, principal)
      return mint(ring, request, bounded instanceof Promise ? await bounded : bounded)
    },

    /**
     * Signs for this server itself: claims as they are, `exp` (seconds) among them. No request reaches this.
     * @throws Problem `not_ready`
     */
    async signOwn(ringName: string, typ: string, claims: Record<string, unknown>): Promise<string> {
      const ring = view.ring(ringName)?.ring
      if (!ring) throw new Problem('not_ready', `Ring ${ringName} cannot sign yet`)
      const ttl = Number(claims['exp']) - toSeconds(context.now())
      const { token } = await signWithPromise(ring, { claims, ttl }, { typ }, claims)
      return token
    },

    /** Signs all or none. @throws Problem as `sign`, with `item`: the place of the first that is refused */
    async signBatch(
      ringName: string,
      requests: readonly SignRequest[],
      principal: Principal,
    ): Promise<Signed[]> {
      const ring = ringNamed(ringName)
      const all: [SignRequest, Bounded][] = []
      for (const [item, request] of requests.entries()) {
        // Patterns take their time: others are served in between.
        if (item % 4 === 3) await new Promise((resolve) => setImmediate(resolve))
        try {
          all.push([request, await bound(ring, request, principal)])
        } catch (error) {
          if (!isProblem(error)) throw error
          const { code, detail, extra } = error
          throw new Problem(code, `batch/${item}: ${detail}`, { extra: { ...extra, item } })
        }
      }
      return Promise.all(all.map(([request, bounded]) => mint(ring, request, bounded)))
    },
  }
}

/** What our own verifier takes: a token that nobody reads is no use. */
const MAX_DEPTH = 32

/** What a caller puts into the header is screened as a verifier would; our own part of it is known to be good. */
function checkReadable(token: string, header: Record<string, unknown>): void {
  if (token.length > MAX_TOKEN_SIZE) {
    throw new Problem('invalid_request', `The token would have more than ${MAX_TOKEN_SIZE} bytes`)
  }
  if (Object.keys(header).length <= 1) return
  try {
    screenCompact(token)
  } catch (error) {
    if (!isProblem(error, 'token_malformed')) throw error
    throw new Problem('invalid_request', `No verifier would take this header: ${error.detail}`)
  }
}

/** Why a claims set would not be read as it was written: too deep, or numbers that JSON readers round. */
function flawOf(value: unknown, levels: number): string | undefined {
  if (typeof value === 'number') {
    const isExact =
      Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value))
    return isExact ? undefined : 'have a number beyond 2^53; send it as text'
  }
  if (typeof value !== 'object' || value === null) return undefined
  if (levels === 0) return `are nested deeper than ${MAX_DEPTH} levels`
  for (const member of Object.values(value)) {
    const flaw = flawOf(member, levels - 1)
    if (flaw !== undefined) return flaw
  }
  return undefined
}

const first = (signers: ReadonlyMap<string, SigningKey> | undefined) =>
  signers?.values().next().value

export type Signing = ReturnType<typeof createSigning>
