import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { inspect } from 'node:util'
import { type Principal, system } from '../../src/context.ts'
import { isProblem } from '../../src/errors.ts'
import { accessWorld, START } from './setup.ts'

// Sessions (product.md section 4; URI signing contract, section 3): only their SHA-256 is stored; logout, a password
// change and a user's deletion end them.

const HOUR = 3_600_000
const T0 = Number(START / 1_000_000n)
const PASSWORD = 'correct horse battery'

async function sessionWorld(t: TestContext, file?: string) {
  const world = await accessWorld(t, file)
  const { access } = world
  const makeUser = async (name: string, over: object = {}) => {
    await access.users.create(system, { name, role: 'cdn-admin', tenant: 'east', ...over } as never)
    const row = await world.store.read.users.byName(name)
    assert.ok(row)
    return row
  }
  const ann = await makeUser('ann', { password: PASSWORD })
  const events = async (prefix: string) =>
    (await world.audit()).filter(({ type }) => type.startsWith(prefix))
  return { ...world, ...access, makeUser, ann, events }
}

const principalIn = (found: { principal: Principal } | { failure: string }) => {
  assert.ok('principal' in found, JSON.stringify(found))
  return found.principal
}

test('a session is opened, found, lengthened and ended', async (t) => {
  const { sessions, ann, advance, events } = await sessionWorld(t)
  const { id, expiresAt } = await sessions.open(ann.id, 'traffic-ops', 6 * HOUR)
  assert.match(id, /^[\w-]{43}$/)
  assert.equal(expiresAt, T0 + 6 * HOUR)
  const found = await sessions.find(id, 'traffic-ops')
  const principal = principalIn(found)
  assert.deepEqual([principal.id, principal.tenant], ['user:ann', 'east'])
  assert.equal(principal.may('DS-SECURITY-KEY:READ'), true)
  assert.equal(principal.may('access-manage'), false)
  assert.deepEqual(found, { principal, userId: ann.id, expiresAt })

  await sessions.extend(id, 'traffic-ops', HOUR)
  assert.equal('expiresAt' in found && found.expiresAt, expiresAt, 'never shorter')
  advance(5.5 * HOUR)
  await sessions.extend(id, 'traffic-ops', HOUR)
  advance(0.9 * HOUR)
  assert.equal(principalIn(await sessions.find(id, 'traffic-ops')).id, 'user:ann')

  await sessions.end(id, 'traffic-ops')
  assert.deepEqual(await sessions.find(id, 'traffic-ops'), { failure: 'unknown' })
  await sessions.end(id, 'traffic-ops')
  await sessions.extend(id, 'traffic-ops', HOUR)
  assert.deepEqual(await sessions.find(id, 'traffic-ops'), { failure: 'unknown' })
  assert.deepEqual(
    (await events('session.')).map(({ type, subject, principal }) => [type, subject, principal]),
    [
      ['session.opened', 'ann', 'user:ann'],
      ['session.ended', 'ann', 'user:ann'],
    ],
  )
})

test('a session ends at its time to the millisecond, and what has ended stays so', async (t) => {
  const { sessions, ann, advance, prune } = await sessionWorld(t)
  const { id } = await sessions.open(ann.id, 'traffic-ops', 1000)
  advance(999)
  principalIn(await sessions.find(id, 'traffic-ops'))
  advance(1)
  assert.deepEqual(await sessions.find(id, 'traffic-ops'), { failure: 'expired' })
  await sessions.extend(id, 'traffic-ops', HOUR)
  assert.deepEqual(await sessions.find(id, 'traffic-ops'), { failure: 'expired' })
  advance(1)
  await prune()
  assert.deepEqual(await sessions.find(id, 'traffic-ops'), { failure: 'unknown' })
})

test('an id of another kind, or of no session at all, opens nothing', async (t) => {
  const { sessions, ann, store } = await sessionWorld(t)
  const { id } = await sessions.open(ann.id, 'traffic-ops', HOUR)
  const unknown = { failure: 'unknown' }
  assert.deepEqual(await sessions.find(id, 'console'), unknown)
  await sessions.end(id, 'console')
  const hashed = hash('sha256', id, 'buffer')
  assert.ok(await store.read.sessions.byHash(hashed, 'traffic-ops'))
  for (const wrong of [
    ...['', id.slice(1), `${id}A`, `${id} `, `${id.slice(0, -1)}=`, 'x'.repeat(1_000_000)],
    ...[hashed.toString('base64url'), hashed.toString('hex'), `${id}\n`, '__proto__'],
  ]) {
    assert.deepEqual(await sessions.find(wrong, 'traffic-ops'), unknown)
    await sessions.end(wrong, 'traffic-ops')
    await sessions.extend(wrong, 'traffic-ops', HOUR)
  }
  principalIn(await sessions.find(id, 'traffic-ops'))
})

test('neither database, log nor record holds what opens a session', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'keyringd-sessions-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const { sessions, ann, audit, logText } = await sessionWorld(t, join(folder, 'keyringd.db'))
  const { id } = await sessions.open(ann.id, 'traffic-ops', HOUR)
  await sessions.extend(id, 'traffic-ops', 2 * HOUR)
  const kept = readdirSync(folder).map((file) => readFileSync(join(folder, file), 'latin1'))
  const places = [...kept, logText(), inspect(await audit(), { depth: 9 })]
  for (const secret of [id, Buffer.from(id, 'base64url').toString('latin1'), PASSWORD]) {
    assert.ok(places.every((text) => !text.includes(secret)))
  }
})

test('a new password ends every session in the same commit; that of others stay', async (t) => {
  const { sessions, users, ann, makeUser, events } = await sessionWorld(t)
  const bob = await makeUser('bob')
  const mine = await Promise.all(
    (['traffic-ops', 'console'] as const).map((kind) => sessions.open(ann.id, kind, HOUR)),
  )
  const his = await sessions.open(bob.id, 'traffic-ops', HOUR)
  await users.update(system, 'ann', { password: 'another long password' })
  for (const [at, kind] of (['traffic-ops', 'console'] as const).entries()) {
    assert.deepEqual(await sessions.find(mine[at]?.id ?? '', kind), { failure: 'unknown' })
  }
  principalIn(await sessions.find(his.id, 'traffic-ops'))
  const [changed] = await events('user.password-changed')
  assert.equal(changed?.subject, 'ann')
  assert.deepEqual(JSON.parse(changed?.detail ?? ''), { sessionsEnded: 2 })
  assert.doesNotMatch(inspect(await events(''), { depth: 9 }), /argon2|another long/)
})

test('a login that a password change overtakes opens no session', async (t) => {
  const { sessions, users, ann } = await sessionWorld(t)
  const account = await users.verifyPassword('ann', PASSWORD, '192.0.2.1')
  await users.update(system, 'ann', { password: 'another long password' })
  await assert.rejects(sessions.open(account.id, 'traffic-ops', HOUR, account.proof), (error) =>
    isProblem(error, 'credentials_wrong'),
  )
  const again = await users.verifyPassword('ann', 'another long password', '192.0.2.1')
  const { id } = await sessions.open(again.id, 'traffic-ops', HOUR, again.proof)
  assert.equal(principalIn(await sessions.find(id, 'traffic-ops')).id, 'user:ann')
  assert.equal(account.id, ann.id)
})

test('a session of a user that is gone opens nothing, nor does one of a new user of that name', async (t) => {
  const { sessions, users, ann, makeUser } = await sessionWorld(t)
  const account = await users.verifyPassword('ann', PASSWORD, '192.0.2.1')
  const { id } = await sessions.open(ann.id, 'traffic-ops', HOUR)
  principalIn(await sessions.find(id, 'traffic-ops'))
  await users.delete(system, 'ann')
  assert.deepEqual(await sessions.find(id, 'traffic-ops'), { failure: 'unknown' })
  assert.equal(await users.principalOf(ann.id), undefined)
  const next = await makeUser('ann', { password: PASSWORD })
  assert.notEqual(next.id, ann.id)
  assert.deepEqual(await sessions.find(id, 'traffic-ops'), { failure: 'unknown' })
  for (const proof of [account.proof, undefined]) {
    await assert.rejects(sessions.open(account.id, 'traffic-ops', HOUR, proof), (error) =>
      isProblem(error, 'credentials_wrong'),
    )
  }
})

test('what a session may is what its user may now: role, tenant, and where the tenant hangs', async (t) => {
  const { sessions, users, ann, tenants } = await sessionWorld(t)
  const { id } = await sessions.open(ann.id, 'traffic-ops', HOUR)
  const now = async () => principalIn(await sessions.find(id, 'traffic-ops'))
  assert.equal((await now()).may('DS-SECURITY-KEY:DELETE'), true)
  await users.update(system, 'ann', { role: 'member' })
  assert.equal((await now()).may('DS-SECURITY-KEY:DELETE'), false)
  await users.update(system, 'ann', { role: 'admin', tenant: 'shop' })
  const bound = await now()
  assert.deepEqual([bound.tenant, bound.may('access-manage')], ['shop', true])
  await tenants.create(bound, { name: 'stall' })
  assert.equal((await tenants.list(await now())).length, 2)
  await users.update(system, 'ann', { role: 'no-access', tenant: null })
  const nobody = await now()
  assert.deepEqual([nobody.tenant, nobody.may('DELIVERY-SERVICE:READ')], [undefined, false])
})

test('a user has so many sessions at most, of which the oldest end', async (t) => {
  const { sessions, ann, makeUser, advance, store } = await sessionWorld(t)
  const bob = await makeUser('bob')
  const his = await sessions.open(bob.id, 'traffic-ops', HOUR)
  const other = await sessions.open(ann.id, 'console', HOUR)
  const ids: string[] = []
  for (let i = 0; i < 103; i++) {
    ids.push((await sessions.open(ann.id, 'traffic-ops', HOUR)).id)
    advance(1)
  }
  const alive = await Promise.all(
    ids.map(async (id) => 'principal' in (await sessions.find(id, 'traffic-ops'))),
  )
  assert.deepEqual(alive.slice(0, 3), [false, false, false])
  assert.ok(alive.slice(3).every((one) => one))
  principalIn(await sessions.find(his.id, 'traffic-ops'))
  principalIn(await sessions.find(other.id, 'console'))
  // Two thousand that ended go in one look.
  await store.transaction(async (tx) => {
    for (let i = 0; i < 2001; i++) {
      const idHash = hash('sha256', String(i), 'buffer')
      const row = { userId: bob.id, kind: 'console', createdAt: 1, expiresAt: 2 } as const
      await tx.sessions.insert({ idHash, ...row })
    }
  })
  await sessions.prune()
  const last = hash('sha256', '2000', 'buffer')
  assert.equal(await store.read.sessions.byHash(last, 'console'), undefined)
  principalIn(await sessions.find(his.id, 'traffic-ops'))
})
