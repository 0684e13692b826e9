import { CONFIGURATION, type Fields } from './fields.ts'
import type { BodyFormat, Tree, Value } from './payload.ts'
import { writeXml, type XmlNode } from './xml.ts'
import { NAMESPACE } from './xml-payload.ts'

// What GETs answer (contract section 4): a list, one in short, one with its properties. Pure; no secret comes here.

const BASE = '/manage/v2/external-security'
const VIEWS = 'http://marklogic.com/manage/external-security'

export interface Listed {
  id: string
  name: string
}

/** When an answer was made, and how long that took. */
export interface Took {
  /** RFC 3339. */
  at: string
  /** Seconds. */
  elapsed: number
}

export const uriOf = (name: string): string => `${BASE}/${encodeURIComponent(name)}`

/** A document in either format: members in JSON are elements in XML, lists are repeated, units are attributes. */
type Member = string | number | boolean | readonly Member[] | { [name: string]: Member }
type Members = Record<string, Member>

const metaOf = (uri: string, { at, elapsed }: Took): Members => ({
  uri: `${uri}?view=default`,
  'current-time': at,
  'elapsed-time': { units: 'sec', value: elapsed },
})

export function listView(listed: readonly Listed[], took: Took, format: BodyFormat): string {
  const items = listed.map(({ id, name }) => ({ uriref: uriOf(name), idref: id, nameref: name }))
  const view = {
    meta: metaOf(BASE, took),
    'list-items': {
      'list-count': { units: 'quantity', value: items.length },
      'list-item': items,
    },
  }
  return write('external-security-default-list', view, format)
}

/** Without `oauth-server` (section 1). */
export function defaultView(
  { id, name, properties }: Listed & { properties: Tree },
  took: Took,
  format: BodyFormat,
): string {
  const { description = '', authentication = '' } = properties
  const { 'cache-timeout': timeout = 0, authorization = '' } = properties
  const view = {
    ...{ id, name, description, authentication, 'cache-timeout': timeout, authorization },
    ...{ meta: metaOf(uriOf(name), took), relations: {} },
  }
  return write('external-security-default', view as Members, format)
}

function write(root: string, view: Members, format: BodyFormat): string {
  if (format === 'json') return JSON.stringify({ [root]: view })
  return writeXml({ name: root, attributes: { xmlns: VIEWS }, content: nodesOf(view) })
}

const nodesOf = (members: Members): XmlNode[] =>
  Object.entries(members).flatMap(([name, member]) =>
    [member].flat().map((one) => nodeOf(name, one as Member)),
  )

function nodeOf(name: string, member: Member): XmlNode {
  if (typeof member !== 'object') return { name, content: String(member) }
  const { units, value, ...rest } = member as Members
  if (typeof units === 'string') return { name, attributes: { units }, content: String(value) }
  return { name, content: nodesOf({ ...rest, ...(value !== undefined && { value }) }) }
}

/** The whole configuration but its secrets; of its keys only the ids. */
export function propertiesView(
  properties: Tree,
  keyIds: readonly string[],
  format: BodyFormat,
): string {
  const whole = ordered(withKeyIds(properties, keyIds), CONFIGURATION.fields)
  if (format === 'json') return JSON.stringify(whole)
  const content = nodesOf(whole as Members)
  return writeXml({
    ...{ name: 'external-security-properties', attributes: { xmlns: NAMESPACE }, content },
  })
}

function withKeyIds(properties: Tree, keyIds: readonly string[]): Tree {
  const { 'oauth-server': server } = properties
  if (keyIds.length === 0 || typeof server !== 'object') return properties
  const entries = keyIds.map((keyId) => ({ 'oauth-jwt-key-id': keyId }))
  const secrets = { 'oauth-jwt-secret': entries } as unknown as Tree
  return { ...properties, 'oauth-server': { ...(server as Tree), 'oauth-jwt-secrets': secrets } }
}

/** In the order of the table, and nothing that it does not know or calls a secret: an allow-list of what may leave. */
function ordered(tree: Tree, fields: Fields): Tree {
  const shown = Object.entries(fields).flatMap(([name, field]): [string, Value][] => {
    const value = Object.hasOwn(tree, name) ? tree[name] : undefined
    if (value === undefined || ('secret' in field && field.secret)) return []
    return [[name, field.kind === 'group' ? ordered(value as Tree, field.fields) : value]]
  })
  return Object.fromEntries(shown)
}
