import { Problem } from '../errors.ts'
import { type IssuerSet, type KeyDocument, openDocument } from './document.ts'
import { addition, childOf, memberOf, removal, type Splice, splice } from './json-tree.ts'

// Changes to a key document, as splices of its text: what is not spoken of stays byte for byte, unknown members and
// spacing included. Every result passes `strict`, or the change is Problem `keyset_invalid`.

/** A JWK with `kty`, `alg`, `kid` and key material, as it is to be written. */
export type NewKey = Readonly<Record<string, string>>

/** A document with one issuer, whose one key is the renewal key. Problem `keyset_invalid` for an unfit key. */
export function newDocument(issuer: string, key: NewKey): Uint8Array {
  const set = JSON.stringify({ renewal_kid: key['kid'], keys: [key] }, null, 2)
  const text = `{\n  ${JSON.stringify(issuer)}: ${set.replaceAll('\n', '\n  ')}\n}\n`
  return checked(Buffer.from(text))
}

/**
 * Adds a key behind an issuer's others, and the issuer where it is new. Problems `key_conflict` for a kid that the
 * issuer has, `keyset_invalid`.
 */
export function addKey(bytes: Uint8Array, issuer: string, key: NewKey): Uint8Array {
  const document = openDocument(bytes)
  const { json, issuers } = document
  const set = issuers.get(issuer)
  const text = JSON.stringify(key)
  if (!set) {
    if (json.root.is !== 'object') throw new Problem('internal')
    const member = `${JSON.stringify(issuer)}:{"keys":[${text}]}`
    return checked(splice(json.text, [addition(json.root, member)]))
  }
  if (set.keys.some(({ kid }) => kid === key['kid'])) {
    throw new Problem('key_conflict', `Issuer ${issuer} has a key ${key['kid']} already`)
  }
  return checked(splice(json.text, [addition(keysOf(set), text)]))
}

/** Makes a key the one that signs renewals. Problems `key_not_found`, `keyset_invalid` where it cannot sign. */
export function setRenewalKid(bytes: Uint8Array, issuer: string, kid: string): Uint8Array {
  const document = openDocument(bytes)
  const target = setWith(document, issuer, kid)
  const splices: Splice[] = []
  for (const { set } of document.issuers.values()) {
    if (set === target.set) continue
    splices.push(...removal(set.members, ({ name }) => name === 'renewal_kid'))
  }
  const written = memberOf(target.set, 'renewal_kid')?.value
  const name = JSON.stringify(kid)
  splices.push(
    written
      ? { start: written.start, end: written.end, with: name }
      : addition(target.set, `"renewal_kid":${name}`),
  )
  return checked(splice(document.json.text, splices))
}

/** Takes a key away. Problems `key_not_found`; `key_in_use` for the renewal key, which must be moved first. */
export function removeKey(bytes: Uint8Array, issuer: string, kid: string): Uint8Array {
  const document = openDocument(bytes)
  const target = setWith(document, issuer, kid)
  if (target.renewalKid === kid) {
    throw new Problem('key_in_use', `Key ${kid} signs renewals; move renewal_kid first`)
  }
  const gone = target.keys.find((key) => key.kid === kid)?.jwk
  const splices = removal(keysOf(target).items, (jwk) => jwk === gone)
  return checked(splice(document.json.text, splices))
}

function setWith({ issuers }: KeyDocument, issuer: string, kid: string): IssuerSet {
  const set = issuers.get(issuer)
  if (set?.keys.some((key) => key.kid === kid)) return set
  throw new Problem('key_not_found', `The document has no key ${kid} of issuer ${issuer}`)
}

/** `strict` has seen to it that this is an array. */
function keysOf({ set }: IssuerSet) {
  const keys = childOf(set, 'keys')
  if (keys?.is !== 'array') throw new Problem('internal')
  return keys
}

/** No change leaves a document behind that a cache would not load. */
function checked(bytes: Uint8Array): Uint8Array {
  openDocument(bytes)
  return bytes
}
