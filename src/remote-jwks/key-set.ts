// From the bytes of a remote JWK Set to keys that a token may be checked with.
import { importJwkSet, parseJsonStrict, thumbprint, type VerificationKey } from '../core/index.ts'
import { isProblem, Problem } from '../errors.ts'

/** Twice what is fetched at most: what we keep of a set may be written a little longer. */
const MAX_BYTES = 512 * 1024
const MAX_DEPTH = 16
const MAX_KEYS = 100

/** Whether a key of this server, past or present, has this kid or this RFC 7638 thumbprint. */
export type IsOurs = (kid: string | undefined, thumbprint: string) => Promise<boolean>

export interface KeySet {
  keys: readonly VerificationKey[]
  kids: ReadonlySet<string>
  /** How many keys were left out. */
  ignored: number
  /** The same keys as a JWK Set, public members only; reading it again gives them again. */
  text: string
}

/**
 * Reads a JWK Set of somebody else. Left out, not fatal (RFC 7517 section 5): keys that are
 * symmetric, private, weak, not for signatures or of a kind we do not know, and keys that share a
 * kid, for a token must not be checked with the wrong one. A set may end up empty. Refused as a
 * whole: what is no set, has over 100 keys, or holds a kid or a key of ours, usable or not; its
 * owner could pass for us. Problem `jwks_unreachable`.
 */
export async function readKeySet(body: Uint8Array, isOurs: IsOurs): Promise<KeySet> {
  const { jwks, imported } = parseKeySet(body)
  for (const jwk of jwks) {
    const [kid, print] = [kidOf(jwk), thumbprintOf(jwk)]
    if (kid === undefined && print === undefined) continue
    // An empty thumbprint is nobody's.
    if (await isOurs(kid, print ?? '')) throw unusable('the set holds a key or kid of this server')
  }
  const { keys, ignored } = imported
  return {
    keys,
    kids: new Set(keys.flatMap(({ kid }) => kid ?? [])),
    ignored: ignored.length,
    text: JSON.stringify({ keys: keys.map(toJwk) }),
  }
}

function parseKeySet(body: Uint8Array) {
  try {
    const set = parseJsonStrict(body, { maxBytes: MAX_BYTES, maxDepth: MAX_DEPTH })
    const imported = importJwkSet(set, MAX_KEYS)
    return { jwks: (set as { keys: unknown[] }).keys, imported }
  } catch (error) {
    if (isProblem(error)) throw unusable(error.detail)
    throw error
  }
}

const unusable = (reason: string) =>
  new Problem('jwks_unreachable', undefined, { cause: new Error(reason) })

function kidOf(jwk: unknown): string | undefined {
  const kid = typeof jwk === 'object' && jwk !== null && 'kid' in jwk ? jwk.kid : undefined
  return typeof kid === 'string' ? kid : undefined
}

function thumbprintOf(jwk: unknown): string | undefined {
  if (typeof jwk !== 'object' || jwk === null) return undefined
  try {
    return thumbprint(jwk)
  } catch (error) {
    if (isProblem(error, 'key_rejected')) return undefined
    throw error
  }
}

const toJwk = ({ key, kid, alg }: VerificationKey) => ({
  ...key.export({ format: 'jwk' }),
  kid,
  alg,
})
