import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { test } from 'node:test'
import { createFailures } from '../../src/access/failures.ts'
import { createAccess } from '../../src/access/service.ts'
import { type Principal, system } from '../../src/context.ts'
import { isProblem } from '../../src/errors.ts'
import { addressKey } from '../../src/http/address.ts'
import { MINUTE } from '../../src/time.ts'
import { accessWorld } from './setup.ts'

const PASSWORD = 'correct horse battery'
const ADDRESS = '192.0.2.1'
const fails = (code: 'credentials_wrong' | 'rate_limited' | 'overloaded') => (error: unknown) =>
  isProblem(error, code)

/** Access whose limit is low, with the user `ann`. */
async function loginWorld(t: TestContext, count = 5) {
  const world = await accessWorld(t)
  const limiter = createFailures({ count, per: MINUTE }, world.context.monotonic, addressKey)
  const access = createAccess(world.context, { limiter })
  t.after(access.close)
  await access.users.create(system, { name: 'ann', password: PASSWORD, role: 'cdn-admin' })
  await access.users.create(system, { name: 'jot', role: 'member', jwt: true })
  const { verifyPassword } = access.users
  return { ...world, access, verifyPassword }
}

test('the right password is an account; everything else is the same refusal', async (t) => {
  const { verifyPassword, logText, audit } = await loginWorld(t, 100)
  const account = await verifyPassword('ann', PASSWORD, ADDRESS)
  assert.deepEqual([account.name, account.role], ['ann', 'cdn-admin'])
  const table: [name: string, password: string][] = [
    ['ann', `${PASSWORD} `],
    ['ann', ''],
    ['Ann', PASSWORD],
    ['nobody', PASSWORD],
    ['jot', PASSWORD],
    ['jot', ''],
    ['', ''],
    ['__proto__', PASSWORD],
    ['x'.repeat(100_000), PASSWORD],
    ["ann' --", PASSWORD],
  ]
  const words = new Set<string>()
  for (const [name, password] of table) {
    await assert.rejects(verifyPassword(name, password, ADDRESS), (error) => {
      if (isProblem(error, 'credentials_wrong')) words.add(`${error.detail} ${error.status}`)
      return fails('credentials_wrong')(error)
    })
  }
  assert.equal(words.size, 1)
  // People type passwords where a name is asked for: neither is repeated anywhere.
  await assert.rejects(verifyPassword('hunter2-hunter2', 'x', ADDRESS))
  const events = await audit()
  const denied = events.filter(({ type }) => type === 'login.denied')
  assert.equal(denied.length, table.length + 1)
  assert.deepEqual(
    new Set(denied.map(({ subject }) => subject)),
    new Set(['ann', 'jot', 'unknown user']),
  )
  const record = JSON.stringify(events, (_, value) =>
    typeof value === 'bigint' ? `${value}` : value,
  )
  for (const secret of [PASSWORD, 'hunter2', '$argon2id']) {
    assert.ok(!record.includes(secret) && !logText().includes(secret), secret)
  }
})

test('a success is remembered for a minute, and forgotten with the password', async (t) => {
  const { access, verifyPassword, advance } = await loginWorld(t)
  const time = async () => {
    const before = process.cpuUsage()
    await verifyPassword('ann', PASSWORD, ADDRESS)
    const { user, system: kernel } = process.cpuUsage(before)
    return user + kernel
  }
  const first = await time()
  const again = Math.min(await time(), await time(), await time())
  assert.ok(again < first / 2, `${again} µs after ${first} µs`)
  await assert.rejects(verifyPassword('ann', `${PASSWORD}.`, ADDRESS), fails('credentials_wrong'))
  advance(60_000)
  const later = await time()
  assert.ok(later > first / 3, `${later} µs a minute later`)
  await access.users.update(system, 'ann', { password: 'another password' })
  await assert.rejects(verifyPassword('ann', PASSWORD, ADDRESS), fails('credentials_wrong'))
  await verifyPassword('ann', 'another password', ADDRESS)
  await access.users.delete(system, 'ann')
  await assert.rejects(
    verifyPassword('ann', 'another password', ADDRESS),
    fails('credentials_wrong'),
  )
})

test('failures are counted by address: over the limit nothing is checked, not even what is right', async (t) => {
  const { verifyPassword, advance } = await loginWorld(t)
  for (let n = 0; n < 5; n++) {
    await assert.rejects(verifyPassword(`guess-${n}`, 'x', ADDRESS), fails('credentials_wrong'))
  }
  await assert.rejects(verifyPassword('ann', PASSWORD, ADDRESS), fails('rate_limited'))
  // Who shares the account, and not the address, is not locked out.
  await verifyPassword('ann', PASSWORD, '198.51.100.1')
  advance(60_000)
  await verifyPassword('ann', PASSWORD, ADDRESS)
})

test('guesses that arrive at once are no more than those one after the other', async (t) => {
  const { verifyPassword } = await loginWorld(t)
  const guesses = Array.from({ length: 16 }, (_, n) => verifyPassword('ann', `guess ${n}`, ADDRESS))
  const results = await Promise.allSettled(guesses)
  const codes = results.map((one) =>
    one.status === 'rejected' && isProblem(one.reason) ? one.reason.code : one.status,
  )
  const count = (code: string) => codes.filter((one) => one === code).length
  assert.equal(count('credentials_wrong'), 5)
  assert.equal(count('rate_limited'), 11)
})

test('a flood is refused and leaves others a place in the queue', async (t) => {
  const { verifyPassword } = await loginWorld(t, 1000)
  const flood = Array.from({ length: 60 }, (_, n) => verifyPassword('ann', `guess ${n}`, ADDRESS))
  const other = verifyPassword('ann', PASSWORD, '198.51.100.1')
  const results = await Promise.allSettled(flood)
  const overloaded = results.filter(
    (one) => one.status === 'rejected' && isProblem(one.reason, 'overloaded'),
  )
  assert.equal(overloaded.length, 60 - 16)
  assert.equal((await other).name, 'ann')
})

test('the limit does not tell whether a name exists', async (t) => {
  const outcome = async (name: string) => {
    const { verifyPassword } = await loginWorld(t, 3)
    const codes: string[] = []
    // From two addresses: the account is over its limit, the second address is not.
    for (const address of [ADDRESS, ADDRESS, ADDRESS, '198.51.100.1', '198.51.100.1']) {
      await verifyPassword(name, 'wrong', address).catch((error: unknown) => {
        if (isProblem(error)) codes.push(error.code)
      })
    }
    return codes
  }
  assert.deepEqual(await outcome('ann'), await outcome('nobody'))
})

test('a password that is changed while the old one is checked opens no session', async (t) => {
  const { access, verifyPassword, store } = await loginWorld(t)
  // Between the check and the session.
  const account = await verifyPassword('ann', PASSWORD, ADDRESS)
  await access.users.update(system, 'ann', { password: 'another password' })
  await assert.rejects(
    access.sessions.open(account.id, 'traffic-ops', 60_000, account.proof),
    fails('credentials_wrong'),
  )
  // During the check, whoever is first.
  const login = async () => {
    const found = await verifyPassword('ann', 'another password', ADDRESS)
    return access.sessions.open(found.id, 'traffic-ops', 60_000, found.proof)
  }
  const logins = Promise.allSettled([login(), login(), login()])
  await access.users.update(system, 'ann', { password: 'a third password' })
  for (const one of await logins) {
    if (one.status === 'rejected') continue
    const found = await access.sessions.find(one.value.id, 'traffic-ops')
    assert.deepEqual(found, { failure: 'unknown' })
  }
  await access.users.delete(system, 'ann')
  await assert.rejects(
    access.sessions.open(account.id, 'console', 60_000),
    fails('credentials_wrong'),
  )
  assert.equal(await store.read.users.byName('ann'), undefined)
})

test('a user as a caller has the rights of the role, in the tenant as it is now', async (t) => {
  const { access, verifyPassword } = await loginWorld(t)
  const { id } = await verifyPassword('ann', PASSWORD, ADDRESS)
  const rights = (principal: Principal | undefined) =>
    principal && [
      principal.id,
      principal.tenant,
      principal.may('DS-SECURITY-KEY:READ', { deliveryService: 'demo' }),
      principal.may('access-manage'),
    ]
  assert.deepEqual(rights(await access.users.principalOf(id)), ['user:ann', undefined, true, false])
  await access.users.update(system, 'ann', { tenant: 'shop' })
  assert.deepEqual(rights(await access.users.principalOf(id)), ['user:ann', 'shop', true, false])
  await access.users.update(system, 'ann', { role: 'no-access', tenant: 'west' })
  assert.deepEqual(rights(await access.users.principalOf(id)), ['user:ann', 'west', false, false])
  await access.users.delete(system, 'ann')
  assert.equal(await access.users.principalOf(id), undefined)
  // The same name again is somebody else.
  await access.users.create(system, { name: 'ann', role: 'admin' })
  assert.equal(await access.users.principalOf(id), undefined)
})
