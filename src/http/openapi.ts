import { STATUS_CODES } from 'node:http'
import { fastifySwagger, type SwaggerTransform } from '@fastify/swagger'
import { jsonSchemaTransform, jsonSchemaTransformObject } from 'fastify-type-provider-zod'
import { stringify } from 'yaml'
import { z } from 'zod'
import type { Requirement } from './auth.ts'
import { docsPage, type OpenApi, type Operation, type Schema } from './docs.ts'
import type { App, Routes } from './server.ts'

const SECURITY = [{ bearer: [] }, { nomadToken: [] }]

/** Collects the routes for openapi.yaml. Await it before the first route is added. */
export async function registerOpenapi(app: App, { version }: { version: string }): Promise<void> {
  await app.register(fastifySwagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'keyringd',
        version,
        description: 'Keeps, rotates and publishes signing keys.',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      components: {
        securitySchemes: {
          bearer: { type: 'http', scheme: 'bearer', description: 'An API token' },
          nomadToken: { type: 'apiKey', in: 'header', name: 'X-Nomad-Token' },
        },
      },
    },
    transform,
    transformObject: jsonSchemaTransformObject,
  })
}

/** What a route's schema does not say: what it needs, and how it fails. */
const transform: SwaggerTransform = ({ schema, route, ...rest }) => {
  const { capability = 'public', capabilityText, failure } = route.config ?? {}
  const needs = capabilityText ?? describe(capability)
  const parameters = Object.fromEntries(
    (['querystring', 'params', 'headers'] as const).flatMap((place) =>
      schema?.[place] instanceof z.ZodType ? [[place, withoutId(schema[place])]] : [],
    ),
  )
  const documented = {
    ...schema,
    ...parameters,
    ...(failure && {
      response: {
        ...(schema?.response as object | undefined),
        default: {
          description: 'Problem',
          content: { [failure.type]: { schema: failure.schema } },
        },
      },
    }),
    security: needs === 'public' ? [] : SECURITY,
    'x-capability': needs,
  }
  return jsonSchemaTransform({ schema: documented, route, ...rest })
}

/** Parameters are listed one by one, which a reference to a component would not allow. */
const withoutId = (schema: z.ZodType) => z.core.clone(schema, schema.def)

function describe(requirement: Requirement): string {
  if (typeof requirement === 'function') return 'depends on the request'
  if (typeof requirement === 'string') return requirement
  const { capability, on, scope = 'ring' } = requirement
  return on ? `${capability}@${scope}` : capability
}

/** The document, with everything in an order that does not depend on when a module was loaded. */
export function openapiDocument(app: App): OpenApi {
  const document = JSON.parse(JSON.stringify(app.swagger())) as OpenApi
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(methods)) finish(operation, method, path)
  }
  distinctIds(document)
  const { schemas = {} } = document.components
  const used = reachable(document.paths, schemas)
  document.components.schemas = Object.fromEntries(
    [...used].sort().map((name) => [name, plain(schemas[name] ?? {})]),
  )
  document.paths = plain(byName(document.paths))
  return document
}

export const openapiYaml = (app: App): string =>
  stringify(openapiDocument(app), { aliasDuplicateObjects: false, lineWidth: 0 })

function finish(operation: Operation, method: string, path: string): void {
  operation.operationId ??= `${method} ${path}`
  for (const [status, response] of Object.entries(operation.responses)) {
    if (response.description !== 'Default Response') continue
    response.description = STATUS_CODES[status] ?? 'Answer'
  }
}

/** A route of two methods is two operations, and ids are unique (OpenAPI 3.1 section 4.8.10). */
function distinctIds(document: OpenApi): void {
  const seen = new Set<string>()
  for (const methods of Object.values(document.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const id = operation.operationId ?? ''
      operation.operationId = seen.has(id) ? `${id}-${method}` : id
      seen.add(operation.operationId)
    }
  }
}

/** Names of the components that `root` refers to, directly or not: every module registers its own, used or not. */
function reachable(root: unknown, schemas: Record<string, Schema>): Set<string> {
  const found = new Set<string>()
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return
    for (const [key, member] of Object.entries(value)) {
      const name = key === '$ref' ? componentOf(member) : undefined
      if (name === undefined) visit(member)
      else if (!found.has(name)) {
        found.add(name)
        visit(schemas[name])
      }
    }
  }
  visit(root)
  return found
}

const componentOf = (ref: unknown): string | undefined =>
  typeof ref === 'string' ? /^#\/components\/schemas\/(.+)$/.exec(ref)?.[1] : undefined

const byName = <T>(record: Record<string, T>): Record<string, T> =>
  Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)))

/** Without the bounds that zod gives to every integer. */
function plain<T>(value: T): T {
  const bound = (name: string, member: unknown) =>
    (name === 'minimum' && member === Number.MIN_SAFE_INTEGER) ||
    (name === 'maximum' && member === Number.MAX_SAFE_INTEGER)
  return JSON.parse(
    JSON.stringify(value, (name, member) => (bound(name, member) ? undefined : member)),
  ) as T
}

/** `/openapi.yaml` and `/docs`, made once, when somebody first asks. */
export function documentationRoutes(): Routes {
  return async (app) => {
    let yaml: Buffer | undefined
    let page: ReturnType<typeof docsPage> | undefined
    const hidden = { config: { capability: 'public' }, schema: { hide: true } }

    app.get('/openapi.yaml', hidden, async (_, reply) => {
      yaml ??= Buffer.from(openapiYaml(app))
      return reply.type('application/yaml').send(yaml)
    })

    app.get('/docs', hidden, async (_, reply) => {
      page ??= docsPage(openapiDocument(app))
      return reply
        .header('content-security-policy', page.contentSecurityPolicy)
        .header('x-content-type-options', 'nosniff')
        .header('referrer-policy', 'no-referrer')
        .type('text/html; charset=utf-8')
        .send(page.html)
    })
  }
}
