import { openDocument } from './document.ts'
import { removal, type Splice, splice } from './json-tree.ts'
import { MATERIAL } from './key-material.ts'

/** Every member that RFC 7518 section 6 calls private; `oth` is of RSA keys with more than two primes. */
const PRIVATE: ReadonlySet<string> = new Set([
  ...Object.values(MATERIAL).flatMap((of) => of.private),
  'oth',
])

/**
 * The document for a cache that need only verify: RS, PS and ES keys lose their private members, all but the renewal
 * key, which the cache signs with. HS secrets stay: there is no other half of them. All else stays byte for byte.
 * Problem `keyset_invalid` for what a cache could not load.
 */
export function publicOnly(bytes: Uint8Array): Uint8Array {
  const { issuers, renewal, json } = openDocument(bytes)
  const splices: Splice[] = []
  for (const { keys } of issuers.values()) {
    for (const key of keys) {
      if (key.kty === 'oct' || key === renewal.key) continue
      splices.push(...removal(key.jwk.members, ({ name }) => PRIVATE.has(name)))
    }
  }
  return splice(json.text, splices)
}
