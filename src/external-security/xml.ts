import { DOMParser, onWarningStopParsing } from '@xmldom/xmldom'
import { Problem } from '../errors.ts'

// XML as the surface takes and gives it: elements and text, in UTF-8. No DTD, so no entity but the five and nothing
// external; no processing instruction. Pure. No error says what was in the text: it holds keys.

export interface XmlElement {
  /** Without its prefix. */
  name: string
  namespace: string | undefined
  children: readonly XmlElement[]
  /** Undefined: it has children, and then nothing but white space is between them. */
  text: string | undefined
}

/** What a document may be like; far above what the surface has use for. */
export const XML_LIMITS = { bytes: 1024 * 1024, depth: 8, markup: 2000, namespaces: 32 } as const

const MAX_ATTRIBUTES = 64

/** Node types of the DOM. */
const [ELEMENT, TEXT, CDATA, COMMENT] = [1, 3, 4, 8]
/** XML 1.0 section 2.2: all that may be in a document, written out or as a reference. */
const CHARACTERS = /^[\t\n\r\x20-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]*$/u
const DECLARATION = /^<\?xml\s[^?<>]{0,200}\?>/
const ENCODING = /\sencoding\s*=\s*["'](?!utf-8["'])/i
const BARE_AMPERSAND = /&(?!(?:amp|lt|gt|quot|apos|#\d{1,7}|#x[0-9A-Fa-f]{1,6});)/

const refused = (reason: string) => new Problem('external_security_invalid', reason)

const utf8 = new TextDecoder('utf-8', { fatal: true })

/**
 * The root element of a document.
 * @throws Problem `external_security_invalid`
 */
export function parseXml(bytes: Uint8Array): XmlElement {
  if (bytes.length > XML_LIMITS.bytes) throw refused('The XML document is too large')
  const text = decode(bytes)
  screen(text)
  const root = parse(text)
  if (!root) throw refused('The XML document has no element')
  return toElement(root, 1)
}

function decode(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes)
  } catch {
    throw refused('The XML document is not UTF-8')
  }
}

/** Before anything is built: what costs more than its length, and what the library is lenient about. */
function screen(text: string): void {
  if (!CHARACTERS.test(text)) throw refused('The XML document has a character that XML has not')
  if (count(text, '<') > XML_LIMITS.markup) throw refused('The XML document has too many elements')
  if (count(text, 'xmlns') > XML_LIMITS.namespaces) {
    throw refused('The XML document has too many namespaces')
  }
  const [declaration = ''] = DECLARATION.exec(text) ?? []
  if (ENCODING.test(declaration)) throw refused('The encoding of the XML document is not UTF-8')
  const body = withoutQuoted(text.slice(declaration.length))
  if (body.includes('<!')) throw refused('The XML document has a DTD')
  if (body.includes('<?')) throw refused('The XML document has a processing instruction')
  if (BARE_AMPERSAND.test(body)) throw refused('The XML document has an entity that is not allowed')
  if (body.includes(']]>')) throw refused('The XML document is not well-formed')
}

function count(text: string, part: string): number {
  let found = 0
  for (let at = text.indexOf(part); at !== -1; at = text.indexOf(part, at + part.length)) found++
  return found
}

const QUOTED = [
  ['<![CDATA[', ']]>'],
  ['<!--', '-->'],
] as const

/** Without CDATA sections and comments: in one pass, as a pattern would start anew at every beginning. */
function withoutQuoted(text: string): string {
  const parts: string[] = []
  let from = 0
  for (let at = text.indexOf('<!'); at !== -1; at = text.indexOf('<!', from)) {
    const start = at
    const kind = QUOTED.find(([opening]) => text.startsWith(opening, start))
    if (!kind) break
    const [opening, closing] = kind
    const end = text.indexOf(closing, at + opening.length)
    if (end === -1) throw refused('The XML document is not well-formed')
    parts.push(text.slice(from, at))
    from = end + closing.length
  }
  return parts.join(' ') + text.slice(from)
}

function parse(text: string) {
  try {
    const parser = new DOMParser({ onError: onWarningStopParsing, locator: false })
    return parser.parseFromString(text, 'application/xml').documentElement
  } catch {
    // Without a cause: its message would quote the document.
    throw refused('The XML document is not well-formed')
  }
}

type DomElement = NonNullable<ReturnType<typeof parse>>

function toElement(element: DomElement, depth: number): XmlElement {
  if (depth > XML_LIMITS.depth) throw refused('The XML document is nested too deeply')
  if (element.attributes.length > MAX_ATTRIBUTES)
    throw refused('An element has too many attributes')
  const children: XmlElement[] = []
  const texts: string[] = []
  for (let node = element.firstChild; node; node = node.nextSibling) {
    if (node.nodeType === ELEMENT) children.push(toElement(node as DomElement, depth + 1))
    else if (node.nodeType === TEXT || node.nodeType === CDATA) texts.push(node.nodeValue ?? '')
    else if (node.nodeType !== COMMENT) throw refused('The XML document is not well-formed')
  }
  const text = texts.join('')
  if (!CHARACTERS.test(text)) throw refused('The XML document has a character that XML has not')
  const hasChildren = children.length > 0
  if (hasChildren && text.trim() !== '') throw refused('An element has text beside its children')
  return {
    name: element.localName ?? element.nodeName,
    namespace: element.namespaceURI ?? undefined,
    children,
    text: hasChildren ? undefined : text,
  }
}

/** An element to write: its name, then attributes, then its text or what is in it. */
export interface XmlNode {
  name: string
  attributes?: Readonly<Record<string, string>>
  content: string | readonly XmlNode[]
}

const ESCAPES: Record<string, string> = {
  ...{ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' },
  // As it is, a reader would make line feeds of them (XML 1.0 section 2.11).
  '\r': '&#13;',
}

const escaped = (text: string): string => text.replace(/[&<>"\r]/g, (char) => ESCAPES[char] ?? '')

/** A whole document. Texts are of characters that XML has; names and attributes are our own. */
export const writeXml = (root: XmlNode): string =>
  `<?xml version="1.0" encoding="UTF-8"?>\n${writeNode(root)}\n`

function writeNode({ name, attributes = {}, content }: XmlNode): string {
  const listed = Object.entries(attributes).map(([key, value]) => ` ${key}="${escaped(value)}"`)
  const inner = typeof content === 'string' ? escaped(content) : content.map(writeNode).join('')
  const opening = `${name}${listed.join('')}`
  return inner === '' ? `<${opening}/>` : `<${opening}>${inner}</${name}>`
}

/** Whether a text can be written as XML at all. */
export const isXmlText = (text: string): boolean => CHARACTERS.test(text)
