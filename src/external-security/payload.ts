import { parseJsonStrict } from '../core/index.ts'
import { isProblem, Problem } from '../errors.ts'
import { type Field, type Fields, fieldOf, type GroupField, maxOf, shown } from './fields.ts'
import { isXmlText, parseXml } from './xml.ts'
import { xmlMembers } from './xml-payload.ts'

// A body, JSON or XML, as one and the same tree of what the table of fields knows (contract sections 4 and 5). Pure. No
// error repeats a value: it may be a secret.

export type BodyFormat = 'json' | 'xml'

/** A key of tokens as a body gives it. */
export interface SecretEntry {
  keyId: string
  /** Undefined: none was given. */
  value: string | undefined
}

export interface Tree {
  [name: string]: Value
}
export type Value = string | number | boolean | readonly string[] | Tree

export interface Payload {
  /** All that is no secret, in the shape of the wire. */
  properties: Tree
  /** All that is, by its path, such as `oauth-server/oauth-client-secret`. Empty: it is to go. */
  secrets: ReadonlyMap<string, string>
  /** Undefined: the body has no `oauth-server` or says nothing of keys. */
  jwtSecrets: readonly SecretEntry[] | undefined
}

const MAX_BYTES = 1024 * 1024
const MAX_DEPTH = 8
const MAX_ITEMS = 100
export const MAX_ENTRIES = 100
export const MAX_KEY_ID = 512
/** Characters. A key of 8192 bits has about 1,500, a certificate with its extensions four times that. */
const MAX_SECRET = 16 * 1024

const refused = (reason: string) => new Problem('external_security_invalid', reason)

type Raw = unknown
type Members = Record<string, Raw>

const isMembers = (value: Raw): value is Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/**
 * Reads a body by a table.
 * @throws Problem `external_security_invalid`
 */
export function readPayload(bytes: Uint8Array, format: BodyFormat, table: GroupField): Payload {
  return readTree(format === 'json' ? fromJson(bytes) : xmlMembers(bytes, table), table)
}

/** Whether a body is an object, or an element, with nothing in it. @throws as `readPayload` */
export function isEmptyPayload(bytes: Uint8Array, format: BodyFormat): boolean {
  if (format === 'json') {
    const value = fromJson(bytes)
    return isMembers(value) && Object.keys(value).length === 0
  }
  const { children, text } = parseXml(bytes)
  return children.length === 0 && (text ?? '').trim() === ''
}

function fromJson(bytes: Uint8Array): Raw {
  try {
    return parseJsonStrict(bytes, { maxBytes: MAX_BYTES, maxDepth: MAX_DEPTH })
  } catch (error) {
    if (isProblem(error, 'token_malformed')) throw refused(error.detail)
    throw error
  }
}

interface Found {
  secrets: Map<string, string>
  jwtSecrets: SecretEntry[] | undefined
}

/** From JSON that was parsed already. @throws Problem `external_security_invalid` */
export function readTree(value: Raw, table: GroupField): Payload {
  if (!isMembers(value)) throw refused('The payload is not an object')
  const found: Found = { secrets: new Map(), jwtSecrets: undefined }
  const properties = readGroup(value, table.fields, '', found)
  return { properties, ...found }
}

function readGroup(members: Members, fields: Fields, path: string, found: Found): Tree {
  const read: [string, Value][] = []
  for (const [name, value] of Object.entries(members)) {
    const field = fieldOf(fields, name)
    if (!field) throw refused(`${path}${shown(name)} is not known`)
    // null means absent (contract section 4).
    if (value === null) continue
    const known = readField(value, field, `${path}${name}`, found)
    if (known !== undefined) read.push([name, known])
  }
  return Object.fromEntries(read)
}

function readField(value: Raw, field: Field, path: string, found: Found): Value | undefined {
  switch (field.kind) {
    case 'group':
      if (!isMembers(value)) throw refused(`${path} is not an object`)
      return readGroup(value, field.fields, `${path}/`, found)
    case 'text': {
      const text = readText(value, path, maxOf(field))
      if (field.values && text === '') return undefined
      if (field.uri) checkUri(text, path)
      if (field.values && !field.values.includes(text)) {
        throw refused(`${path} is none of ${field.values.join(', ')}`)
      }
      if (!field.secret) return text
      found.secrets.set(path, text)
      return undefined
    }
    case 'number':
      if (value === '') return undefined
      return readNumber(value, path, field.max)
    case 'flag':
      if (value === '') return undefined
      return readFlag(value, path)
    case 'word':
      return typeof value === 'boolean' ? value : readText(value, path, maxOf({}))
    case 'list':
      return { [field.item]: readItems(value, field.item, path, maxOf(field)) }
    case 'headers':
      found.secrets.set(path, JSON.stringify(readHeaders(value, path)))
      return undefined
    case 'jwt-secrets':
      if (found.jwtSecrets) throw refused('oauth-jwt-secret and oauth-jwt-secrets are both there')
      found.jwtSecrets = readEntries(value, path)
      return undefined
    case 'ignored':
      return undefined
  }
}

/** With line ends and tabs; no other control character, and nothing that XML could not say. */
/** In characters, of which one may be two units of UTF-16. */
export const isLonger = (text: string, max: number): boolean =>
  text.length > max && (text.length > 2 * max || [...text].length > max)

function readText(value: Raw, path: string, max: number): string {
  if (typeof value !== 'string') throw refused(`${path} is not text`)
  if (isLonger(value, max)) throw refused(`${path} has more than ${max} characters`)
  if (!isXmlText(value)) throw refused(`${path} has a character that is not allowed`)
  return value
}

const CREDENTIALS = /^[^/?#\\]*[/\\]{2}[^/?#\\]*@/

function checkUri(text: string, path: string): void {
  if (CREDENTIALS.test(text)) {
    throw new Problem('external_security_uri_invalid', `${path} has credentials in it`)
  }
}

function readNumber(value: Raw, path: string, max: number): number {
  const number = typeof value === 'string' && /^\d{1,10}$/.test(value) ? Number(value) : value
  if (typeof number !== 'number' || !Number.isInteger(number) || number < 0 || number > max) {
    throw refused(`${path} is not a whole number from 0 to ${max}`)
  }
  // Not -0.
  return Math.abs(number)
}

function readFlag(value: Raw, path: string): boolean {
  if (value === true || value === 'true' || value === '1') return true
  if (value === false || value === 'false' || value === '0') return false
  throw refused(`${path} is neither true nor false`)
}

/** `{item: [texts]}`, or the texts alone, or one of them. */
function readItems(value: Raw, item: string, path: string, max: number): string[] {
  // Empty as exports have it; ids of certificates are numbers in some.
  if (value === '') return []
  const inner = isMembers(value) ? value : { [item]: value }
  const odd = Object.keys(inner).find((name) => name !== item)
  if (odd !== undefined) throw refused(`${path}/${shown(odd)} is not known`)
  const items = [inner[item] ?? []].flat()
  if (items.length > MAX_ITEMS) throw refused(`${path} has more than ${MAX_ITEMS} entries`)
  return items.map((one) =>
    Number.isSafeInteger(one) ? String(one) : readText(one, `${path}/${item}`, max),
  )
}

function readHeaders(value: Raw, path: string): Record<string, string> {
  if (!isMembers(value)) throw refused(`${path} is not an object`)
  const entries = Object.entries(value)
  if (entries.length > MAX_ITEMS) throw refused(`${path} has more than ${MAX_ITEMS} entries`)
  return Object.fromEntries(
    entries.map(([name, one]) => {
      if (!/^[A-Za-z0-9_.-]{1,256}$/.test(name)) throw refused(`${path} has an odd name`)
      return [name, readText(one, `${path}/${name}`, maxOf({}))]
    }),
  )
}

/** In the form of a read or of a write, a list or one alone (contract section 5.1). */
function readEntries(value: Raw, path: string): SecretEntry[] {
  const wrapped = path.endsWith('/oauth-jwt-secrets')
  const inner = wrapped ? unwrapped(value, path) : value
  const entries = [inner ?? []].flat() as Raw[]
  const read = entries.map((entry) => readEntry(entry, wrapped ? `${path}/oauth-jwt-secret` : path))
  // As many names as a read shows may come back; each value costs more.
  if (read.filter(({ value }) => value !== undefined).length > MAX_ENTRIES) {
    throw refused(`${path} has more than ${MAX_ENTRIES} entries`)
  }
  return read
}

function unwrapped(value: Raw, path: string): Raw {
  if (!isMembers(value)) throw refused(`${path} is not an object`)
  const odd = Object.keys(value).find((name) => name !== 'oauth-jwt-secret')
  if (odd !== undefined) throw refused(`${path}/${shown(odd)} is not known`)
  return value['oauth-jwt-secret']
}

const ENTRY_MEMBERS = ['oauth-jwt-key-id', 'oauth-jwt-secret-value', 'oauth-jwt-internal-id']

function readEntry(entry: Raw, path: string): SecretEntry {
  if (!isMembers(entry)) throw refused(`${path} is not an object`)
  // Without its name: who mixes names and values up would find a secret in the answer.
  if (!Object.keys(entry).every((name) => ENTRY_MEMBERS.includes(name))) {
    throw refused(`${path} has a member that is not known`)
  }
  const { 'oauth-jwt-key-id': keyId, 'oauth-jwt-secret-value': value } = entry
  const isKeyId = typeof keyId === 'string' && /^[^\p{Cc}]+$/u.test(keyId)
  if (!isKeyId || isLonger(keyId, MAX_KEY_ID) || !isXmlText(keyId)) {
    throw refused(`${path}/oauth-jwt-key-id is not 1 to ${MAX_KEY_ID} printable characters`)
  }
  if (value === undefined || value === null) return { keyId, value: undefined }
  return { keyId, value: readText(value, `${path}/oauth-jwt-secret-value`, MAX_SECRET) }
}
