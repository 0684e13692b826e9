import assert from 'node:assert/strict'
import { test } from 'node:test'
import { documentText, octKey, servicesWorld } from './services.ts'

test('product.md 6: a delivery service is made, described, listed by pages, moved and deleted', async (t) => {
  const { ask, events } = await servicesWorld(t)
  const made = await ask('PUT', '/movies', { body: { tenant: 'west', cdn: 'cdn-1' } })
  assert.equal(made.status, 200)
  const { xmlId, tenant, cdn, keys } = made.json
  assert.deepEqual(
    { xmlId, tenant, cdn, keys },
    { xmlId: 'movies', tenant: 'west', cdn: 'cdn-1', keys: null },
  )
  assert.deepEqual((await ask('GET', '/movies')).json, made.json)
  assert.deepEqual(
    (await ask('PUT', '/movies', { body: { tenant: 'west', cdn: 'cdn-1' } })).json,
    made.json,
  )
  for (const name of ['c', 'a', 'b']) await ask('PUT', `/${name}`, { body: { tenant: 'shop' } })
  const seen: string[] = []
  for (let after: string | null = ''; after !== null; ) {
    const page = await ask('GET', `?limit=2&after=${after}`)
    seen.push(...page.json.deliveryServices.map((one: { xmlId: string }) => one.xmlId))
    after = page.json.next
  }
  assert.deepEqual(seen, ['a', 'b', 'c', 'demo', 'movies'])
  assert.equal((await ask('PUT', '/movies', { body: { tenant: 'east' } })).json.tenant, 'east')
  assert.equal((await ask('DELETE', '/movies')).status, 204)
  assert.equal((await ask('GET', '/movies')).json.code, 'delivery_service_not_found')
  const types = (await events(/^delivery-service\./)).filter(({ subject }) => subject === 'movies')
  assert.deepEqual(
    types.map(({ type }) => type),
    ['delivery-service.created', 'delivery-service.moved', 'delivery-service.deleted'],
  )
})

test('a condition decides whether one is made or one is changed', async (t) => {
  const { ask, token, events } = await servicesWorld(t)
  const put = async (name: string, headers: Record<string, string>, by?: string) => {
    const body = { tenant: 'west' }
    const { status, json } = await ask('PUT', name, { body, headers, ...(by && { token: by }) })
    return [status, json.code ?? json.tenant, json.detail]
  }
  const none = { 'if-none-match': '*' }
  const some = { 'if-match': '*' }
  const code = 'precondition_failed'
  const there = 'There is a delivery service demo already'
  assert.deepEqual(await put('/demo', none), [412, code, `${there}, of tenant east`])
  const writer = await token({ grants: ['DELIVERY-SERVICE:UPDATE'] })
  assert.deepEqual(await put('/demo', none, writer), [412, code, there])
  assert.deepEqual(await put('/new', some), [412, code, 'No delivery service new'])
  for (const headers of [{ 'if-match': '"x"' }, { ...some, ...none }]) {
    assert.deepEqual((await put('/demo', headers)).slice(0, 2), [412, code])
  }
  const west = await token({ role: 'cdn-admin', tenant: 'west' })
  for (const headers of [none, some]) {
    assert.equal((await put('/demo', headers, west))[1], 'tenant_forbidden')
  }
  assert.equal((await ask('GET', '/demo')).json.tenant, 'east')
  const both = await Promise.all([put('/new', none), put('/new', none)])
  assert.deepEqual(both.map(([status]) => status).sort(), [200, 412])
  assert.deepEqual((await put('/demo', some)).slice(0, 2), [200, 'west'])
  const made = await events(/^delivery-service\.created/)
  assert.equal(made.filter(({ subject }) => subject === 'new').length, 1)
  assert.equal((await events(/^delivery-service\.moved/)).length, 1)
})

test('HIDE_FOREIGN_SERVICES: a condition does not tell which names there are', async (t) => {
  const settings = { HIDE_FOREIGN_SERVICES: 'true' }
  const { ask, token } = await servicesWorld(t, { settings })
  const west = await token({ role: 'cdn-admin', tenant: 'west' })
  for (const name of ['/demo', '/nowhere']) {
    const asked = { body: { tenant: 'west' }, headers: { 'if-match': '*' }, token: west }
    assert.equal((await ask('PUT', name, asked)).json.code, 'tenant_forbidden', name)
  }
})

test('contract 1: new names have 1 to 48 characters, no space, no period, and no tricks', async (t) => {
  const { ask } = await servicesWorld(t)
  const body = { tenant: 'east' }
  for (const name of ['x', 'x'.repeat(48), 'a_B-9', '__proto__']) {
    assert.equal((await ask('PUT', `/${name}`, { body })).status, 200, name)
  }
  for (const name of [
    'x'.repeat(49),
    'a%20b',
    'a.b',
    '..%2fdemo',
    '%2e%2e',
    'a%00',
    'a%2fb',
    'a%5cb',
    '%C3%BC',
    'a%0a',
    'a@b',
  ]) {
    const { status } = await ask('PUT', `/${name}`, { body })
    assert.ok(status === 422 || status === 404, `${name}: ${status}`)
  }
  for (const name of ['..%2f..%2fdemo', 'demo%00', 'Demo', 'demo%20']) {
    assert.equal((await ask('GET', `/${name}`)).status, 404, name)
    assert.equal((await ask('GET', `/${name}/cache-config`)).status, 404, name)
  }
})

test('contract 5: what is written comes back byte for byte, with validators', async (t) => {
  const { ask, clock } = await servicesWorld(t)
  const text = ` {"__proto__":{"keys":[]},\n"42":{"keys":[]}, "alerts" : ${JSON.stringify({ keys: [octKey('b')], renewal_kid: 'b', x: 1 })}}\n`
  const put = await ask('PUT', '/demo/keys', {
    raw: text,
    headers: { 'content-type': 'what/ever' },
  })
  assert.equal(put.status, 200, JSON.stringify(put.json))
  const got = await ask('GET', '/demo/cache-config')
  assert.equal(got.bytes.toString(), text)
  assert.equal(got.headers['etag'], put.json.etag)
  assert.equal(got.headers['cache-control'], 'no-store')
  assert.equal(got.headers['content-type'], 'application/json')
  assert.equal(got.headers['last-modified'], 'Thu, 01 Jan 2026 00:00:00 GMT')
  const headers = { 'if-none-match': `"x", ${put.json.etag}` }
  assert.equal((await ask('GET', '/demo/cache-config', { headers })).status, 304)
  clock.advance('1m')
  const again = await ask('PUT', '/demo/keys', { raw: text })
  assert.notEqual(again.json.etag, put.json.etag)
  assert.equal((await ask('GET', '/demo/cache-config', { headers })).status, 200)
})

test('contract 7: a service without keys is never given to a cache as an empty document', async (t) => {
  const { ask } = await servicesWorld(t)
  for (const path of ['/demo/cache-config', '/demo/cache-config?public=true']) {
    const { status, json } = await ask('GET', path)
    assert.deepEqual([status, json.code], [409, 'keys_missing'])
  }
  await ask('PUT', '/demo/keys', { raw: documentText() })
  assert.equal((await ask('DELETE', '/demo/keys')).status, 204)
  assert.equal((await ask('GET', '/demo/cache-config')).json.code, 'keys_missing')
  assert.equal((await ask('DELETE', '/demo/keys')).json.code, 'keys_missing')
})

test('contract 5: of two writers with one ETag one is told 412', async (t) => {
  const { ask } = await servicesWorld(t)
  const { json } = await ask('PUT', '/demo/keys', { raw: documentText() })
  const headers = { 'if-match': json.etag }
  const both = await Promise.all(
    ['b', 'c'].map((kid) => ask('PUT', '/demo/keys', { raw: documentText('x', kid), headers })),
  )
  assert.deepEqual(both.map(({ status }) => status).sort(), [200, 412])
  assert.equal((await ask('DELETE', '/demo/keys', { headers })).json.code, 'precondition_failed')
  const none = { 'if-none-match': '*' }
  assert.equal((await ask('PUT', '/demo/keys', { raw: documentText(), headers: none })).status, 412)
  const weak = { 'if-match': `W/${(await ask('GET', '/demo')).json.keys.etag}` }
  assert.equal((await ask('PUT', '/demo/keys', { raw: documentText(), headers: weak })).status, 412)
})

test('issue 4: the last ten versions stay, with who and when, and one of them can come back', async (t) => {
  const { ask, events } = await servicesWorld(t)
  for (let n = 1; n <= 12; n++) await ask('PUT', '/demo/keys', { raw: documentText(`issuer-${n}`) })
  const { versions } = (await ask('GET', '/demo/versions')).json
  assert.deepEqual(
    versions.map(({ version }: { version: number }) => version),
    [12, 11, 10, 9, 8, 7, 6, 5, 4, 3],
  )
  assert.equal(versions[0].createdBy, 'token:management')
  assert.equal(
    (await ask('POST', '/demo/rollback', { body: { version: 2 } })).json.code,
    'version_not_found',
  )
  const back = await ask('POST', '/demo/rollback', { body: { version: 3 } })
  assert.equal(back.json.version, 13)
  assert.equal((await ask('GET', '/demo/cache-config')).bytes.toString(), documentText('issuer-3'))
  await ask('DELETE', '/demo/keys')
  const gone = (await ask('GET', '/demo/versions')).json.versions[0]
  assert.deepEqual([gone.version, gone.hasKeys, gone.origin], [14, false, 'removed'])
  assert.equal(
    (await ask('POST', '/demo/rollback', { body: { version: 14 } })).json.code,
    'version_not_found',
  )
  assert.equal((await ask('POST', '/demo/rollback', { body: { version: 13 } })).status, 200)
  assert.equal((await events(/^uri-keys\.rolled-back/)).length, 2)
})

test('contract 8: a service that is deleted and made again has no keys, and none of its versions', async (t) => {
  const { ask, store } = await servicesWorld(t)
  await ask('PUT', '/demo/keys', { raw: documentText() })
  await ask('POST', '/demo/sign', { body: { uri: 'http://cdn.example/a', ttl: '1h' } })
  await ask('DELETE', '/demo')
  await ask('PUT', '/demo', { body: { tenant: 'east' } })
  assert.equal((await ask('GET', '/demo/cache-config')).json.code, 'keys_missing')
  assert.deepEqual((await ask('GET', '/demo/versions')).json.versions, [])
  const service = await store.read.deliveryServices.byXmlId('demo')
  assert.deepEqual(await store.read.uriPromises.list(service?.id ?? ''), [])
})

test('contract 5: who writes, removes and reads keys is on record, without the keys', async (t) => {
  const { ask, events, log, store } = await servicesWorld(t)
  await ask('PUT', '/demo/keys', { raw: documentText() })
  for (let n = 0; n < 3; n++) await ask('GET', '/demo/cache-config')
  await ask('DELETE', '/demo/keys')
  const found = await events(/^uri-keys\./)
  assert.deepEqual(
    found.map(({ type, principal }) => [type, principal]),
    ['stored', 'read', 'removed'].map((verb) => [`uri-keys.${verb}`, 'token:management']),
  )
  const all = JSON.stringify(await store.read.audit.list(0n, 1000), (_, value) =>
    typeof value === 'bigint' ? String(value) : value,
  )
  for (const text of [all, log.join('')]) assert.ok(!text.includes(octKey('a').k))
})

test('generate makes a first document for each algorithm, and copy takes that of another service', async (t) => {
  const { ask } = await servicesWorld(t)
  for (const algorithm of ['HS256', 'HS384', 'HS512', 'ES256', 'RS256']) {
    await ask('PUT', `/new-${algorithm}`, { body: { tenant: 'east' } })
    const body = { issuer: 'studio', algorithm }
    const made = await ask('POST', `/new-${algorithm}/generate`, { body })
    assert.equal(made.status, 200, JSON.stringify(made.json))
    const { json: again } = await ask('POST', `/new-${algorithm}/generate`, { body })
    assert.equal(again.code, 'keys_exist')
    const { json: lint } = await ask('POST', `/new-${algorithm}/lint`)
    assert.deepEqual(lint, { ok: true, findings: [] })
    const { json } = await ask('POST', `/new-${algorithm}/sign`, {
      body: { uri: 'http://cdn.example/a', ttl: '1h' },
    })
    assert.equal(json.kid, made.json.kid)
    const verdict = await ask('POST', `/new-${algorithm}/verify`, { body: { uri: json.uri } })
    assert.equal(verdict.json.code, 200, JSON.stringify(verdict.json))
  }
  assert.equal((await ask('POST', '/demo/copy', { body: { from: 'new-ES256' } })).status, 200)
  const [one, other] = await Promise.all(
    ['demo', 'new-ES256'].map((name) => ask('GET', `/${name}/cache-config`)),
  )
  assert.deepEqual(one?.bytes, other?.bytes)
  assert.equal(
    (await ask('POST', '/demo/copy', { body: { from: 'new-HS256' } })).json.code,
    'keys_exist',
  )
  const edge = await ask('GET', '/new-RS256/cache-config?public=true')
  assert.equal(edge.status, 200)
  assert.notEqual(
    edge.headers['etag'],
    (await ask('GET', '/new-RS256/cache-config')).headers['etag'],
  )
})

test('contract 6.2: lint says what is wrong with a document that is sent, and stores nothing', async (t) => {
  const { ask } = await servicesWorld(t)
  const bad = JSON.stringify({ a: { renewal_kid: 'k', keys: [octKey('k', { k: 'AAAA' })] } })
  const { json } = await ask('POST', '/demo/lint', { raw: bad })
  assert.equal(json.ok, false)
  assert.match(json.findings[0].message, /too short for HS256: k/)
  assert.equal((await ask('POST', '/demo/lint')).json.code, 'keys_missing')
  const refused = await ask('PUT', '/demo/keys', { raw: bad })
  assert.deepEqual(
    [refused.status, refused.json.detail],
    [400, 'invalid keyset: k too short for HS256: k'],
  )
})

test('issue 4, lint: a promise that ends soon is said of the key that made it, and of no namesake', async (t) => {
  const { ask } = await servicesWorld(t)
  const keys = () => [octKey('a'), octKey('b')]
  const write = (renewal: string) => {
    const document = {
      one: { renewal_kid: renewal, keys: keys() },
      two: { keys: keys() },
    }
    return ask('PUT', '/demo/keys', { raw: JSON.stringify(document) })
  }
  assert.equal((await write('a')).status, 200)
  const signing = { uri: 'http://h/a', ttl: '24h', issuer: 'one', kid: 'a' }
  assert.equal((await ask('POST', '/demo/sign', { body: signing })).json.kid, 'a')
  assert.equal((await write('b')).status, 200)
  const { json } = await ask('POST', '/demo/lint')
  const found = json.findings.filter(({ rule }: { rule: string }) => rule === 'promise-ends-soon')
  assert.deepEqual(
    found.map(({ issuer, kid }: Record<string, string>) => [issuer, kid]),
    [['one', 'a']],
  )
})

test('abuse: a document of 1 MiB is taken, one more byte is 413, and 10,000 keys are answered for', async (t) => {
  const { ask } = await servicesWorld(t)
  const keys = Array.from({ length: 9000 }, (_, at) => octKey(`kid-${at}`))
  const text = JSON.stringify({ s: { renewal_kid: 'kid-0', keys } })
  const padded = text + ' '.repeat(1024 * 1024 - text.length)
  assert.equal((await ask('PUT', '/demo/keys', { raw: padded })).status, 200)
  assert.equal((await ask('GET', '/demo/cache-config')).bytes.length, 1024 * 1024)
  assert.equal((await ask('PUT', '/demo/keys', { raw: `${padded} ` })).json.code, 'body_too_large')
  const many = JSON.stringify({
    s: {
      keys: Array(10_000).fill({ kty: 'oct', kid: 'k', alg: 'HS256', k: 'AA' }),
      renewal_kid: 'k',
    },
  })
  assert.equal((await ask('PUT', '/demo/keys', { raw: many })).status, 400)
})
