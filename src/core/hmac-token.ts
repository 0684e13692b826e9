import { createHmac } from 'node:crypto'
import { isProblem } from '../errors.ts'
import { type Check, type ClaimRules, checkClaims, failed, parseClaims, passed } from './claims.ts'
import { equalBytes } from './seal.ts'
import { type JoseHeader, screenAnyAlgorithm } from './strict.ts'
import type { Verdict } from './token.ts'

// Tokens under shared secrets (RFC 7518 section 3.2): only where a configuration holds the secret, never by a key set.

const HASHES = { HS256: 'sha256', HS384: 'sha384', HS512: 'sha512' } as const

export type HmacAlgorithm = keyof typeof HASHES

export const isHmacAlgorithm = (alg: string): alg is HmacAlgorithm => Object.hasOwn(HASHES, alg)

export interface HmacOptions extends ClaimRules {
  /** The algorithms that are accepted at all. */
  algorithms: readonly HmacAlgorithm[]
  /** The secrets that a token may be checked with; none: no key has its kid. */
  secrets(kid: string | undefined, alg: HmacAlgorithm): readonly Uint8Array[]
}

/** As `verifyToken`, under a shared secret: what the token says never chooses how it is read. */
export function verifyHmacToken(token: string, options: HmacOptions): Verdict {
  const checks: Check[] = []
  try {
    const { header, payload, signature, signingInput } = screenAnyAlgorithm(token)
    checks.push(passed('format'))
    const { alg } = header
    const kid = typeof header.kid === 'string' ? header.kid : undefined
    const verdict: Verdict = {
      valid: false,
      header: header as unknown as JoseHeader,
      ...(kid !== undefined && { kid }),
      checks,
    }
    const refuse = (name: 'key' | 'algorithm' | 'signature', reason: string): Verdict => {
      checks.push(failed(name, reason))
      return verdict
    }
    if (!isHmacAlgorithm(alg) || !options.algorithms.includes(alg)) {
      return refuse('algorithm', `The key is not for ${alg}`)
    }
    const secrets = options.secrets(kid, alg)
    if (secrets.length === 0) return refuse('key', 'No key has this kid')
    checks.push(passed('key'), passed('algorithm'))
    const hash = HASHES[alg]
    const isSigned = secrets.some((secret) =>
      equalBytes(createHmac(hash, secret).update(signingInput).digest(), signature),
    )
    if (!isSigned) return refuse('signature', 'The signature does not verify')
    checks.push(passed('signature'))
    const claims = parseClaims(payload)
    checks.push(passed('claims'), ...checkClaims(verdict.header as JoseHeader, claims, options))
    return { ...verdict, claims, valid: checks.every(({ ok }) => ok) }
  } catch (error) {
    if (!isProblem(error, 'token_malformed')) throw error
    const name = checks.length === 0 ? 'format' : 'claims'
    return { valid: false, checks: [...checks, failed(name, error.detail)] }
  }
}
