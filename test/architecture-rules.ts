// The import table of ARCHITECTURE.md as data, and what finds a breach of it in the text of a file.
import { dirname, join } from 'node:path/posix'

export interface Import {
  target: string
  typeOnly: boolean
}

const SLICES = [
  ...['keyring', 'discovery', 'access', 'audit', 'remote-jwks', 'identities', 'oauth'],
  ...['uri-signing', 'external-security', 'data-api', 'settings', 'console'],
]

/** Files with these names inside a slice decide by their arguments alone: no store, time, HTTP. */
const PURE = [
  ...['keyring/lifecycle.ts', 'keyring/jwks.ts', 'keyring/profiles.ts', 'audit/chain.ts'],
  ...['discovery/configuration.ts', 'access/capabilities.ts', 'identities/bounds.ts'],
  'access/tenant-tree.ts',
  ...['identities/claim-match.ts', 'identities/lifetime.ts', 'identities/static-keys.ts'],
  ...['uri-signing/document.ts', 'uri-signing/uri-token.ts', 'uri-signing/uri-verdict.ts'],
  ...['uri-signing/json-tree.ts', 'uri-signing/cache-rules.ts', 'uri-signing/lint.ts'],
  ...['uri-signing/edge.ts', 'uri-signing/edit.ts', 'uri-signing/uri.ts', 'uri-signing/ere.ts'],
  ...['uri-signing/container.ts', 'uri-signing/key-material.ts', 'uri-signing/algorithms.ts'],
  ...['uri-signing/rotation-steps.ts', 'uri-signing/signers.ts'],
  ...['external-security/xml.ts', 'external-security/xml-payload.ts'],
  ...['external-security/fields.ts', 'external-security/payload.ts'],
  ...['external-security/configuration.ts', 'external-security/secret-value.ts'],
  ...['external-security/format.ts', 'external-security/views.ts'],
  ...['external-security/switch-on.ts', 'settings/definitions.ts'],
  ...['access/digest-header.ts', 'data-api/key-set.ts'],
  ...['remote-jwks/addresses.ts', 'remote-jwks/url.ts', 'remote-jwks/cache.ts'],
  ...['oauth/form.ts', 'oauth/request.ts', 'oauth/assertion.ts', 'oauth/denial.ts'],
  'oauth/metadata.ts',
]

/** Everybody may import these. */
const COMMON = ['errors.ts', 'time.ts']

/** Zone → what it may import besides its own files; `types` marks what must be `import type`. */
const TABLE: Record<string, { may: string[]; types?: string[] }> = {
  'main.ts': { may: ['serve.ts', 'cli/*'] },
  'serve.ts': {
    may: [
      'serve/*',
      'config.ts',
      'store/*',
      'kek/*',
      'context.ts',
      'app.ts',
      'cli/*',
      'http/*',
      'core/*',
    ],
  },
  'serve/': {
    may: ['access/credential.ts', 'kek/files.ts'],
    types: ['config.ts', 'app.ts', 'http/*', 'store/*'],
  },
  'app.ts': {
    may: ['app/*', ...SLICES.map((slice) => `${slice}/*`), 'http/*', 'core/*', 'context.ts'],
    types: ['config.ts', 'store/*', 'kek/*'],
  },
  'app/': {
    may: [...SLICES.map((slice) => `${slice}/*`), 'http/*', 'core/*', 'context.ts'],
    types: ['config.ts', 'store/*', 'kek/*'],
  },
  'config.ts': { may: ['config/*'] },
  'config/': { may: [], types: ['config.ts'] },
  'context.ts': { may: [], types: ['store/*'] },
  'errors.ts': { may: [] },
  'time.ts': { may: [] },
  'cli/': {
    may: ['config.ts', 'core/*', 'kek/files.ts', 'access/capabilities.ts', 'uri-signing/lint.ts'],
  },
  'http/': { may: ['context.ts'] },
  'store/': { may: ['context.ts'], types: ['core/*'] },
  'kek/': { may: [] },
  'core/': { may: [] },
  ...Object.fromEntries(
    SLICES.map((slice) => [
      `${slice}/`,
      {
        // Of the store, values of rows and tables; never what opens or locks a database.
        may: ['core/*', 'http/*', 'context.ts', 'store/*'],
        types: ['kek/provider.ts'],
      },
    ]),
  ),
}

const BACKEND = /^store\/(?:sqlite|postgres|migrations)\.ts$/

const ROUTES = /^[\w-]+\/(?:routes|nomad|errors)\.ts$|^[\w-]+\/[\w-]+-routes\.ts$/

/** Package → where it may be imported, and where its types may. */
const PACKAGES: Record<string, { in: RegExp; types?: RegExp }> = {
  fastify: { in: /^http\/|^app\.ts$/, types: ROUTES },
  '@fastify/swagger': { in: /^http\// },
  'fastify-type-provider-zod': { in: /^http\// },
  kysely: { in: /^store\// },
  'better-sqlite3': { in: /^store\/sqlite\.ts$/ },
  pg: { in: /^store\/postgres\.ts$/ },
  jose: { in: /^(?:core|remote-jwks)\//, types: /./ },
  'ipaddr.js': { in: /^(?:http|remote-jwks|identities)\// },
  zod: { in: /^config\.ts$|^config\/|^http\/|^[\w-]+\/schema\.ts$/ },
  pino: { in: /^http\/|^main\.ts$/, types: /./ },
  'prom-client': { in: /^http\// },
  yaml: { in: /^http\// },
  re2js: { in: /^uri-signing\// },
  '@xmldom/xmldom': { in: /^external-security\/xml\.ts$/ },
}

/** What only some files may call. */
const CALLS: { pattern: RegExp; allowed: RegExp; what: string }[] = [
  {
    pattern: /\bprocess\s*\.\s*env\b|\benv\b[^;'"]*from 'node:process'/,
    allowed: /^config\.ts$/,
    what: 'the environment',
  },
  {
    pattern:
      /\bDate\s*\.\s*now\b|\bnew\s+Date\s*(?:\(\s*\)|(?!\s*\())|(?<!new\s)\bDate\s*\(\s*\)|\bTemporal\s*\.\s*Now\b/,
    allowed: /^context\.ts$|^core\/|^main\.ts$/,
    what: 'the wall clock',
  },
  {
    pattern: /\bMath\s*\.\s*random\b|\brandomUUID\b/,
    allowed: /^context\.ts$|^core\/|^main\.ts$/,
    what: 'unseeded randomness',
  },
]

/** Files that are longer than MAX_LINES, each with the reason. */
const LONG: Record<string, string> = {}
const MAX_LINES = 400

/** Keeps strings and drops comments. An odd regular expression can only hide the end of a comment. */
export const withoutComments = (text: string): string =>
  text.replace(
    /('(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")|\/\/[^\n]*|\/\*[\s\S]*?\*\//g,
    (_, quoted) => quoted ?? ' ',
  )

/** Every module that a text imports: static, re-exported, for its side effects, or dynamic. */
export function importsOf(text: string): Import[] {
  const code = withoutComments(text)
  const found: Import[] = []
  const add = (target: string | undefined, typeOnly: boolean) => {
    if (target !== undefined) found.push({ target, typeOnly })
  }
  const named =
    /(?<=^|[;\n])\s*(?:import|export)\s+(type\s+)?([^'"();=]*?)\s*\bfrom\s*['"]([^'"]+)['"]/g
  for (const [, type, clause = '', target] of code.matchAll(named)) {
    const names = clause.match(/^\{([\s\S]*)\}$/)?.[1]?.split(',') ?? []
    const words = names.map((name) => name.trim()).filter((name) => name !== '')
    const allTypes = words.length > 0 && words.every((name) => name.startsWith('type '))
    add(target, type !== undefined || allTypes)
  }
  for (const [, target] of code.matchAll(/(?<=^|[;\n])\s*import\s*['"]([^'"]+)['"]/g))
    add(target, false)
  for (const [, target] of code.matchAll(/\b(?:import|require)\s*\(\s*['"`]([^'"`]+)['"`]/g)) {
    add(target, false)
  }
  return found
}

const zoneOf = (file: string): string =>
  file.includes('/') ? `${file.slice(0, file.indexOf('/'))}/` : file

const matches = (patterns: readonly string[], file: string) =>
  patterns.some((one) => (one.endsWith('*') ? file.startsWith(one.slice(0, -1)) : file === one))

function packageName(target: string): string {
  const parts = target.split('/')
  return target.startsWith('@') ? parts.slice(0, 2).join('/') : (parts[0] ?? target)
}

function importFault(file: string, { target, typeOnly }: Import): string | undefined {
  if (target.startsWith('node:')) return undefined
  if (!target.startsWith('.')) {
    const rule = PACKAGES[packageName(target)]
    if (rule?.in.test(file) || (typeOnly && rule?.types?.test(file))) return undefined
    return `imports the package ${target}${typeOnly ? ' (as type)' : ''}, which is not allowed here`
  }
  const to = join(dirname(file), target)
  const zone = zoneOf(file)
  const rule = TABLE[zone]
  if (BACKEND.test(to) && zone !== 'serve.ts' && zone !== 'store/')
    return `imports ${to}; only serve.ts picks a backend`
  if (matches(COMMON, to) || (zone.endsWith('/') && zoneOf(to) === zone)) return undefined
  if (rule && matches(rule.may, to)) return undefined
  if (rule && typeOnly && matches(rule.types ?? [], to)) return undefined
  const asType = rule && matches(rule.types ?? [], to) ? ' other than as type' : ''
  return `imports ${to}${asType}, which the import table does not allow`
}

function pureFault({ target, typeOnly }: Import): string | undefined {
  const impure = /^node:(?!crypto|util|zlib)|(?:^|\/)(?:context|service|store|http)(?:\/|\.ts|$)/
  return !typeOnly && impure.test(target) ? `is pure, and imports ${target}` : undefined
}

/** What is wrong with a file of `src/`, given its path there and its text; each fault names both. */
export function faultsOf(file: string, text: string): string[] {
  const faults: (string | undefined)[] = []
  if (!TABLE[zoneOf(file)]) faults.push('is in no zone of the import table')
  const imports = importsOf(text)
  faults.push(...imports.map((one) => importFault(file, one)))
  if (PURE.includes(file)) faults.push(...imports.map(pureFault))
  faults.push(...callFaults(file, withoutComments(text)))
  if (/\bexport\s+default\b|\bas\s+default\b/.test(withoutComments(text)))
    faults.push('has a default export')
  const lines = text.split('\n').length - 1
  if (lines > MAX_LINES && !LONG[file]) faults.push(`has ${lines} lines and no reason to`)
  return faults.filter((fault) => fault !== undefined).map((fault) => `src/${file} ${fault}`)
}

function callFaults(file: string, code: string): string[] {
  return CALLS.filter(({ pattern, allowed }) => pattern.test(code) && !allowed.test(file)).map(
    ({ what }) => `uses ${what}, which comes as an argument here`,
  )
}
