import assert from 'node:assert/strict'
import { test } from 'node:test'
import { documentText, servicesWorld, type World } from './services.ts'

// Contract section 4 (tenancy) and product.md section 4 (capabilities, privilege boundary) on every route of ours.

const DOCUMENT = documentText()
const URI = 'http://cdn.example/a.ts'

/** Every route on a service, with a call of it that succeeds on a service with keys. */
const ROUTES: [method: string, path: string, asked: { body?: object; raw?: string }][] = [
  ['GET', '', {}],
  ['PUT', '', { body: { tenant: 'TENANT' } }],
  ['PUT', '/keys', { raw: DOCUMENT }],
  ['GET', '/cache-config', {}],
  ['GET', '/cache-config?public=true', {}],
  ['GET', '/versions', {}],
  ['GET', '/plan', {}],
  ['POST', '/lint', {}],
  ['POST', '/sign', { body: { uri: URI, ttl: '1h' } }],
  ['POST', '/sign', { body: { batch: [{ uri: URI, ttl: '1h' }] } }],
  ['POST', '/verify', { body: { uri: URI } }],
  ['POST', '/rollback', { body: { version: 1 } }],
  ['POST', '/rotate', { body: { newKid: 'n' } }],
  ['POST', '/attest', { body: { cachesReloadedAt: '2026-01-01T00:00:00.124Z' } }],
  ['POST', '/rotate', { body: { cancel: true } }],
  ['DELETE', '/keys', {}],
  ['POST', '/generate', { body: { issuer: 'i' } }],
  ['DELETE', '/keys', {}],
  ['POST', '/copy', { body: { from: 'FROM' } }],
  ['DELETE', '', {}],
]

const TENANTS = ['root', 'east', 'shop', 'west']

async function callAll(world: World, token: string, tenant: string): Promise<Map<string, number>> {
  const { ask, clock } = world
  await ask('PUT', `/of-${tenant}`, { body: { tenant } })
  await ask('PUT', `/from-${tenant}`, { body: { tenant } })
  for (const name of [`of-${tenant}`, `from-${tenant}`]) {
    await ask('PUT', `/${name}/keys`, { raw: DOCUMENT })
  }
  const statuses = new Map<string, number>()
  for (const [method, path, asked] of ROUTES) {
    clock.advance('1s')
    const text = JSON.stringify(asked.body)
      ?.replace('TENANT', tenant)
      .replace('FROM', `from-${tenant}`)
    const body = text?.includes('cachesReloadedAt')
      ? { cachesReloadedAt: new Date(Number(clock.now() / 1_000_000n)).toISOString() }
      : text && JSON.parse(text)
    const answer = await ask(method, `/of-${tenant}${path}`, {
      ...asked,
      token,
      ...(body && { body }),
    })
    statuses.set(`${method} ${path} ${text ?? ''}`, answer.status)
  }
  return statuses
}

test('own tenant and those below: yes; parent, sibling and foreign ones: no, on every route', async (t) => {
  const world = await servicesWorld(t)
  const table: [caller: string, allowed: string[]][] = [
    ['root', TENANTS],
    ['east', ['east', 'shop']],
    ['shop', ['shop']],
    ['west', ['west']],
  ]
  for (const [caller, allowed] of table) {
    const token = await world.token({ role: 'cdn-admin', tenant: caller })
    for (const tenant of TENANTS) {
      for (const [route, status] of await callAll(world, token, tenant)) {
        if (allowed.includes(tenant))
          assert.ok([200, 204].includes(status), `${caller} ${tenant} ${route}: ${status}`)
        else assert.equal(status, 403, `${caller} ${tenant} ${route}`)
      }
      await world.ask('DELETE', `/of-${tenant}`)
    }
  }
})

test('a list shows what the tenant contains, in pages, and nothing else', async (t) => {
  const { ask, token } = await servicesWorld(t)
  for (const tenant of TENANTS) {
    for (const n of [1, 2, 3]) await ask('PUT', `/x${n}-${tenant}`, { body: { tenant } })
  }
  const names = async (tenant: string) => {
    const caller = await token({ role: 'cdn-admin', tenant })
    const found: string[] = []
    for (let after: string | null = ''; after !== null; ) {
      const { json } = await ask('GET', `?limit=2&after=${after}`, { token: caller })
      found.push(...json.deliveryServices.map((one: { xmlId: string }) => one.xmlId))
      after = json.next
    }
    return found
  }
  assert.deepEqual(await names('shop'), ['x1-shop', 'x2-shop', 'x3-shop'])
  assert.deepEqual(await names('east'), [
    'demo',
    'x1-east',
    'x1-shop',
    'x2-east',
    'x2-shop',
    'x3-east',
    'x3-shop',
  ])
  assert.equal((await names('root')).length, 13)
})

test('the privilege boundary: nobody takes a service from, or gives one to, a tenant that is not his', async (t) => {
  const { ask, token } = await servicesWorld(t)
  const caller = await token({ role: 'cdn-admin', tenant: 'east' })
  const put = (name: string, tenant: string) =>
    ask('PUT', `/${name}`, { body: { tenant }, token: caller })
  assert.equal((await put('demo', 'shop')).json.tenant, 'shop')
  for (const tenant of ['west', 'root', 'none-such']) {
    assert.equal((await put('demo', tenant)).json.code, 'privilege_boundary', tenant)
    assert.equal((await put('new', tenant)).json.code, 'privilege_boundary', tenant)
  }
  await ask('PUT', '/theirs', { body: { tenant: 'west' } })
  assert.equal((await put('theirs', 'east')).json.code, 'tenant_forbidden')
  assert.equal((await ask('GET', '/theirs')).json.tenant, 'west')
  await ask('PUT', '/theirs/keys', { raw: DOCUMENT })
  const copy = await ask('POST', '/demo/copy', { body: { from: 'theirs' }, token: caller })
  assert.equal(copy.json.code, 'tenant_forbidden')
})

test('keys move with their service, and only the new tenant has them', async (t) => {
  const { ask, token } = await servicesWorld(t)
  for (const issuer of ['one', 'two']) await ask('PUT', '/demo/keys', { raw: documentText(issuer) })
  const east = await token({ role: 'cdn-admin', tenant: 'east' })
  const west = await token({ role: 'cdn-admin', tenant: 'west' })
  assert.equal((await ask('GET', '/demo/cache-config', { token: east })).status, 200)
  await ask('PUT', '/demo', { body: { tenant: 'west' } })
  assert.equal((await ask('GET', '/demo/cache-config', { token: east })).status, 403)
  assert.equal(
    (await ask('GET', '/demo/cache-config', { token: west })).bytes.toString(),
    documentText('two'),
  )
  assert.equal(
    (await ask('POST', '/demo/rollback', { body: { version: 1 }, token: west })).status,
    200,
  )
  assert.equal(
    (await ask('GET', '/demo/cache-config', { token: west })).bytes.toString(),
    documentText('one'),
  )
})

test('each route asks for its capability, on this very service', async (t) => {
  const { ask, token } = await servicesWorld(t)
  await ask('PUT', '/other', { body: { tenant: 'east' } })
  for (const name of ['demo', 'other']) await ask('PUT', `/${name}/keys`, { raw: DOCUMENT })
  const edge = await token({ grants: ['DS-SECURITY-KEY:READ@delivery-service:demo'] })
  assert.equal((await ask('GET', '/demo/cache-config?public=true', { token: edge })).status, 200)
  assert.equal(
    (await ask('POST', '/demo/sign', { body: { uri: URI, ttl: '1h' }, token: edge })).status,
    200,
  )
  assert.equal((await ask('GET', '/other/cache-config', { token: edge })).status, 403)
  const may = new Set(['GET /cache-config', 'POST /sign', 'POST /lint'])
  for (const [method, path, asked] of ROUTES) {
    if (may.has(`${method} ${path.split('?', 1)[0]}`)) continue
    const { status } = await ask(method, `/demo${path}`, { ...asked, token: edge })
    assert.equal(status, 403, `${method} ${path}`)
  }
  assert.equal((await ask('GET', '', { token: edge })).status, 403)
  const writer = await token({ grants: ['DELIVERY-SERVICE:UPDATE'] })
  // Its keys would go, too.
  assert.equal((await ask('DELETE', '/demo', { token: writer })).status, 403)
  const maker = await token({ grants: ['DS-SECURITY-KEY:CREATE'] })
  assert.equal(
    (await ask('POST', '/other/copy', { body: { from: 'demo' }, token: maker })).status,
    403,
  )
})

test('who asks for what is another tenant’s is on record, once a minute', async (t) => {
  const { ask, token, events } = await servicesWorld(t)
  const west = await token({ role: 'cdn-admin', tenant: 'west' })
  for (let n = 0; n < 3; n++) {
    assert.equal((await ask('GET', '/demo', { token: west })).status, 403)
  }
  const denied = await events(/^access\.denied$/)
  assert.deepEqual(
    denied.map(({ subject, principal }) => [subject, principal]),
    [['tenant@delivery-service:demo', 'token:caller-1']],
  )
})

test('HIDE_FOREIGN_SERVICES: what is another tenant’s and what there is not look the same', async (t) => {
  for (const hidden of [true, false]) {
    const { ask, token } = await servicesWorld(t, {
      settings: { HIDE_FOREIGN_SERVICES: String(hidden) },
    })
    await ask('PUT', '/demo/keys', { raw: DOCUMENT })
    const west = await token({ role: 'cdn-admin', tenant: 'west' })
    for (const [method, path, asked] of ROUTES) {
      if (method === 'PUT' && path === '') continue // names are the whole server's
      const answers = await Promise.all(
        ['demo', 'nowhere'].map((name) =>
          ask(method, `/${name}${path}`, { ...asked, token: west }),
        ),
      )
      const [foreign, none] = answers.map(({ status, json }) => ({
        ...json,
        status,
        requestId: '',
      }))
      if (hidden) assert.deepEqual(foreign, none, `${method} ${path}`)
      else assert.deepEqual([foreign?.status, none?.status], [403, 404], `${method} ${path}`)
    }
  }
})

test('a right that goes is gone at once: a tenant that moves away, a token that is deleted', async (t) => {
  const { ask, token, store, call } = await servicesWorld(t)
  await ask('PUT', '/demo', { body: { tenant: 'shop' } })
  await ask('PUT', '/demo/keys', { raw: DOCUMENT })
  const east = await token({ role: 'cdn-admin', tenant: 'east' })
  const sign = () => ask('POST', '/demo/sign', { body: { uri: URI, ttl: '1h' }, token: east })
  assert.equal((await sign()).status, 200)
  const file = await store.read.tenants.byName('shop')
  assert.ok(file)
  await ask('PUT', '/demo', { body: { tenant: 'west' } })
  assert.equal((await sign()).status, 403)
  await ask('PUT', '/demo', { body: { tenant: 'east' } })
  assert.equal((await sign()).status, 200)
  await call('DELETE', '/v1/api-tokens/caller-1')
  assert.equal((await sign()).status, 401)
})
