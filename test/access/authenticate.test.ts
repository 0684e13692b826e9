import assert from 'node:assert/strict'
import crypto from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'
import { mock, test } from 'node:test'
import { createAuthenticator } from '../../src/access/authenticate.ts'
import { anonymous, system } from '../../src/context.ts'
import { accessWorld, ROOT_TOKEN } from './setup.ts'

const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
type World = Awaited<ReturnType<typeof accessWorld>>

async function who({ access }: World, token: string): Promise<string> {
  return (await access.authenticate(bearer(token), '192.0.2.1')).principal.id
}

const HOUR = 3_600_000

test('the management token is an admin whatever it looks like, in both headers', async (t) => {
  const world = await accessWorld(t)
  for (const headers of [bearer(ROOT_TOKEN), { 'x-nomad-token': ROOT_TOKEN }]) {
    const { principal, presented } = await world.access.authenticate(headers, '192.0.2.1')
    assert.deepEqual(
      [principal.id, principal.tenant, presented],
      [...['token:management', undefined, true]],
    )
    assert.ok(principal.may('sign') && principal.may('backup'))
  }
})

test('no credential is anonymous, a bad one is anonymous that presented something', async (t) => {
  const { access } = await accessWorld(t)
  assert.deepEqual(await access.authenticate({}, '192.0.2.1'), {
    principal: anonymous,
    presented: false,
  })
  for (const token of [
    ...['krd_unknown', `${ROOT_TOKEN}x`, ROOT_TOKEN.slice(1), 'a.b.c', 'x'.repeat(5000)],
    // Whoever steals the database has hashes, and they are no tokens.
    crypto.hash('sha256', ROOT_TOKEN, 'hex'),
  ]) {
    assert.deepEqual(await access.authenticate(bearer(token), '192.0.2.1'), {
      ...{ principal: anonymous, presented: true },
    })
  }
})

test('what is neither the management token nor krd_ is never looked up', async (t) => {
  const world = await accessWorld(t)
  const { token } = await world.access.createApiToken(system, { name: 'ci' })
  const hash = crypto.hash('sha256', 'a.b.c', 'buffer')
  await world.store.transaction(async (tx) => {
    const row = await tx.apiTokens.byName('ci')
    await tx.apiTokens.setHash(row?.id ?? '', hash)
    await tx.audit.append({ type: 'api-token.replaced', subject: 'ci', principal: 'x' })
  })
  assert.equal(await who(world, 'a.b.c'), 'anonymous')
  assert.equal(await who(world, token), 'anonymous')
})

test('secrets are compared in constant time', async (t) => {
  const world = await accessWorld(t)
  const { token } = await world.access.createApiToken(system, { name: 'ci' })
  const compare = mock.method(crypto, 'timingSafeEqual')
  syncBuiltinESMExports()
  t.after(() => {
    compare.mock.restore()
    syncBuiltinESMExports()
  })
  const before = compare.mock.callCount()
  await who(world, ROOT_TOKEN)
  assert.ok(compare.mock.callCount() > before, 'the management token')
  const between = compare.mock.callCount()
  assert.equal(await who(world, token), 'token:ci')
  assert.ok(compare.mock.callCount() >= between + 2, 'an API token')
})

test('a token ends at its expiry, to the millisecond, although it is remembered', async (t) => {
  const world = await accessWorld(t)
  const hour = BigInt(HOUR) * 1_000_000n
  const { token } = await world.access.createApiToken(system, { name: 'ci', ttl: hour })
  assert.equal(await who(world, token), 'token:ci')
  world.advance(HOUR - 1)
  assert.equal(await who(world, token), 'token:ci')
  world.advance(1)
  assert.equal(await who(world, token), 'anonymous')
})

test('a deleted token is refused at once, remembered or not', async (t) => {
  const world = await accessWorld(t)
  const { token } = await world.access.createApiToken(system, { name: 'ci' })
  assert.equal(await who(world, token), 'token:ci')
  await world.access.deleteApiToken(system, 'ci')
  assert.equal(await who(world, token), 'anonymous')
})

test('one request is asked twice: what ended in between counts the second time', async (t) => {
  const world = await accessWorld(t)
  const ttl = BigInt(HOUR) * 1_000_000n
  const { token } = await world.access.createApiToken(system, { name: 'ci', ttl })
  const { token: other } = await world.access.createApiToken(system, { name: 'other' })
  const [first, second] = [bearer(token), bearer(other)]
  const ids = async () =>
    (
      await Promise.all(
        [first, second].map(async (headers) => world.access.authenticate(headers, '192.0.2.1')),
      )
    ).map(({ principal }) => principal.id)
  assert.deepEqual(await ids(), ['token:ci', 'token:other'])
  assert.deepEqual(await ids(), ['token:ci', 'token:other'])
  world.advance(HOUR)
  assert.deepEqual(await ids(), ['anonymous', 'token:other'])
  await world.access.deleteApiToken(system, 'other')
  assert.deepEqual(await ids(), ['anonymous', 'anonymous'])
})

test('grants follow what they name: a ring made again under the old name inherits none', async (t) => {
  const world = await accessWorld(t)
  const { access, store } = world
  const { token } = await access.createApiToken(system, {
    name: 'ci',
    grants: [
      { capability: 'sign', resource: { ring: 'payments', profile: 'ci' } },
      { capability: 'keyring-read', resource: { ring: 'other' } },
    ],
  })
  const rights = async () => {
    const { principal } = await access.authenticate(bearer(token), '192.0.2.1')
    return [
      principal.may('sign', { ring: 'payments', profile: 'ci' }),
      principal.may('sign', { ring: 'payments' }),
      principal.may('keyring-read', { ring: 'other' }),
      principal.may('keyring-read'),
      principal.maySome('sign', 'payments'),
      principal.maySome('sign', 'other'),
    ]
  }
  assert.deepEqual(await rights(), [true, false, true, false, true, false])
  await store.transaction(async (tx) => {
    await tx.profiles.delete('payments', 'ci')
    await tx.profiles.put({
      ...{ id: 'profile-2', ringId: 'payments', name: 'ci', policy: {} },
      ...{ createdAt: 2, updatedAt: 2 },
    })
    await tx.audit.append({ type: 'profile.replaced', subject: 'payments/ci', principal: 'x' })
  })
  assert.deepEqual(await rights(), [false, false, true, false, false, false])
})

test('a role or capability that this version does not know grants nothing', async (t) => {
  const world = await accessWorld(t)
  await world.store.transaction(async (tx) => {
    await tx.apiTokens.insert({
      ...{ id: 'x', name: 'future', tokenHash: crypto.hash('sha256', 'krd_future', 'buffer') },
      ...{ role: 'emperor', tenantId: 't1', createdAt: 1, createdBy: 'x', expiresAt: undefined },
      grants: [{ capability: 'teleport' }, { capability: 'keyring-read' }],
    })
  })
  const { principal } = await world.access.authenticate(bearer('krd_future'), '192.0.2.1')
  assert.equal(principal.tenant, 'east')
  assert.ok(principal.may('keyring-read'))
  assert.ok(!principal.may('teleport') && !principal.may('keyring-rotate'))
})

/** An authenticator over a store whose lookups by hash are counted, and pass through `gate`. */
function counted({ store, context }: World, gate: () => Promise<void> = async () => {}) {
  const { apiTokens } = store.read
  let lookups = 0
  async function byHash(hash: Uint8Array) {
    lookups++
    const row = await apiTokens.byHash(hash)
    await gate()
    return row
  }
  const read = { ...store.read, apiTokens: { ...apiTokens, byHash } }
  const { authenticate } = createAuthenticator({ ...context, store: { ...store, read } })
  return {
    who: async (token: string) => (await authenticate(bearer(token), '192.0.2.1')).principal.id,
    lookups: () => lookups,
  }
}

test('tokens are remembered: the second use reads nothing; guesses are not', async (t) => {
  const world = await accessWorld(t)
  const { token } = await world.access.createApiToken(system, { name: 'ci' })
  const { who, lookups } = counted(world)
  for (let n = 0; n < 5; n++) assert.equal(await who(token), 'token:ci')
  assert.equal(lookups(), 1)
  for (let n = 0; n < 5; n++) assert.equal(await who('krd_guess'), 'anonymous')
  assert.equal(lookups(), 6)
})

test('a delivery service that is made again under the old name gives no old grant', async (t) => {
  const { access, store } = await accessWorld(t)
  const change = (type: string, work: Parameters<typeof store.transaction>[0]) =>
    store.transaction(async (tx) => {
      await work(tx)
      await tx.audit.append({ type, subject: 'demo', principal: 'x' })
    })
  const insert = (id: string) =>
    change('delivery-service.created', (tx) =>
      tx.deliveryServices.insert({
        ...{ id, xmlId: 'demo', tenantId: 't1', cdn: undefined, createdAt: 1 },
      }),
    )
  await insert('d1')
  const resource = { deliveryService: 'demo' }
  const capability = 'DS-SECURITY-KEY:READ'
  const { token } = await access.createApiToken(system, {
    ...{ name: 'edge', grants: [{ capability, resource }], tenant: 'east' },
  })
  const rights = async () => {
    const { principal } = await access.authenticate(bearer(token), '192.0.2.1')
    return [
      principal.may(capability, resource),
      principal.may(capability),
      principal.may(capability, { deliveryService: 'other' }),
      principal.may('DS-SECURITY-KEY:UPDATE', resource),
    ]
  }
  assert.deepEqual(await rights(), [true, false, false, false])
  await change('delivery-service.deleted', (tx) => tx.deliveryServices.delete('d1'))
  assert.deepEqual(await rights(), [false, false, false, false])
  await insert('d2')
  assert.deepEqual(await rights(), [false, false, false, false])
  await assert.rejects(
    access.createApiToken(system, {
      ...{ name: 'x', grants: [{ capability, resource: { deliveryService: 'none' } }] },
    }),
    { code: 'invalid_request' },
  )
})

test('events elsewhere leave the memory alone; those on access, rings and profiles clear it', async (t) => {
  const world = await accessWorld(t)
  const { token } = await world.access.createApiToken(system, { name: 'ci' })
  const { who, lookups } = counted(world)
  await who(token)
  const readsAfter = async (type: string) => {
    const event = { type, subject: 'x', principal: 'x' }
    await world.store.transaction((tx) => tx.audit.append(event))
    const before = lookups()
    await who(token)
    return lookups() - before
  }
  const others = ['key.activated', 'access.denied', 'ringing.bell', 'token.signed']
  // There may be a million services; only one that goes takes grants with it.
  for (const type of [...others, 'delivery-service.created', 'session.opened']) {
    assert.equal(await readsAfter(type), 0, type)
  }
  const telling = ['api-token.deleted', 'ring.deleted', 'profile.deleted', 'tenant.created']
  telling.push('access.changed', 'delivery-service.deleted')
  for (const type of telling) assert.equal(await readsAfter(type), 1, type)
})

test('a lookup that a change overtook is not remembered', async (t) => {
  const world = await accessWorld(t)
  const { token } = await world.access.createApiToken(system, { name: 'ci', role: 'operator' })
  const waiting = Promise.withResolvers<void>()
  const goOn = Promise.withResolvers<void>()
  const { who } = counted(world, () => {
    waiting.resolve()
    return goOn.promise
  })
  const early = who(token)
  await waiting.promise
  await world.access.deleteApiToken(system, 'ci')
  goOn.resolve()
  assert.equal(await early, 'token:ci', 'it was asked before the change')
  assert.equal(await who(token), 'anonymous')
})
