import assert from 'node:assert/strict'
import test from 'node:test'
import { CONFIGURATIONS, configuration, manageWorld, SHARED, secretsOf } from './world.ts'

// Contract section 1: routes, row by row.

const invalid = (answer: { status: number; json: { errorResponse: { messageCode: string } } }) => {
  assert.equal(answer.status, 400)
  assert.equal(answer.json.errorResponse.messageCode, 'MANAGE-INVALIDPAYLOAD')
}
const json = { headers: { accept: 'application/json' } }

test('section 1: GET of all lists them, 401 without credentials', async (t) => {
  const { ask, make } = await manageWorld(t)
  const empty = await ask('GET', `${CONFIGURATIONS}?format=json`)
  assert.equal(empty.status, 200)
  const { 'list-items': none } = empty.json['external-security-default-list']
  assert.deepEqual(none, { 'list-count': { units: 'quantity', value: 0 }, 'list-item': [] })
  await make('gateway-oauth')
  await make('a b/c')
  const { json: listed } = await ask('GET', `${CONFIGURATIONS}?format=json`)
  const items = listed['external-security-default-list']['list-items']['list-item']
  assert.deepEqual(
    items.map(({ uriref, nameref }: Record<string, string>) => [nameref, uriref]),
    [
      ['a b/c', '/manage/v2/external-security/a%20b%2Fc'],
      ['gateway-oauth', '/manage/v2/external-security/gateway-oauth'],
    ],
  )
  assert.match(items[0].idref, /^\d{1,20}$/)
  assert.equal((await ask('GET', CONFIGURATIONS, { as: null })).status, 401)
})

test('section 1: POST makes one, 201 without a body and with a Location; a taken name is 400, never 409', async (t) => {
  const { ask } = await manageWorld(t)
  const body = configuration('my config')
  const made = await ask('POST', CONFIGURATIONS, { body })
  assert.deepEqual([made.status, made.text], [201, ''])
  assert.equal(made.headers['location'], '/manage/v2/external-security/my%20config')
  const again = await ask('POST', CONFIGURATIONS, { body })
  assert.equal(again.status, 400)
  assert.equal(again.json.errorResponse.messageCode, 'MANAGE-CONFLICTINGCONFIG')
  invalid(await ask('POST', CONFIGURATIONS, { raw: '{"a', type: 'application/json' }))
})

test('section 6: a URI that is none is 400 SEC-INVURI, and makes nothing', async (t) => {
  const { ask } = await manageWorld(t)
  const body = configuration('one')
  const server = { ...body['oauth-server'], 'oauth-jwks-uri': 'http://idp.test/jwks' }
  const refused = await ask('POST', CONFIGURATIONS, { body: { ...body, 'oauth-server': server } })
  assert.deepEqual([refused.status, refused.json.errorResponse.messageCode], [400, 'SEC-INVURI'])
  assert.equal((await ask('GET', 'one')).status, 404)
})

test('section 1: 20 parallel POSTs of one name make one', async (t) => {
  const { ask } = await manageWorld(t)
  const body = configuration('one')
  const all = await Promise.all(
    Array.from({ length: 20 }, () => ask('POST', CONFIGURATIONS, { body })),
  )
  assert.equal(all.filter(({ status }) => status === 201).length, 1)
  assert.equal(all.filter(({ status }) => status === 400).length, 19)
})

test('section 1: GET of one is the default view without oauth-server; 404 for an unknown one', async (t) => {
  const { ask, make } = await manageWorld(t)
  await make('one')
  const { status, json: found } = await ask('GET', 'one?format=json')
  assert.equal(status, 200)
  const { id, meta, ...rest } = found['external-security-default']
  assert.match(id, /^\d{1,20}$/)
  assert.deepEqual(Object.keys(meta), ['uri', 'current-time', 'elapsed-time'])
  assert.match(meta['current-time'], /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
  assert.deepEqual(rest, {
    ...{ name: 'one', description: 'tokens from our IdP', authentication: 'oauth' },
    ...{ 'cache-timeout': 300, authorization: 'oauth', relations: {} },
  })
  const missing = await ask('GET', 'two', json)
  assert.equal(missing.status, 404)
  assert.equal(missing.json.errorResponse.messageCode, 'SEC-EXTERNALSECURITYDNE')
})

test('section 1: DELETE of one is 204, then 404; 400 while the setting names it', async (t) => {
  const { ask, make, on } = await manageWorld(t)
  await make('one')
  on.add('one')
  const used = await ask('DELETE', 'one', json)
  assert.equal(used.status, 400)
  assert.equal(used.json.errorResponse.messageCode, 'SEC-EXTERNALSECURITYINUSE')
  on.clear()
  const gone = await ask('DELETE', 'one')
  assert.deepEqual([gone.status, gone.text], [204, ''])
  const again = await ask('DELETE', 'one', json)
  assert.equal(again.status, 404)
  assert.equal(again.json.errorResponse.messageCode, 'SEC-EXTERNALSECURITYDNE')
})

test('section 1: PUT of one is 404: only properties take it', async (t) => {
  const { ask, make } = await manageWorld(t)
  await make('one')
  const put = await ask('PUT', 'one', { body: configuration('one') })
  assert.equal(put.status, 404)
  assert.equal(put.json.errorResponse.statusCode, '404')
})

test('section 1: properties: GET 200 and 404, PUT 204 and 400 for an unknown one', async (t) => {
  const { ask, make } = await manageWorld(t)
  await make('one')
  const { status, json: shown } = await ask('GET', 'one/properties?format=json')
  assert.equal(status, 200)
  assert.deepEqual(shown, configuration('one'))
  assert.equal((await ask('GET', 'two/properties')).status, 404)
  const put = await ask('PUT', 'one/properties', { body: { description: 'other' } })
  assert.deepEqual([put.status, put.text], [204, ''])
  const { json: after } = await ask('GET', 'one/properties?format=json')
  assert.equal(after.description, 'other')
  invalid(await ask('PUT', 'two/properties', { body: { description: 'x' } }))
})

test('section 1: jwt-secrets: POST adds, PUT updates, DELETE removes; all 400 below an unknown one', async (t) => {
  const { ask, make } = await manageWorld(t)
  await make('one')
  const ids = async () => {
    const { json: shown } = await ask('GET', 'one/properties?format=json')
    const secrets = shown['oauth-server']['oauth-jwt-secrets']?.['oauth-jwt-secret'] ?? []
    return secrets.map((one: Record<string, string>) => one['oauth-jwt-key-id'])
  }
  for (const [method, values, left] of [
    ['POST', { k1: SHARED, k2: SHARED }, ['k1', 'k2']],
    ['PUT', { k1: `${SHARED}2` }, ['k1', 'k2']],
    ['DELETE', { k1: undefined }, ['k2']],
  ] as const) {
    const done = await ask(method, 'one/jwt-secrets', { body: secretsOf(values) })
    assert.deepEqual([done.status, done.text], [204, ''], method)
    assert.deepEqual(await ids(), left)
    invalid(await ask(method, 'two/jwt-secrets', { body: secretsOf(values) }))
    invalid(await ask(method, 'one/jwt-secrets', { raw: '{', type: 'application/json' }))
  }
})

test('section 1: DELETE of a key id in the path is 204, then 404; 400 below an unknown one', async (t) => {
  const { ask, make } = await manageWorld(t)
  await make('one')
  await ask('POST', 'one/jwt-secrets', { body: secretsOf({ k1: SHARED }) })
  assert.equal((await ask('DELETE', 'one/jwt-secrets/k1')).status, 204)
  const again = await ask('DELETE', 'one/jwt-secrets/k1', json)
  assert.equal(again.status, 404)
  assert.equal(again.json.errorResponse.messageCode, 'MANAGE-NOSUCHKEY')
  invalid(await ask('DELETE', 'two/jwt-secrets/k1', json))
})

test('section 1: GET of jwt-secrets is 405 and says what it takes', async (t) => {
  const { ask, make } = await manageWorld(t)
  await make('one')
  const got = await ask('GET', 'one/jwt-secrets', json)
  assert.equal(got.status, 405)
  assert.equal(got.headers['allow'], 'POST, PUT, DELETE')
  assert.equal(got.json.errorResponse.statusCode, '405')
  assert.equal((await ask('GET', 'one/jwt-secrets', { as: null })).status, 401)
  const key = await ask('GET', 'one/jwt-secrets/k1', json)
  assert.deepEqual([key.status, key.headers['allow']], [405, 'DELETE'])
})

test('section 1: a DELETE of the configuration that carries the key-id payload is 400 and deletes nothing', async (t) => {
  const { ask, make } = await manageWorld(t)
  await make('one')
  await ask('POST', 'one/jwt-secrets', { body: secretsOf({ k1: SHARED }) })
  invalid(await ask('DELETE', 'one', { body: secretsOf({ k1: undefined }) }))
  const xml = '<external-security-properties><oauth-server/></external-security-properties>'
  const refused = await ask('DELETE', 'one', { raw: xml, type: 'application/xml' })
  assert.equal(refused.status, 400)
  assert.match(refused.text, /MANAGE-INVALIDPAYLOAD/)
  invalid(await ask('DELETE', 'one', { raw: '{"oauth-server', type: 'application/json' }))
  for (const body of [
    { 'external-security-properties': { 'oauth-server': {} } },
    { 'oauth-jwt-secret': [{ 'oauth-jwt-key-id': 'k1' }] },
    { 'external-security-name': 'another' },
    [{ 'oauth-server': {} }],
    null,
    'k1',
  ]) {
    const raw = JSON.stringify(body)
    assert.equal((await ask('DELETE', 'one', { raw, type: 'application/json' })).status, 400, raw)
  }
  for (const raw of ['<oauth-server><oauth-jwt-secret/></oauth-server>', '<a>k1</a>']) {
    assert.equal((await ask('DELETE', 'one', { raw, type: 'application/xml' })).status, 400, raw)
  }
  assert.equal((await ask('DELETE', 'one', { raw: '{"oauth-server":1}', type: null })).status, 415)
  const { json: shown } = await ask('GET', 'one/properties?format=json')
  assert.equal(shown['oauth-server']['oauth-jwt-secrets']['oauth-jwt-secret'].length, 1)
  assert.equal((await ask('DELETE', 'one', { body: {} })).status, 204)
})

test('section 1: LATEST is an alias of every route', async (t) => {
  const { ask } = await manageWorld(t)
  const base = '/manage/LATEST/external-security'
  assert.equal((await ask('POST', base, { body: configuration('one') })).status, 201)
  assert.equal((await ask('GET', `${base}?format=json`)).status, 200)
  assert.equal((await ask('GET', `${base}/one`)).status, 200)
  assert.equal((await ask('GET', `${base}/one/properties`)).status, 200)
  assert.equal((await ask('PUT', `${base}/one/properties`, { body: {} })).status, 204)
  const body = secretsOf({ k1: SHARED, k2: SHARED })
  assert.equal((await ask('POST', `${base}/one/jwt-secrets`, { body })).status, 204)
  assert.equal((await ask('PUT', `${base}/one/jwt-secrets`, { body })).status, 204)
  const { 'oauth-server': server } = secretsOf({ k1: undefined })
  const removal = { body: { 'oauth-server': server } }
  assert.equal((await ask('DELETE', `${base}/one/jwt-secrets`, removal)).status, 204)
  assert.equal((await ask('DELETE', `${base}/one/jwt-secrets/k2`)).status, 204)
  assert.equal((await ask('GET', `${base}/one/jwt-secrets`)).status, 405)
  assert.equal((await ask('DELETE', `${base}/one`)).status, 204)
})

test('section 3: a configuration is found by its name first, then by its id', async (t) => {
  const { ask, make } = await manageWorld(t)
  await make('one')
  const { json: one } = await ask('GET', 'one?format=json')
  const { id } = one['external-security-default']
  assert.equal(
    (await ask('GET', `${id}?format=json`)).json['external-security-default'].name,
    'one',
  )
  await make(id)
  assert.equal((await ask('GET', `${id}?format=json`)).json['external-security-default'].name, id)
  assert.equal((await ask('GET', '0'.repeat(300))).status, 404)
  assert.equal((await ask('GET', '99999999999999999999')).status, 404)
})

test('sections 3 and 5.3: paths are decoded once, a plus stays one, and full lengths route', async (t) => {
  const { ask, make } = await manageWorld(t)
  const names = ['a+b', 'a b', 'a%2Fb', 'ä/ö?#', '100%', 'x'.repeat(255), '漢'.repeat(255)]
  for (const name of names) {
    await make(name)
    const segment = encodeURIComponent(name)
    const found = await ask('GET', `${segment}/properties?format=json`)
    assert.equal(found.status, 200, name)
    assert.equal(found.json['external-security-name'], name)
  }
  assert.equal((await ask('GET', 'a+b?format=json')).json['external-security-default'].name, 'a+b')
  const ids = ['a/b+c=', 'x'.repeat(300), '/'.repeat(512), 'a%2Fb', 'a b', '+']
  for (const id of ids) {
    const body = secretsOf({ [id]: SHARED })
    assert.equal((await ask('POST', 'a+b/jwt-secrets', { body })).status, 204, id)
    const gone = await ask('DELETE', `a+b/jwt-secrets/${encodeURIComponent(id)}`)
    assert.equal(gone.status, 204, id)
  }
})
