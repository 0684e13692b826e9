import assert from 'node:assert/strict'
import test from 'node:test'
import { MANAGEMENT_TOKEN, type TestServer } from '../server.ts'
import { KEK, type OnDisk, onDisk } from './on-disk.ts'

const activeOf = (disk: OnDisk) => disk.kids('default', "state = 'active'")[0] ?? ''
const rotate = ({ call }: TestServer, query = '') =>
  call('PUT', `/v1/operator/keyring/rotate${query}`)
const names = (count: number, prefix = 'secret') =>
  Array.from({ length: count }, (_, index) => `${prefix}-${String(index).padStart(4, '0')}`)

/** How many rows each root key seals, its own key apart. */
const seals = (disk: OnDisk): Record<string, number> => {
  const rows = disk.sql(
    `select root_kid, count(*) as n from (
       select root_kid from server_secrets union all
       select root_kid from keys where root_kid <> kid
     ) group by root_kid`,
  )
  return Object.fromEntries(rows.map((row) => [row['root_kid'], Number(row['n'])]))
}

test('after an activation everything is sealed anew under the new root key, without being asked', async (t) => {
  const disk = onDisk(t)
  const server = await disk.start()
  await server.call('POST', '/v1/rings', { name: 'ring', algorithms: ['ES256', 'EdDSA'] })
  await server.call('POST', '/v1/rings/ring/rotate', { force: true, reason: 'leave retired keys' })
  const old = activeOf(disk)
  await disk.addSecrets(old, names(250))
  const index = server.keyring.view.index()
  assert.equal((await rotate(server)).status, 200)
  await server.keyring.reseal.settled()

  const now = activeOf(disk)
  assert.notEqual(now, old)
  // Four keys of `access` and `audit`, four and two retired ones of `ring`.
  assert.deepEqual(seals(disk), { [now]: 250 + 4 + 6 })
  for (const name of names(250).filter((_, index) => index % 10 === 0)) {
    assert.equal(await disk.secret(name), `value of ${name}`)
  }
  assert.equal(server.keyring.view.index(), index + 1n, 'sealing moves no index')
  for (const ring of ['default', 'ring']) {
    const body = { claims: { sub: 'a' }, ttl: '1m' }
    assert.equal((await server.call('POST', `/v1/rings/${ring}/sign`, body)).status, 200)
  }
  await disk.stop()
  const again = await disk.start()
  assert.equal((await again.call('GET', '/readyz')).status, 200)
})

test('a stop in the middle is no end: the next start goes on', async (t) => {
  const disk = onDisk(t)
  const server = await disk.start()
  const old = activeOf(disk)
  await disk.addSecrets(old, names(450))
  assert.equal((await rotate(server, '?full')).status, 200)
  assert.equal(disk.row(old)['rekeying'], 1n)
  await disk.stop()
  const left = seals(disk)[old] ?? 0
  assert.ok(left > 0, 'it was stopped before the end')
  assert.equal(disk.row(old)['rekeying'], 1n, 'and shows it')

  const again = await disk.start()
  await again.keyring.reseal.settled()
  assert.deepEqual(seals(disk), { [activeOf(disk)]: 450 + 4 })
  assert.equal(disk.row(old)['rekeying'], 0n)
  assert.equal(await disk.secret('secret-0449'), 'value of secret-0449')
})

test('rotations while sealing goes on leave nothing behind', async (t) => {
  const disk = onDisk(t)
  const server = await disk.start()
  await disk.addSecrets(activeOf(disk), names(300))
  for (let round = 0; round < 5; round++) assert.equal((await rotate(server)).status, 200)
  await server.keyring.reseal.settled()
  assert.deepEqual(seals(disk), { [activeOf(disk)]: 300 + 4 })
})

test('what does not open is stepped over, reported, and keeps its root key', async (t) => {
  const disk = onDisk(t)
  const server = await disk.start()
  const old = activeOf(disk)
  await disk.addSecrets(old, names(150))
  // The first of all that is walked, and more than one transaction takes.
  const order = disk.sql('select name from server_secrets order by id')
  const bad = order.slice(0, 110).map((row) => String(row['name']))
  disk.sql(
    `update server_secrets set value_sealed = x'0102' where name in (${bad.map(() => '?').join()})`,
    ...bad,
  )
  // Moved to another owner: the seal is whole, its place is not.
  disk.sql(`update server_secrets set name = 'moved' where name = ?`, order[110]?.['name'])
  const [access = ''] = disk.kids('access', 'standby = 1')
  disk.sql('update keys set created_at = created_at + 1 where kid = ?', access)
  const before = disk.row(access)
  assert.equal((await rotate(server, '?full')).status, 200)
  await server.keyring.reseal.settled()

  assert.deepEqual(seals(disk), { [old]: 112, [activeOf(disk)]: 39 + 3 })
  assert.deepEqual(disk.row(access), before, 'an edited key is not authenticated anew')
  assert.equal(disk.row(old)['rekeying'], 1n, 'it is not done')
  const status = (await server.call('GET', '/v1/status')).json
  assert.equal(status.damaged.length, 112)

  // Withdrawn from the set in its time, but its row stays as long as it seals anything.
  disk.clock.advance('200h')
  await server.tick()
  await server.tick()
  assert.partialDeepStrictEqual(disk.row(old), { state: 'retired', published: 0n })
  const refused = await server.call('DELETE', `/v1/rings/default/keys/${old}`)
  assert.equal(refused.status, 409)
  assert.deepEqual(refused.json.blockedBy, { sealedRows: 112 })
  const forced = await server.call('DELETE', `/v1/operator/keyring/key/${old}?force=true`)
  assert.equal(forced.json, 'root key in use, cannot delete')
})

test('a root key that seals is not deleted; force seals anew first, in the same transaction', async (t) => {
  const disk = onDisk(t)
  const server = await disk.start()
  const old = activeOf(disk)
  assert.equal((await rotate(server)).status, 200)
  await server.keyring.reseal.settled()
  await disk.addSecrets(old, names(30))
  assert.throws(() => disk.sql('delete from root_keys where kid = ?', old), /FOREIGN KEY/)
  const path = `/v1/operator/keyring/key/${old}`
  assert.equal((await server.call('DELETE', path)).json, 'root key in use, cannot delete')
  await server.keyring.reseal.settled()
  assert.equal(seals(disk)[old], undefined, 'the refusal has started the work')

  await disk.addSecrets(old, names(30, 'more'))
  assert.equal((await server.call('DELETE', `${path}?force=true`)).status, 200)
  assert.deepEqual(disk.row(old), {})
  assert.equal(await disk.secret('more-0029'), 'value of more-0029')
})

test('full shows rekeying until the last row is done (contract section 5.5)', async (t) => {
  for (const mode of ['safe', 'nomad']) {
    const disk = onDisk(t, { ROTATION_MODE: mode })
    const server = await disk.start()
    const old = activeOf(disk)
    await disk.addSecrets(old, names(250))
    const stateOf = async () => {
      const { json } = await server.call('GET', '/v1/operator/keyring/keys')
      return json.find(({ KeyID }: { KeyID: string }) => KeyID === old)?.State
    }
    const answer = await rotate(server, '?full')
    assert.equal(await stateOf(), 'rekeying')
    const refused = await server.call('DELETE', `/v1/operator/keyring/key/${old}`)
    assert.equal(refused.json, 'root key in use, cannot delete')
    await server.keyring.reseal.settled()
    assert.equal(await stateOf(), 'inactive')
    assert.equal(Number(server.keyring.view.index()), answer.json.Index + 1, 'one write, one index')

    // Nothing to seal any more: it still goes through `rekeying`.
    const second = activeOf(disk)
    await server.keyring.reseal.settled()
    assert.equal((await rotate(server, '?full')).status, 200)
    assert.equal(disk.row(second)['rekeying'], 1n)
    await server.keyring.reseal.settled()
    assert.equal(disk.row(second)['rekeying'], 0n)
    await disk.stop()
  }
})

test('no secret is on the disk or in the log in clear, and a retired key has none', async (t) => {
  const disk = onDisk(t)
  const server = await disk.start()
  await server.call('POST', '/v1/rings', { name: 'ring', algorithms: ['RS256', 'ML-DSA-44'] })
  const kids = disk.sql('select kid from keys').map(({ kid }) => String(kid))
  const halves = await Promise.all(kids.map(disk.privateHalf))
  const roots = disk.sql('select kid from root_keys').map(({ kid }) => String(kid))
  const dataKeys = await Promise.all(roots.map(disk.dataKey))
  const [retiring = ''] = disk.kids('default', "state = 'active'")
  assert.equal((await rotate(server)).status, 200)
  await server.keyring.reseal.settled()
  assert.equal(disk.row(retiring)['private_sealed'], null)
  assert.equal(disk.row(retiring)['published'], 1n)

  const check = (bytes: Buffer) => {
    for (const half of halves) {
      assert.equal(bytes.includes(half), false)
      assert.equal(bytes.includes(half.subarray(-32)), false)
    }
    for (const key of dataKeys) assert.equal(bytes.includes(key), false)
    assert.equal(bytes.includes(KEK), false)
    assert.equal(bytes.includes(MANAGEMENT_TOKEN), false)
    assert.equal(server.log.join('').includes(MANAGEMENT_TOKEN), false)
  }
  check(disk.bytes())
  assert.ok(disk.bytes().includes(retiring), 'these are the bytes of the database')
  await disk.stop()
  check(disk.bytes())
})
