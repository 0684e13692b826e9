import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isProblem } from '../../src/errors.ts'
import { countingIds, memoryStore, testClock, testServer } from '../server.ts'

const settings = { ADMIN_USER: 'root-admin', ADMIN_PASSWORD: 'correct horse battery' }

test('ADMIN_USER is made at the start, and follows ADMIN_PASSWORD (product.md section 4)', async (t) => {
  const clock = testClock()
  const store = await memoryStore(clock, countingIds(5000))
  t.after(() => store.close())
  const verdict = async (server: Awaited<ReturnType<typeof testServer>>, password: string) => {
    try {
      return (await server.access.users.verifyPassword('root-admin', password, '192.0.2.1')).role
    } catch (error) {
      return isProblem(error) ? error.code : error
    }
  }
  const first = await testServer(t, { store, clock, settings })
  assert.equal(await verdict(first, settings.ADMIN_PASSWORD), 'admin')
  const shown = await first.call('GET', '/v1/users/root-admin')
  assert.deepEqual([shown.json.role, shown.json.tenant], ['admin', undefined])
  const { id } = await first.access.users.verifyPassword(
    ...(['root-admin', settings.ADMIN_PASSWORD, '192.0.2.1'] as const),
  )
  const session = await first.access.sessions.open(id, 'console', 60_000)
  assert.ok('principal' in (await first.access.sessions.find(session.id, 'console')))

  const again = await testServer(t, { store, clock, settings })
  assert.equal(await verdict(again, settings.ADMIN_PASSWORD), 'admin')
  assert.ok('principal' in (await again.access.sessions.find(session.id, 'console')), 'kept')

  const other = { ...settings, ADMIN_PASSWORD: 'another password' }
  const changed = await testServer(t, { store, clock, settings: other })
  assert.equal(await verdict(changed, 'another password'), 'admin')
  assert.equal(await verdict(changed, settings.ADMIN_PASSWORD), 'credentials_wrong')
  assert.deepEqual(await changed.access.sessions.find(session.id, 'console'), {
    failure: 'unknown',
  })

  // Who took the role away meant it; only the password is the settings'.
  await changed.call('PATCH', '/v1/users/root-admin', { role: 'member' })
  const demoted = await testServer(t, { store, clock, settings })
  assert.equal(await verdict(demoted, settings.ADMIN_PASSWORD), 'member')
  assert.ok(demoted.log.some((line) => line.includes('its role stays')))

  await demoted.call('DELETE', '/v1/users/root-admin')
  const anew = await testServer(t, { store, clock, settings })
  assert.equal(await verdict(anew, settings.ADMIN_PASSWORD), 'admin')
  const text = [first, again, changed, demoted, anew].flatMap(({ log }) => log).join('')
  assert.ok(!text.includes(settings.ADMIN_PASSWORD) && !text.includes('another password'))

  const without = await testServer(t, { store, clock })
  assert.equal(await verdict(without, settings.ADMIN_PASSWORD), 'admin', 'it stays')
  const events = (await store.read.audit.list(0n, 10_000)).filter(({ type }) =>
    type.startsWith('user.'),
  )
  assert.deepEqual(
    events.map(({ type, principal }) => [type, principal]),
    [
      ['user.created', 'system'],
      ['user.password-changed', 'system'],
      ['user.changed', 'token:management'],
      ['user.password-changed', 'system'],
      ['user.deleted', 'token:management'],
      ['user.created', 'system'],
    ],
  )
})

test('MIN_PASSWORD_LENGTH is asked of new passwords', async (t) => {
  const server = await testServer(t, { settings: { MIN_PASSWORD_LENGTH: '20' } })
  const make = (password: string) =>
    server.call('POST', '/v1/users', { name: 'ann', role: 'member', password })
  const short = await make('x'.repeat(19))
  assert.deepEqual([short.status, /at least 20/.test(short.json.detail)], [422, true])
  assert.equal((await make('x'.repeat(20))).status, 201)
})
