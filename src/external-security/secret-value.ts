import { createHmac } from 'node:crypto'
import { equalBytes, importPublicPem, isBase64url, type VerificationKey } from '../core/index.ts'
import { isProblem, Problem } from '../errors.ts'

// Values of JWT secrets (contract section 5): PEM for RS256, text for HS256. Pure. No error says what was in a value.

/** Bytes of a shared secret that may authenticate (product.md section 4, RFC 7518 section 3.2). */
export const SAFE_SECRET = 32

const invalid = (reason: string) => new Problem('external_security_invalid', reason)

/**
 * Whether a value can verify tokens of an algorithm; of others, what a value is like is not asked.
 * @throws Problem `external_security_invalid`
 */
export function checkSecretValue(alg: string, value: string): void {
  if (value === '') throw invalid('oauth-jwt-secret-value is required')
  if (alg === 'RS256') importRsaKey(value)
  // As a shared secret, a public key would be known to everybody (RFC 8725 section 2.1).
  if (alg === 'HS256' && isPem(value)) {
    throw invalid('oauth-jwt-secret-value is PEM, and HS256 has shared secrets')
  }
}

/** Never a shared secret, also where it was stored as something else. */
export const isPem = (value: string): boolean => value.includes('-----BEGIN')

export const isShortSecret = (alg: string, value: string): boolean =>
  alg === 'HS256' && Buffer.byteLength(value) < SAFE_SECRET

/**
 * The public key of a PEM text, bound to RS256: as it was made, or on one line, where line ends are gone or written out.
 * @throws Problem `external_security_invalid`
 */
export function importRsaKey(pem: string): VerificationKey {
  if (pem.includes('PRIVATE KEY')) {
    throw invalid('oauth-jwt-secret-value is a private key; RS256 wants the public one')
  }
  const lines = pem.replaceAll(/(?:\\r)?\\n/g, '\n').replace(/-----(?=\S)(?!BEGIN|END)/, '-----\n')
  const found = read(lines)
  if (found.key.asymmetricKeyType !== 'rsa') throw invalid('oauth-jwt-secret-value is no RSA key')
  return { ...found, alg: 'RS256' }
}

function read(pem: string): VerificationKey {
  try {
    return importPublicPem(pem)
  } catch (error) {
    if (!isProblem(error)) throw error
    throw invalid(`oauth-jwt-secret-value: ${error.detail}`)
  }
}

/**
 * What a shared secret may mean, in the order in which it is tried: its bytes as given, those that it writes in
 * hexadecimal digits, those that it writes in base64url.
 */
export function secretCandidates(value: string): Buffer[] {
  const isHex = value.length >= 64 && value.length % 2 === 0 && /^[0-9A-Fa-f]+$/.test(value)
  const decoded = isBase64url(value) ? Buffer.from(value, 'base64url') : Buffer.alloc(0)
  return [
    Buffer.from(value),
    ...(isHex ? [Buffer.from(value, 'hex')] : []),
    ...(decoded.length >= SAFE_SECRET ? [decoded] : []),
  ]
}

/** HMAC with SHA-256 over the ASCII signing input (RFC 7515 section 5.2). */
export function verifiesHs256(
  candidates: readonly Buffer[],
  signingInput: string,
  signature: Uint8Array,
): boolean {
  // All of them are computed: which one fits would show in the time.
  const fitting = candidates.filter((secret) =>
    equalBytes(createHmac('sha256', secret).update(signingInput).digest(), signature),
  )
  return fitting.length > 0
}
