import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { test } from 'node:test'
import fc from 'fast-check'
import { CAPABILITY_NAMES } from '../../src/access/capabilities.ts'
import { contains, type Tenants } from '../../src/access/grants.ts'
import { type Principal, system } from '../../src/context.ts'
import { accessApp, ROOT_TOKEN } from './setup.ts'

// Nobody reaches more by any order of calls (product.md section 4: the privilege boundary).

const TENANTS = ['root', 'east', 'shop', 'west', 'new-1', 'new-2']
const USERS = ['boss', 'wes', 'chief', 'sam', 'new-3']
const TOKENS = ['management', 'token-of-root', 'token-of-west', 'new-4', 'new-5']
const ROLES = ['admin', 'operator', 'cdn-admin', 'member', 'no-access']

interface Step {
  method: 'POST' | 'PATCH' | 'DELETE'
  url: string
  body?: object
  /** Which of those that the attacker has by then acts. */
  actor: number
}

const oneOf = (...values: readonly string[]) => fc.constantFrom(...values)
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined })
const actor = fc.nat(5)
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    ...{ actor, method: fc.constant('POST' as const), url: fc.constant('/v1/tenants') },
    body: fc.record({ name: oneOf(...TENANTS), parent: maybe(oneOf(...TENANTS)) }),
  }),
  fc.record({
    ...{ actor, method: fc.constant('PATCH' as const) },
    url: oneOf(...TENANTS.map((name) => `/v1/tenants/${name}`)),
    body: fc.record({ parent: oneOf(...TENANTS) }),
  }),
  fc.record({
    ...{ actor, method: fc.constant('POST' as const) },
    url: fc.constant('/v1/users'),
    body: fc.record({
      ...{ name: oneOf(...USERS), role: oneOf(...ROLES), tenant: maybe(oneOf(...TENANTS)) },
    }),
  }),
  fc.record({
    ...{ actor, method: fc.constant('PATCH' as const) },
    url: oneOf(...USERS.map((name) => `/v1/users/${name}`)),
    body: fc.record({
      role: maybe(oneOf(...ROLES)),
      tenant: maybe(fc.constantFrom(null, ...TENANTS)),
      jwt: maybe(fc.boolean()),
    }),
  }),
  fc.record({
    ...{ actor, method: fc.constant('POST' as const) },
    url: oneOf(...['chief', ...USERS].map((name) => `/v1/users/${name}/login-token`)),
  }),
  fc.record({
    ...{ actor, method: fc.constant('POST' as const), url: fc.constant('/v1/api-tokens') },
    body: fc.record({
      ...{ name: oneOf(...TOKENS), role: maybe(oneOf(...ROLES)) },
      grants: fc.subarray(['access-manage', 'keyring-rotate', 'DS-SECURITY-KEY:READ']),
      tenant: maybe(oneOf(...TENANTS)),
    }),
  }),
  fc.record({
    ...{ actor, method: fc.constant('DELETE' as const) },
    url: oneOf(
      ...TENANTS.map((name) => `/v1/tenants/${name}`),
      ...USERS.map((name) => `/v1/users/${name}`),
      ...TOKENS.map((name) => `/v1/api-tokens/${name}`),
    ),
  }),
)

/** root ▸ east ▸ shop and root ▸ west, with people and tokens in each. */
async function peopledWorld(t: TestContext) {
  const world = await accessApp(t)
  const { users } = world.access
  await users.create(system, { name: 'boss', role: 'admin' })
  await users.create(system, { name: 'wes', role: 'member', tenant: 'west' })
  await users.create(system, { name: 'chief', role: 'admin', tenant: 'shop' })
  await users.create(system, { name: 'sam', role: 'no-access', tenant: 'shop' })
  await world.make({ name: 'token-of-root', role: 'member' })
  await world.make({ name: 'token-of-west', role: 'admin', tenant: 'west' })
  return world
}

type World = Awaited<ReturnType<typeof peopledWorld>>

async function treeOf({ store }: World): Promise<Tenants> {
  const rows = await store.read.tenants.list()
  const names = new Map(rows.map(({ id, name }) => [id, name]))
  return new Map(rows.map(({ name, parent_id }) => [name, names.get(parent_id ?? '')]))
}

/** Every row that is not within the tenant, and the tenant's own. */
async function outside({ store }: World, within: Tenants, tenant: string) {
  const rows = await store.read.tenants.list()
  const names = new Map(rows.map(({ id, name }) => [id, name]))
  const isOutside = (id: string | undefined) => !contains(within, tenant, names.get(id ?? ''))
  return {
    tenants: rows.filter(({ id, name }) => name === tenant || isOutside(id)),
    users: (await store.read.users.list()).filter(({ tenantId }) => isOutside(tenantId)),
    tokens: (await store.read.apiTokens.list())
      .filter(({ tenantId }) => isOutside(tenantId))
      .map(({ tokenHash, ...row }) => ({ ...row, hash: Buffer.from(tokenHash).toString('hex') })),
  }
}

const powersOf = (principal: Principal | undefined) =>
  CAPABILITY_NAMES.filter((name) => principal?.may(name) || principal?.maySome(name))

const starts: { what: string; tenant: string; body: object }[] = [
  { what: 'an admin of east', tenant: 'east', body: { role: 'admin', tenant: 'east' } },
  {
    what: 'a manager of access in shop',
    tenant: 'shop',
    body: { grants: ['access-manage', 'DS-SECURITY-KEY:READ'], tenant: 'shop' },
  },
]

for (const { what, tenant, body } of starts) {
  test(`whatever ${what} calls, nothing beyond the tenant changes or is seen, and no right is won`, async (t) => {
    let [allowed, refused, loggedIn] = [0, 0, 0]
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
        const world = await peopledWorld(t)
        const { ask, access, store } = world
        const mine = [await world.make({ name: 'attacker', ...body })]
        const callerOf = async (token: string) =>
          (await access.authenticate({ authorization: `Bearer ${token}` }, '192.0.2.1')).principal
        const powers = new Set(powersOf(await callerOf(mine[0] ?? '')))
        const before = await outside(world, await treeOf(world), tenant)
        const users = new Map(
          (await store.read.users.list()).map((row) => [row.id, JSON.stringify(row)]),
        )

        const logins: string[] = []
        for (const { actor: who, method, url, body: payload } of steps) {
          const answer = await ask(mine[who % mine.length] ?? '', method, url, payload)
          assert.ok(answer.status < 500, `${method} ${url} ${answer.answer.body}`)
          if (answer.status < 300) allowed++
          else refused++
          const made = url.endsWith('/login-token') ? logins : mine
          if (answer.body?.token) made.push(answer.body.token)
        }

        const tree = await treeOf(world)
        assert.deepEqual(await outside(world, tree, tenant), before)
        for (const token of mine) {
          const principal = await callerOf(token)
          if (principal.id === 'anonymous') continue
          assert.ok(contains(tree, tenant, principal.tenant), `${principal.id} is within`)
          for (const power of powersOf(principal)) assert.ok(powers.has(power), power)
          if (!principal.may('access-manage')) continue
          for (const url of ['/v1/tenants', '/v1/users', '/v1/api-tokens']) {
            const { body: seen } = await ask(token, 'GET', url)
            for (const one of Object.values(seen as Record<string, unknown[]>).flat()) {
              const { name, tenant: of } = one as { name: string; tenant?: string }
              const place = url === '/v1/tenants' ? name : of
              assert.ok(place !== undefined && contains(tree, tenant, place), `${url} ${name}`)
            }
          }
        }
        for (const token of logins) {
          const opened = await access.loginTokens
            .logIn(token, '192.0.2.1', 'traffic-ops', 1000)
            .catch(() => undefined)
          if (!opened) continue
          loggedIn++
          const principal = await access.users.principalOf(opened.userId)
          assert.ok(contains(tree, tenant, principal?.tenant), `${principal?.id} is within`)
          for (const power of powersOf(principal)) assert.ok(powers.has(power), power)
        }
        // Who has another password, role or tenant than before has no more than the attacker.
        for (const row of await store.read.users.list()) {
          if (users.get(row.id) === JSON.stringify(row)) continue
          const principal = await access.users.principalOf(row.id)
          for (const power of powersOf(principal)) assert.ok(powers.has(power), power)
        }
      }),
      { numRuns: 30 },
    )
    assert.ok(allowed > 0 && refused > 0, `${allowed} calls were allowed, ${refused} refused`)
    // The manager is nobody's equal but of those who may not log in.
    assert.equal(loggedIn > 0, 'role' in body, `${loggedIn} login tokens were used`)
  })
}

test('a tenant-bound admin and the users, tokens and tenants of a parent or sibling, by table', async (t) => {
  const { ask, make } = await peopledWorld(t)
  const east = await make({ name: 'attacker', role: 'admin', tenant: 'east' })
  const table: [
    method: Step['method'] | 'GET',
    url: string,
    body: object | undefined,
    code: string,
  ][] = [
    ['GET', '/v1/users/boss', undefined, 'user_not_found'],
    ['GET', '/v1/users/wes', undefined, 'user_not_found'],
    ['PATCH', '/v1/users/boss', { role: 'no-access' }, 'user_not_found'],
    ['PATCH', '/v1/users/wes', { password: 'correct horse battery' }, 'user_not_found'],
    ['DELETE', '/v1/users/boss', undefined, 'user_not_found'],
    ['DELETE', '/v1/users/wes', undefined, 'user_not_found'],
    ['POST', '/v1/users/boss/login-token', undefined, 'user_not_found'],
    ['POST', '/v1/users/wes/login-token', undefined, 'user_not_found'],
    ['PATCH', '/v1/users/chief', { tenant: null }, 'privilege_boundary'],
    ['PATCH', '/v1/users/chief', { tenant: 'root' }, 'privilege_boundary'],
    ['PATCH', '/v1/users/chief', { tenant: 'west' }, 'privilege_boundary'],
    // One that there is not looks like one that is another's.
    ['PATCH', '/v1/users/chief', { tenant: 'nowhere' }, 'privilege_boundary'],
    ['POST', '/v1/users', { name: 'x', role: 'member' }, 'privilege_boundary'],
    ['POST', '/v1/users', { name: 'x', role: 'member', tenant: 'west' }, 'privilege_boundary'],
    ['GET', '/v1/api-tokens/management', undefined, 'token_not_found'],
    ['DELETE', '/v1/api-tokens/token-of-west', undefined, 'token_not_found'],
    ['POST', '/v1/api-tokens', { name: 'x', tenant: 'west' }, 'privilege_boundary'],
    ['GET', '/v1/tenants/root', undefined, 'tenant_not_found'],
    ['GET', '/v1/tenants/west', undefined, 'tenant_not_found'],
    ['PATCH', '/v1/tenants/west', { parent: 'east' }, 'tenant_not_found'],
    ['PATCH', '/v1/tenants/shop', { parent: 'west' }, 'privilege_boundary'],
    ['PATCH', '/v1/tenants/shop', { parent: 'root' }, 'privilege_boundary'],
    ['PATCH', '/v1/tenants/east', { parent: 'west' }, 'privilege_boundary'],
    ['PATCH', '/v1/tenants/east', { parent: 'shop' }, 'privilege_boundary'],
    ['DELETE', '/v1/tenants/west', undefined, 'tenant_not_found'],
    ['DELETE', '/v1/tenants/east', undefined, 'privilege_boundary'],
    ['POST', '/v1/tenants', { name: 'x', parent: 'west' }, 'privilege_boundary'],
    ['POST', '/v1/tenants', { name: 'x', parent: 'root' }, 'privilege_boundary'],
  ]
  for (const [method, url, body, code] of table) {
    const answer = await ask(east, method, url, body)
    assert.equal(answer.body?.code, code, `${method} ${url} ${JSON.stringify(body)}`)
  }
  // What is its own it may.
  assert.equal((await ask(east, 'POST', '/v1/tenants', { name: 'x' })).status, 201)
  assert.equal((await ask(east, 'PATCH', '/v1/users/chief', { tenant: 'x' })).status, 200)
  assert.equal((await ask(ROOT_TOKEN, 'GET', '/v1/tenants/x')).body.parent, 'east')
})

test('who manages access without being an admin cannot take over one', async (t) => {
  const { ask, make } = await peopledWorld(t)
  const manager = await make({ name: 'manager', grants: ['access-manage'] })
  const table: [method: Step['method'], url: string, body?: object][] = [
    ['PATCH', '/v1/users/boss', { password: 'correct horse battery' }],
    ['POST', '/v1/users/boss/login-token'],
    ['PATCH', '/v1/users/boss', { jwt: true }],
    ['PATCH', '/v1/users/boss', { role: 'no-access' }],
    ['DELETE', '/v1/users/boss'],
    ['PATCH', '/v1/users/sam', { role: 'admin' }],
    ['POST', '/v1/users', { name: 'x', role: 'cdn-admin' }],
  ]
  for (const [method, url, body] of table) {
    const answer = await ask(manager, method, url, body)
    assert.equal(answer.body?.code, 'privilege_boundary', `${method} ${url}`)
  }
})
