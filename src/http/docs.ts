import { createHash } from 'node:crypto'

// `/docs`: the OpenAPI document as one page of HTML, without scripts or anything to load.

export interface Schema {
  $ref?: string
  type?: string | string[]
  format?: string
  description?: string
  enum?: unknown[]
  items?: Schema
  anyOf?: Schema[]
  oneOf?: Schema[]
  allOf?: Schema[]
  properties?: Record<string, Schema>
  additionalProperties?: boolean | Schema
  required?: string[]
}

interface Content {
  content?: Record<string, { schema?: Schema }>
  description?: string
}

export interface Operation {
  operationId?: string
  summary?: string
  description?: string
  tags?: string[]
  parameters?: {
    name: string
    in: string
    required?: boolean
    description?: string
    schema?: Schema
  }[]
  requestBody?: Content
  responses: Record<string, Content>
  'x-capability'?: string
}

/** What we read of an OpenAPI 3.1 document. */
export interface OpenApi {
  info: { title: string; version: string; description?: string }
  paths: Record<string, Record<string, Operation>>
  components: { schemas?: Record<string, Schema> }
}

const STYLE = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { margin: 0 auto; max-width: 60rem; padding: 1rem }
code, .path { font-family: ui-monospace, monospace; font-size: .92em }
h2 { border-bottom: 1px solid; margin-top: 3rem }
article { border: 1px solid #8886; border-radius: .4rem; margin: 1rem 0; padding: 0 1rem 1rem }
.method { display: inline-block; font-weight: bold; min-width: 4.5rem; text-transform: uppercase }
.needs { font-size: .9em; opacity: .85 }
table { border-collapse: collapse; width: 100% }
th, td { border-top: 1px solid #8886; padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top }
nav ul { columns: 2; padding-left: 1.2rem }
`

/** Escapes text for HTML, in content and in attributes. */
const esc = (text: unknown): string =>
  String(text).replace(/[&<>"'`]/g, (character) => `&#${character.charCodeAt(0)};`)

const code = (text: unknown): string => `<code>${esc(text)}</code>`

/** Escaped, with \`code\` between backticks. */
const prose = (text: string | undefined): string =>
  (text ?? '')
    .split('`')
    .map((part, at) => (at % 2 === 1 ? code(part) : esc(part)))
    .join('')

/** The page, and the policy under which it needs nothing but its own style. */
export function docsPage(document: OpenApi): { html: string; contentSecurityPolicy: string } {
  const { title, version, description } = document.info
  const groups = groupByTag(document)
  const html = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${esc(title)} API</title>
<meta name="viewport" content="width=device-width"><style>${STYLE}</style></head><body>
<h1>${esc(title)} <small>${esc(version)}</small></h1>
<p>${prose(description)} The same as <a href="/openapi.yaml">openapi.yaml</a>.</p>
<nav>${[...groups].map(([tag, operations]) => contents(tag, operations)).join('')}</nav>
${[...groups].map(([tag, operations]) => `<h2>${esc(tag)}</h2>${operations.map(article).join('')}`).join('')}
<h2>Schemas</h2>
${Object.entries(document.components.schemas ?? {})
  .map(component)
  .join('')}
</body></html>
`
  const hash = createHash('sha256').update(STYLE).digest('base64')
  return {
    html,
    contentSecurityPolicy: `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  }
}

type Entry = { path: string; method: string; operation: Operation }

function groupByTag(document: OpenApi): Map<string, Entry[]> {
  const groups = new Map<string, Entry[]>()
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] ?? 'other'
      groups.set(tag, [...(groups.get(tag) ?? []), { path, method, operation }])
    }
  }
  return new Map([...groups].sort(([a], [b]) => (a < b ? -1 : 1)))
}

const anchor = ({ operation }: Entry) =>
  `operation-${encodeURIComponent(operation.operationId ?? '')}`

const contents = (tag: string, entries: Entry[]): string =>
  `<h3>${esc(tag)}</h3><ul>${entries
    .map(
      (entry) =>
        `<li><a href="#${esc(anchor(entry))}">${esc(entry.method.toUpperCase())} ${esc(entry.path)}</a></li>`,
    )
    .join('')}</ul>`

function article(entry: Entry): string {
  const { path, method, operation } = entry
  const needs = operation['x-capability'] ?? 'public'
  return `<article id="${esc(anchor(entry))}">
<h3><span class="method">${esc(method)}</span> <span class="path">${esc(path)}</span></h3>
<p>${prose(operation.summary)} <span class="needs">${needs === 'public' ? 'Needs no credential.' : `Needs ${code(needs)}.`}</span></p>
${operation.description ? `<p>${prose(operation.description)}</p>` : ''}
${parameters(operation)}
${operation.requestBody ? `<h4>Body</h4>${bodies(operation.requestBody)}` : ''}
<h4>Answers</h4>
<table>${Object.entries(operation.responses)
    .map(
      ([status, answer]) =>
        `<tr><th>${esc(status)}</th><td>${prose(answer.description)} ${bodies(answer)}</td></tr>`,
    )
    .join('')}</table>
</article>
`
}

function parameters({ parameters = [] }: Operation): string {
  if (parameters.length === 0) return ''
  const rows = parameters.map(
    ({ name, in: place, required, description, schema = {} }) =>
      `<tr><th>${code(name)}</th><td>${esc(place)}${required ? '' : ', optional'}</td><td>${typeOf(schema)}</td><td>${prose(description)}</td></tr>`,
  )
  return `<h4>Parameters</h4><table>${rows.join('')}</table>`
}

const bodies = ({ content = {} }: Content): string =>
  Object.entries(content)
    .map(([type, { schema = {} }]) => `<div>${code(type)}: ${typeOf(schema)}</div>`)
    .join('')

const component = ([name, schema]: [string, Schema]): string =>
  `<article id="schema-${esc(name)}"><h3>${esc(name)}</h3><p>${prose(schema.description)}</p>${typeOf(schema)}</article>\n`

/** A type in a few words; an object as a table of its members. */
function typeOf(schema: Schema): string {
  if (schema.$ref) {
    const name = schema.$ref.slice(schema.$ref.lastIndexOf('/') + 1)
    return `<a href="#schema-${esc(name)}">${esc(name)}</a>`
  }
  const union = schema.anyOf ?? schema.oneOf
  if (union) return union.map(typeOf).join(' or ')
  if (schema.allOf) return schema.allOf.map(typeOf).join(' and ')
  if (schema.enum) return schema.enum.map((value) => code(JSON.stringify(value))).join(' or ')
  if (schema.items) return `list of ${typeOf(schema.items)}`
  if (schema.properties) return members(schema.properties, new Set(schema.required))
  if (typeof schema.additionalProperties === 'object') {
    return `object of ${typeOf(schema.additionalProperties)}`
  }
  const type = [schema.type ?? 'any value'].flat().join(' or ')
  return esc(schema.format ? `${type} (${schema.format})` : type)
}

const members = (properties: Record<string, Schema>, required: ReadonlySet<string>): string =>
  `<table>${Object.entries(properties)
    .map(
      ([name, schema]) =>
        `<tr><th>${code(name)}</th><td>${typeOf(schema)}${required.has(name) ? '' : ', optional'}</td><td>${prose(schema.description)}</td></tr>`,
    )
    .join('')}</table>`
