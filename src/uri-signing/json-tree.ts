import { Problem } from '../errors.ts'

// Reads JSON without losing the order of members, duplicate members or where anything stands in the text, and edits
// the text in place. A reader of our own, because none fits: JSON.parse moves integer-like names to the front, treats
// `__proto__` as it likes and drops duplicates; jsonc-parser and its like forgive what a cache's parser refuses. The
// grammar itself is checked by JSON.parse, so what follows may trust its text and is short.

interface Span {
  /** Offsets into the text, in UTF-16 units; `end` is the first that does not belong to it. */
  start: number
  end: number
}

export interface JsonScalar extends Span {
  is: 'string' | 'number' | 'boolean' | 'null'
  value: string | number | boolean | null
}

export interface JsonArray extends Span {
  is: 'array'
  items: JsonNode[]
}

export interface JsonMember extends Span {
  name: string
  value: JsonNode
}

/** Members in the order of the text; a name may occur more than once. */
export interface JsonObject extends Span {
  is: 'object'
  members: JsonMember[]
}

export type JsonNode = JsonScalar | JsonArray | JsonObject

export interface JsonText {
  text: string
  root: JsonNode
  /** The first thing that other parsers refuse, or read differently; JSON allows it. */
  quirk: string | undefined
}

const MAX_DEPTH = 64

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const malformed = () => new Problem('malformed_body', 'The text is not valid JSON')

/**
 * Reads JSON text; linear, without recursion beyond 64 levels. Problem `malformed_body` for what is no JSON, no UTF-8,
 * or nested deeper than that.
 */
export function readJson(bytes: Uint8Array): JsonText {
  let text: string
  try {
    text = utf8.decode(bytes)
    JSON.parse(text)
  } catch {
    throw malformed() // no cause: its message would quote key material
  }
  return readTree(text)
}

function readTree(text: string): JsonText {
  let at = 0
  let quirk: string | undefined

  const skip = () => {
    while (text.charCodeAt(at) <= 0x20) at += 1
  }

  /** Passes a comma, or the end of the list; says whether the list goes on. */
  function more(close: string): boolean {
    skip()
    if (text[at] === ',') at += 1
    skip()
    if (text[at] !== close) return true
    at += 1
    return false
  }

  function string(): JsonScalar {
    const start = at
    let plain = true
    for (at += 1; text[at] !== '"'; at += 1) {
      if (text[at] !== '\\') continue
      plain = false
      at += 1
    }
    at += 1
    const value = plain ? text.slice(start + 1, at - 1) : JSON.parse(text.slice(start, at))
    if (!plain) quirk ??= quirkOfString(value)
    return { is: 'string', value, start, end: at }
  }

  function number(): JsonScalar {
    const start = at
    while (/[-+.eE0-9]/.test(text[at] ?? '')) at += 1
    const written = text.slice(start, at)
    const value = Number(written)
    if (!Number.isFinite(value)) throw malformed() // beyond a double: so say Go and jansson
    quirk ??= quirkOfNumber(written, value)
    return { is: 'number', value, start, end: at }
  }

  function word(is: 'boolean' | 'null', value: boolean | null, length: number): JsonScalar {
    at += length
    return { is, value, start: at - length, end: at }
  }

  function array(depth: number): JsonArray {
    const start = at
    const items: JsonNode[] = []
    at += 1
    while (more(']')) items.push(node(depth + 1))
    return { is: 'array', items, start, end: at }
  }

  function object(depth: number): JsonObject {
    const start = at
    const members: JsonMember[] = []
    const names = new Set<string>()
    at += 1
    while (more('}')) {
      const { value, start: from } = string()
      const name = String(value)
      if (names.has(name)) quirk ??= `duplicate member: ${name}`
      names.add(name)
      skip()
      at += 1 // the colon
      const of = node(depth + 1)
      members.push({ name, value: of, start: from, end: of.end })
    }
    return { is: 'object', members, start, end: at }
  }

  function node(depth: number): JsonNode {
    if (depth > MAX_DEPTH) throw malformed()
    skip()
    switch (text[at]) {
      case '{':
        return object(depth)
      case '[':
        return array(depth)
      case '"':
        return string()
      case 't':
        return word('boolean', true, 4)
      case 'f':
        return word('boolean', false, 5)
      case 'n':
        return word('null', null, 4)
      default:
        return number()
    }
  }

  const root = node(1)
  return { text, root, quirk }
}

/** A cache's JSON parser (jansson) refuses both. */
function quirkOfString(value: string): string | undefined {
  if (value.includes('\0')) return 'NUL in a string'
  return value.isWellFormed() ? undefined : 'half of a surrogate pair in a string'
}

const INT64 = 2n ** 63n

/** The same parser refuses integers beyond 64 bits. */
function quirkOfNumber(written: string, value: number): string | undefined {
  if (Number.isSafeInteger(value) || !/^-?[0-9]+$/.test(written)) return undefined
  if (written.length > 20) return 'number out of range'
  const exact = BigInt(written)
  return exact >= -INT64 && exact < INT64 ? undefined : 'number out of range'
}

/** The member of that name, the last where there are several: what most parsers keep. */
export function memberOf(node: JsonNode | undefined, name: string): JsonMember | undefined {
  return node?.is === 'object' ? node.members.findLast((each) => each.name === name) : undefined
}

export const childOf = (node: JsonNode | undefined, name: string): JsonNode | undefined =>
  memberOf(node, name)?.value

/** The member's text; undefined where it is missing or no string. */
export function stringOf(node: JsonNode | undefined, name: string): string | undefined {
  const value = childOf(node, name)
  return value?.is === 'string' ? String(value.value) : undefined
}

export interface Splice extends Span {
  /** What stands there instead. */
  with: string
}

/** Replaces places of a text, which do not overlap; everything else stays byte for byte. */
export function splice(text: string, splices: readonly Splice[]): Uint8Array {
  let result = ''
  let at = 0
  for (const each of [...splices].sort((a, b) => a.start - b.start)) {
    result += text.slice(at, each.start) + each.with
    at = each.end
  }
  return Buffer.from(result + text.slice(at))
}

/** What takes some elements of an array or an object away, with the commas that belong to them. */
export function removal<T extends Span>(
  all: readonly T[],
  gone: (element: T) => boolean,
): Splice[] {
  const splices: Splice[] = []
  let kept: T | undefined
  let first: T | undefined // of the run that goes now
  for (const [at, element] of all.entries()) {
    if (!gone(element)) {
      if (first && !kept) splices.push({ start: first.start, end: element.start, with: '' })
      first = undefined
      kept = element
      continue
    }
    first ??= element
    if (kept && first) {
      const next = all[at + 1]
      if (!next || !gone(next)) splices.push({ start: kept.end, end: element.end, with: '' })
    } else if (at === all.length - 1) {
      splices.push({ start: first.start, end: element.end, with: '' })
    }
  }
  return splices
}

/** What adds an element at the end of an array or an object. */
export function addition(list: JsonArray | JsonObject, text: string): Splice {
  const last = list.is === 'array' ? list.items.at(-1) : list.members.at(-1)
  const at = last?.end ?? list.start + 1
  return { start: at, end: at, with: last ? `,${text}` : text }
}
