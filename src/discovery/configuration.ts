// OIDC discovery (OpenID Connect Discovery 1.0 section 3; keyring contract section 2.5). Pure.

const URL_PARTS = /^([a-z][a-z\d+.-]*:\/\/[^/?]*)([^?]*)(\?.*)?$/i

/**
 * The issuer with a path below it: exactly one slash at the seam, dot segments and empty ones gone, a query string
 * kept at the end. What is not the path stays byte for byte, because some consumers compare hosts as text.
 */
export function joinIssuer(issuer: string, path: string): string {
  const [, origin = issuer, base = '', query = ''] = URL_PARTS.exec(issuer) ?? []
  const segments: string[] = []
  for (const segment of `${base}/${path}`.split('/')) {
    if (segment === '..') segments.pop()
    else if (segment !== '' && segment !== '.') segments.push(segment)
  }
  return `${origin}/${segments.join('/')}${query}`
}

export interface Issuer {
  /** Byte for byte, also in tokens. */
  issuer: string
  /** Algorithms of the keys in the set. */
  algorithms: readonly string[]
  jwksPath: string
  /** Further members an operator wants. */
  extra: Readonly<Record<string, unknown>>
}

/** Members in alphabetical order, as the original sends them. */
export function createConfiguration({ issuer, algorithms, jwksPath, extra }: Issuer) {
  // The original always names both, and some consumers look for EdDSA by it.
  const original = ['RS256', 'EdDSA']
  const plain = algorithms.includes('RS256') && algorithms.every((alg) => original.includes(alg))
  const listed = plain ? original : algorithms
  const document = {
    ...extra,
    id_token_signing_alg_values_supported: listed,
    issuer,
    jwks_uri: joinIssuer(issuer, jwksPath),
    response_types_supported: ['code'],
    subject_types_supported: ['public'],
  }
  return Object.fromEntries(Object.entries(document).sort(([a], [b]) => (a < b ? -1 : 1)))
}
