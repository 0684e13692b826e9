import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { inspect } from 'node:util'
import { createFailures } from '../../src/access/failures.ts'
import { createAccess } from '../../src/access/service.ts'
import { type Principal, system } from '../../src/context.ts'
import { isProblem, type ProblemCode } from '../../src/errors.ts'
import { addressKey } from '../../src/http/address.ts'
import { HOUR, MINUTE } from '../../src/time.ts'
import { accessApp, accessWorld, ROOT_TOKEN, START } from './setup.ts'

// Login tokens (URI signing contract, section 3): one use, for whoever may set the password of the user.

const PASSWORD = 'correct horse battery'
const ADDRESS = '192.0.2.1'
const SESSION = 60_000
const T0 = Number(START / 1_000_000n)

const fails = (code: ProblemCode) => (error: unknown) => isProblem(error, code)

/** Access whose limit is `count` failures a minute, with ann of `east` and bob of none. */
async function tokenWorld(t: TestContext, { count = 200, file = ':memory:' } = {}) {
  const world = await accessWorld(t, file)
  const limiter = createFailures({ count, per: MINUTE }, world.context.monotonic, addressKey)
  const access = createAccess(world.context, { limiter })
  t.after(access.close)
  const { users, loginTokens, sessions } = access
  await users.create(system, { name: 'ann', password: PASSWORD, role: 'member', tenant: 'east' })
  await users.create(system, { name: 'bob', role: 'cdn-admin' })
  const make = async (name = 'ann') => (await loginTokens.make(system, name)).token
  const logIn = (token: string, from = ADDRESS) =>
    loginTokens.logIn(token, from, 'traffic-ops', SESSION)
  const events = async (type: RegExp) => (await world.audit()).filter((row) => type.test(row.type))
  return { ...world, access, users, loginTokens, sessions, make, logIn, events }
}

test('a token lets its user in once, as a password would', async (t) => {
  const { access, loginTokens, sessions, logIn, events } = await tokenWorld(t)
  const { token, expiresAt } = await loginTokens.make(system, 'ann')
  assert.match(token, /^krl_[\w-]{43}$/)
  assert.equal(expiresAt, new Date(T0 + 3_600_000).toISOString(), 'an hour, by default')
  const opened = await logIn(token)
  assert.equal(opened.expiresAt, T0 + SESSION)
  const found = await sessions.find(opened.id, 'traffic-ops')
  assert.ok('principal' in found)
  assert.deepEqual([found.principal.id, found.principal.tenant], ['user:ann', 'east'])
  await assert.rejects(logIn(token), fails('login_token_wrong'))

  const { proof, id } = await access.users.verifyPassword('ann', PASSWORD, ADDRESS)
  await sessions.open(id, 'traffic-ops', SESSION, proof)
  const [byToken, byPassword] = await events(/^session\.opened$/)
  assert.ok(byToken && byPassword)
  const told = ({ type, subject, principal, detail }: typeof byToken) => [
    ...[type, subject, principal, detail],
  ]
  assert.deepEqual(told(byToken), told(byPassword), 'the same record')
  assert.deepEqual((await events(/^login/)).map(told), [
    ['login-token.created', 'ann', system.id, JSON.stringify({ expiresAt })],
    ['login-token.used', 'ann', 'user:ann', '{}'],
    [
      ...['login.denied', 'unknown user', 'anonymous'],
      JSON.stringify({ method: 'login-token', address: ADDRESS }),
    ],
  ])
})

test('of fifty uses at once one opens a session, and one only', async (t) => {
  const { make, logIn, events, sessions } = await tokenWorld(t)
  for (let round = 0; round < 3; round++) {
    const token = await make()
    const uses = await Promise.allSettled(Array.from({ length: 50 }, () => logIn(token)))
    const opened = uses.flatMap((use) => (use.status === 'fulfilled' ? [use.value] : []))
    assert.equal(opened.length, 1)
    for (const use of uses) {
      if (use.status === 'rejected') assert.ok(fails('login_token_wrong')(use.reason), use.reason)
    }
    assert.ok('principal' in (await sessions.find(opened[0]?.id ?? '', 'traffic-ops')))
    assert.equal((await events(/^session\.opened$/)).length, round + 1)
    assert.equal((await events(/^login-token\.used$/)).length, round + 1)
  }
})

test('a token ends at its time to the millisecond, and is then forgotten', async (t) => {
  const { access, loginTokens, make, logIn, advance, store } = await tokenWorld(t)
  const left = (token: string) =>
    store.read.loginTokens.byHash(hash('sha256', token, 'buffer')).then((row) => row?.expiresAt)
  const { token } = await loginTokens.make(system, 'ann', 10n * MINUTE)
  advance(599_999)
  await logIn(token)
  const late = (await loginTokens.make(system, 'ann', 10n * MINUTE)).token
  const other = await make('bob')
  advance(600_000)
  await assert.rejects(logIn(late), fails('login_token_wrong'))
  await access.prune()
  assert.equal(await left(late), T0 + 599_999 + 600_000, 'not before it has ended')
  advance(1)
  await access.prune()
  assert.equal(await left(late), undefined)
  assert.equal(typeof (await left(other)), 'number')
  await logIn(other)
})

test('what was never a token lets nobody in, whatever it is', async (t) => {
  const { make, logIn, users, store } = await tokenWorld(t)
  const token = await make()
  const stored = hash('sha256', token, 'buffer')
  const row = await store.read.users.byName('ann')
  for (const wrong of [
    ...['', 'krl_', token.slice(0, -1), `${token}A`, `${token} `, ` ${token}`, `${token}\n`],
    ...[token.slice(4), token.replace('krl_', 'krd_'), token.toUpperCase(), PASSWORD, ROOT_TOKEN],
    ...[`krl_${'A'.repeat(43)}`, `krl_${stored.toString('base64url')}`, row?.id ?? ''],
    ...['ann', '__proto__', 'x'.repeat(1_000_000)],
  ]) {
    await assert.rejects(logIn(wrong), fails('login_token_wrong'), wrong.slice(0, 60))
  }
  await assert.rejects(users.verifyPassword('ann', token, ADDRESS), fails('credentials_wrong'))
  await logIn(token)
})

test('a new token voids the one before, and no other user’s', async (t) => {
  const { make, logIn } = await tokenWorld(t)
  const [first, his, second] = [await make(), await make('bob'), await make()]
  await assert.rejects(logIn(first), fails('login_token_wrong'))
  await logIn(second)
  await logIn(his)
})

test('another password, role or tenant, and the end of the user void it; nothing else does', async (t) => {
  const world = await tokenWorld(t)
  const { users, make, logIn } = world
  const change = (body: object) => users.update(system, 'ann', body)
  const table: [what: string, isVoid: boolean, act: () => Promise<unknown>][] = [
    ['a password', true, () => change({ password: 'another long password' })],
    [
      'the own new password',
      true,
      async () => {
        const account = await users.verifyPassword('ann', 'another long password', ADDRESS)
        await users.changeOwnPassword(account, 'yet another password', ADDRESS)
      },
    ],
    ['a password and the same role', true, () => change({ password: PASSWORD, role: 'member' })],
    ['a role', true, () => change({ role: 'cdn-admin' })],
    ['a tenant', true, () => change({ tenant: 'shop' })],
    ['no tenant', true, () => change({ tenant: null })],
    ['the admin of the settings', true, () => users.ensureAdmin('ann', 'of the environment')],
    ['the same role', false, () => change({ role: 'cdn-admin' })],
    ['the same tenant', false, () => change({ tenant: null })],
    ['another flag', false, () => change({ jwt: true })],
    ['a change of somebody else', false, () => users.update(system, 'bob', { role: 'member' })],
    ['the end of somebody else', false, () => users.delete(system, 'bob')],
  ]
  for (const [what, isVoid, act] of table) {
    const token = await make()
    await act()
    if (isVoid) await assert.rejects(logIn(token), fails('login_token_wrong'), what)
    else await logIn(token)
  }
  const token = await make()
  await users.delete(system, 'ann')
  await users.create(system, { name: 'ann', role: 'member' })
  await assert.rejects(logIn(token), fails('login_token_wrong'), 'a new user of that name')
})

test('a change that is refused, or rolled back, voids nothing', async (t) => {
  const { users, store, make, logIn } = await tokenWorld(t)
  const token = await make()
  await assert.rejects(users.update(system, 'ann', { role: 'member', tenant: 'nowhere' }))
  const id = (await store.read.users.byName('ann'))?.id ?? ''
  await assert.rejects(
    store.transaction(async (tx) => {
      await tx.loginTokens.deleteOfUser(id)
      throw new Error('taken back')
    }),
  )
  await logIn(token)
})

test('of a login and a new password at once nobody is left in', async (t) => {
  const { users, sessions, make, logIn } = await tokenWorld(t)
  for (let round = 0; round < 5; round++) {
    const token = await make()
    const [login] = await Promise.allSettled([
      logIn(token),
      users.update(system, 'ann', { password: `password of round ${round}` }),
    ])
    // Whichever came first: after the change nobody is in.
    if (login.status === 'fulfilled') {
      const found = await sessions.find(login.value.id, 'traffic-ops')
      assert.deepEqual(found, { failure: 'unknown' })
    } else assert.ok(fails('login_token_wrong')(login.reason))
  }
})

test('a role that may not log in does not, and its token is left alone', async (t) => {
  const { users, make, logIn, events } = await tokenWorld(t)
  await users.create(system, { name: 'nil', role: 'no-access' })
  const token = await make('nil')
  await assert.rejects(logIn(token), fails('login_token_wrong'))
  assert.deepEqual(await events(/^(?:session\.opened|login-token\.used)$/), [])
})

test('guesses are counted by address, and over the limit nothing is used up', async (t) => {
  const { users, make, logIn, advance, events } = await tokenWorld(t, { count: 5 })
  const token = await make()
  for (let guess = 0; guess < 5; guess++) {
    await assert.rejects(logIn(`krl_${String(guess).repeat(43)}`), fails('login_token_wrong'))
  }
  await assert.rejects(logIn(token), fails('rate_limited'))
  // As one kind of guess: passwords of this address are refused, too, and those of others are not.
  await assert.rejects(users.verifyPassword('ann', PASSWORD, ADDRESS), fails('rate_limited'))
  await users.verifyPassword('ann', PASSWORD, '198.51.100.1')
  advance(60_000)
  await logIn(token)

  const flood = await Promise.allSettled(
    Array.from({ length: 30 }, () => logIn(`krl_${'B'.repeat(43)}`)),
  )
  const codes = flood.map((one) =>
    one.status === 'rejected' && isProblem(one.reason) ? one.reason.code : one.status,
  )
  assert.equal(codes.filter((code) => code === 'login_token_wrong').length, 5)
  assert.equal(codes.filter((code) => code === 'rate_limited').length, 25)
  assert.equal((await events(/^login\.denied$/)).length, 10, 'the others leave no record')
})

test('tokens that were right are counted nowhere', async (t) => {
  const { make, logIn } = await tokenWorld(t, { count: 3 })
  for (let time = 0; time < 10; time++) await logIn(await make())
})

test('neither database, log nor record holds what lets somebody in', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'keyringd-login-tokens-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'keyringd.db')
  const { make, logIn, audit, context, logText } = await tokenWorld(t, { file })
  const tokens = [await make('bob'), await make()]
  await logIn(tokens[1] ?? '')
  context.log.info({ note: `a line with ${tokens[0]}` }, 'as somebody might log it')
  const kept = readdirSync(folder).map((name) => readFileSync(join(folder, name), 'latin1'))
  assert.ok(
    kept.some((text) =>
      text.includes(hash('sha256', tokens[0] ?? '', 'buffer').toString('latin1')),
    ),
    'its hash is where it was looked for',
  )
  const places = [...kept, logText(), inspect(await audit(), { depth: 9 })]
  for (const token of tokens) {
    const bytes = Buffer.from(token.slice(4), 'base64url').toString('latin1')
    for (const secret of [token, token.slice(4), bytes]) {
      assert.ok(places.every((text) => !text.includes(secret)))
    }
  }
})

test('whoever may set the password may make one, and nobody else', async (t) => {
  const { ask, make, access } = await accessApp(t)
  const USERS = '/v1/users'
  for (const [name, role, tenant] of [
    ['boss', 'admin', undefined],
    ['sam', 'member', 'shop'],
    ['wes', 'member', 'west'],
    ['chief', 'admin', 'shop'],
  ] as const) {
    await ask(ROOT_TOKEN, 'POST', USERS, { name, role, ...(tenant && { tenant }) })
  }
  const member = { role: 'member', grants: ['access-manage'] }
  const callers = {
    ...{ nobody: '', root: ROOT_TOKEN },
    manager: await make({ name: 'manager', grants: ['access-manage'] }),
    member: await make({ name: 'of-east', tenant: 'east', ...member }),
    east: await make({ name: 'east', role: 'admin', tenant: 'east' }),
    almost: await make({ name: 'almost', role: 'identity-admin', grants: ['settings'] }),
    brief: await make({ name: 'brief', role: 'admin', ttl: '1h' }),
  }
  const table: [caller: keyof typeof callers, user: string, status: number][] = [
    ['nobody', 'sam', 401],
    ['almost', 'sam', 403],
    ['root', 'boss', 201],
    ['root', 'nobody', 404],
    ['manager', 'boss', 403],
    ['manager', 'sam', 403],
    ['member', 'sam', 201],
    ['member', 'chief', 403],
    ['member', 'wes', 404],
    ['member', 'boss', 404],
    ['east', 'chief', 201],
    ['east', 'wes', 404],
    ['east', 'boss', 404],
    ['brief', 'sam', 403],
  ]
  for (const [caller, user, status] of table) {
    const place = `${caller} for ${user}`
    const url = `${USERS}/${user}`
    const answer = await ask(callers[caller], 'POST', `${url}/login-token`)
    assert.equal(answer.status, status, place)
    // The same answer as to who sets the password.
    const patch = await ask(callers[caller], 'PATCH', url, { password: PASSWORD })
    assert.equal(patch.status, status === 201 ? 200 : status, place)
    assert.equal(patch.body.code, answer.body.code, place)
  }
  const identity: Principal = { ...system, id: 'identity:0001' }
  await assert.rejects(access.loginTokens.make(identity, 'sam'), fails('privilege_boundary'))
})

test('a ttl is a duration of a day at most, and the body may be missing', async (t) => {
  const { ask } = await accessApp(t)
  await ask(ROOT_TOKEN, 'POST', '/v1/users', { name: 'ann', role: 'member' })
  const made = (body?: object) => ask(ROOT_TOKEN, 'POST', '/v1/users/ann/login-token', body)
  const table: [body: object | undefined, hours: number | undefined][] = [
    [undefined, 1],
    [{}, 1],
    [{ ttl: '24h' }, 24],
    [{ ttl: 7200 }, 2],
    [{ ttl: '24h1s' }, undefined],
    [{ ttl: 86_401 }, undefined],
    [{ ttl: '0s' }, undefined],
    [{ ttl: -1 }, undefined],
    [{ ttl: 'tomorrow' }, undefined],
    [{ ttl: null }, undefined],
    [{ more: 1 }, undefined],
    [[], undefined],
  ]
  for (const [body, hours] of table) {
    const answer = await made(body)
    const place = JSON.stringify(body)
    assert.equal(answer.status, hours === undefined ? 422 : 201, place)
    if (hours === undefined) assert.equal(answer.body.code, 'invalid_request', place)
    else {
      assert.deepEqual(Object.keys(answer.body), ['token', 'expiresAt'])
      const at = T0 + Number(HOUR / 1_000_000n) * hours
      assert.equal(answer.body.expiresAt, new Date(at).toISOString(), place)
    }
  }
})
