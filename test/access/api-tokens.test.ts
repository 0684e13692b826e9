import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { isProblem } from '../../src/errors.ts'
import { accessApp, accessWorld, ROOT_TOKEN, START } from './setup.ts'

const CREATED = new Date(Number(START / 1_000_000n)).toISOString()

test('a token is made, shown once, described, used and deleted', async (t) => {
  const { call, audit } = await accessApp(t)
  const made = await call(ROOT_TOKEN, 'POST', '', {
    ...{ name: 'ci', role: 'operator', tenant: 'east', ttl: '720h' },
    grants: ['sign@profile:payments/ci', 'key-import@ring:other'],
  })
  assert.equal(made.status, 201)
  assert.equal(made.answer.headers['cache-control'], 'no-store')
  const { id, token, ...rest } = made.body
  assert.match(token, /^krd_[\w-]{43}$/)
  assert.deepEqual(rest, {
    ...{ name: 'ci', role: 'operator', tenant: 'east' },
    grants: ['key-import@ring:other', 'sign@profile:payments/ci'],
    ...{ createdAt: CREATED, createdBy: 'token:management' },
    expiresAt: new Date(Date.parse(CREATED) + 720 * 3_600_000).toISOString(),
  })
  const described = await call(ROOT_TOKEN, 'GET', '/ci')
  assert.deepEqual([described.status, described.body], [200, { id, ...rest }])
  const listed = await call(ROOT_TOKEN, 'GET')
  assert.deepEqual(
    listed.body.apiTokens.map(({ name }: { name: string }) => name),
    ['ci', 'management'],
  )
  // It is somebody, but may not manage access.
  const used = await call(token, 'GET')
  assert.deepEqual([used.status, used.body.detail], [403, 'This needs access-manage'])
  assert.equal((await call(ROOT_TOKEN, 'DELETE', '/ci')).status, 204)
  assert.equal((await call(token, 'GET')).status, 401)
  assert.equal((await call(ROOT_TOKEN, 'GET', '/ci')).body.code, 'token_not_found')
  assert.equal((await call(ROOT_TOKEN, 'DELETE', '/ci')).body.code, 'token_not_found')

  const events = (await audit()).map(({ type, subject, principal }) => [type, subject, principal])
  assert.deepEqual(events, [
    ['api-token.created', 'management', 'system'],
    ['api-token.created', 'ci', 'token:management'],
    ['access.denied', 'access-manage', 'token:ci'],
    ['api-token.deleted', 'ci', 'token:management'],
  ])
})

test('requests that are refused, by table', async (t) => {
  const { call } = await accessApp(t)
  const table: [body: object, status: number, code: string, detail: RegExp][] = [
    [{}, 422, 'invalid_request', /body\/name/],
    [{ name: '' }, 422, 'invalid_request', /body\/name/],
    [{ name: '-x' }, 422, 'invalid_request', /body\/name/],
    [{ name: 'a/b' }, 422, 'invalid_request', /body\/name/],
    [{ name: 'a'.repeat(65) }, 422, 'invalid_request', /body\/name/],
    [{ name: 'x', surplus: 1 }, 422, 'invalid_request', /surplus/],
    [{ name: 'x', role: 'root' }, 422, 'invalid_request', /body\/role/],
    [{ name: 'x', grants: 'sign' }, 422, 'invalid_request', /body\/grants/],
    [{ name: 'x', grants: ['sign'] }, 422, 'invalid_request', /body\/grants\/0: .*role admin/],
    [{ name: 'x', grants: ['settings@ring:a'] }, 422, 'invalid_request', /cannot be limited/],
    [{ name: 'x', grants: ['verify@ring:none'] }, 422, 'invalid_request', /no ring none/],
    [{ name: 'x', grants: ['sign@profile:payments/x'] }, 422, 'invalid_request', /no profile x/],
    [{ name: 'x', tenant: 'north' }, 422, 'invalid_request', /no tenant north/],
    [{ name: 'x', ttl: 0 }, 422, 'invalid_request', /body\/ttl/],
    [{ name: 'x', ttl: -5 }, 422, 'invalid_request', /body\/ttl/],
    [{ name: 'x', ttl: 1.5 }, 422, 'invalid_request', /body\/ttl/],
    [{ name: 'x', ttl: '5' }, 422, 'invalid_request', /body\/ttl/],
    [{ name: 'x', ttl: '-1h' }, 422, 'invalid_request', /body\/ttl/],
    [{ name: 'x', ttl: '999999999h' }, 422, 'invalid_request', /body\/ttl/],
    [{ name: 'management' }, 409, 'name_taken', /reserved/],
    [{ name: 'taken' }, 409, 'name_taken', /taken/],
  ]
  assert.equal((await call(ROOT_TOKEN, 'POST', '', { name: 'taken' })).status, 201)
  for (const [body, status, code, detail] of table) {
    const answer = await call(ROOT_TOKEN, 'POST', '', body)
    const place = JSON.stringify(body)
    assert.deepEqual([answer.status, answer.body.code], [status, code], place)
    assert.match(answer.body.detail, detail, place)
    assert.equal(answer.answer.headers['content-type'], 'application/problem+json')
  }
  assert.equal((await call(ROOT_TOKEN, 'GET')).body.apiTokens.length, 2, 'none of them was made')
})

test('lifetimes are Go-style or integer seconds; grants that repeat count once', async (t) => {
  const { call } = await accessApp(t)
  const life = async (name: string, ttl: unknown) => {
    const { body } = await call(ROOT_TOKEN, 'POST', '', { name, ttl })
    return Date.parse(body.expiresAt) - Date.parse(body.createdAt)
  }
  assert.equal(await life('a', 90), 90_000)
  assert.equal(await life('b', '1h30m'), 5_400_000)
  const twice = await call(ROOT_TOKEN, 'POST', '', {
    ...{ name: 'c', grants: ['verify', 'verify', 'verify@ring:other'] },
  })
  assert.deepEqual(twice.body.grants, ['verify', 'verify@ring:other'])
})

test('everything needs access-manage, and a credential', async (t) => {
  const { app, call, make } = await accessApp(t)
  const almost = await make({ name: 'operator', role: 'operator', grants: ['sign@ring:payments'] })
  const manager = await make({ name: 'manager', grants: ['access-manage'] })
  for (const [method, path] of [
    ['GET', ''],
    ['GET', '/manager'],
    ['POST', ''],
    ['DELETE', '/manager'],
  ] as const) {
    const anonymously = await app.inject({ method, url: `/v1/api-tokens${path}` })
    assert.equal(anonymously.statusCode, 401, `${method} ${path}`)
    assert.equal((await call('krd_wrong', method, path)).status, 401)
    assert.equal((await call(almost, method, path)).status, 403)
  }
  assert.equal((await call(manager, 'GET', '/manager')).status, 200)
})

test('the privilege boundary: nobody makes more than he is, and the answer names what is missing', async (t) => {
  const { call, make } = await accessApp(t)
  const manager = await make({
    ...{ name: 'manager', role: 'operator' },
    grants: ['access-manage', 'sign@ring:payments'],
  })
  const table: [body: object, missing: string[] | undefined][] = [
    [{ name: 'a' }, undefined],
    [{ name: 'b', role: 'operator' }, undefined],
    [{ name: 'c', grants: ['sign@profile:payments/ci', 'access-manage'] }, undefined],
    [{ name: 'd', grants: ['sign@ring:other'] }, ['sign@ring:other']],
    [{ name: 'e', grants: ['verify', 'backup', 'audit-read'] }, ['backup', 'audit-read']],
    [{ name: 'f', role: 'member' }, ['identity:read', 'DELIVERY-SERVICE:READ']],
    // No word on whether the ring exists: whoever may not grant it need not know.
    [{ name: 'g', grants: ['sign@ring:nowhere'] }, ['sign@ring:nowhere']],
  ]
  for (const [body, missing] of table) {
    const answer = await call(manager, 'POST', '', body)
    assert.equal(answer.status, missing ? 403 : 201, JSON.stringify(body))
    if (!missing) continue
    assert.equal(answer.body.code, 'privilege_boundary')
    assert.deepEqual(answer.body.missing, missing)
    for (const name of missing) assert.ok(answer.body.detail.includes(name))
  }
  const admin = await call(manager, 'POST', '', { name: 'h', role: 'admin' })
  assert.equal(admin.body.code, 'privilege_boundary')
  assert.ok(admin.body.missing.includes('sign'))
})

test('nobody deletes what has more rights than he has, and nobody the management token', async (t) => {
  const { call, make } = await accessApp(t)
  const manager = await make({ name: 'manager', grants: ['access-manage', 'verify'] })
  await make({ name: 'strong', role: 'operator' })
  await make({ name: 'weak', grants: ['verify@ring:other'] })
  const strong = await call(manager, 'DELETE', '/strong')
  assert.deepEqual([strong.status, strong.body.code], [403, 'privilege_boundary'])
  assert.equal((await call(manager, 'DELETE', '/weak')).status, 204)
  for (const caller of [manager, ROOT_TOKEN]) {
    const { body } = await call(caller, 'DELETE', '/management')
    assert.equal(body.code, 'privilege_boundary')
  }
  assert.equal((await call(ROOT_TOKEN, 'GET')).status, 200)
  assert.equal((await call(manager, 'DELETE', '/manager')).status, 204, 'himself he may')
})

test('a caller of a tenant sees and makes only what is within it', async (t) => {
  const { call, make } = await accessApp(t)
  const east = await make({ name: 'east-admin', role: 'admin', tenant: 'east' })
  for (const tenant of ['shop', 'west', 'root']) await make({ name: `in-${tenant}`, tenant })
  await make({ name: 'everywhere' })
  const { apiTokens } = (await call(east, 'GET')).body
  assert.deepEqual(
    apiTokens.map(({ name }: { name: string }) => name),
    ['east-admin', 'in-shop'],
  )
  for (const name of ['in-west', 'in-root', 'everywhere', 'management']) {
    assert.equal((await call(east, 'GET', `/${name}`)).body.code, 'token_not_found', name)
    assert.equal((await call(east, 'DELETE', `/${name}`)).body.code, 'token_not_found', name)
  }
  const create = async (name: string, tenant?: string) =>
    (await call(east, 'POST', '', { name, ...(tenant && { tenant }) })).body.code
  assert.equal(await create('a', 'east'), undefined)
  assert.equal(await create('b', 'shop'), undefined)
  for (const tenant of ['west', 'root', 'north', undefined]) {
    assert.equal(await create('c', tenant), 'privilege_boundary', String(tenant))
  }
})

test('of many who take one name at once, one gets it', async (t) => {
  const { call } = await accessApp(t)
  const answers = await Promise.all(
    Array.from({ length: 10 }, () => call(ROOT_TOKEN, 'POST', '', { name: 'one' })),
  )
  const statuses = answers.map(({ status }) => status).sort()
  assert.deepEqual(statuses, [201, ...Array.from({ length: 9 }, () => 409)])
})

test('MANAGEMENT_TOKEN: the same keeps, another replaces, one in use is refused', async (t) => {
  const { access, store, audit } = await accessWorld(t)
  const ensure = (token: string) =>
    store.transaction((tx) => access.ensureManagementToken(tx, token))
  const idOf = async (token: string) =>
    (await access.authenticate({ 'x-nomad-token': token }, '192.0.2.1')).principal.id
  assert.equal(await ensure(ROOT_TOKEN), 'kept')
  assert.equal(await idOf(ROOT_TOKEN), 'token:management')
  const next = 'another-secret-of-thirty-two-chars'
  assert.equal(await ensure(next), 'replaced')
  assert.equal(await idOf(ROOT_TOKEN), 'anonymous')
  assert.equal(await idOf(next), 'token:management')
  const { principal } = await access.authenticate({ 'x-nomad-token': next }, '192.0.2.1')
  const { token } = await access.createApiToken(principal, { name: 'ci' })
  await assert.rejects(ensure(token), (error) => isProblem(error, 'config_invalid'))
  const events = (await audit()).map(({ type, subject }) => `${type} ${subject}`)
  assert.deepEqual(events, [
    ...['api-token.created management', 'api-token.replaced management', 'api-token.created ci'],
  ])
})

test('a caller who is refused again and again is recorded once a minute', async (t) => {
  const { call, make, audit, advance } = await accessApp(t)
  const token = await make({ name: 'nobody' })
  const denials = async () => (await audit()).filter(({ type }) => type === 'access.denied').length
  for (let n = 0; n < 5; n++) await call(token, 'GET')
  assert.equal(await denials(), 1)
  advance(60_000)
  await call(token, 'GET')
  assert.equal(await denials(), 2)
  await call('krd_unknown', 'GET')
  assert.equal(await denials(), 2, 'strangers write nothing')
})

test('no token is in a log, an error, the audit record or the database', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'keyringd-access-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const { app, call, make, logText, store } = await accessApp(t, join(folder, 'data.db'))
  const token = await make({ name: 'ci', grants: ['access-manage'] })
  const guess = 'krd_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'
  const answers: string[] = []
  for (const secret of [token, ROOT_TOKEN, guess]) {
    for (const url of ['/v1/api-tokens', '/v1/api-tokens/none', '/v1/none', '/v1/%zz']) {
      for (const headers of [
        { authorization: `Bearer ${secret}` },
        { 'x-nomad-token': secret },
        { authorization: `Basic ${secret}`, cookie: `session=${secret}` },
      ]) {
        answers.push((await app.inject({ url: `${url}?token=${secret}`, headers })).body)
        const body = { name: 'x', token: secret, password: secret }
        const posted = await app.inject({ method: 'POST', url, headers, payload: body })
        answers.push(posted.body)
      }
    }
  }
  await call(token, 'DELETE', '/ci')
  await store.close()
  const files = readdirSync(folder).map((name) => readFileSync(join(folder, name), 'latin1'))
  const places = [...answers, logText(), ...files]
  for (const secret of [token, ROOT_TOKEN, guess]) {
    for (const place of places) assert.ok(!place.includes(secret))
    assert.ok(!logText().includes(secret.slice(4, 20)))
  }
  assert.ok(
    files.some((file) => file.includes('api-token.created')),
    'the right files were read',
  )
  assert.ok(logText().includes('"msg":"request"'))
})
