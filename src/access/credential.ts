import { hash, randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'

// A new prefix goes into the shapes that logs redact, in http/log.ts.
const PREFIX = 'krd_'
const LOGIN_PREFIX = 'krl_'
const SECRET_BYTES = 32
/** Characters of one header; longer ones are nobody's token. The longest JWT that is looked at fits, in base64 too. */
const MAX_CREDENTIAL = 24 * 1024

/**
 * The token of a request (keyring contract section 1.2): X-Nomad-Token wins if it is not empty, else the first word
 * after `Bearer`. Undefined: none was presented; `''`: one that no token can match.
 */
export function tokenOf(headers: IncomingHttpHeaders): string | undefined {
  const { 'x-nomad-token': nomad } = headers
  const named = nomad === undefined ? '' : [nomad].flat().join(', ').trim()
  if (named) return named.length > MAX_CREDENTIAL ? '' : named
  const { authorization = '' } = headers
  const [scheme = '', token] = authorization
    .slice(0, MAX_CREDENTIAL + 8)
    .trim()
    .split(/\s+/, 2)
  if (scheme.toLowerCase() !== 'bearer' || !token) return undefined
  return authorization.length > MAX_CREDENTIAL ? '' : token
}

/** A new API token: 256 random bits behind a prefix that tells what it is, for scanners too. */
export const newApiToken = (): string => PREFIX + randomBytes(SECRET_BYTES).toString('base64url')

export const isApiToken = (token: string): boolean => token.startsWith(PREFIX)

/** A new login token, as random; its prefix is another, so that it is no API token anywhere. */
export const newLoginToken = (): string =>
  LOGIN_PREFIX + randomBytes(SECRET_BYTES).toString('base64url')

const LOGIN_TOKEN = /^krl_[\w-]{43}$/

/** Whether a text may be one: nothing else is looked up. */
export const isLoginToken = (text: string): boolean => LOGIN_TOKEN.test(text)

/** SHA-256; enough at rest, because what it hides is random. */
export const hashToken = (token: string): Buffer => hash('sha256', token, 'buffer')
