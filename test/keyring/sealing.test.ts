import assert from 'node:assert/strict'
import test from 'node:test'
import { isProblem } from '../../src/errors.ts'
import type { TestServer } from '../server.ts'
import { KEK, type OnDisk, onDisk } from './on-disk.ts'

const publishedBy = async ({ call }: TestServer, ring = 'default'): Promise<string[]> => {
  const { json } = await call('GET', `/rings/${ring}/.well-known/jwks.json`)
  return (json.keys ?? []).map(({ kid }: { kid: string }) => kid)
}

const readiness = async ({ call }: TestServer) => {
  const { status, json } = await call('GET', '/readyz')
  return { status, text: JSON.stringify(json) }
}

async function isNamed(server: TestServer, kid: string): Promise<void> {
  const { status, text } = await readiness(server)
  assert.equal(status, 503)
  assert.ok(text.includes(kid), `readiness names ${kid}: ${text}`)
}

const sign = ({ call }: TestServer, ring = 'default') =>
  call('POST', `/v1/rings/${ring}/sign`, { claims: { sub: 'a' }, ttl: '1h' })

const rotate = ({ call }: TestServer, ring = 'default') =>
  call('POST', `/v1/rings/${ring}/rotate`, { force: true, reason: 'test' })

/** One active, one standby and one retired key in `default`, and the same in `ring`. */
async function world(disk: OnDisk, server: TestServer) {
  const made = await server.call('POST', '/v1/rings', { name: 'ring', algorithms: ['ES256'] })
  assert.equal(made.status, 201)
  for (const ring of ['default', 'ring']) {
    assert.equal((await sign(server, ring)).status, 200)
    assert.equal((await rotate(server, ring)).status, 200)
  }
  await server.keyring.reseal.settled()
  const ringId = String(disk.sql("select id from rings where name = 'ring'")[0]?.['id'])
  const one = (ring: string, where: string) => {
    const [kid = '', ...others] = disk.kids(ring, where)
    assert.deepEqual(others, [])
    return kid
  }
  const of = (ring: string) => ({
    active: one(ring, "state = 'active'"),
    standby: one(ring, 'standby = 1'),
    retired: one(ring, "state = 'retired'"),
  })
  return { default: of('default'), ring: of(ringId) }
}

const EDITS: [name: string, sql: string, of: 'active' | 'standby' | 'retired'][] = [
  ['the public JWK', `public_jwk = json_set(public_jwk, '$.x', 'QQ')`, 'active'],
  ['the public JWK into no JSON', `public_jwk = 'x'`, 'standby'],
  ['the public JWK', `public_jwk = replace(public_jwk, '"x":"', '"x":"AAAA')`, 'standby'],
  [
    'the public JWK for that of another key',
    `public_jwk = (select public_jwk from keys o where o.ring_id = keys.ring_id and o.standby = 1)`,
    'retired',
  ],
  ['the state', `state = 'retired', standby = 0`, 'standby'],
  ['the state', `state = 'next', standby = 0, private_sealed = x'00'`, 'retired'],
  ['the planned time', 'planned_at = 0', 'standby'],
  ['when it was absent', 'absent_until = 0', 'standby'],
  ['the retirement', 'retired_at = retired_at - 1', 'retired'],
  ['the activation', 'activated_at = 1', 'active'],
  ['the creation', 'created_at = created_at + 1', 'active'],
  ['the origin', `origin = 'imported'`, 'active'],
  ['the standby mark', 'standby = 0', 'standby'],
  ['re-keying', 'rekeying = 1', 'retired'],
  ['the publication', 'published = 0, withdrawn_at = 1', 'retired'],
  ['the thumbprint', `thumbprint = 'other'`, 'active'],
  ['the MAC', `mac = x'${'00'.repeat(32)}'`, 'active'],
  ['the attestation', 'attested_at = 1, handed_out_at = 1', 'retired'],
]

test('an edited row is published until the roots are open, then withheld, named and never repaired', async (t) => {
  const disk = onDisk(t)
  const keys = await world(disk, await disk.start())
  await disk.stop()
  disk.save()

  for (const [index, [name, set, which]] of EDITS.entries()) {
    disk.reset()
    const ring = index % 2 === 0 ? 'default' : 'ring'
    const kid = keys[ring][which]
    const before = disk.row(kid)
    disk.sql(`update keys set ${set} where kid = ?`, kid)
    const edited = disk.row(kid)
    assert.notDeepEqual(edited, before, `${name} of ${which}`)

    const closed = await disk.start({ open: false })
    const set1 = await publishedBy(closed, ring)
    const isPublished = edited['published'] === 1n && !set.includes('public_jwk =')
    if (isPublished) assert.ok(set1.includes(kid), `${name}: published before unsealing`)
    assert.ok(set1.length >= 2, 'the others are published all the same')
    await disk.stop()

    const open = await disk.start()
    assert.equal((await publishedBy(open, ring)).includes(kid), false, `${name}: withheld`)
    await isNamed(open, kid)
    const signed = await sign(open, ring)
    assert.equal(signed.status, which === 'active' ? 503 : 200, `${name}: it never signs`)
    await open.tick()
    disk.clock.advance('2000h')
    await open.tick()
    await isNamed(open, kid)
    assert.deepEqual(disk.row(kid)['mac'], edited['mac'], `${name}: never authenticated anew`)
    assert.notEqual((await sign(open, ring)).json.kid, kid)
    await disk.stop()
  }
})

test('a row that is edited while the server runs is noticed at the next look', async (t) => {
  const disk = onDisk(t)
  const server = await disk.start()
  const keys = await world(disk, server)
  const { standby } = keys.ring
  const { active } = keys.default
  assert.equal((await readiness(server)).status, 200)
  disk.sql('update keys set planned_at = 0, absent_until = 0 where kid = ?', standby)
  disk.sql(`update keys set public_jwk = json_set(public_jwk, '$.x', 'QQ') where kid = ?`, active)
  await server.tick()
  await isNamed(server, standby)
  await isNamed(server, active)
  assert.equal((await publishedBy(server, 'ring')).includes(standby), false)
  assert.equal((await sign(server)).status, 503)
  const refused = await rotate(server, 'ring')
  assert.equal(refused.status, 500)
  assert.equal(refused.json.code, 'key_unusable')
  assert.equal((await sign(server, 'ring')).json.kid, keys.ring.active)
})

test('an edited standby is replaced by deleting it, an edited active key by rotating', async (t) => {
  const disk = onDisk(t)
  const server = await disk.start()
  const keys = await world(disk, server)
  for (const kid of [keys.ring.standby, keys.default.active]) {
    disk.sql('update keys set created_at = created_at + 1 where kid = ?', kid)
  }
  await server.tick()

  const { standby } = keys.ring
  assert.equal((await server.call('DELETE', `/v1/rings/ring/keys/${standby}`)).status, 204)
  assert.equal((await rotate(server, 'ring')).status, 200)

  const { active } = keys.default
  const { mac } = disk.row(active)
  const rotated = await rotate(server)
  assert.equal(rotated.status, 200, JSON.stringify(rotated.json))
  await server.keyring.reseal.settled()
  assert.equal((await sign(server)).json.kid, keys.default.standby)
  assert.partialDeepStrictEqual(disk.row(active), { state: 'retired', private_sealed: null, mac })
  assert.equal((await publishedBy(server)).includes(active), false)
  await isNamed(server, active)
  const path = `/v1/operator/keyring/key/${active}?force=true`
  assert.equal((await server.call('DELETE', path)).status, 200)
  const { status, text } = await readiness(server)
  assert.equal(status, 200, text)
  await disk.stop()
  assert.equal((await readiness(await disk.start())).status, 200)
})

test('a full rotation goes past an edited key of the past', async (t) => {
  const disk = onDisk(t)
  const server = await disk.start()
  const keys = await world(disk, server)
  const { retired, active } = keys.default
  disk.sql('update keys set retired_at = 1 where kid = ?', retired)
  await server.tick()
  assert.equal((await server.call('PUT', '/v1/operator/keyring/rotate?full')).status, 200)
  assert.equal(disk.row(active)['rekeying'], 1n)
  assert.equal(disk.row(retired)['rekeying'], 0n)
})

test('swapped private halves sign nothing and are named, also before the standby has to sign', async (t) => {
  const disk = onDisk(t)
  const server = await disk.start()
  const keys = await world(disk, server)
  await disk.stop()
  disk.save()
  const swap = (a: string, b: string) => {
    const halves = [a, b].map((kid) => disk.row(kid)['private_sealed'])
    disk.sql('update keys set private_sealed = ? where kid = ?', halves[1], a)
    disk.sql('update keys set private_sealed = ? where kid = ?', halves[0], b)
  }
  const [access = ''] = disk.kids('access', "state = 'active'")
  for (const [ring, a, b] of [
    ['default', keys.default.active, keys.default.standby],
    ['ring', keys.ring.active, keys.ring.standby],
    ['ring', keys.ring.active, access],
    ['default', keys.default.active, keys.ring.active],
  ] as const) {
    disk.reset()
    swap(a, b)
    const stopped = await disk.start()
    for (const kid of [a, b]) await isNamed(stopped, kid)
    assert.ok((await publishedBy(stopped, ring)).includes(a), 'its tokens still verify')
    assert.equal((await sign(stopped, ring)).status, 503)
    await disk.stop()

    disk.reset()
    const running = await disk.start()
    swap(a, b)
    await running.tick()
    for (const kid of [a, b]) await isNamed(running, kid)
    assert.equal((await sign(running, ring)).status, 200, 'what is in memory is the right one')
    await disk.stop()
  }
})

test('a standby whose private half is broken never takes the place of one that signs', async (t) => {
  const disk = onDisk(t)
  const server = await disk.start()
  const { standby, active } = (await world(disk, server)).ring
  disk.sql(`update keys set private_sealed = x'0102' where kid = ?`, standby)
  await server.tick()
  await isNamed(server, standby)
  disk.clock.advance('800h')
  await server.tick()
  await server.tick()
  assert.equal((await rotate(server, 'ring')).json.code, 'key_unusable')
  assert.equal((await sign(server, 'ring')).json.kid, active)
  assert.notEqual(disk.row(active)['private_sealed'], null)
  assert.equal((await server.call('DELETE', `/v1/rings/ring/keys/${standby}`)).status, 204)
  assert.equal((await readiness(server)).status, 200)
  assert.equal((await rotate(server, 'ring')).status, 200)
})

const swapWraps = (disk: OnDisk, a: string, b: string) => {
  const [one, two] = [a, b].map(
    (kid) => disk.sql('select wrapped from root_key_wraps where root_kid = ?', kid)[0]?.['wrapped'],
  )
  disk.sql('update root_key_wraps set wrapped = ? where root_kid = ?', two, a)
  disk.sql('update root_key_wraps set wrapped = ? where root_kid = ?', one, b)
}

test('swapped wraps do not open: of the active key it is an end, of others a quarantine', async (t) => {
  const disk = onDisk(t)
  const { default: main } = await world(disk, await disk.start())
  await disk.stop()
  disk.save()

  swapWraps(disk, main.active, main.retired)
  await assert.rejects(
    disk.start(),
    (error) => isProblem(error, 'kek_wrong') && error.detail.includes(main.active),
  )
  await disk.stop()

  disk.reset()
  swapWraps(disk, main.standby, main.retired)
  const server = await disk.start()
  const status = (await server.call('GET', '/v1/status')).json
  assert.deepEqual(status.quarantined, [main.standby, main.retired].sort())
  assert.deepEqual(await publishedBy(server), [main.active])
  assert.equal((await sign(server)).json.kid, main.active)
  assert.equal((await rotate(server)).json.code, 'key_unusable')
  assert.equal((await server.call('DELETE', `/v1/rings/default/keys/${main.standby}`)).status, 204)
  assert.equal((await rotate(server)).status, 200)
  await server.tick()
  assert.equal((await readiness(server)).status, 200)
})

test('a wrong KEK is said in one sentence, and nothing is changed', async (t) => {
  const disk = onDisk(t)
  await world(disk, await disk.start())
  await disk.stop()
  const before = disk.sql('select * from keys order by kid')
  const kek = new Uint8Array(32).fill(8)
  await assert.rejects(disk.start({ kek }), (error) => isProblem(error, 'kek_wrong'))
  await disk.stop()
  assert.deepEqual(disk.sql('select * from keys order by kid'), before)
  assert.equal((await readiness(await disk.start({ kek: KEK }))).status, 200)
})

test('one old root that does not open is quarantined; in nomad mode the set is then an error', async (t) => {
  const disk = onDisk(t, { ROTATION_MODE: 'nomad' })
  const server = await disk.start()
  const [old = ''] = disk.kids('default', "state = 'active'")
  assert.equal((await server.call('PUT', '/v1/operator/keyring/rotate')).status, 200)
  await server.keyring.reseal.settled()
  await disk.stop()
  disk.sql('delete from root_key_wraps where root_kid = ?', old)
  const closed = await disk.start({ open: false })
  assert.equal((await closed.call('GET', '/.well-known/jwks.json')).status, 200)
  await disk.stop()

  const open = await disk.start()
  const set = await open.call('GET', '/.well-known/jwks.json')
  assert.equal(set.status, 500)
  assert.equal(set.json, `no such key "${old}" in keyring`)
  assert.equal((await sign(open)).status, 200)
  assert.equal((await sign(open, 'default')).status, 200)
  assert.equal((await open.call('GET', '/rings/access/.well-known/jwks.json')).status, 200)
  await disk.stop()

  const safe = await disk.start({ settings: { ROTATION_MODE: 'safe' } })
  assert.equal((await publishedBy(safe)).includes(old), false)
  assert.equal((await safe.call('GET', '/v1/status')).json.quarantined[0], old)
})
