import assert from 'node:assert/strict'
import { request as send } from 'node:http'
import { type TestContext, test } from 'node:test'
import { testServer } from '../server.ts'
import { badDocuments, worseDocuments } from '../system/cache-documents.ts'
import {
  asManagement,
  documentOf,
  KEYS,
  PASSWORD,
  trafficOpsWorld,
  type World,
} from './traffic-ops.ts'

// Rows of the URI signing contract, sections 1 to 6, that need the whole application and stand in no transcript.

/** Those of the contract's table. */
const VERSIONS = ['1.3', '1.4', '1.5', '2.0', '3.0', '3.1', '4.0', '4.1', '5.0']
const METHODS = ['GET', 'POST', 'PUT', 'DELETE'] as const
const EMPTY = '{"renewal_kid":null,"keys":null}'
const alertsOf = (text: string, level = 'error') =>
  `{"alerts":[{"text":"${text}","level":"${level}"}]}\n`
const withBody = (method: string, body: string | Uint8Array) =>
  method === 'POST' || method === 'PUT' ? { body } : {}

test('section 1: all four methods behave alike under every version', async (t) => {
  const { ask } = await trafficOpsWorld(t)
  for (const version of VERSIONS) {
    const body = documentOf(`studio-${version}`)
    const steps: [method: string, text: string][] = [
      ['GET', EMPTY],
      ['POST', body],
      ['PUT', ` ${body}`],
      ['GET', ` ${body}`],
      ['DELETE', alertsOf('object deleted', 'success')],
      ['DELETE', alertsOf('not deleted, no object found to delete', 'info')],
    ]
    for (const [method, expected] of steps) {
      const call = { ...asManagement, ...withBody(method, expected) }
      const { status, text, headers } = await ask(method, KEYS('own', version), call)
      const found = [status, text, headers['content-type']]
      assert.deepEqual(found, [200, expected, 'application/json'], `${method} ${version}`)
    }
  }
  for (const version of ['0.1', '1.0', '1.1', '1.2', '2.1', '3.2', '4.2', '5.1', '11.3']) {
    const { status, alert } = await ask('GET', KEYS('own', version), asManagement)
    assert.equal(status, 501, version)
    assert.match(alert ?? '', /^The requested api version is not implemented by this server\. /)
  }
})

test('section 3: one’s own tenant and those below, neither parent, sibling nor foreign one, by every method', async (t) => {
  const world = await trafficOpsWorld(t)
  const make = async (method: string, path: string, body: object) => {
    const { status, json } = await world.call(method, path, body)
    assert.ok(status < 300, JSON.stringify(json))
  }
  const tenants: [name: string, parent: string, isAllowed: boolean][] = [
    ['above', 'root', false],
    ['mine', 'above', true],
    ['sibling', 'above', false],
    ['below', 'mine', true],
    ['deep', 'below', true],
  ]
  for (const [name, parent] of tenants) {
    await make('POST', '/v1/tenants', { name, parent })
    await make('PUT', `/v1/delivery-services/of-${name}`, { tenant: name })
  }
  const targets = [
    ...tenants.map(([name, , is]) => [`of-${name}`, is] as const),
    ['own', false] as const,
  ]
  for (const role of ['admin', 'cdn-admin']) {
    await make('POST', '/v1/users', { name: role, password: PASSWORD, role, tenant: 'mine' })
    const cookie = await world.login(role)
    for (const [service, isAllowed] of targets) {
      for (const method of METHODS) {
        const call = { headers: { cookie }, ...withBody(method, documentOf()) }
        const { status } = await world.ask(method, KEYS(service), call)
        assert.equal(status, isAllowed ? 200 : 403, `${role} ${method} ${service}`)
      }
      if (isAllowed) continue
      const { text } = await world.ask('GET', KEYS(service), asManagement)
      assert.equal(text, EMPTY, 'nothing was written')
    }
  }
})

test('section 1: the name is one decoded segment, of any length, less one .json', async (t) => {
  const { ask } = await trafficOpsWorld(t)
  const long = 'x'.repeat(300)
  for (const [name, status, alert] of [
    ['o%77n', 200, undefined],
    ['own.json', 200, undefined],
    ['own.json.json', 400, "no such deliveryservice: 'own.json'"],
    ['own.JSON', 400, "no such deliveryservice: 'own.JSON'"],
    ['own%2Ejson', 200, undefined],
    ['own%00', 400, "no such deliveryservice: 'own\\u0000'"],
    ['own%20', 400, "no such deliveryservice: 'own '"],
    [long, 400, `no such deliveryservice: '${long}'`],
    ['__proto__', 400, "no such deliveryservice: '__proto__'"],
  ] as const) {
    const answer = await ask('GET', `${KEYS(name)}?xmlId=foreign`, asManagement)
    assert.deepEqual([answer.status, answer.alert], [status, alert], name)
  }
})

test('section 2: nothing that the original sends beside an answer, and nothing for browsers', async (t) => {
  const { ask } = await trafficOpsWorld(t)
  const headers = { 'accept-encoding': 'gzip', origin: 'https://evil.example' }
  for (const method of METHODS) {
    const body = withBody(method, documentOf())
    const answer = await ask(method, KEYS('own'), { ...asManagement, headers, ...body })
    assert.equal(answer.status, 200, method)
    assert.equal(answer.headers['cache-control'], 'no-store', method)
    for (const name of [
      ...['Access-Control-Allow-Origin', 'Access-Control-Allow-Credentials', 'Vary'],
      ...['X-Server-Name', 'Whole-Content-SHA512', 'Content-Encoding', 'WWW-Authenticate'],
    ]) {
      assert.equal(answer.headers[name.toLowerCase()], undefined, `${method} ${name}`)
    }
  }
})

test('section 3: a login without a name or a password, missing or empty, is 400, and sets nothing', async (t) => {
  const { ask } = await trafficOpsWorld(t)
  for (const login of [
    {},
    { p: PASSWORD },
    { u: 'ann' },
    { u: '', p: PASSWORD },
    { u: 'ann', p: '' },
  ]) {
    const answer = await ask('POST', '/api/4.0/user/login', { body: JSON.stringify(login) })
    const text = alertsOf('username and password are required')
    assert.deepEqual([answer.status, answer.text, answer.cookies], [400, text, []])
  }
})

/** Tokens by who has them, and the same store behind a server whose keys are not unsealed. */
async function ladder(t: TestContext) {
  const world = await trafficOpsWorld(t)
  const tokenOf = async (body: {
    name: string
    role?: string
    grants?: string[]
    tenant?: string
  }) => (await world.call('POST', '/v1/api-tokens', body)).json.token as string
  const lesser = await tokenOf({
    name: 'lesser',
    grants: ['DELIVERY-SERVICE:READ'],
    tenant: 'team',
  })
  const full = await tokenOf({ name: 'full', role: 'admin', tenant: 'team' })
  const { store, clock } = world
  const settings = { ROOT_KEY_ALGORITHM: 'ES256' }
  const sealed = await testServer(t, { store, clock, settings, open: false })
  const askSealed = async (method: string, url: string, headers: Record<string, string>) => {
    const answer = await sealed.app.inject({ method: method as 'GET', url, headers, payload: '{' })
    return [answer.statusCode, answer.body] as const
  }
  return { world, lesser, full, askSealed }
}

const MISSING = {
  GET: 'DS-SECURITY-KEY:READ',
  POST: 'DS-SECURITY-KEY:CREATE',
  PUT: 'DS-SECURITY-KEY:UPDATE',
  DELETE: 'DS-SECURITY-KEY:DELETE, DS-SECURITY-KEY:READ, DELIVERY-SERVICE:UPDATE',
}

test('section 4: of everything that is wrong, the first check in its order answers', async (t) => {
  const { world, lesser, full, askSealed } = await ladder(t)
  const as = (token: string) => ({ authorization: `Bearer ${token}` })
  for (const method of METHODS) {
    const [nothing, older] = [KEYS('nothing'), KEYS('nothing', '3.1')]
    const please = alertsOf('unauthorized, please log in.')
    assert.deepEqual(await askSealed(method, nothing, {}), [401, please], method)
    const missing = alertsOf(`missing required Permissions: ${MISSING[method]}`)
    assert.deepEqual(await askSealed(method, nothing, as(lesser)), [403, missing])
    assert.deepEqual(await askSealed(method, older, as(lesser)), [403, alertsOf('Forbidden.')])
    const the = method === 'DELETE' ? 'rhe' : 'the'
    const vault = alertsOf(`${the} Traffic Vault service is unavailable`)
    assert.deepEqual(await askSealed(method, nothing, as(full)), [503, vault])
    for (const [name, status, text] of [
      ['nothing', 400, alertsOf("no such deliveryservice: 'nothing'")],
      ['foreign', 403, alertsOf('Forbidden')],
      ...(['POST', 'PUT'].includes(method)
        ? [['own', 400, alertsOf('malformed JSON')] as const]
        : []),
    ] as const) {
      const answer = await world.ask(method, KEYS(name), { token: full, body: '{' })
      assert.deepEqual([answer.status, answer.text], [status, text], `${method} ${name}`)
    }
  }
})

test('section 4: a body that is too long is looked at last, with and without its length', async (t) => {
  const { world, lesser, full } = await ladder(t)
  const long = Buffer.alloc(1024 * 1024 + 1, ' ')
  for (const [name, token, status] of [
    ['own', 'krd_none', 401],
    ['own', lesser, 403],
    ['nothing', full, 400],
    ['foreign', full, 403],
    ['own', full, 413],
  ] as const) {
    const answer = await world.ask('PUT', KEYS(name), { token, body: long })
    assert.equal(answer.status, status, name)
    assert.match(answer.text, /^\{"alerts":\[\{"text":"[^"]+","level":"error"\}\]\}\n$/)
  }
  const url = new URL(KEYS('own'), await world.app.listen({ host: '127.0.0.1', port: 0 }))
  const headers = { authorization: `Bearer ${full}` }
  const parts = { method: 'PUT', headers, agent: false } as const
  const { promise, resolve, reject } = Promise.withResolvers<number | undefined>()
  const request = send(url, parts, (answer) => resolve(answer.resume().statusCode))
  request.on('error', reject).write(long.subarray(1))
  request.end(' ')
  assert.equal(await promise, 413, 'of no length that is known before')
})

test('section 4: there are no hard locks: two users write the keys of one service of a cdn', async (t) => {
  const world = await trafficOpsWorld(t)
  const body = { name: 'amy', password: PASSWORD, role: 'admin', tenant: 'team' }
  assert.equal((await world.call('POST', '/v1/users', body)).status, 201)
  const cdn = { tenant: 'team', cdn: 'one' }
  assert.equal((await world.call('PUT', '/v1/delivery-services/own', cdn)).status, 200)
  const lock = { ...asManagement, body: '{"cdn":"one","soft":false}' }
  const none = await world.ask('POST', '/api/4.0/cdn_locks', lock)
  assert.deepEqual(
    [none.status, none.alert],
    [404, "The requested path '/api/4.0/cdn_locks' does not exist."],
  )
  for (const name of ['ann', 'amy']) {
    const headers = { cookie: await world.login(name) }
    const { status, text } = await world.ask('PUT', KEYS('own'), {
      headers,
      body: documentOf(name),
    })
    assert.equal(status, 200)
    assert.doesNotMatch(text, /^user \S+ currently has a hard lock on cdn one$/)
  }
})

test('section 5: a store that fails is 500 for every method, in three words', async (t) => {
  const world: World = await trafficOpsWorld(t)
  assert.equal((await world.ask('GET', KEYS('own'), asManagement)).status, 200)
  await world.store.close()
  for (const method of METHODS) {
    const call = { ...asManagement, ...withBody(method, documentOf()) }
    const { status, text } = await world.ask(method, KEYS('foreign'), call)
    assert.deepEqual([status, text], [500, alertsOf('Internal Server Error')], method)
  }
})

test('section 5: If-Modified-Since is not looked at: two writes may share a second', async (t) => {
  const { ask } = await trafficOpsWorld(t)
  await ask('PUT', KEYS('own'), { ...asManagement, body: documentOf() })
  const headers = { 'if-modified-since': 'Fri, 01 Jan 2100 00:00:00 GMT' }
  const { status, text } = await ask('GET', KEYS('own'), { ...asManagement, headers })
  assert.deepEqual([status, text], [200, documentOf()])
})

test('section 6.2, row by row: refused in strict with its reason, stored in compat byte for byte', async (t) => {
  const strict = await trafficOpsWorld(t)
  const compat = await trafficOpsWorld(t, { URI_SIGNING_VALIDATION: 'compat' })
  for (const row of [...(await badDocuments()), ...(await worseDocuments())]) {
    const { what, reason = '', malformed } = row
    const body = `\n${row.document}  `
    for (const method of ['POST', 'PUT']) {
      const refused = await strict.ask(method, KEYS('own'), { ...asManagement, body })
      const alert = refused.alert ?? ''
      assert.equal(refused.status, 400, what)
      if (malformed) assert.equal(alert, 'malformed JSON', what)
      else if (reason.endsWith(' ')) assert.ok(alert.startsWith(`invalid keyset: ${reason}`), alert)
      else if (reason) assert.equal(alert, `invalid keyset: ${reason}`, what)
      else assert.match(alert, /^invalid keyset: ./, what)
      const stored = await compat.ask(method, KEYS('own'), { ...asManagement, body })
      if (malformed) assert.deepEqual([stored.status, stored.alert], [400, 'malformed JSON'], what)
      else assert.deepEqual([stored.status, stored.text], [200, body], what)
    }
    if (!malformed) {
      assert.equal((await compat.ask('GET', KEYS('own'), asManagement)).text, body, what)
    }
  }
  assert.equal((await strict.ask('GET', KEYS('own'), asManagement)).text, EMPTY)
})

test('section 6.2, the last row: the empty document is refused in both modes, and given to no cache', async (t) => {
  for (const mode of ['strict', 'compat']) {
    const world = await trafficOpsWorld(t, { URI_SIGNING_VALIDATION: mode })
    const call = { ...asManagement, body: EMPTY }
    assert.equal((await world.ask('PUT', KEYS('own'), call)).alert, 'malformed JSON')
    assert.equal((await world.ask('GET', KEYS('own'), asManagement)).text, EMPTY)
    for (const query of ['', '?public=true']) {
      const { status, json } = await world.call(
        'GET',
        `/v1/delivery-services/own/cache-config${query}`,
      )
      assert.deepEqual([status, json.code], [409, 'keys_missing'], mode)
    }
  }
})
