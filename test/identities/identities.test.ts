import assert from 'node:assert/strict'
import { test } from 'node:test'
import { configPath, identitiesWorld, secondsOf, type World, workload } from './setup.ts'

// Identity contract, sections 12 and 13: identities, tenants, and what becomes of those that go.

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
const named = (name: string, more: object = {}) => ({
  body: { name, organizationId: 'any', ...more },
})

test('section 12: an identity as it is made, read, listed, changed and deleted', async (t) => {
  const world = await identitiesWorld(t)
  const metadata = [{ key: 'team', value: 'red' }]
  const made = await world.ask('POST', '/api/v1/identities', named(' ci ', { metadata }))
  assert.equal(made.status, 200, made.text)
  const { id, orgId, createdAt, updatedAt, ...rest } = made.json.identity
  assert.deepEqual(rest, {
    ...{ name: 'ci', authMethod: null, hasDeleteProtection: false, authMethods: [], metadata },
  })
  assert.match(createdAt, ISO)
  const path = `/api/v1/identities/${id}`
  const membership = {
    ...{ id, role: 'no-access', roleId: null, orgId, identityId: id, createdAt, updatedAt },
    ...{ lastLoginAuthMethod: null, lastLoginTime: null, metadata },
    identity: {
      ...{ id, name: 'ci', orgId, hasDeleteProtection: false, authMethods: [] },
      activeLockoutAuthMethods: [],
    },
  }
  assert.deepEqual((await world.ask('GET', path)).json, { identity: membership })
  const list = await world.ask('GET', `/api/v1/identities?orgId=${orgId}`)
  assert.deepEqual(list.json, { identities: [membership], totalCount: 1 })

  world.clock.advance('1s')
  const changes = { name: 'cd', role: 'member', hasDeleteProtection: true, metadata: [] }
  const changed = (await world.ask('PATCH', path, { body: changes })).json.identity
  assert.deepEqual(changed, {
    ...made.json.identity,
    name: 'cd',
    hasDeleteProtection: true,
    metadata: [],
    updatedAt: changed.updatedAt,
  })
  assert.ok(changed.updatedAt > updatedAt)
  const same = (await world.ask('PATCH', path, { body: {} })).json.identity
  assert.equal(same.name, 'cd')
  assert.equal((await world.ask('GET', path)).json.identity.role, 'member')

  const kept = await world.ask('DELETE', path)
  assert.deepEqual([kept.status, kept.json.message], [400, 'Identity has delete protection'])
  await world.ask('PATCH', path, { body: { hasDeleteProtection: false } })
  const deleted = await world.ask('DELETE', path)
  assert.deepEqual([deleted.status, deleted.json.identity.id], [200, id])
  const missing = await world.ask('GET', path)
  assert.deepEqual(
    [missing.status, missing.json.message],
    [404, `Failed to find identity with ID ${id}`],
  )
})

test('section 12: authMethods while attached, and the last login', async (t) => {
  const world = await identitiesWorld(t)
  const { id, token } = await workload(t, world)
  const read = async () => (await world.ask('GET', `/api/v1/identities/${id}`)).json.identity
  assert.deepEqual((await read()).identity.authMethods, ['jwt-auth'])
  await token()
  const { lastLoginAuthMethod, lastLoginTime } = await read()
  assert.equal(lastLoginAuthMethod, 'jwt-auth')
  assert.equal(Math.floor(Date.parse(lastLoginTime) / 1000), secondsOf(world))
  await world.ask('DELETE', configPath(id))
  assert.deepEqual((await read()).identity.authMethods, [])
})

test('section 12: limits, and roles that there are not', async (t) => {
  const world = await identitiesWorld(t)
  for (const [body, path] of [
    [{ organizationId: 'o' }, 'name'],
    [{ name: ' ', organizationId: 'o' }, 'name'],
    [{ name: 'x' }, 'organizationId'],
    [{ name: 'x'.repeat(256), organizationId: 'o' }, 'name'],
    [{ name: 'x', organizationId: 'o', role: 'root' }, 'role'],
    [{ name: 'x', organizationId: 'o', role: '__proto__' }, 'role'],
    [{ name: 'x', organizationId: 'o', role: 'constructor' }, 'role'],
    [{ name: 'x', organizationId: 'o', hasDeleteProtection: 'true' }, 'hasDeleteProtection'],
    [{ name: 'x', organizationId: 'o', metadata: [{ key: 'a' }] }, 'metadata.0.value'],
  ] as const) {
    const { status, json } = await world.ask('POST', '/api/v1/identities', { body })
    assert.deepEqual([status, json.message[0].path.join('.')], [422, path])
  }
})

test('section 12: details are for the token of an identity only', async (t) => {
  const world = await identitiesWorld(t)
  const { token } = await workload(t, world)
  const path = '/api/v1/identities/details'
  const { status, json } = await world.ask('GET', path, { token: await token() })
  assert.equal(status, 200)
  assert.deepEqual(Object.keys(json.identityDetails.organization), ['id', 'name', 'slug'])
  const other = await world.ask('GET', path)
  assert.deepEqual([other.status, other.json.error], [403, 'ForbiddenError'])
})

test('section 13: each action is asked for, and the boundary holds on every write', async (t) => {
  const world = await identitiesWorld(t)
  const id = await world.identity()
  const above = await world.identity('operator')
  const path = (one: string) => `/api/v1/identities/${one}`
  const nobody = await world.apiToken('nobody', { role: 'no-access' })
  for (const [method, where, action, body] of [
    ['POST', '/api/v1/identities', 'create', named('x').body],
    ['GET', '/api/v1/identities', 'read', undefined],
    ['GET', path(id), 'read', undefined],
    ['PATCH', path(id), 'edit', {}],
    ['DELETE', path(id), 'delete', undefined],
  ] as const) {
    const { status, json } = await world.ask(method, where, {
      token: nobody,
      ...(body && { body }),
    })
    assert.deepEqual(
      [status, json.error, json.message],
      [403, 'PermissionDenied', `You are not allowed to ${action} on identity`],
    )
  }
  const token = await world.apiToken('ida', { role: 'identity-admin' })
  for (const [method, where, body] of [
    ['POST', '/api/v1/identities', named('x', { role: 'admin' }).body],
    ['PATCH', path(id), { role: 'admin' }],
    ['PATCH', path(above), { name: 'mine' }],
    ['PATCH', path(above), { role: 'no-access' }],
    ['DELETE', path(above), undefined],
  ] as const) {
    const { status, json } = await world.ask(method, where, { token, ...(body && { body }) })
    assert.deepEqual([status, json.error], [403, 'PermissionBoundaryError'], `${method} ${where}`)
    assert.ok(json.details.missingPermissions.length > 0)
  }
  const denied = (await world.events(/^access\.denied$/)).map(
    ({ subject, principal }) => `${principal} ${subject}`,
  )
  assert.deepEqual(
    [...new Set(denied)],
    [
      ...['create', 'read', 'edit', 'delete'].map((action) => `token:nobody identity:${action}`),
      'token:ida privilege-boundary',
    ],
  )
})

async function tenants(world: World): Promise<void> {
  await world.store.transaction(async (tx) => {
    const root = (await tx.tenants.list()).find(({ parent_id }) => parent_id === null)
    if (!root) await tx.tenants.insert('t0', 'root', null, 1)
    await tx.tenants.insert('t1', 'east', root?.id ?? 't0', 1)
    await tx.tenants.insert('t2', 'west', root?.id ?? 't0', 1)
    await tx.audit.append({ type: 'tenant.created', subject: 'east', principal: 'test' })
  })
}

test('a caller sees and makes the identities of its tenant, and no others', async (t) => {
  const world = await identitiesWorld(t)
  await tenants(world)
  const role = 'identity-admin'
  const east = await world.apiToken('east', { role, tenant: 'east' })
  const west = await world.apiToken('west', { role, tenant: 'west' })
  const root = await world.apiToken('root', { role, tenant: 'root' })
  const made = async (token: string | undefined, name: string) =>
    (await world.ask('POST', '/api/v1/identities', { ...named(name), ...(token && { token }) }))
      .json.identity.id as string
  const ids = {
    none: await made(undefined, 'none'),
    east: await made(east, 'east'),
    west: await made(west, 'west'),
  }
  const names = async (token: string) =>
    (await world.ask('GET', '/api/v1/identities', { token })).json.identities.map(
      ({ identity }: { identity: { name: string } }) => identity.name,
    )
  assert.deepEqual(await names(east), ['east'])
  assert.deepEqual(await names(west), ['west'])
  assert.deepEqual(await names(root), ['east', 'none', 'west'])
  const config = { configurationType: 'jwks', jwksUrl: 'https://192.0.32.8/', boundClaims: {} }
  for (const id of [ids.none, ids.west]) {
    for (const [method, path, body] of [
      ['GET', `/api/v1/identities/${id}`, undefined],
      ['PATCH', `/api/v1/identities/${id}`, {}],
      ['DELETE', `/api/v1/identities/${id}`, undefined],
      ['POST', configPath(id), config],
      ['PATCH', configPath(id), config],
      ['GET', configPath(id), undefined],
      ['DELETE', configPath(id), undefined],
    ] as const) {
      const { status, json } = await world.ask(method, path, { token: east, ...(body && { body }) })
      assert.deepEqual([status, json.error], [404, 'NotFound'], `${method} ${path}`)
    }
    const explained = await world.ask('POST', `/v1/identities/${id}/explain-login`, {
      token: east,
      body: { jwt: 'x' },
    })
    assert.equal(explained.status, 404)
    assert.equal((await world.ask('GET', `/api/v1/identities/${id}`, { token: root })).status, 200)
  }
})

test('the token of an identity is bound to the tenant of that identity', async (t) => {
  const world = await identitiesWorld(t)
  await tenants(world)
  const east = await world.apiToken('east', { role: 'admin', tenant: 'east' })
  const { issuer, fixed } = await workload(t, world)
  const { id } = (
    await world.ask('POST', '/api/v1/identities', {
      ...named('bot', { role: 'admin' }),
      token: east,
    })
  ).json.identity
  assert.equal((await world.ask('POST', configPath(id), { token: east, body: fixed })).status, 200)
  const { accessToken } = (await world.login(id, await issuer.sign({}))).json
  const list = await world.ask('GET', '/api/v1/identities', { token: accessToken })
  assert.equal(list.json.totalCount, 1)
  // An API token would go on where the identity has ended: no identity makes one, its tenant's or any other.
  for (const tenant of [{}, { tenant: 'east' }]) {
    const body = { name: 'escape', role: 'member', ttl: '1h', ...tenant }
    const { status, json } = await world.ask('POST', '/v1/api-tokens', { token: accessToken, body })
    assert.deepEqual([status, json.code], [403, 'privilege_boundary'])
  }
})
