import { hash, randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'

const PREFIX = 'krd_'
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

/** SHA-256; enough at rest, because what it hides is random. */
export const hashToken = (token: string): Buffer => hash('sha256', token, 'buffer')
