import assert from 'node:assert/strict'
import { test } from 'node:test'
import { system } from '../../src/context.ts'
import { accessApp, ROOT_TOKEN, START } from './setup.ts'

const USERS = '/v1/users'
const PASSWORD = 'correct horse battery'
const CREATED = new Date(Number(START / 1_000_000n)).toISOString()

test('a user is made, described, changed and deleted (product.md section 6)', async (t) => {
  const { ask, audit, access, logText } = await accessApp(t)
  const made = await ask(ROOT_TOKEN, 'POST', USERS, {
    ...{ name: 'ann', password: PASSWORD, role: 'cdn-admin', tenant: 'east', jwt: true },
  })
  const ann = {
    ...{ name: 'ann', role: 'cdn-admin', tenant: 'east', hasPassword: true, jwt: true },
    ...{ digest: false, createdAt: CREATED, updatedAt: CREATED },
  }
  assert.deepEqual([made.status, made.body], [201, ann])
  const shown = await ask(ROOT_TOKEN, 'GET', `${USERS}/ann`)
  assert.deepEqual([shown.status, shown.body], [200, ann])
  const bob = await ask(ROOT_TOKEN, 'POST', USERS, { name: 'bob', role: 'member', digest: false })
  assert.deepEqual([bob.body.hasPassword, bob.body.jwt, bob.body.tenant], [false, false, undefined])
  const listed = await ask(ROOT_TOKEN, 'GET', USERS)
  assert.deepEqual(listed.body, { users: [ann, bob.body] })
  const changed = await ask(ROOT_TOKEN, 'PATCH', `${USERS}/ann`, {
    ...{ role: 'member', tenant: null, jwt: false, password: 'another password' },
  })
  const { tenant: _, ...unbound } = ann
  assert.deepEqual(
    [changed.status, changed.body],
    [200, { ...unbound, role: 'member', jwt: false }],
  )
  await access.users.verifyPassword('ann', 'another password', '192.0.2.1')
  assert.equal((await ask(ROOT_TOKEN, 'DELETE', `${USERS}/ann`)).status, 204)
  assert.equal((await ask(ROOT_TOKEN, 'GET', `${USERS}/ann`)).body.code, 'user_not_found')
  assert.equal((await ask(ROOT_TOKEN, 'DELETE', `${USERS}/ann`)).body.code, 'user_not_found')
  assert.equal((await ask(ROOT_TOKEN, 'PATCH', `${USERS}/ann`, { jwt: true })).status, 404)

  const events = (await audit()).filter(({ type }) => type.startsWith('user.'))
  const annIs = { role: 'cdn-admin', tenant: 'east' }
  assert.deepEqual(
    events.map(({ type, subject, principal, detail }) => [
      ...[type, subject, principal],
      JSON.parse(detail),
    ]),
    [
      ['user.created', 'ann', 'token:management', { ...annIs, jwt: true, digest: false }],
      ['user.created', 'bob', 'token:management', { role: 'member', jwt: false, digest: false }],
      ['user.changed', 'ann', 'token:management', { role: 'member', jwt: false, digest: false }],
      ['user.password-changed', 'ann', 'token:management', { sessionsEnded: 0 }],
      ['user.deleted', 'ann', 'token:management', { sessionsEnded: 0 }],
    ],
  )
  for (const secret of [PASSWORD, 'another password', 'argon2id']) {
    assert.ok(!logText().includes(secret), secret)
  }
})

test('requests that are refused, by table', async (t) => {
  const { ask } = await accessApp(t)
  const fine = { name: 'x', role: 'member' }
  const table: [body: object, status: number, code: string, detail: RegExp][] = [
    [{ role: 'member' }, 422, 'invalid_request', /body\/name/],
    [{ name: 'x' }, 422, 'invalid_request', /body\/role/],
    [{ ...fine, name: 'a/b' }, 422, 'invalid_request', /body\/name/],
    [{ ...fine, name: 'a'.repeat(65) }, 422, 'invalid_request', /body\/name/],
    [{ ...fine, name: '__proto__' }, 422, 'invalid_request', /body\/name/],
    [{ ...fine, role: 'root' }, 422, 'invalid_request', /body\/role/],
    [{ ...fine, surplus: 1 }, 422, 'invalid_request', /surplus/],
    [{ ...fine, grants: ['sign@ring:payments'] }, 422, 'invalid_request', /grants/],
    [{ ...fine, password: 'elevenchars' }, 422, 'invalid_request', /at least 12/],
    // Twelve UTF-16 units, six characters.
    [{ ...fine, password: '☃️☃️☃️☃️☃' }, 422, 'invalid_request', /at least 12/],
    [{ ...fine, password: 'x'.repeat(257) }, 422, 'invalid_request', /at most 256/],
    [{ ...fine, password: 'x'.repeat(513) }, 422, 'invalid_request', /body\/password/],
    [{ ...fine, password: `${PASSWORD}\ud800` }, 422, 'invalid_request', /well-formed/],
    [{ ...fine, password: 12 }, 422, 'invalid_request', /body\/password/],
    [{ ...fine, tenant: 'north' }, 422, 'invalid_request', /no tenant north/],
    [{ ...fine, digest: true }, 422, 'invalid_request', /begin with a password/],
    [{ ...fine, jwt: 'yes' }, 422, 'invalid_request', /body\/jwt/],
    [{ ...fine, name: 'taken' }, 409, 'name_taken', /taken/],
  ]
  const taken = await ask(ROOT_TOKEN, 'POST', USERS, { ...fine, name: 'taken', password: PASSWORD })
  assert.equal(taken.status, 201)
  for (const [body, status, code, detail] of table) {
    const answer = await ask(ROOT_TOKEN, 'POST', USERS, body)
    const place = JSON.stringify(body).slice(0, 80)
    assert.deepEqual([answer.status, answer.body.code], [status, code], place)
    assert.match(answer.body.detail, detail, place)
    assert.ok(!answer.answer.body.includes('elevenchars'), 'no password is repeated')
  }
  const patches: [body: object, detail: RegExp][] = [
    [{}, /at least one/],
    [{ name: 'y' }, /name/],
    [{ role: 'root' }, /role/],
    [{ password: 'short' }, /at least 12/],
    [{ tenant: 'north' }, /no tenant north/],
    [{ digest: true }, /begin with a password/],
  ]
  for (const [body, detail] of patches) {
    const answer = await ask(ROOT_TOKEN, 'PATCH', `${USERS}/taken`, body)
    assert.equal(answer.body.code, 'invalid_request', JSON.stringify(body))
    assert.match(answer.body.detail, detail)
  }
  const { body } = await ask(ROOT_TOKEN, 'GET', USERS)
  assert.equal(body.users.length, 1, 'none of them was made or changed')
  assert.equal(body.users[0].updatedAt, CREATED)
  // More than any name and password needs is not even read.
  const large = await ask(ROOT_TOKEN, 'POST', USERS, { ...fine, password: 'x'.repeat(20_000) })
  assert.equal(large.status, 413)
})

test('everything needs access-manage, and a credential', async (t) => {
  const { ask, make } = await accessApp(t)
  const almost = await make({ name: 'almost', role: 'identity-admin', grants: ['settings'] })
  const calls = [
    ['POST', USERS],
    ['GET', USERS],
    ['GET', `${USERS}/x`],
    ['PATCH', `${USERS}/x`],
    ['DELETE', `${USERS}/x`],
    ['POST', '/v1/tenants'],
    ['GET', '/v1/tenants'],
    ['GET', '/v1/tenants/root'],
    ['PATCH', '/v1/tenants/east'],
    ['DELETE', '/v1/tenants/east'],
  ] as const
  for (const [method, url] of calls) {
    const [nobody, known] = [await ask('', method, url), await ask(almost, method, url)]
    assert.deepEqual([nobody.status, known.status], [401, 403], `${method} ${url}`)
  }
})

test('a new password ends every session; a deleted user has none', async (t) => {
  const { ask, access, audit } = await accessApp(t)
  await ask(ROOT_TOKEN, 'POST', USERS, { name: 'ann', password: PASSWORD, role: 'member' })
  const open = async (password: string) => {
    const { id, proof } = await access.users.verifyPassword('ann', password, '192.0.2.1')
    const one = await access.sessions.open(id, 'traffic-ops', 60_000, proof)
    const two = await access.sessions.open(id, 'console', 60_000, proof)
    return async () => [
      'principal' in (await access.sessions.find(one.id, 'traffic-ops')),
      'principal' in (await access.sessions.find(two.id, 'console')),
    ]
  }
  const first = await open(PASSWORD)
  assert.deepEqual(await first(), [true, true])
  await ask(ROOT_TOKEN, 'PATCH', `${USERS}/ann`, { role: 'cdn-admin' })
  assert.deepEqual(await first(), [true, true], 'another role is no other password')
  await ask(ROOT_TOKEN, 'PATCH', `${USERS}/ann`, { password: 'another password' })
  assert.deepEqual(await first(), [false, false])
  const second = await open('another password')
  await ask(ROOT_TOKEN, 'DELETE', `${USERS}/ann`)
  assert.deepEqual(await second(), [false, false])
  const ended = (await audit()).filter(({ detail }) => detail.includes('sessionsEnded'))
  assert.deepEqual(
    ended.map(({ type, detail }) => [type, JSON.parse(detail).sessionsEnded]),
    [
      ['user.password-changed', 2],
      ['user.deleted', 2],
    ],
  )
})

test('a user changes the own password with the current one, and nothing else', async (t) => {
  const { ask, access } = await accessApp(t)
  await ask(ROOT_TOKEN, 'POST', USERS, { name: 'ann', password: PASSWORD, role: 'member' })
  await ask(ROOT_TOKEN, 'POST', USERS, { name: 'bob', password: 'password of bob', role: 'member' })
  const change = (name: string, currentPassword: string, password: string) =>
    ask('', 'PUT', `${USERS}/${name}/password`, { currentPassword, password })
  const table: [name: string, current: string, next: string, status: number, code: string][] = [
    ['ann', 'password of bob', 'a new password', 401, 'credentials_wrong'],
    ['nobody', PASSWORD, 'a new password', 401, 'credentials_wrong'],
    ['ann', '', 'a new password', 401, 'credentials_wrong'],
    ['ann', PASSWORD, 'short', 422, 'invalid_request'],
  ]
  for (const [name, current, next, status, code] of table) {
    const answer = await change(name, current, next)
    assert.deepEqual([answer.status, answer.body.code], [status, code])
  }
  const { id, proof } = await access.users.verifyPassword('ann', PASSWORD, '192.0.2.1')
  const session = await access.sessions.open(id, 'traffic-ops', 60_000, proof)
  assert.equal((await change('ann', PASSWORD, 'a new password')).status, 204)
  assert.deepEqual(await access.sessions.find(session.id, 'traffic-ops'), { failure: 'unknown' })
  assert.equal((await change('ann', PASSWORD, 'yet another one')).status, 401)
  await access.users.verifyPassword('ann', 'a new password', '192.0.2.1')
  await access.users.verifyPassword('bob', 'password of bob', '192.0.2.1')
})

test('what ends, and what is no person, makes nobody that goes on', async (t) => {
  const { ask, make, access } = await accessApp(t)
  const brief = await make({ name: 'brief', role: 'admin', ttl: '1h' })
  const made = await ask(brief, 'POST', USERS, { name: 'eve', password: PASSWORD, role: 'member' })
  assert.deepEqual([made.status, made.body.code], [403, 'privilege_boundary'])
  await ask(ROOT_TOKEN, 'POST', USERS, { name: 'ann', password: PASSWORD, role: 'member' })
  for (const body of [{ password: 'another password' }, { jwt: true }]) {
    const answer = await ask(brief, 'PATCH', `${USERS}/ann`, body)
    assert.equal(answer.body.code, 'privilege_boundary')
  }
  const identity = { ...system, id: 'identity:0001' }
  const body = { name: 'eve', role: 'member', password: PASSWORD } as const
  await assert.rejects(access.users.create(identity, body), { code: 'privilege_boundary' })
  await assert.rejects(access.users.update(identity, 'ann', { password: PASSWORD }), {
    code: 'privilege_boundary',
  })
  assert.equal((await ask(brief, 'PATCH', `${USERS}/ann`, { role: 'no-access' })).status, 200)
})
