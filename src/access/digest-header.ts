// The Authorization field of HTTP Digest (RFC 2617 section 3.2.2), as far as we ask for it. Pure.

export interface DigestCredential {
  username: string
  realm: string
  nonce: string
  uri: string
  /** In lower case. */
  response: string
  cnonce: string
  /** As it was written: eight hexadecimal digits. */
  nc: string
  opaque: string | undefined
}

/** Characters: a request target of the longest kind, and its company. */
const MAX_HEADER = 16 * 1024
const MAX_NAME = 256
const PARAMETER = /\s*([A-Za-z-]{1,32})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))\s*(?:,|$)/y

export const isDigest = (authorization: string): boolean => /^\s*digest\b/i.test(authorization)

/** Undefined: it is malformed, repeats itself, or is of a kind that we do not offer. */
export function parseDigest(authorization: string): DigestCredential | undefined {
  if (authorization.length > MAX_HEADER) return undefined
  const parameters = parametersOf(authorization.replace(/^\s*digest\s+/i, ''))
  if (!parameters) return undefined
  const of = (name: string) => parameters.get(name) ?? ''
  const algorithm = of('algorithm')
  if (algorithm !== '' && algorithm.toUpperCase() !== 'MD5') return undefined
  if (of('qop').toLowerCase() !== 'auth' || !/^[0-9a-f]{8}$/i.test(of('nc'))) return undefined
  if (!/^[0-9a-f]{32}$/i.test(of('response'))) return undefined
  const [username, cnonce] = [of('username'), of('cnonce')]
  if (username === '' || cnonce === '') return undefined
  if (username.length > MAX_NAME || cnonce.length > MAX_NAME) return undefined
  return {
    ...{ username, cnonce, realm: of('realm'), nonce: of('nonce'), uri: of('uri') },
    ...{ response: of('response').toLowerCase(), nc: of('nc'), opaque: parameters.get('opaque') },
  }
}

function parametersOf(text: string): Map<string, string> | undefined {
  const found = new Map<string, string>()
  PARAMETER.lastIndex = 0
  while (PARAMETER.lastIndex < text.length) {
    const match = PARAMETER.exec(text)
    if (!match) return undefined
    const [, name = '', quoted, bare = ''] = match
    const key = name.toLowerCase()
    if (found.has(key)) return undefined
    found.set(key, quoted === undefined ? bare : quoted.replace(/\\(.)/g, '$1'))
  }
  return found.size === 0 ? undefined : found
}
