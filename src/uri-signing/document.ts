import { isProblem, Problem } from '../errors.ts'
import { fitsKey } from './algorithms.ts'
import { firstFault } from './cache-rules.ts'
import {
  childOf,
  type JsonNode,
  type JsonObject,
  type JsonText,
  memberOf,
  readJson,
  stringOf,
} from './json-tree.ts'
import { hasPrivateHalf, importKey, MATERIAL, type UsableKey } from './key-material.ts'

export type { UriAlgorithm } from './algorithms.ts'
export type { UsableKey } from './key-material.ts'

// The key document of a delivery service: what Traffic Ops takes (contract section 6.1), and what of that a cache
// loads (section 6.2, in cache-rules.ts). Texts are kept as they came: nothing here writes JSON.

/** `compat` takes what Traffic Ops takes; `strict` only what a cache loads and works with. */
export type ValidationMode = 'strict' | 'compat'

export interface DocumentKey {
  kid: string
  /** Any text in a document stored under `compat`. */
  alg: string
  kty: string
  /** Whether the JWK holds what signing needs: `k`, or `d`. */
  hasPrivate: boolean
  /** The JWK as it stands in the document. */
  jwk: JsonObject
  /** To sign and verify with, imported once, on demand; undefined for what a cache could not use, or an `alg` that does not fit. */
  usable(): UsableKey | undefined
}

export interface IssuerSet {
  issuer: string
  /** The JWK set as it stands in the document. */
  set: JsonObject
  renewalKid: string | undefined
  /** In the order of the document. */
  keys: readonly DocumentKey[]
  /** The cache's identity, that `aud` must contain. */
  id: string | undefined
  stripToken: boolean | undefined
}

export interface KeyDocument {
  /** In the order of the document; `__proto__` and `42` are names like others. */
  issuers: ReadonlyMap<string, IssuerSet>
  /** The one renewal key and the issuer it speaks for. */
  renewal: { issuer: string; key: DocumentKey }
  /** What a cache compares `aud` with: of several, the last (section 6). */
  id: string | undefined
  /** The document itself, for edits in place. */
  json: JsonText
}

export type Checked = { document: KeyDocument } | { refusal: string }

/** The size of a document in bytes, at most. */
export const MAX_DOCUMENT = 1024 * 1024

const MALFORMED = 'malformed JSON'

/**
 * Reads a key document and says whether it may be stored. `refusal` is the text of the alert (section 5):
 * `malformed JSON`, or `invalid keyset: ` and the reason. Problem `body_too_large` beyond 1 MiB.
 */
export function checkDocument(bytes: Uint8Array, mode: ValidationMode): Checked {
  if (bytes.length > MAX_DOCUMENT) {
    throw new Problem('body_too_large', `A key document has at most ${MAX_DOCUMENT} bytes`)
  }
  const read = readDocument(bytes)
  if ('refusal' in read || mode === 'compat') return read
  const fault = firstFault(read.document)
  return fault === undefined ? read : { refusal: `invalid keyset: ${fault}` }
}

/** The document, as strict as caches are. Problem `keyset_invalid` with the text of the alert. */
export function openDocument(bytes: Uint8Array, mode: ValidationMode = 'strict'): KeyDocument {
  const checked = checkDocument(bytes, mode)
  if ('refusal' in checked) throw new Problem('keyset_invalid', checked.refusal)
  return checked.document
}

function readDocument(bytes: Uint8Array): Checked {
  let json: JsonText
  try {
    json = readJson(bytes)
  } catch (error) {
    if (isProblem(error, 'malformed_body')) return { refusal: MALFORMED }
    throw error
  }
  const issuers = readIssuers(json.root)
  if (!issuers) return { refusal: MALFORMED }
  const reason = reasonAgainst(issuers)
  if (reason !== undefined) return { refusal: `invalid keyset: ${reason}` }
  const renewal = renewalOf(issuers)
  if (!renewal) throw new Problem('internal', 'A document was accepted without its renewal key')
  const id = [...issuers.values()].findLast((set) => set.id !== undefined)?.id
  return { document: { issuers, renewal, id, json } }
}

/** Section 6.1, the table, in its order. */
function reasonAgainst(issuers: ReadonlyMap<string, IssuerSet>): string | undefined {
  for (const { issuer, keys } of issuers.values()) {
    if (issuer === '') return 'JSON Keyset has no issuer'
    for (const { alg, kid } of keys) {
      if (alg === '') return 'A Key has no algorithm, alg, specified'
      if (kid === '') return 'A Key has no key id, kid, specified'
    }
  }
  const named = [...issuers.values()].filter(({ renewalKid }) => renewalKid !== undefined)
  if (named.length === 0) return 'No renewal_kid was found in any keyset'
  if (named.length > 1) return 'More than one renewal_kid was found in the keysets'
  return renewalOf(issuers) ? undefined : 'No key was found with a kid that matches the renewal kid'
}

function renewalOf(issuers: ReadonlyMap<string, IssuerSet>): KeyDocument['renewal'] | undefined {
  for (const { issuer, keys, renewalKid } of issuers.values()) {
    const key = keys.find(({ kid }) => kid === renewalKid)
    if (key) return { issuer, key }
  }
  return undefined
}

/** Undefined for what Traffic Ops calls malformed. A duplicate issuer replaces the earlier one, as in Go. */
function readIssuers(root: JsonNode): Map<string, IssuerSet> | undefined {
  if (root.is === 'null') return new Map()
  if (root.is !== 'object') return undefined
  const issuers = new Map<string, IssuerSet>()
  for (const { name, value } of root.members) {
    const set = readSet(name, value)
    if (!set) return undefined
    issuers.set(name, set)
  }
  return issuers
}

function readSet(issuer: string, set: JsonNode): IssuerSet | undefined {
  if (set.is !== 'object') return undefined
  const lists = set.members.filter(({ name }) => name === 'keys')
  // A set without `keys` is read as one bare JWK; of several `keys`, all count.
  const jwks = lists.length === 0 ? [set] : lists.flatMap(({ value }) => elementsOf(value))
  const keys: DocumentKey[] = []
  for (const jwk of jwks) {
    const key = jwk && readKey(jwk)
    if (!key) return undefined
    keys.push(key)
  }
  const strip = childOf(set, 'strip_token')
  return {
    issuer,
    set,
    renewalKid: stringOf(set, 'renewal_kid'),
    keys,
    id: stringOf(set, 'id'),
    stripToken: strip?.is === 'boolean' ? strip.value === true : undefined,
  }
}

/** The elements of `keys`; null stands for none, anything else for what is malformed. */
function elementsOf(list: JsonNode): (JsonNode | undefined)[] {
  if (list.is === 'null') return []
  return list.is === 'array' ? list.items : [undefined]
}

/** Members whose value is text (null counts as empty text, as in Go). */
const TEXTS: ReadonlySet<string> = new Set(['kty', 'kid', 'alg', 'use', 'crv'])

function readKey(jwk: JsonNode): DocumentKey | undefined {
  if (jwk.is !== 'object') return undefined
  const kty = stringOf(jwk, 'kty') ?? ''
  const material = Object.hasOwn(MATERIAL, kty) ? MATERIAL[kty] : undefined
  if (!material) return undefined
  const hasPrivate = kty === 'oct' || hasPrivateHalf(jwk)
  const required = [...material.public, ...(kty === 'EC' || kty === 'OKP' ? ['crv'] : [])]
  if (!required.every((name) => memberOf(jwk, name))) return undefined
  const encoded = hasPrivate ? [...material.public, ...material.private] : material.public
  for (const { name, value } of jwk.members) {
    if (!TEXTS.has(name) && !encoded.includes(name)) continue
    if (value.is !== 'string' && value.is !== 'null') return undefined
    if (encoded.includes(name) && !decodesAsBase64(String(value.value ?? ''))) return undefined
  }
  const kid = stringOf(jwk, 'kid') ?? ''
  const alg = stringOf(jwk, 'alg') ?? ''
  let usable: UsableKey | null | undefined
  return {
    kid,
    alg,
    kty,
    hasPrivate,
    jwk,
    usable: () => {
      if (usable === undefined) usable = tryImport(jwk, kid, alg, kty) ?? null
      return usable ?? undefined
    },
  }
}

function tryImport(jwk: JsonObject, kid: string, alg: string, kty: string): UsableKey | undefined {
  if (!fitsKey(alg, kty, stringOf(jwk, 'crv'))) return undefined
  try {
    return importKey(jwk, kid, alg)
  } catch (error) {
    if (isProblem(error, 'key_rejected')) return undefined
    throw error
  }
}

/** Base64 in any one alphabet, padded or not; line breaks are passed over (Go's encoding/base64). */
function decodesAsBase64(text: string): boolean {
  const plain = text.replace(/[\r\n]/g, '')
  if (!/^(?:[A-Za-z0-9_-]*|[A-Za-z0-9+/]*)={0,2}$/.test(plain)) return false
  return plain.endsWith('=') ? plain.length % 4 === 0 : plain.length % 4 !== 1
}
