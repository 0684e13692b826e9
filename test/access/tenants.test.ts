import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { contains, type Tenants } from '../../src/access/grants.ts'
import { depthOf, differing, heightOf } from '../../src/access/tenant-tree.ts'
import { accessApp, ROOT_TOKEN } from './setup.ts'

// Tenants (product.md sections 4 and 6): a tree below `root`, seen from one's own tenant downwards. The world of these
// tests has root ▸ east ▸ shop and root ▸ west.

type App = Awaited<ReturnType<typeof accessApp>>

const names = (body: { tenants: { name: string }[] }) => body.tenants.map(({ name }) => name)

/** Refused with this code, whatever the method. */
async function refused(
  { ask }: App,
  [token, method, path, body]: [string, 'POST' | 'PATCH' | 'DELETE' | 'GET', string, object?],
  code: string,
) {
  const answer = await ask(token, method, `/v1/tenants${path}`, body)
  assert.equal(answer.body?.code, code, `${method} ${path}: ${JSON.stringify(answer.body)}`)
  return answer.body
}

test('a tenant is made, listed, moved and deleted, and all of it is on record', async (t) => {
  const app = await accessApp(t)
  const { ask, audit } = app
  const made = await ask(ROOT_TOKEN, 'POST', '/v1/tenants', { name: 'north' })
  assert.equal(made.status, 201)
  const { createdAt, ...rest } = made.body
  assert.match(createdAt, /^\d{4}-.*\.\d{3}Z$/)
  assert.deepEqual(rest, { name: 'north', parent: 'root' })
  const below = await ask(ROOT_TOKEN, 'POST', '/v1/tenants', { name: 'n1', parent: 'north' })
  assert.equal(below.body.parent, 'north')
  assert.deepEqual(names((await ask(ROOT_TOKEN, 'GET', '/v1/tenants')).body), [
    ...['east', 'n1', 'north', 'root', 'shop', 'west'],
  ])
  const moved = await ask(ROOT_TOKEN, 'PATCH', '/v1/tenants/n1', { parent: 'west' })
  assert.deepEqual([moved.status, moved.body.parent], [200, 'west'])
  assert.equal((await ask(ROOT_TOKEN, 'GET', '/v1/tenants/n1')).body.parent, 'west')
  assert.equal((await ask(ROOT_TOKEN, 'DELETE', '/v1/tenants/n1')).status, 204)
  await refused(app, [ROOT_TOKEN, 'GET', '/n1'], 'tenant_not_found')
  const events = (await audit()).filter(({ type }) => type.startsWith('tenant.'))
  assert.deepEqual(
    events.map(({ type, subject, principal }) => [type, subject, principal]),
    [
      ['tenant.created', 'north', 'token:management'],
      ['tenant.created', 'n1', 'token:management'],
      ['tenant.moved', 'n1', 'token:management'],
      ['tenant.deleted', 'n1', 'token:management'],
    ],
  )
})

test('requests that are refused, by table', async (t) => {
  const app = await accessApp(t)
  const table: [method: 'POST' | 'PATCH' | 'DELETE', path: string, body: object, code: string][] = [
    ['POST', '', {}, 'invalid_request'],
    ['POST', '', { name: '' }, 'invalid_request'],
    ['POST', '', { name: 'a/b' }, 'invalid_request'],
    ['POST', '', { name: 'a'.repeat(65) }, 'invalid_request'],
    ['POST', '', { name: 'x', surplus: 1 }, 'invalid_request'],
    ['POST', '', { name: 'x', parent: null }, 'invalid_request'],
    ['POST', '', { name: 'x', parent: 'nowhere' }, 'invalid_request'],
    ['POST', '', { name: 'x', parent: 'x' }, 'invalid_request'],
    ['POST', '', { name: 'root' }, 'name_taken'],
    ['POST', '', { name: 'east' }, 'name_taken'],
    ['PATCH', '/east', {}, 'invalid_request'],
    ['PATCH', '/east', { parent: null }, 'invalid_request'],
    ['PATCH', '/east', { name: 'feast', parent: 'root' }, 'invalid_request'],
    ['PATCH', '/east', { parent: 'nowhere' }, 'invalid_request'],
    ['PATCH', '/east', { parent: 'east' }, 'invalid_request'],
    ['PATCH', '/east', { parent: 'shop' }, 'invalid_request'],
    ['PATCH', '/root', { parent: 'east' }, 'privilege_boundary'],
    ['PATCH', '/nowhere', { parent: 'east' }, 'tenant_not_found'],
    ['PATCH', '/__proto__', { parent: 'east' }, 'tenant_not_found'],
    ['DELETE', '/root', {}, 'privilege_boundary'],
    ['DELETE', '/nowhere', {}, 'tenant_not_found'],
    ['DELETE', '/east', {}, 'tenant_in_use'],
  ]
  for (const [method, path, body, code] of table) {
    await refused(app, [ROOT_TOKEN, method, path, body], code)
  }
  const { body } = await app.ask(ROOT_TOKEN, 'GET', '/v1/tenants')
  assert.deepEqual(names(body), ['east', 'root', 'shop', 'west'], 'nothing was changed')
})

test('every route needs access-manage, and a credential', async (t) => {
  const app = await accessApp(t)
  const almost = await app.make({ name: 'almost', role: 'cdn-admin', grants: ['settings'] })
  for (const [method, path] of [
    ['POST', ''],
    ['GET', ''],
    ['GET', '/east'],
    ['PATCH', '/east'],
    ['DELETE', '/shop'],
  ] as const) {
    await refused(app, ['', method, path, {}], 'unauthenticated')
    await refused(app, [almost, method, path, {}], 'forbidden')
  }
})

test('a tenant is deleted only when nothing hangs on it, and says what does', async (t) => {
  const app = await accessApp(t)
  const { ask, call, make } = app
  await make({ name: 'of-shop', tenant: 'shop' })
  await ask(ROOT_TOKEN, 'POST', '/v1/users', { name: 'ann', role: 'member', tenant: 'shop' })
  const east = await refused(app, [ROOT_TOKEN, 'DELETE', '/east'], 'tenant_in_use')
  assert.deepEqual(east.blockedBy, { tenants: 1 })
  const shop = await refused(app, [ROOT_TOKEN, 'DELETE', '/shop'], 'tenant_in_use')
  assert.deepEqual(shop.blockedBy, { users: 1, apiTokens: 1 })
  await call(ROOT_TOKEN, 'DELETE', '/of-shop')
  await ask(ROOT_TOKEN, 'DELETE', '/v1/users/ann')
  for (const name of ['shop', 'east']) {
    assert.equal((await ask(ROOT_TOKEN, 'DELETE', `/v1/tenants/${name}`)).status, 204)
  }
})

test('who is bound to a tenant sees and changes what is below it, and nothing else', async (t) => {
  const app = await accessApp(t)
  const { ask, make } = app
  const east = await make({ name: 'of-east', role: 'admin', tenant: 'east' })
  assert.deepEqual(names((await ask(east, 'GET', '/v1/tenants')).body), ['east', 'shop'])
  const own = (await ask(east, 'GET', '/v1/tenants/east')).body
  assert.equal('parent' in own, false, 'what is above is not told')
  for (const name of ['root', 'west', 'nowhere']) {
    const { detail } = await refused(app, [east, 'GET', `/${name}`], 'tenant_not_found')
    assert.equal(detail, `There is no tenant ${name}`, 'foreign ones look like none')
    await refused(app, [east, 'PATCH', `/${name}`, { parent: 'shop' }], 'tenant_not_found')
    await refused(app, [east, 'DELETE', `/${name}`], 'tenant_not_found')
    const making = [east, 'POST', '', { name: 'x', parent: name }] as const
    const { detail: words } = await refused(app, [...making], 'privilege_boundary')
    assert.equal(words, `The tenant east does not contain ${name}`)
    await refused(app, [east, 'PATCH', '/shop', { parent: name }], 'privilege_boundary')
  }
  await refused(app, [east, 'PATCH', '/east', { parent: 'shop' }], 'privilege_boundary')
  await refused(app, [east, 'DELETE', '/east'], 'privilege_boundary')

  const made = await ask(east, 'POST', '/v1/tenants', { name: 'stall' })
  assert.equal(made.body.parent, 'east', 'by default below the own one')
  assert.equal((await ask(east, 'PATCH', '/v1/tenants/stall', { parent: 'shop' })).status, 200)
  assert.equal((await ask(east, 'DELETE', '/v1/tenants/stall')).status, 204)
})

test('a move gives nobody what the caller has not got, and takes it from nobody', async (t) => {
  const app = await accessApp(t)
  const { ask, make } = app
  const manager = await make({ name: 'manager', grants: ['access-manage', 'verify'] })
  const move = async (token: string, name: string, parent: string) =>
    (await ask(token, 'PATCH', `/v1/tenants/${name}`, { parent })).body
  // Nobody is bound to what differs: nobody gains or loses.
  assert.equal((await move(manager, 'shop', 'west')).parent, 'west')
  assert.equal((await move(manager, 'shop', 'east')).parent, 'east')

  // Eve would reach the shop's delivery services, by a manager who may not touch them.
  await ask(ROOT_TOKEN, 'POST', '/v1/users', { name: 'eve', role: 'cdn-admin', tenant: 'west' })
  const into = await move(manager, 'shop', 'west')
  assert.equal(into.code, 'privilege_boundary')
  assert.match(into.detail, /DS-SECURITY-KEY:READ/)
  assert.equal((await move(ROOT_TOKEN, 'shop', 'west')).parent, 'west')
  assert.equal((await move(manager, 'shop', 'east')).code, 'privilege_boundary', 'nor take it away')
  await ask(ROOT_TOKEN, 'DELETE', '/v1/users/eve')

  // The same by a grant on one ring, which the caller's grant on every ring covers, and by one that it does not.
  await make({ name: 'verifier', grants: ['verify@ring:payments'], tenant: 'west' })
  assert.equal((await move(manager, 'shop', 'east')).parent, 'east')
  await make({ name: 'signer', grants: ['sign@ring:payments'], tenant: 'west' })
  const signer = await move(manager, 'shop', 'west')
  assert.deepEqual(signer.missing, ['sign@ring:payments'])
})

test('a move is felt by tokens and users at once', async (t) => {
  const { ask, make, access } = await accessApp(t)
  const west = await make({ name: 'of-west', role: 'admin', tenant: 'west' })
  const seen = async () => names((await ask(west, 'GET', '/v1/tenants')).body)
  assert.deepEqual(await seen(), ['west'])
  await ask(ROOT_TOKEN, 'PATCH', '/v1/tenants/shop', { parent: 'west' })
  assert.deepEqual(await seen(), ['shop', 'west'])
  await ask(ROOT_TOKEN, 'PATCH', '/v1/tenants/shop', { parent: 'root' })
  assert.deepEqual(await seen(), ['west'])
  access.close()
})

test('of two moves that would close a circle together one is done', async (t) => {
  const { ask } = await accessApp(t)
  const answers = await Promise.all([
    ask(ROOT_TOKEN, 'PATCH', '/v1/tenants/east', { parent: 'west' }),
    ask(ROOT_TOKEN, 'PATCH', '/v1/tenants/west', { parent: 'shop' }),
  ])
  assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 422])
  const { tenants } = (await ask(ROOT_TOKEN, 'GET', '/v1/tenants')).body
  assert.deepEqual(names({ tenants }), ['east', 'root', 'shop', 'west'])
})

test('of twenty who make the same tenant one does', async (t) => {
  const { ask } = await accessApp(t)
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => ask(ROOT_TOKEN, 'POST', '/v1/tenants', { name: 'new' })),
  )
  const codes = answers.map(({ status, body }) => body.code ?? status)
  assert.equal(codes.filter((code) => code === 201).length, 1)
  assert.equal(codes.filter((code) => code === 'name_taken').length, 19)
})

test('the tree has a depth, which neither making nor moving exceeds', async (t) => {
  const app = await accessApp(t)
  let parent = 'root'
  for (let level = 1; level <= 32; level++) {
    const name = `level-${level}`
    const made = await app.ask(ROOT_TOKEN, 'POST', '/v1/tenants', { name, parent })
    assert.equal(made.status, 201, name)
    parent = name
  }
  await refused(app, [ROOT_TOKEN, 'POST', '', { name: 'deeper', parent }], 'invalid_request')
  // east has one below it: together they need two levels.
  await refused(app, [ROOT_TOKEN, 'PATCH', '/east', { parent: 'level-31' }], 'invalid_request')
  const fits = await app.ask(ROOT_TOKEN, 'PATCH', '/v1/tenants/east', { parent: 'level-30' })
  assert.equal(fits.status, 200)
})

const aTree = fc.array(fc.nat(), { minLength: 1, maxLength: 12 }).map((parents): Tenants => {
  const entries = parents.map((at, index): [string, string] => [
    `t${index}`,
    index === 0 ? 'root' : `t${at % index}`,
  ])
  return new Map<string, string | undefined>([['root', undefined], ...entries])
})

test('depth, height and what two parents differ in agree with who contains whom', () => {
  fc.assert(
    fc.property(aTree, fc.nat(), fc.nat(), (tenants, i, j) => {
      const all = [...tenants.keys()]
      const [one = '', other = ''] = [all[i % all.length], all[j % all.length]]
      const above = (name: string) => all.filter((outer) => contains(tenants, outer, name))
      assert.equal(depthOf(tenants, one), above(one).length - 1)
      const below = all.filter((name) => contains(tenants, one, name))
      const lowest = Math.max(...below.map((name) => depthOf(tenants, name)))
      assert.equal(heightOf(tenants, one), lowest - depthOf(tenants, one))
      const expected = all.filter(
        (name) => above(one).includes(name) !== above(other).includes(name),
      )
      assert.deepEqual(differing(tenants, one, other).sort(), expected.sort())
    }),
  )
})
