import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { PROBLEMS, Problem } from '../../src/errors.ts'
import { NoContent } from '../../src/http/fields.ts'
import { errorHandler, notFoundHandler, toProblem } from '../../src/http/problem.ts'
import { ourApi } from '../../src/http/server.ts'
import { testApp } from './setup.ts'

const open = { capability: 'public' }

test('a Problem is answered as RFC 9457 with its status, code, members and request id', async (t) => {
  const { app } = testApp(t)
  app.get('/conflict', { config: open }, async () => {
    throw new Problem('key_in_use', 'Signed until noon', { extra: { blockedBy: { n: 5n } } })
  })
  const answer = await app.inject('/conflict')
  assert.equal(answer.statusCode, 409)
  assert.equal(answer.headers['content-type'], 'application/problem+json')
  assert.deepEqual(answer.json(), {
    type: 'urn:keyringd:problem:key_in_use',
    title: PROBLEMS.key_in_use.title,
    status: 409,
    detail: 'Signed until noon',
    code: 'key_in_use',
    requestId: answer.headers['x-request-id'],
    blockedBy: { n: '5' },
  })
  assert.match(String(answer.headers['x-request-id']), /^req-0a1b2c3d\w+$/)
})

test('extra members cannot take the place of the standard ones', async (t) => {
  const { app } = testApp(t)
  app.get('/', { config: open }, async () => {
    throw new Problem('not_found', 'x', { extra: { status: 200, code: 'fine' } })
  })
  const { status, code } = (await app.inject('/')).json()
  assert.deepEqual({ status, code }, { status: 404, code: 'not_found' })
})

test('what is no Problem is internal: its message goes to the log and not to the caller', async (t) => {
  const { app, lines, text } = testApp(t)
  app.get('/bug', { config: open }, async () => {
    throw new Error('disk /dev/sda1 on fire')
  })
  app.get('/text', { config: open }, async () => Promise.reject('a string'))
  const answer = await app.inject('/bug')
  assert.equal(answer.statusCode, 500)
  assert.equal(answer.json().code, 'internal')
  assert.ok(!answer.body.includes('fire'))
  const logged = lines().find(({ level }) => level === 'error')
  assert.equal(logged?.requestId, answer.headers['x-request-id'])
  assert.match(JSON.stringify(logged?.err), /on fire/)
  assert.equal((await app.inject('/text')).json().code, 'internal')
  assert.equal(
    text()
      .split('\n')
      .filter((line) => line.includes('"error"')).length,
    2,
  )
})

test('an answer that does not fit its schema is internal, and names nothing of it', async (t) => {
  const { app, text } = testApp(t)
  const schema = { response: { 200: z.object({ kid: z.string() }) } }
  app.get('/', { config: open, schema }, async () => ({ kid: 5 }) as never)
  const answer = await app.inject('/')
  assert.equal(answer.statusCode, 500)
  assert.equal(answer.json().code, 'internal')
  assert.match(text(), /doesn't match the schema/)
})

test('only the members of the response schema leave', async (t) => {
  const { app } = testApp(t)
  const schema = { response: { 200: z.object({ kid: z.string() }), 204: NoContent } }
  app.get('/', { config: open, schema }, async () => ({ kid: 'a', d: 'private' }))
  app.get('/nothing', { config: open, schema }, async (_, reply) => reply.code(204).send())
  assert.equal((await app.inject('/')).body, '{"kid":"a"}')
  const nothing = await app.inject('/nothing')
  assert.deepEqual([nothing.statusCode, nothing.body], [204, ''])
})

test('schema failures are 422 and say where: in the body, the query, the path or a header', async (t) => {
  const { app } = testApp(t)
  await app.register(async (scope) => {
    ourApi(scope)
    scope.post(
      '/things/:id',
      {
        config: open,
        schema: {
          params: z.strictObject({ id: z.string().max(3) }),
          querystring: z.strictObject({ limit: z.coerce.number().optional() }),
          headers: z.looseObject({ 'x-odd': z.string().max(2).optional() }),
          body: z.strictObject({ name: z.string(), tags: z.array(z.string()).optional() }),
        },
      },
      async () => ({}),
    )
  })
  const post = async (url: string, payload: object, headers = {}) => {
    const answer = await app.inject({ method: 'POST', url, payload, headers })
    assert.equal(answer.statusCode, 422, answer.body)
    const { code, errors, detail } = answer.json()
    assert.equal(code, 'invalid_request')
    assert.ok(detail.startsWith(errors[0].path), detail)
    return errors.map(({ path }: { path: string }) => path)
  }
  assert.deepEqual(await post('/things/a', { name: 1, tags: ['x', 2] }), [
    'body/name',
    'body/tags/1',
  ])
  assert.deepEqual(await post('/things/a', { name: 'n', surplus: 1 }), ['body'])
  assert.deepEqual(await post('/things/a?limit=x', { name: 'n' }), ['query/limit'])
  assert.deepEqual(await post('/things/abcd', { name: 'n' }), ['path/id'])
  assert.deepEqual(await post('/things/a', { name: 'n' }, { 'x-odd': 'abc' }), ['header/x-odd'])
})

test('of alternatives that all fail, the one that was meant says where', async (t) => {
  const { app } = testApp(t)
  const one = z.strictObject({ name: z.string(), ttl: z.int() })
  const body = z.union([one, z.strictObject({ batch: z.array(one) })])
  app.post('/either', { config: open, schema: { body } }, async () => 'ok')
  const single = await app.inject({
    method: 'POST',
    url: '/either',
    payload: { name: 'a', ttl: 'b' },
  })
  assert.deepEqual(
    single.json().errors.map(({ path }: { path: string }) => path),
    ['body/ttl'],
  )
  const payload = { batch: [{ name: 'a', ttl: 1 }, { name: 'a' }] }
  const batch = await app.inject({ method: 'POST', url: '/either', payload })
  assert.deepEqual(
    batch.json().errors.map(({ path }: { path: string }) => path),
    ['body/batch/1/ttl'],
  )
})

test('a schema failure of many members is cut short', () => {
  const issue = { instancePath: `/${'x'.repeat(500)}`, message: 'y'.repeat(500), params: {} }
  const symbol = Symbol.for('ZodFastifySchemaValidationError')
  const validation = Array.from({ length: 200 }, () => ({ ...issue, [symbol]: true }))
  const { extra } = toProblem({ validation, validationContext: 'body' })
  const errors = extra.errors as { path: string; message: string }[]
  assert.equal(errors.length, 50)
  assert.ok(errors.every(({ path, message }) => path.length <= 301 && message.length <= 301))
})

test('unknown paths and methods are 404, our way; nothing is 405', async (t) => {
  const { app } = testApp(t)
  app.get('/here', { config: open }, async () => ({}))
  for (const [method, url] of [
    ['GET', '/there?token=hidden'],
    ['DELETE', '/here'],
    ['HEAD', '/here'],
    ['OPTIONS', '/here'],
    ['GET', '/HERE'],
    ['GET', '/here/'],
  ] as const) {
    const answer = await app.inject({ method, url })
    assert.equal(answer.statusCode, 404, `${method} ${url}`)
    assert.equal(answer.headers['content-type'], 'application/problem+json')
    assert.ok(!answer.body.includes('hidden'))
  }
})

test('a path with a broken escape is 400, in the words of its surface', async (t) => {
  const { app, lines } = testApp(t, {
    formatFor: (path) =>
      path.startsWith('/theirs')
        ? ({ detail }) => ({ status: 499, type: 'text/plain', body: detail })
        : (problem) => ({ type: 'text/x', body: problem.code }),
  })
  app.get('/theirs/:id', { config: open }, async () => ({}))
  app.get('/ours/:id', { config: open }, async () => ({}))
  const theirs = await app.inject('/theirs/%zz?secret=1')
  assert.deepEqual([theirs.statusCode, theirs.body], [499, PROBLEMS.malformed_request.title])
  const ours = await app.inject('/ours/%zz')
  assert.deepEqual([ours.statusCode, ours.body], [400, 'malformed_request'])
  assert.equal(lines().filter(({ msg }) => msg === 'request').length, 2)
  assert.ok(!JSON.stringify(lines()).includes('secret'))
})

test('a scope speaks its own format: exact type, own status, headers', async (t) => {
  const { app } = testApp(t)
  await app.register(
    async (scope) => {
      const plain = errorHandler(({ detail }) => ({
        status: 403,
        type: 'text/plain; charset=utf-8',
        body: detail,
        headers: { 'x-extra': '1' },
      }))
      scope.setErrorHandler(plain)
      scope.setNotFoundHandler(notFoundHandler(() => ({ type: 'text/plain', body: 'nothing' })))
      scope.get('/a', { config: { capability: 'keyring-read' } }, async () => ({}))
    },
    { prefix: '/v9' },
  )
  const denied = await app.inject('/v9/a')
  assert.deepEqual([denied.statusCode, denied.body], [403, 'This needs a credential'])
  assert.equal(denied.headers['content-type'], 'text/plain; charset=utf-8')
  assert.equal(denied.headers['x-extra'], '1')
  assert.equal(denied.headers['www-authenticate'], undefined)
  const missing = await app.inject('/v9/b')
  assert.deepEqual(
    [missing.statusCode, missing.headers['content-type'], missing.body],
    [404, 'text/plain', 'nothing'],
  )
  assert.equal((await app.inject('/other')).headers['content-type'], 'application/problem+json')
})

test('every 4xx of Fastify has a code of ours', () => {
  const fastifyError = (code: string, statusCode: number) =>
    toProblem(Object.assign(new Error('x'), { code, statusCode })).code
  assert.equal(fastifyError('FST_ERR_CTP_BODY_TOO_LARGE', 413), 'body_too_large')
  assert.equal(fastifyError('FST_ERR_CTP_INVALID_MEDIA_TYPE', 415), 'unsupported_media_type')
  assert.equal(fastifyError('FST_ERR_CTP_INVALID_CONTENT_LENGTH', 400), 'malformed_body')
  assert.equal(fastifyError('FST_ERR_CTP_SOMETHING_NEW', 400), 'invalid_request')
  assert.equal(fastifyError('FST_ERR_CTP_SOMETHING_NEW', 500), 'internal')
  // Not Fastify's: a library's idea of a status is no permission to show its message.
  assert.equal(fastifyError('ELIBRARY', 404), 'internal')
  assert.equal(toProblem(undefined).code, 'internal')
})
