import assert from 'node:assert/strict'
import type { RequestListener } from 'node:http'
import { type TestContext, test } from 'node:test'
import { endpoint } from '../remote-jwks/endpoint.ts'
import { countingIds, memoryStore, testClock } from '../server.ts'
import { identitiesWorld, secondsOf, startIssuer, type World } from './setup.ts'

// The explanation of a login whose keys cannot be had names every check that needs none of them.

const EXPLAINED = [
  ...['+format', '+algorithm', '-key', '+payload', '-exp', '+issuer', '+subject', '-audience'],
  '-claim',
]

interface Explained {
  name: string
  ok: boolean
  reason?: string
}

/** An identity whose keys are at `url`, a token that is wrong in three ways, and what becomes of it. */
async function asked(t: TestContext, world: World, url: string) {
  const issuer = await startIssuer(t)
  const id = await world.identity()
  const bounds = { boundIssuer: 'iss-1', boundSubject: 'svc:*', boundAudiences: 'a' }
  const source = { configurationType: 'jwks', jwksUrl: url, boundClaims: { env: 'prod' } }
  const attached = await world.attach(id, { ...source, ...bounds })
  assert.equal(attached.status, 200, attached.text)
  const jwt = await issuer.sign({
    ...{ iss: 'iss-1', sub: 'svc:x', aud: 'b', env: 'dev', exp: secondsOf(world) - 1 },
  })
  return { id, jwt }
}

/** The explanation must show all checks; the reason of the one about the key. */
async function reasonFor(world: World, { id, jwt }: { id: string; jwt: string }): Promise<unknown> {
  const before = (await world.events()).length
  const body = { jwt }
  const { status, json, text } = await world.ask('POST', `/v1/identities/${id}/explain-login`, {
    body,
  })
  assert.equal(status, 200, text)
  const checks: Explained[] = json.checks
  assert.equal(json.ok, false)
  assert.deepEqual(
    checks.map(({ name, ok }) => `${ok ? '+' : '-'}${name}`),
    EXPLAINED,
  )
  const verify = { token: jwt, with: { identityId: id } }
  const verdict = (await world.ask('POST', '/v1/verify', { body: verify })).json
  assert.deepEqual(
    [verdict.valid, verdict.checks.map(({ name }: Explained) => name)],
    [false, checks.map(({ name }) => name)],
  )
  assert.equal((await world.events()).length, before, 'nothing is on record')
  return checks.find(({ name }) => name === 'key')?.reason
}

/** A login with the same token: no check of it decides. */
async function login(world: World, { id, jwt }: { id: string; jwt: string }) {
  const { status, json } = await world.login(id, jwt)
  return [status, json.error, json.message]
}

const HAD = 'The keys of the issuer cannot be had: '

test('where nobody listens, and where what answers is no key set', async (t) => {
  const world = await identitiesWorld(t)
  const { url, answer } = await endpoint(t)
  const token = await asked(t, world, url)
  const answers: RequestListener[] = [
    (request) => request.socket.destroy(),
    (_, response) => response.writeHead(503).end('secret words of theirs'),
    (_, response) => response.end('{"keys":"secret words of theirs"}'),
  ]
  for (const one of answers) {
    answer(one)
    assert.equal(await reasonFor(world, token), `${HAD}The JWKS endpoint failed`)
    world.clock.advance('6s')
    const failed = [502, 'BadGateway', 'The JWKS endpoint failed']
    assert.deepEqual(await login(world, token), failed)
    world.clock.advance('6s')
  }
  const nobody = await asked(t, world, 'http://127.0.0.1:1/jwks.json')
  assert.equal(await reasonFor(world, nobody), `${HAD}The JWKS endpoint failed`)
})

test('an endpoint that stalls', async (t) => {
  const world = await identitiesWorld(t)
  const { promise: stalled, resolve } = Promise.withResolvers<void>()
  const { url } = await endpoint(t, () => resolve())
  const token = await asked(t, world, url)
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const reason = reasonFor(world, token)
  await stalled
  t.mock.timers.tick(5000)
  assert.equal(await reason, `${HAD}The JWKS endpoint timed out`)
  // The failure is remembered for a moment, and the login answers with it.
  const timedOut = [504, 'GatewayTimeoutError', 'The JWKS endpoint timed out']
  assert.deepEqual(await login(world, token), timedOut)
})

test('a URL that was allowed once and is refused now', async (t) => {
  const clock = testClock()
  const store = await memoryStore(clock, countingIds())
  t.after(() => store.close())
  const before = await identitiesWorld(t, { store, clock })
  const { url, seen } = await endpoint(t)
  const token = await asked(t, before, url)
  const settings = { ALLOW_INTERNAL_IP_CONNECTIONS: 'false' }
  const world = await identitiesWorld(t, { store, clock, settings })
  assert.equal(await reasonFor(world, token), `${HAD}Local IPs not allowed as URL`)
  const refused = [400, 'BadRequest', 'Local IPs not allowed as URL']
  assert.deepEqual(await login(world, token), refused)
  assert.deepEqual(seen, [])
})
