import { Problem } from '../errors.ts'
import { type Field, fieldOf, type GroupField, shown } from './fields.ts'
import { parseXml, type XmlElement } from './xml.ts'

// A payload in XML, element for element the same as in JSON (contract section 4). Pure.

const ROOT = 'external-security-properties'
export const NAMESPACE = 'http://marklogic.com/manage/external-security/properties'
const NAMESPACES: readonly (string | undefined)[] = [
  NAMESPACE,
  'http://marklogic.com/manage',
  undefined,
]

type Members = Record<string, unknown>

const refused = (reason: string) => new Problem('external_security_invalid', reason)

/**
 * The document as JSON would say it; what the table does not know stays, and is refused with the rest.
 * @throws Problem `external_security_invalid`
 */
export function xmlMembers(bytes: Uint8Array, table: GroupField): Members {
  const root = parseXml(bytes)
  if (root.name !== ROOT) throw refused(`The root element is not ${ROOT}`)
  checkNamespaces(root)
  return membersOf(root, (name) => fieldOf(table.fields, name))
}

function checkNamespaces({ namespace, children }: XmlElement): void {
  if (!NAMESPACES.includes(namespace))
    throw refused('An element is in a namespace that is not known')
  for (const child of children) checkNamespaces(child)
}

function membersOf(
  { children, text }: XmlElement,
  known: (name: string) => Field | undefined,
): Members {
  if (text !== undefined && text.trim() !== '') throw refused('Text stands where elements should')
  const members: [string, unknown][] = []
  for (const child of children) {
    const field = known(child.name)
    const repeats = field?.kind === 'jwt-secrets' && child.name === 'oauth-jwt-secret'
    const before = members.find(([name]) => name === child.name)
    const value = rawOf(child, field)
    if (!before) members.push([child.name, repeats ? [value] : value])
    else if (repeats && Array.isArray(before[1])) before[1].push(value)
    else throw refused(`${shown(child.name)} is there twice`)
  }
  return Object.fromEntries(members)
}

const ENTRY: Field = { kind: 'text' }

function rawOf(element: XmlElement, field: Field | undefined): unknown {
  switch (field?.kind) {
    case 'group':
      return membersOf(element, (name) => fieldOf(field.fields, name))
    case 'list':
      return itemsOf(element, field.item)
    case 'headers':
      return membersOf(element, () => ENTRY)
    case 'jwt-secrets':
      if (element.name === 'oauth-jwt-secret') return membersOf(element, () => ENTRY)
      return itemsOf(element, 'oauth-jwt-secret', () => ENTRY)
    default:
      return element.children.length > 0 ? element : trimmed(element.text ?? '', field)
  }
}

/** Of what is none of text, white space around it means nothing. */
const trimmed = (text: string, field: Field | undefined): string =>
  field?.kind === 'text' && !field.values ? text : text.trim()

function itemsOf(
  { children, text }: XmlElement,
  item: string,
  known?: (name: string) => Field | undefined,
): Members {
  if (text !== undefined && text.trim() !== '') throw refused('Text stands where elements should')
  const odd = children.find(({ name }) => name !== item)
  if (odd) throw refused(`${shown(odd.name)} is not known there`)
  const items = children.map((child) => (known ? membersOf(child, known) : rawOf(child, ENTRY)))
  return { [item]: items }
}
