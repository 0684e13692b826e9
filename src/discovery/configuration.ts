// OIDC discovery (OpenID Connect Discovery 1.0 section 3; keyring contract section 2.5). Pure.

/** The issuer with a path below it: exactly one slash at the seam, a query string kept at the end. */
export function joinIssuer(issuer: string, path: string): string {
  const url = new URL(issuer)
  const base = url.pathname.replace(/\/{2,}/g, '/').replace(/\/$/, '')
  return `${url.protocol}//${url.host}${base}${path}${url.search}`
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
  const listed = algorithms.join() === 'RS256' ? ['RS256', 'EdDSA'] : algorithms
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
