import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { API, oauthWorld } from '../oauth/setup.ts'
import { configPath, identitiesWorld, secondsOf, startIssuer, workload } from './setup.ts'

// What has ended stays ended, whatever the clock, the timer and others do meanwhile.

test('a clock that is set forward and back brings no revoked token and no used assertion back', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client({ accessTokenTTL: 3600, accessTokenMaxTTL: 3600 })
  const token = await client.login()
  await world.ask('POST', '/api/v1/auth/token/revoke', {
    token: null,
    body: { accessToken: token },
  })
  const form = await client.credentials({})
  assert.equal((await world.token(form)).status, 200)
  await world.prune()
  world.clock.jump('2h')
  for (let look = 0; look < 3; look++) await world.prune()
  world.clock.jump('-2h')
  assert.equal((await world.ask('GET', '/api/v1/identities/details', { token })).status, 401)
  assert.equal((await world.token(form)).status, 400)
})

test('what nobody needs any more is forgotten at the second look', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client({ accessTokenTTL: 60, accessTokenMaxTTL: 60 })
  await client.login()
  const rows = async () => (await world.store.read.accessTokens.revoked(0)).length
  const token = await client.login()
  await world.ask('POST', '/api/v1/auth/token/revoke', {
    token: null,
    body: { accessToken: token },
  })
  world.clock.advance('10m')
  await world.prune()
  assert.equal(await rows(), 1)
  world.clock.advance('10m')
  await world.prune()
  assert.equal(await rows(), 0)
})

test('this server says of an access token that has ended that it is not valid', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client({})
  const own = await client.login()
  const other = (await world.exchange(own, { audience: API })).json.access_token as string
  const verdicts = async (token: string) => {
    const body = { token, with: { ring: 'access' } }
    const { json } = await world.ask('POST', '/v1/verify', { body })
    return [(await world.ask('GET', '/v1/rings/access/auth', { token })).status, json.valid]
  }
  for (const token of [own, other]) assert.deepEqual(await verdicts(token), [200, true])
  await world.ask('POST', '/api/v1/auth/token/revoke', { token: null, body: { accessToken: own } })
  for (const token of [own, other]) assert.deepEqual(await verdicts(token), [401, false])

  const again = await client.login()
  assert.deepEqual(await verdicts(again), [200, true])
  await world.ask('DELETE', `/api/v1/identities/${client.id}`)
  assert.deepEqual(await verdicts(again), [401, false])
})

test('a login that waits for its keys while the configuration is changed gets nothing', async (t) => {
  const world = await identitiesWorld(t)
  const issuer = await startIssuer(t)
  const asked = Promise.withResolvers<() => void>()
  const jwk = { ...issuer.publicKey.export({ format: 'jwk' }), kid: issuer.kid, alg: 'ES256' }
  const slow = createServer((_, response) => {
    asked.resolve(() => response.end(JSON.stringify({ keys: [jwk] })))
  })
  await new Promise<void>((resolve) => {
    slow.listen(0, '127.0.0.1', resolve)
  })
  t.after(() => slow.close())
  const { port } = slow.address() as AddressInfo
  const id = await world.identity('admin')
  const source = { configurationType: 'jwks', jwksUrl: `http://127.0.0.1:${port}/` }
  await world.attach(id, { ...source, boundClaims: {}, boundSubject: 'svc:*' })
  const login = world.login(id, await issuer.sign({ sub: 'svc:a', exp: secondsOf(world) + 60 }))
  const answer = await asked.promise
  const body = { ...source, boundSubject: 'nobody' }
  assert.equal((await world.ask('PATCH', configPath(id), { body })).status, 200)
  answer()
  const { status, json } = await login
  assert.deepEqual(
    [status, json.message],
    [401, 'Access denied: the configuration has just changed'],
  )
})

test('of many failures at once, those over the limit leave no record', async (t) => {
  const world = await identitiesWorld(t, { settings: { RATE_LIMIT_LOGIN: '5/m' } })
  const { id } = await workload(t, world)
  const bad = await (await startIssuer(t)).sign({ sub: 'x', exp: secondsOf(world) + 60 })
  const all = await Promise.all(Array.from({ length: 100 }, () => world.login(id, bad)))
  const refused = all.filter(({ status }) => status === 429).length
  assert.deepEqual([refused, all.filter(({ status }) => status === 401).length], [95, 5])
  assert.equal((await world.events(/^login\.denied$/)).length, 5)
})
