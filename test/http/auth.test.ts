import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { z } from 'zod'
import { formatNeed, type Requirement } from '../../src/http/auth.ts'
import { testApp } from './setup.ts'

const bearer = (name: string) => ({ authorization: `Bearer ${name}` })

test('a route without a capability stops the start, and is named', async (t) => {
  const { app } = testApp(t)
  assert.throws(() => app.get('/open', async () => ({})), /GET \/open names no capability/)
  await assert.rejects(
    async () =>
      app.register(
        async (scope) => {
          scope.route({ method: ['PUT', 'POST'], url: '/write', handler: async () => ({}) })
        },
        { prefix: '/v1' },
      ),
    /PUT,POST \/v1\/write names no capability/,
  )
})

test('a route that asks for an unknown capability stops the start', (t) => {
  const { app } = testApp(t)
  const add = (capability: Requirement) => () =>
    app.get('/x', { config: { capability } }, async () => ({}))
  assert.throws(add('keyring-raed'), /unknown keyring-raed/)
  assert.throws(add({ capability: 'sing', on: () => ({ ring: 'a' }) }), /unknown sing/)
  assert.throws(add(''), /unknown/)
})

/** Method, requirement, caller → status and detail. */
function table(t: TestContext, capability: Requirement) {
  const { app } = testApp(t, {
    rights: { reader: ['keyring-read'], signer: ['sign@payments'], nobody: [] },
  })
  app.post('/rings/:ring', { config: { capability } }, async (request) => ({
    principal: request.principal.id,
  }))
  return async (caller: string | undefined, ring = 'payments') => {
    const answer = await app.inject({
      method: 'POST',
      url: `/rings/${ring}`,
      headers: caller === undefined ? {} : bearer(caller),
    })
    const { principal, detail } = answer.json()
    return [answer.statusCode, principal ?? detail]
  }
}

const NONE = [401, 'This needs a credential']
const BAD = [401, 'The credential is unknown or has expired']

test('public routes never look at a credential', async (t) => {
  const ask = table(t, 'public')
  for (const caller of [undefined, 'stranger', 'reader']) {
    assert.deepEqual(await ask(caller), [200, 'anonymous'])
  }
})

test('denied by default: no credential, a bad one, a good one without the grant', async (t) => {
  const ask = table(t, 'keyring-read')
  assert.deepEqual(await ask(undefined), NONE)
  assert.deepEqual(await ask('stranger'), BAD)
  assert.deepEqual(await ask('nobody'), [403, 'This needs keyring-read'])
  assert.deepEqual(await ask('reader'), [200, 'token:reader'])
})

test('authenticated routes take everybody we know', async (t) => {
  const ask = table(t, 'authenticated')
  assert.deepEqual(await ask('nobody'), [200, 'token:nobody'])
  assert.deepEqual(await ask('stranger'), BAD)
})

test('a grant on one ring opens that ring alone', async (t) => {
  const ask = table(t, {
    capability: 'sign',
    on: (request) => ({ ring: (request.params as { ring: string }).ring }),
  })
  assert.deepEqual(await ask('signer'), [200, 'token:signer'])
  assert.deepEqual(await ask('signer', 'other'), [403, 'This needs sign@ring:other'])
  assert.deepEqual(await ask('reader'), [403, 'This needs sign@ring:payments'])
})

test('where the body says on what, a grant on anything will do until the handler asks', async (t) => {
  const ask = table(t, { capability: 'sign', some: true })
  assert.deepEqual(await ask('signer', 'other'), [200, 'token:signer'])
  assert.deepEqual(await ask('reader'), [403, 'This needs sign'])
  assert.deepEqual(await ask(undefined), NONE)
})

test('a requirement may depend on the request; an unknown name then is an error, not a way in', async (t) => {
  const ask = table(t, (request) => {
    const { ring } = request.params as { ring: string }
    return ring === 'open' ? 'public' : ring === 'odd' ? 'nonsense' : () => 'keyring-read'
  })
  assert.deepEqual(await ask(undefined, 'open'), [200, 'anonymous'])
  assert.deepEqual(await ask('reader'), [200, 'token:reader'])
  assert.deepEqual(await ask(undefined), NONE)
  assert.equal((await ask('reader', 'odd'))[0], 500)
})

test('hooks of a surface run before the check, which runs before any body is read', async (t) => {
  const { app } = testApp(t, { rights: { nobody: [] } })
  const order: string[] = []
  await app.register(async (scope) => {
    scope.addHook('onRequest', async () => void order.push('surface'))
    scope.post(
      '/x',
      {
        config: { capability: 'keyring-read' },
        onRequest: async () => void order.push('route'),
        preParsing: async () => void order.push('body'),
        schema: { body: z.strictObject({}) },
      },
      async () => ({}),
    )
  })
  const answer = await app.inject({
    method: 'POST',
    url: '/x',
    headers: { ...bearer('nobody'), 'content-type': 'application/json' },
    payload: '{ broken',
  })
  assert.equal(answer.statusCode, 403)
  assert.deepEqual(order, ['surface', 'route'])
})

test('a HEAD route that Fastify makes is guarded like its GET', async (t) => {
  const { app } = testApp(t)
  const config = { capability: 'keyring-read' }
  app.get('/x', { exposeHeadRoute: true, config }, async () => ({}))
  assert.equal((await app.inject({ method: 'HEAD', url: '/x' })).statusCode, 401)
})

test('a 401 names the scheme, a 403 does not', async (t) => {
  const { app } = testApp(t, { rights: { nobody: [] } })
  app.get('/x', { config: { capability: 'keyring-read' } }, async () => ({}))
  const challenge = 'Bearer realm="keyringd"'
  assert.equal((await app.inject('/x')).headers['www-authenticate'], challenge)
  const denied = await app.inject({ url: '/x', headers: bearer('nobody') })
  assert.equal(denied.headers['www-authenticate'], undefined)
})

test('what is needed is written as a grant, and cut when a path made it long', () => {
  assert.equal(formatNeed('sign', { ring: 'a', profile: 'ci' }), 'sign@profile:a/ci')
  assert.ok(formatNeed('sign', { ring: 'a'.repeat(10_000) }).length < 300)
})
