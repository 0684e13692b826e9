import assert from 'node:assert/strict'
import { test } from 'node:test'
import { onDisk } from '../keyring/on-disk.ts'
import { configPath, identitiesWorld, startIssuer, type World, worldOn } from './setup.ts'

// `ring:NAME` as the source of keys, our addition to the identity contract: the set of a ring of this server.

const source = (ring: string) => ({ configurationType: 'jwks', jwksUrl: `ring:${ring}` })

async function signedBy(world: World, ring: string): Promise<string> {
  const request = { claims: { sub: 's' }, ttl: '15m' }
  const { json, status } = await world.call('POST', `/v1/rings/${ring}/sign`, request)
  assert.equal(status, 200, JSON.stringify(json))
  return json.token
}

async function made(world: World, ring = 'ci'): Promise<string> {
  const { status } = await world.call('POST', '/v1/rings', { name: ring, algorithms: ['ES256'] })
  assert.equal(status, 201)
  const id = await world.identity()
  const attached = await world.attach(id, { ...source(ring), boundClaims: {} })
  assert.equal(attached.status, 200, attached.text)
  assert.equal(attached.json.identityJwtAuth.jwksUrl, `ring:${ring}`)
  return id
}

test('a token of the ring logs in, before a rotation and after, and nothing is fetched', async (t) => {
  const world = await identitiesWorld(t, { settings: { ALLOW_INTERNAL_IP_CONNECTIONS: 'false' } })
  const id = await made(world)
  const before = await signedBy(world, 'ci')
  assert.equal((await world.login(id, before)).status, 200)
  const rotated = await world.call('POST', '/v1/rings/ci/rotate', { force: true, reason: 'test' })
  assert.equal(rotated.status, 200)
  const after = await signedBy(world, 'ci')
  assert.notEqual(before.split('.')[0], after.split('.')[0])
  for (const token of [before, after]) assert.equal((await world.login(id, token)).status, 200)
  const stranger = await (await startIssuer(t)).sign({ sub: 's' })
  const { status, json } = await world.login(id, stranger)
  assert.deepEqual([status, json.message], [401, 'Access denied: no matching signing key'])
})

test('the rings of this server itself are no source, the default one only where that is set', async (t) => {
  for (const allowed of ['false', 'true']) {
    const world = await identitiesWorld(t, { settings: { LOGIN_FROM_DEFAULT_RING: allowed } })
    const id = await world.identity()
    for (const ring of ['access', 'audit', 'nowhere', ...(allowed === 'true' ? [] : ['default'])]) {
      const { status, json } = await world.attach(id, { ...source(ring), boundClaims: {} })
      assert.deepEqual([status, json.error], [400, 'BadRequest'], ring)
    }
    for (const spelled of [
      'ring:Access',
      'RING:access',
      'ring:access ',
      'ring:../access',
      'ring:',
    ]) {
      const body = { ...source(''), jwksUrl: spelled, boundClaims: {} }
      assert.ok((await world.attach(id, body)).status >= 400, spelled)
    }
    if (allowed === 'false') continue
    assert.equal((await world.attach(id, { ...source('default'), boundClaims: {} })).status, 200)
    assert.equal((await world.login(id, await signedBy(world, 'default'))).status, 200)
  }
})

test('a source that may not be one any more has no keys', async (t) => {
  const world = await identitiesWorld(t)
  const id = await made(world)
  const row = await world.store.read.jwtAuth.byIdentity(id)
  assert.ok(row)
  for (const ring of ['access', 'audit', 'default', 'gone']) {
    const jwksUrl = `ring:${ring}`
    await world.store.transaction(async (tx) => {
      await tx.jwtAuth.update({ ...row, jwksUrl })
      await tx.audit.append({ type: 'identity.changed', subject: id, principal: 'test' })
    })
    const { status, json } = await world.login(id, await signedBy(world, 'default'))
    assert.deepEqual([status, json.message], [401, 'Access denied: no matching signing key'], ring)
  }
})

test('a ring that is younger than the configuration only has the name of the one that was meant', async (t) => {
  const world = await identitiesWorld(t)
  const id = await made(world)
  const row = await world.store.read.jwtAuth.byIdentity(id)
  assert.ok(row)
  // As it stays behind when a ring is deleted.
  await world.store.transaction((tx) => tx.jwtAuth.update({ ...row, jwksUrl: 'ring:again' }))
  world.clock.advance('1s')
  const ring = { name: 'again', algorithms: ['ES256'] }
  assert.equal((await world.call('POST', '/v1/rings', ring)).status, 201)
  const token = await signedBy(world, 'again')
  const refused = await world.login(id, token)
  const none = 'Access denied: no matching signing key'
  assert.deepEqual([refused.status, refused.json.message], [401, none])
  const patched = await world.ask('PATCH', configPath(id), { body: source('again') })
  assert.equal(patched.status, 200)
  assert.equal((await world.login(id, token)).status, 200)
})

test('until the rows are proven, the keys of a ring let nobody in', async (t) => {
  const disk = onDisk(t)
  const first = worldOn(await disk.start())
  const id = await made(first)
  const token = await signedBy(first, 'ci')
  await disk.stop()
  const second = worldOn(await disk.start({ open: false }))
  assert.equal((await second.login(id, token)).status, 503)
  const explained = await second.ask('POST', `/v1/identities/${id}/explain-login`, {
    body: { jwt: token },
  })
  assert.equal(explained.status, 503)
})
