import { type KeyObject, sign } from 'node:crypto'
import { ALGORITHMS, MAX_TOKEN_SIZE } from '../core/index.ts'
import { Problem } from '../errors.ts'
import { hmac, isHmac, type PairAlgorithm, type UriAlgorithm } from './algorithms.ts'
import { buildContainer, type ContainerForm } from './container.ts'
import type { KeyDocument, UsableKey } from './document.ts'
import {
  findToken,
  normaliseParts,
  PARAMETER,
  type Placement,
  parseUri,
  placeToken,
} from './uri.ts'

// Makes URI tokens (RFC 9246; contract sections 9 and 11). Checking them is in uri-verdict.ts.

export {
  REASONS,
  type UriCheck,
  type UriCode,
  type UriVerdict,
  type VerifyUriRequest,
  verifyUri,
} from './uri-verdict.ts'

/** Signs an ASCII signing input with a private key; resolves to base64url. Secrets never come here. */
export type SignInput = (
  key: { kid: string; alg: PairAlgorithm; key: KeyObject },
  input: string,
) => Promise<string>

export interface SignUriRequest {
  /** An absolute http or https URI, without a token. */
  uri: string
  issuer: string
  /** Whole seconds from now; the token's `exp` is that of a whole second. */
  ttl: number
  /** Default `exact`. */
  container?: ContainerForm | undefined
  /** Default `query`; `cookie` leaves the URI as it is. */
  placement?: Placement | undefined
  /** NumericDate, whole seconds. */
  nbf?: number | undefined
  /** Renewal by cookie (`cdnistt` 1): how many seconds a renewed token lives, and the depth of its path. */
  renewable?: { seconds: number; depth?: number | undefined } | undefined
  audience?: string | readonly string[] | undefined
  /** Default `URISigningPackage`, the only one that caches know. */
  parameter?: string | undefined
}

export interface SignedUri {
  /** With its token, except for placement `cookie`. */
  uri: string
  token: string
  kid: string
  /** NumericDate: seconds. */
  exp: number
}

type Claims = Record<string, unknown>

/**
 * Signs a URI; at once where the key is a secret, as a promise where it is a key pair. `now` is in seconds and may have
 * a fraction. Problems `uri_invalid` for a request that cannot be signed, `key_unusable` for a public-only key.
 */
export function signUri(
  request: SignUriRequest,
  key: UsableKey,
  now: number,
  signPair: SignInput = signInPool,
): SignedUri | Promise<SignedUri> {
  const { uri, placement = 'query', parameter = PARAMETER } = request
  if (!/^[A-Za-z0-9._~-]{1,64}$/.test(parameter)) throw refused('The parameter is no plain name')
  if (findToken(uri, parameter)) throw refused('The URI has a token already')
  const claims = claimsOf(request, now)
  const exp = claims['exp'] as number
  const signed = (token: string): SignedUri => {
    if (token.length > MAX_TOKEN_SIZE) throw refused('The URI is too long for a token')
    return { uri: placeToken(uri, token, placement, parameter), token, kid: key.kid, exp }
  }
  const token = signClaims(claims, key, signPair)
  return typeof token === 'string' ? signed(token) : token.then(signed)
}

const refused = (reason: string) => new Problem('uri_invalid', reason)

const isCount = (value: number, least: number): boolean =>
  Number.isSafeInteger(value) && value >= least

/** The claims of contract section 9, in a fixed order. */
function claimsOf(request: SignUriRequest, now: number): Claims {
  const { uri, issuer, ttl, container = 'exact', nbf, renewable, audience } = request
  const iat = Math.floor(now)
  if (issuer === '') throw refused('The issuer is empty')
  if (!isCount(ttl, 1)) throw refused('The ttl is not a whole number of seconds above 0')
  if (nbf !== undefined && !isCount(nbf, 0))
    throw refused('The nbf is not a whole number of seconds')
  const claims: Claims = { iss: issuer }
  if (audience !== undefined) claims['aud'] = audience
  claims['exp'] = iat + ttl
  if (nbf !== undefined) claims['nbf'] = nbf
  claims['iat'] = iat
  claims['cdniuc'] = buildContainer(uri, container)
  if (!renewable) return claims
  const { seconds, depth } = renewable
  if (!isCount(seconds, 1)) throw refused('A renewed token lives whole seconds above 0')
  claims['cdniets'] = seconds
  claims['cdnistt'] = 1
  if (depth === undefined) return claims
  if (!isCount(depth, 0)) throw refused('The depth is not a whole number')
  claims['cdnistd'] = depth
  return claims
}

/** The last header of each key: all its tokens have the same one. */
const headers = new WeakMap<KeyObject, { kid: string; alg: UriAlgorithm; encoded: string }>()

function headerOf(key: KeyObject, kid: string, alg: UriAlgorithm): string {
  const last = headers.get(key)
  if (last && last.kid === kid && last.alg === alg) return last.encoded
  const encoded = Buffer.from(JSON.stringify({ alg, kid })).toString('base64url')
  headers.set(key, { kid, alg, encoded })
  return encoded
}

/** A compact JWS with the header `alg`, `kid`. Problem `key_unusable` for a key that cannot sign. */
export function signClaims(
  claims: Claims,
  { kid, alg, signingKey: key }: UsableKey,
  signPair: SignInput = signInPool,
): string | Promise<string> {
  if (!key) throw new Problem('key_unusable', `Key ${kid} has no private half here`)
  const payload = Buffer.from(JSON.stringify(claims)).toString('base64url')
  const input = `${headerOf(key, kid, alg)}.${payload}`
  if (isHmac(alg)) return `${input}.${hmac(key, alg, input).toString('base64url')}`
  return signPair({ kid, alg, key }, input).then((signature) => `${input}.${signature}`)
}

/** Signs in Node's thread pool. */
export const signInPool: SignInput = ({ alg, key }, input) => {
  const { hash, options } = ALGORITHMS[alg]
  return new Promise((resolve, reject) => {
    sign(hash, Buffer.from(input, 'ascii'), { key, ...options }, (error, signature) =>
      error ? reject(error) : resolve(signature.toString('base64url')),
    )
  })
}

export interface Renewal {
  token: string
  path: string
  /** The value of the Set-Cookie header field that a cache answers with. */
  setCookie: string
}

export interface RenewRequest {
  /** Of the token that was verified. */
  claims: Readonly<Claims>
  /** The URI that was verified, without its token. */
  uri: string
  document: KeyDocument
  /** Seconds, may be fractional. */
  now: number
  parameter?: string | undefined
}

/** For how many seconds a token asks to be renewed, by cookie; undefined: it does not. */
export function renewalSecondsOf({ cdnistt, cdniets }: Readonly<Claims>): number | undefined {
  return cdnistt === 1 && typeof cdniets === 'number' && isCount(cdniets, 1) ? cdniets : undefined
}

/**
 * The token that follows a verified one, as a cache makes it (section 11): under the renewal key and its issuer, for
 * `cdniets` seconds from now. Undefined where there is none: not asked for, a path no deeper than `cdnistd`, a renewal
 * key that cannot sign, or a path that a cookie cannot name.
 */
export async function renewToken(
  request: RenewRequest,
  signPair: SignInput = signInPool,
): Promise<Renewal | undefined> {
  const { claims, uri, document, now, parameter = PARAMETER } = request
  const cdniets = renewalSecondsOf(claims)
  if (cdniets === undefined) return undefined
  const path = cookiePath(uri, Number(claims['cdnistd'] ?? 0))
  const { issuer, key } = document.renewal
  const usable = key.usable()
  if (path === undefined || !usable?.signingKey) return undefined
  const next: Claims = { iss: issuer }
  for (const name of ['sub', 'aud']) if (claims[name] !== undefined) next[name] = claims[name]
  next['exp'] = now + cdniets
  if (claims['nbf'] !== undefined) next['nbf'] = claims['nbf']
  next['iat'] = now
  next['cdniuc'] = claims['cdniuc']
  next['cdniv'] = 1
  next['cdniets'] = cdniets
  next['cdnistt'] = 1
  if (claims['cdnistd'] !== undefined) next['cdnistd'] = claims['cdnistd']
  const token = await signClaims(next, usable, signPair)
  return { token, path, setCookie: `${parameter}=${token}; Path=${path}` }
}

/** `/`, or so many first segments; undefined where the path has no more than that. */
function cookiePath(uri: string, depth: number): string | undefined {
  const parts = parseUri(uri)
  if (!parts) return undefined
  if (depth === 0) return '/'
  const segments = normaliseParts(parts).path.split('/')
  if (segments.length - 1 <= depth) return undefined
  const path = segments.slice(0, depth + 1).join('/')
  // A semicolon would end the attribute, and begin one that the URI's author chose.
  return path.includes(';') ? undefined : path
}
