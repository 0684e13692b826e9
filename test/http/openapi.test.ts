import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { type TestContext, test } from 'node:test'
import { parse } from 'yaml'
import { z } from 'zod'
import { docsPage, type OpenApi } from '../../src/http/docs.ts'
import { DurationField, Int64Field, NoContent } from '../../src/http/fields.ts'
import {
  documentationRoutes,
  openapiDocument,
  openapiYaml,
  registerOpenapi,
} from '../../src/http/openapi.ts'
import { ourApi } from '../../src/http/server.ts'
import { testApp } from './setup.ts'

const Inner = z.object({ at: Int64Field, n: z.int() }).meta({ id: 'TestInner' })
const Answer = z
  .object({ inner: Inner, note: z.string().describe('<b>&"bold"</b> `code`') })
  .meta({ id: 'TestAnswer', description: 'An <i>answer</i>' })
const Body = z.strictObject({ ttl: DurationField.optional() }).meta({ id: 'TestBody' })
const Query = z.strictObject({ limit: z.string().optional() }).meta({ id: 'TestQuery' })
z.object({}).meta({ id: 'TestUnused' })

async function documented(t: TestContext, reverse = false) {
  const { app } = testApp(t)
  await registerOpenapi(app, { version: '1.2.3' })
  const routes = [
    () =>
      app.register(async (scope) => {
        ourApi(scope)
        scope.post(
          '/v1/things/:id',
          {
            config: { capability: { capability: 'sign', on: () => ({ ring: 'a' }) } },
            schema: {
              ...{ tags: ['things'], operationId: 'makeThing', summary: 'Makes a thing' },
              ...{ params: z.strictObject({ id: z.string() }), querystring: Query, body: Body },
              response: { 201: Answer, 204: NoContent },
            },
          },
          async () => ({}) as never,
        )
      }),
    async () =>
      void app.route({
        ...{ method: ['PUT', 'POST'], url: '/a', handler: async () => ({}) },
        config: { capability: () => 'public', capabilityText: 'keyring-rotate' },
        schema: { operationId: 'rotate' },
      }),
    async () => void app.get('/z', { config: { capability: 'public' } }, async () => ({})),
    async () =>
      void app.get(
        '/hidden',
        { config: { capability: 'public' }, schema: { hide: true } },
        async () => ({}),
      ),
  ]
  for (const add of reverse ? routes.reverse() : routes) await add()
  await app.register(documentationRoutes())
  await app.ready()
  return app
}

test('the document says what a route takes, gives, needs and how it fails', async (t) => {
  const document = openapiDocument(await documented(t)) as unknown as Record<string, never>
  const { openapi, info, paths, components } = parse(JSON.stringify(document))
  assert.equal(openapi, '3.1.0')
  assert.equal(info.version, '1.2.3')
  assert.deepEqual(Object.keys(paths), ['/a', '/v1/things/{id}', '/z'])
  const { post } = paths['/v1/things/{id}']
  assert.equal(post['x-capability'], 'sign@ring')
  assert.deepEqual(post.security, [{ bearer: [] }, { nomadToken: [] }])
  assert.deepEqual(
    post.parameters.map(({ name, in: place }: { name: string; in: string }) => `${place} ${name}`),
    ['query limit', 'path id'],
  )
  const failure = post.responses.default.content['application/problem+json'].schema
  assert.deepEqual(failure, { $ref: '#/components/schemas/Problem' })
  assert.equal(post.responses[204].content, undefined)
  assert.equal(post.responses[201].description, 'Created')
  assert.equal(components.schemas.TestAnswer.description, 'An <i>answer</i>')
  assert.equal(paths['/z'].get.security.length, 0)
  assert.equal(paths['/a'].put['x-capability'], 'keyring-rotate')
  assert.deepEqual(Object.keys(components.schemas), [
    ...['Problem', 'TestAnswer', 'TestBodyInput', 'TestInner'],
  ])
  assert.deepEqual(components.schemas.TestInner.properties.at, { type: 'integer', format: 'int64' })
  assert.deepEqual(components.schemas.TestInner.properties.n, { type: 'integer' })
  assert.equal(components.schemas.TestBodyInput.additionalProperties, false)
})

test('operation ids are unique although a route has two methods', async (t) => {
  const { paths } = openapiDocument(await documented(t))
  const ids = Object.values(paths).flatMap((methods) =>
    Object.values(methods).map(({ operationId }) => operationId),
  )
  assert.equal(new Set(ids).size, ids.length)
  assert.ok(ids.includes('rotate') && ids.includes('rotate-post'), String(ids))
})

test('the YAML does not depend on the order in which routes were added, and has no anchors', async (t) => {
  const yaml = openapiYaml(await documented(t))
  assert.equal(yaml, openapiYaml(await documented(t, true)))
  assert.doesNotMatch(yaml, /[&*]a\d/)
  assert.doesNotMatch(yaml, /9007199254740991/)
  assert.deepEqual(Object.keys(parse(yaml)).slice(0, 2), ['openapi', 'info'])
})

test('/openapi.yaml and /docs are public; the page loads nothing and runs nothing', async (t) => {
  const app = await documented(t)
  const yaml = await app.inject('/openapi.yaml')
  assert.equal(yaml.headers['content-type'], 'application/yaml')
  assert.equal(yaml.body, openapiYaml(app))
  const { headers, body } = await app.inject('/docs')
  assert.equal(headers['content-type'], 'text/html; charset=utf-8')
  const policy = String(headers['content-security-policy'])
  assert.match(policy, /^default-src 'none'; style-src 'sha256-[\w+/=]{44}'; /)
  assert.doesNotMatch(policy, /unsafe/)
  assert.doesNotMatch(body, /<script|<link|<img|\ssrc=|\sstyle=|\son\w+=|url\(|@import/)
  assert.doesNotMatch(body, /hidden/)
  for (const shown of ['Makes a thing', 'sign@ring', '/v1/things/{id}', 'TestBodyInput', '201']) {
    assert.ok(body.includes(shown), shown)
  }
})

test('every text of the document is escaped on the page', async (t) => {
  const { html } = docsPage(openapiDocument(await documented(t)))
  assert.ok(html.includes('&#60;b&#62;&#38;&#34;bold&#34;&#60;/b&#62; <code>code</code>'))
  const evil = '"><script>alert(1)</script><a href="'
  const page = docsPage({
    info: { title: evil, version: evil, description: evil },
    components: { schemas: { [evil]: { type: evil, description: evil, enum: [evil] } } },
    paths: {
      [evil]: {
        [evil]: {
          ...{ operationId: evil, summary: evil, description: evil, tags: [evil] },
          parameters: [{ name: evil, in: evil, description: evil, schema: { $ref: evil } }],
          requestBody: { content: { [evil]: { schema: { anyOf: [{ type: evil }] } } } },
          responses: { [evil]: { description: evil } },
          'x-capability': evil,
        },
      },
    },
  })
  assert.doesNotMatch(page.html, /<script|href=""/i)
  assert.ok(page.html.split('alert(1)').length > 20, 'and it is shown')
})

test('links of the page lead somewhere', async (t) => {
  const { html } = docsPage(openapiDocument(await documented(t)))
  const targets = [...html.matchAll(/href="#([^"]+)"/g)].map(([, id = '']) => id)
  assert.ok(targets.length > 5)
  for (const id of targets) assert.ok(html.includes(` id="${id}"`), id)
})

test('every operation that needs a credential says how it fails, in the form of its surface', async () => {
  const { paths } = parse(readFileSync(new URL('../../openapi.yaml', import.meta.url), 'utf8'))
  const silent = Object.entries(paths as OpenApi['paths']).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, { responses, ...operation }]) =>
      operation['x-capability'] === 'public' || responses['default'] || responses['401']
        ? []
        : [`${method} ${path}`],
    ),
  )
  assert.deepEqual(silent, [])
  const typeOf = (path: string, method: string) =>
    Object.keys(paths[path][method].responses.default.content)
  assert.deepEqual(typeOf('/v1/rings', 'get'), ['application/problem+json'])
  assert.deepEqual(typeOf('/v1/operator/keyring/keys', 'get'), ['text/plain'])
  assert.deepEqual(typeOf('/api/v1/auth/jwt-auth/login', 'post'), ['application/json'])
})
