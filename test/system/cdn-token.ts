import { type CryptoKey, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose'

// Tokens of RFC 9246 and key documents made with jose alone: what a cache is asked with where it is the cache, not our
// own signing, that is looked at.

/** Far beyond every run: 2100-01-01. */
export const FAR = 4_102_444_800
export const PARAMETER = 'URISigningPackage'

export interface SigningKey {
  jwk: JWK
  key: CryptoKey | Uint8Array
}

/** A secret of so many bytes. */
export function secret(kid: string, alg = 'HS256', length = 64): SigningKey {
  const key = crypto.getRandomValues(new Uint8Array(length))
  return { jwk: { kty: 'oct', alg, kid, k: Buffer.from(key).toString('base64url') }, key }
}

/** A key pair; `jwk` has both halves. */
export async function keyPair(kid: string, alg: string): Promise<SigningKey> {
  const { privateKey } = await generateKeyPair(alg, { extractable: true })
  return { jwk: { ...(await exportJWK(privateKey)), alg, kid }, key: privateKey }
}

/** What a verifier needs of a key pair. */
export const publicHalf = ({ kty, alg, kid, crv, x, y, n, e }: JWK): JWK =>
  kty === 'RSA' ? ({ kty, alg, kid, n, e } as JWK) : ({ kty, alg, kid, crv, x, y } as JWK)

/** A token with exactly these claims; `alg` and `kid` are those of the key unless `header` has others. */
export const tokenOf = (
  { jwk, key }: SigningKey,
  claims: Record<string, unknown>,
  header: Record<string, unknown> = {},
): Promise<string> =>
  new SignJWT(claims)
    .setProtectedHeader({ alg: jwk.alg ?? '', kid: jwk.kid ?? '', ...header })
    .sign(key)

export interface Asked {
  uri: string
  headers?: Record<string, string>
}

/** Where a token may be in a request for `uri` (contract section 9). */
export const PLACES: Record<string, (uri: string, token: string) => Asked> = {
  query: (uri, token) => ({ uri: `${uri}${uri.includes('?') ? '&' : '?'}${PARAMETER}=${token}` }),
  'path segment'(uri, token) {
    const { origin, pathname, search } = new URL(uri)
    return { uri: `${origin}/${PARAMETER}=${token}${pathname}${search}` }
  },
  'path parameter': (uri, token) => ({ uri: `${uri};${PARAMETER}=${token}` }),
  cookie: (uri, token) => ({ uri, headers: { cookie: `${PARAMETER}=${token}` } }),
}

/** With a byte of its signature changed. */
export function tampered(token: string): string {
  const [header, payload, signature = ''] = token.split('.')
  const bytes = Buffer.from(signature, 'base64url')
  bytes[0] = (bytes[0] ?? 0) ^ 1
  return [header, payload, bytes.toString('base64url')].join('.')
}

/** The value of the cookie that a cache set, and its path. */
export function renewalIn(cookies: readonly string[]): { token: string; path: string } | undefined {
  const [, token, path] =
    new RegExp(`^${PARAMETER}=([^;]+); *Path=([^;]*)`, 'i').exec(cookies[0] ?? '') ?? []
  return token === undefined ? undefined : { token, path: path ?? '' }
}
