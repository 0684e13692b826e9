import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { SignJWT } from 'jose'
import { MANAGEMENT_TOKEN, START, type TestServerOptions, testServer } from '../server.ts'

// Product.md section 4: tokens of external-security configurations as credentials, and what their roles mean here.

const NOW = Number(START / 1_000_000_000n)
const MANAGE = '/manage/v2/external-security'
const SECRET = '0123456789abcdef0123456789abcdef'
const ISSUER = 'https://idp.test/'

const configuration = (name: string, oauth: object = {}) => ({
  ...{ 'external-security-name': name, authentication: 'oauth', authorization: 'oauth' },
  'oauth-server': {
    ...{ 'oauth-vendor': 'Other', 'oauth-flow-type': 'Resource server' },
    ...{ 'oauth-client-id': 'gateway', 'oauth-token-type': 'JSON Web Tokens' },
    ...{ 'oauth-username-attribute': 'name', 'oauth-role-attribute': 'groups' },
    ...{ 'oauth-jwt-alg': 'HS256', 'oauth-jwt-issuer-uri': ISSUER },
    ...oauth,
  },
})

const secretOf = (keyId: string, value = SECRET) => ({
  'oauth-server': {
    'oauth-jwt-secret': [{ 'oauth-jwt-key-id': keyId, 'oauth-jwt-secret-value': value }],
  },
})

const signed = (claims: Record<string, unknown> = {}, kid = 'k', secret = SECRET) =>
  new SignJWT({
    ...{ iss: ISSUER, aud: 'gateway', exp: NOW + 600, name: 'ann', groups: ['ops'] },
    ...claims,
  })
    .setProtectedHeader({ alg: 'HS256', kid })
    .sign(Buffer.from(secret))

async function externalWorld(t: TestContext, options: TestServerOptions = {}) {
  const server = await testServer(t, {
    ...options,
    settings: { ROOT_KEY_ALGORITHM: 'EdDSA', ...options.settings },
  })
  const must = async (method: string, path: string, body?: unknown) => {
    const { status, json } = await server.call(method, path, body)
    assert.ok(status < 300, `${method} ${path}: ${status} ${JSON.stringify(json)}`)
    return json
  }
  const ask = async (token: string, url = MANAGE, method = 'GET', body?: object) => {
    const answer = await server.app.inject({
      ...{ method: method as 'GET', url },
      headers: { authorization: `Bearer ${token}` },
      ...(body && { payload: body }),
    })
    return { status: answer.statusCode, text: answer.body }
  }
  return Object.assign(server, {
    ...{ must, ask },
    async configure(name: string, oauth: object = {}) {
      await must('POST', MANAGE, configuration(name, oauth))
      await must('POST', `${MANAGE}/${name}/jwt-secrets`, secretOf('k'))
    },
    switchOn: (...names: string[]) =>
      must('PUT', '/v1/settings/external_security', { value: names }),
    grant: (externalName: string, role: string, more: object = {}) =>
      must('POST', '/v1/role-grants', { externalSecurity: 'idp', externalName, role, ...more }),
  })
}

test('a token counts only once its configuration is switched on, and carries only granted roles', async (t) => {
  const { ask, configure, switchOn, grant, must } = await externalWorld(t)
  await configure('idp')
  const token = await signed()
  assert.equal((await ask(token)).status, 401, 'it is data')
  await switchOn('idp')
  const without = await ask(token)
  assert.deepEqual([without.status, /You do not have credentials/.test(without.text)], [401, true])
  const { id } = await grant('ops', 'security-admin')
  assert.equal((await ask(token)).status, 200)
  // On our own routes, too, and no further than the role goes.
  assert.equal((await ask(token, '/v1/status')).status, 403)
  await grant('ops', 'operator')
  assert.equal((await ask(token, '/v1/status')).status, 200)
  await must('DELETE', `/v1/role-grants/${id}`)
  assert.equal((await ask(token)).status, 401)
  assert.equal((await ask(token, '/v1/status')).status, 200)
  await switchOn()
  assert.equal((await ask(token, '/v1/status')).status, 401)
})

test('an external role that is called admin is a word without a grant', async (t) => {
  const { ask, configure, switchOn } = await externalWorld(t)
  await configure('idp')
  await switchOn('idp')
  const token = await signed({ groups: ['admin', 'security-admin', 'operator'], name: 'admin' })
  assert.equal((await ask(token)).status, 401)
  for (const path of ['/v1/status', '/v1/users', '/v1/settings']) {
    assert.equal((await ask(token, path)).status, 403, path)
  }
})

test('who authenticates is held to more than who is verified', async (t) => {
  const { ask, configure, switchOn, grant, must } = await externalWorld(t)
  await configure('idp')
  await grant('ops', 'security-admin')
  await switchOn('idp')
  const table: [what: string, claims: Record<string, unknown>][] = [
    ['no exp', { exp: undefined }],
    ['expired', { exp: NOW - 61 }],
    ['not yet', { nbf: NOW + 61 }],
    ['no aud', { aud: undefined }],
    ['another aud', { aud: ['other', 'GATEWAY'] }],
    ['no user', { name: undefined }],
    ['an empty user', { name: '' }],
    ['a user that is a number', { name: 7 }],
    ['a user with a line', { name: 'a\nb' }],
    ['another issuer', { iss: 'https://other.test/' }],
    ['no issuer', { iss: undefined }],
  ]
  for (const [what, claims] of table) {
    assert.equal((await ask(await signed(claims))).status, 401, what)
  }
  assert.equal((await ask(await signed({ aud: ['x', 'gateway'] }))).status, 200)
  assert.equal((await ask(await signed({}, 'other'))).status, 401, 'another kid')
  assert.equal((await ask(await signed({}, 'k', 'x'.repeat(32)))).status, 401, 'another secret')
  // By its own rules the configuration takes one without exp and aud.
  const lax = await signed({ exp: undefined, aud: undefined })
  const body = { token: lax, with: { externalSecurity: 'idp' } }
  assert.equal((await must('POST', '/v1/verify', body)).valid, true)
  const audience = { ...body, audience: 'x' }
  assert.equal(
    (await ask(MANAGEMENT_TOKEN, '/v1/verify', 'POST', audience)).status,
    422,
    'its rules are its own',
  )
})

test('what cannot be switched on is refused with the reason', async (t) => {
  const { call, must, configure } = await externalWorld(t)
  const refused = async (name: string) => {
    const { status, json } = await call('PUT', '/v1/settings/external_security', { value: [name] })
    assert.equal(status, 422, name)
    return json.detail as string
  }
  assert.match(await refused('none'), /there is no external security/)
  await configure('short')
  await must('PUT', `${MANAGE}/short/jwt-secrets`, secretOf('k', 'ExampleJWTSecret'))
  assert.match(await refused('short'), /fewer than 32 bytes/)
  await must('POST', MANAGE, {
    ...{ 'external-security-name': 'ldap', authentication: 'ldap', authorization: 'ldap' },
    'ldap-server': {
      ...{ 'ldap-server-uri': 'ldap://a.test', 'ldap-base': 'dc=a', 'ldap-attribute': 'uid' },
    },
  })
  assert.match(await refused('ldap'), /authentication is ldap; this server performs oauth only/)
  await must('PUT', '/v1/settings/external_security', { value: [] })
})

test('a configuration that is switched on keeps what it needs, and is not deleted', async (t) => {
  const { call, configure, switchOn } = await externalWorld(t)
  await configure('idp')
  await switchOn('idp')
  const deleted = await call('DELETE', `${MANAGE}/idp`)
  assert.equal(deleted.status, 400)
  assert.match(JSON.stringify(deleted.json), /SEC-EXTERNALSECURITYINUSE/)
  const short = await call('POST', `${MANAGE}/idp/jwt-secrets`, secretOf('s', 'ExampleJWTSecret'))
  assert.equal(short.status, 400)
  await switchOn()
  assert.equal((await call('DELETE', `${MANAGE}/idp`)).status, 204)
})

test('a token is asked of one source, and of none where two could be meant', async (t) => {
  const { ask, configure, switchOn, grant, must } = await externalWorld(t)
  await configure('idp')
  await configure('twin')
  await configure('nameless', { 'oauth-jwt-issuer-uri': '' })
  await grant('ops', 'admin')
  const token = await signed()
  const own = '/v1/status'
  await switchOn('idp', 'nameless')
  assert.equal((await ask(token)).status, 200)
  assert.equal((await ask(token, own)).status, 200)
  await switchOn('idp', 'twin')
  assert.equal((await ask(token)).status, 401, 'two with this issuer')
  assert.equal((await ask(token, own)).status, 401)
  // Without a configuration of its issuer, one that has none is asked on /manage, and never on /v1.
  await switchOn('nameless')
  const body = { externalSecurity: 'nameless', externalName: 'ops', role: 'admin' }
  await must('POST', '/v1/role-grants', body)
  assert.equal((await ask(token)).status, 200)
  assert.equal((await ask(token, own)).status, 401)
  // jwks_setup has the same issuer: two again.
  await switchOn('idp')
  await must('PUT', '/v1/settings/jwks_issuer', { value: ISSUER })
  assert.equal((await ask(token, own)).status, 401)
  assert.equal((await ask(token)).status, 200, 'there, that set is not asked')
})

test('a configuration that is on does not take the issuer of another, which would be neither’s then', async (t) => {
  const { ask, call, configure, switchOn, grant } = await externalWorld(t)
  await configure('idp')
  await configure('other', { 'oauth-jwt-issuer-uri': 'https://other.test/' })
  await grant('ops', 'admin')
  await switchOn('idp', 'other')
  const take = (issuer: string) =>
    call('PUT', `${MANAGE}/other/properties`, {
      'oauth-server': { 'oauth-jwt-issuer-uri': issuer },
    })
  const refused = await take(ISSUER)
  assert.equal(refused.status, 400)
  assert.match(refused.json.errorResponse.message, /idp has its oauth-jwt-issuer-uri/)
  assert.equal((await ask(await signed())).status, 200)
  assert.equal((await take('https://third.test/')).status, 204)
})

test('product.md 4: who is known for a while makes no users who go on', async (t) => {
  const { ask, must, call, configure, switchOn, grant } = await externalWorld(t)
  await configure('idp')
  await configure('bare', { 'oauth-jwt-issuer-uri': 'https://bare.test/' })
  await grant('ops', 'admin')
  await switchOn('idp')
  const jwt = await signed()
  const ending = { name: 'ending', role: 'admin', ttl: '15m' }
  const { token: apiToken } = await must('POST', '/v1/api-tokens', ending)
  const issuer = { 'oauth-server': { 'oauth-jwt-issuer-uri': 'https://mine.test/' } }
  const writes = [
    ['POST', `${MANAGE}/idp/jwt-secrets`, secretOf('mine')],
    ['PUT', `${MANAGE}/idp/jwt-secrets`, secretOf('k', `${SECRET}2`)],
    ['PUT', `${MANAGE}/idp/properties`, issuer],
    ['PUT', '/v1/settings/jwks_endpoint', { value: 'https://mine.test/' }],
    ['PUT', '/v1/settings/jwks_issuer', { value: 'https://mine.test/' }],
    ['DELETE', '/v1/settings/jwks_username_field', undefined],
  ] as const
  for (const token of [jwt, apiToken]) {
    for (const [method, url, body] of writes) {
      const { status } = await ask(token, url, method, body)
      assert.equal(status, url.startsWith(MANAGE) ? 401 : 403, `${method} ${url}`)
    }
    // Nobody is granted anything by this one: its users may nothing.
    const own = `${MANAGE}/bare/jwt-secrets`
    assert.equal((await ask(token, own, 'POST', secretOf('mine'))).status, 204)
    // Nor does it make anybody to take a key away.
    assert.equal((await ask(token, `${own}/mine`, 'DELETE')).status, 204)
  }
  const both = { value: ['idp', 'bare'] }
  assert.equal((await ask(jwt, '/v1/settings/external_security', 'PUT', both)).status, 403)
  for (const [method, url, body] of writes) {
    assert.ok((await call(method, url, body)).status < 300, `${method} ${url}`)
  }
})

test('the privilege boundary: who lacks what a configuration gives neither switches it off nor removes it', async (t) => {
  const { ask, must, configure, switchOn, grant } = await externalWorld(t)
  await configure('idp')
  await configure('mine', { 'oauth-jwt-issuer-uri': 'https://mine.test/' })
  await grant('ops', 'admin')
  await switchOn('idp')
  const grants = ['access-manage', 'external-security', 'settings']
  const { token } = await must('POST', '/v1/api-tokens', { name: 'few', grants })
  const setting = '/v1/settings/external_security'
  for (const [method, url, body] of [
    ['PUT', setting, { value: ['mine'] }],
    ['PUT', setting, { value: [] }],
    ['DELETE', setting, undefined],
  ] as const) {
    assert.equal((await ask(token, url, method, body)).status, 403, method)
  }
  assert.equal((await ask(token, `${MANAGE}/idp`, 'DELETE')).status, 401)
  await switchOn()
  assert.equal((await ask(token, setting, 'PUT', { value: ['mine'] })).status, 200)
  assert.equal((await ask(token, setting, 'DELETE')).status, 200)
})

test('such a token is no credential on the other surfaces', async (t) => {
  const { ask, configure, switchOn, grant } = await externalWorld(t)
  await configure('idp')
  await grant('ops', 'admin')
  await switchOn('idp')
  const token = await signed()
  assert.equal((await ask(token)).status, 200)
  for (const [method, path] of [
    ['POST', '/api/v2/jwks_setup'],
    ['GET', '/api/v1/identities/details'],
    ['GET', '/api/5.0/deliveryservices/demo/urisignkeys'],
    ['POST', '/oauth/introspect'],
  ] as const) {
    const { status } = await ask(token, path, method)
    assert.ok([400, 401, 403, 404].includes(status), `${method} ${path}: ${status}`)
  }
})

test('product.md 4: an access token of ours is none on /manage and /api/v2', async (t) => {
  const { ask, must } = await externalWorld(t, { issuer: 'https://keys.test' })
  const { identity } = await must('POST', '/api/v1/identities', {
    ...{ name: 'job', organizationId: 'default', role: 'admin' },
  })
  await must('POST', '/v1/rings', { name: 'source', algorithms: ['EdDSA'] })
  await must('POST', `/api/v1/auth/jwt-auth/identities/${identity.id}`, {
    ...{ configurationType: 'jwks', jwksUrl: 'ring:source', boundSubject: 'job' },
    ...{ boundClaims: {}, accessTokenTTL: 900 },
  })
  const { token: jwt } = await must('POST', '/v1/rings/source/sign', {
    ...{ claims: { sub: 'job' }, ttl: '5m' },
  })
  const { accessToken } = await must('POST', '/api/v1/auth/jwt-auth/login', {
    ...{ identityId: identity.id, jwt },
  })
  assert.equal((await ask(accessToken, '/v1/status')).status, 200)
  assert.equal((await ask(accessToken)).status, 401)
  assert.equal((await ask(accessToken, '/api/v2/jwks_setup', 'POST')).status, 401)
})

test('the privilege boundary: nobody grants, or makes keys for, what he has not', async (t) => {
  const { ask, must, configure, grant } = await externalWorld(t)
  await must('POST', '/v1/tenants', { name: 'east' })
  await configure('idp')
  await grant('root', 'admin')
  const tokenOf = async (body: object) =>
    (await must('POST', '/v1/api-tokens', body)).token as string
  const managed = await tokenOf({ name: 'm', grants: ['access-manage', 'external-security'] })
  const eastern = await tokenOf({ name: 'e', role: 'admin', tenant: 'east' })
  const ending = await tokenOf({ name: 'x', role: 'admin', ttl: '1h' })
  const body = { externalSecurity: 'idp', externalName: 'x', role: 'security-admin' }
  const path = '/v1/role-grants'
  assert.equal((await ask(managed, path, 'POST', body)).status, 403, 'a role that he has not')
  assert.equal((await ask(eastern, path, 'POST', body)).status, 403, 'bound to no tenant')
  assert.equal((await ask(ending, path, 'POST', body)).status, 403, 'it would outlive him')
  assert.equal((await ask(eastern, path, 'POST', { ...body, tenant: 'east' })).status, 201)
  // Who writes a secret can make tokens with it: of an admin, as the configuration grants that.
  const secrets = `${MANAGE}/idp/jwt-secrets`
  assert.equal((await ask(managed, secrets, 'POST', secretOf('mine'))).status, 401)
  assert.equal((await ask(eastern, secrets, 'POST', secretOf('mine'))).status, 401)
  const unknown = await ask(MANAGEMENT_TOKEN, path, 'POST', { ...body, externalSecurity: 'none' })
  assert.equal(unknown.status, 422)
  const nowhere = { ...body, externalName: 'y', tenant: 'none' }
  assert.equal((await ask(MANAGEMENT_TOKEN, path, 'POST', nowhere)).status, 422)
  const other = { ...body, externalName: 'z' }
  assert.equal((await ask(MANAGEMENT_TOKEN, path, 'POST', other)).status, 201)
  assert.equal((await ask(MANAGEMENT_TOKEN, path, 'POST', other)).status, 409)
  const seen = JSON.parse((await ask(eastern, path)).text).roleGrants as { role: string }[]
  assert.deepEqual(
    seen.map(({ role }) => role),
    ['security-admin'],
    'those of his tenant',
  )
  const { roleGrants } = await must('GET', path)
  assert.equal(roleGrants.length, 3)
  assert.equal((await ask(eastern, `${path}/${roleGrants[0].id}`, 'DELETE')).status, 404)
  assert.equal((await ask(managed, `${path}/${roleGrants[0].id}`, 'DELETE')).status, 403)
})

test('a tenant is moved below another by who has what role grants give there', async (t) => {
  const { ask, must, configure, grant } = await externalWorld(t)
  for (const [name, parent] of [
    ['t', 'root'],
    ['x', 't'],
    ['b', 't'],
  ]) {
    await must('POST', '/v1/tenants', { name, parent })
  }
  await configure('idp')
  await grant('boss', 'admin', { tenant: 'x' })
  const body = { name: 'am', grants: ['access-manage'], tenant: 't' }
  const { token } = await must('POST', '/v1/api-tokens', body)
  const moved = await ask(token, '/v1/tenants/b', 'PATCH', { parent: 'x' })
  assert.deepEqual([moved.status, JSON.parse(moved.text).code], [403, 'privilege_boundary'])
  const { token: full } = await must('POST', '/v1/api-tokens', {
    name: 'a',
    role: 'admin',
    tenant: 't',
  })
  assert.equal((await ask(full, '/v1/tenants/b', 'PATCH', { parent: 'x' })).status, 200)
})

test('roles of different tenants are not one principal; none of them counts', async (t) => {
  const { ask, must, configure, switchOn, grant } = await externalWorld(t)
  for (const name of ['east', 'west']) await must('POST', '/v1/tenants', { name })
  await configure('idp')
  await switchOn('idp')
  await grant('cdn', 'cdn-admin', { tenant: 'east' })
  await grant('also', 'identity-admin', { tenant: 'east' })
  await grant('far', 'cdn-admin', { tenant: 'west' })
  await must('PUT', '/v1/delivery-services/demo', { tenant: 'east' })
  await must('PUT', '/v1/delivery-services/other', { tenant: 'west' })
  const as = async (...groups: string[]) => {
    const token = await signed({ groups })
    const of = (name: string) => ask(token, `/v1/delivery-services/${name}`)
    return [(await of('demo')).status, (await of('other')).status]
  }
  assert.deepEqual(await as('cdn'), [200, 403])
  assert.deepEqual(await as('cdn', 'also'), [200, 403])
  assert.deepEqual(await as('far'), [403, 200])
  assert.deepEqual(await as('cdn', 'far'), [403, 403])
})

test('the privilege boundary: a grant within one tenant takes nothing away from those beyond it', async (t) => {
  const { ask, must, configure, switchOn, grant } = await externalWorld(t)
  await must('POST', '/v1/tenants', { name: 'east' })
  await must('POST', '/v1/tenants', { name: 'shop', parent: 'east' })
  await configure('idp')
  await switchOn('idp')
  await grant('ops', 'operator')
  await grant('cdn', 'cdn-admin', { tenant: 'east' })
  for (const name of ['east', 'shop']) {
    await must('PUT', `/v1/delivery-services/${name}`, { tenant: name })
  }
  const token = await signed({ groups: ['ops', 'cdn'] })
  const cdn = await signed({ groups: ['cdn', 'staff'] })
  const seen = async () =>
    Promise.all([
      ask(token, '/v1/status').then(({ status }) => status),
      ask(cdn, '/v1/delivery-services/east').then(({ status }) => status),
    ])
  assert.deepEqual(await seen(), [200, 200])
  const admins = { name: 'e', role: 'admin', tenant: 'shop' }
  const { token: shop } = await must('POST', '/v1/api-tokens', admins)
  for (const externalName of ['ops', 'cdn', 'staff']) {
    const body = { externalSecurity: 'idp', externalName, role: 'member', tenant: 'shop' }
    assert.equal((await ask(shop, '/v1/role-grants', 'POST', body)).status, 201)
  }
  assert.deepEqual(await seen(), [200, 200])
  // The roles of the outermost tenant alone: those that were given further in reach no further out.
  assert.equal((await ask(token, '/v1/delivery-services/east')).status, 403)
  await grant('root', 'member', { tenant: 'root' })
  const both = await signed({ groups: ['ops', 'root', 'cdn'] })
  assert.equal((await ask(both, '/v1/status')).status, 200, 'the root is all tenants, too')
})

test('a name may mean the same role in several tenants, once in each', async (t) => {
  const { call, must, configure } = await externalWorld(t)
  for (const name of ['east', 'west']) await must('POST', '/v1/tenants', { name })
  await configure('idp')
  const put = async (tenant?: string) => {
    const body = { externalSecurity: 'idp', externalName: 'ops', role: 'member', tenant }
    const { status, json } = await call('POST', '/v1/role-grants', body)
    return status === 201 ? 201 : json.code
  }
  for (const tenant of ['east', 'west', undefined]) {
    assert.deepEqual([await put(tenant), await put(tenant)], [201, 'name_taken'], tenant ?? 'none')
  }
})

test('an external name is text on one line, as it is stored', async (t) => {
  const { call, configure } = await externalWorld(t)
  await configure('idp')
  const body = { externalSecurity: 'idp', role: 'member' }
  for (const externalName of ['', '\ud800', 'a\nb', 'a\u0000', 'x'.repeat(513), 7]) {
    const { status } = await call('POST', '/v1/role-grants', { ...body, externalName })
    assert.equal(status, 422, JSON.stringify(externalName))
  }
  for (const externalName of ['cn=ops,dc=test', 'Gruppe für alles', '😀', ' ', 'cognito:groups']) {
    const { status, json } = await call('POST', '/v1/role-grants', { ...body, externalName })
    assert.deepEqual([status, json.externalName], [201, externalName])
  }
})

test('what such a user makes ends with the token, and is in his name', async (t) => {
  const { ask, must, configure, switchOn, grant, store } = await externalWorld(t)
  await configure('idp')
  await switchOn('idp')
  await grant('ops', 'admin')
  const token = await signed({ name: 'a/b' })
  const lasting = { name: 'lasting', role: 'member' }
  assert.equal((await ask(token, '/v1/api-tokens', 'POST', lasting)).status, 403)
  const eternal = await signed({ exp: 1e300, groups: ['ops', 'x'.repeat(6000)] })
  assert.equal((await ask(eternal, '/v1/api-tokens', 'POST', lasting)).status, 403)
  const brief = { ...lasting, name: 'brief', ttl: '5m' }
  assert.equal((await ask(token, '/v1/api-tokens', 'POST', brief)).status, 201)
  const { createdBy } = await must('GET', '/v1/api-tokens/brief')
  assert.equal(createdBy, 'external:idp/a%2Fb')
  const events = await store.read.audit.list(0n, 1000)
  assert.ok(events.some(({ principal }) => principal === 'external:idp/a%2Fb'))
})

test('failed tokens are counted, and then nobody is looked at', async (t) => {
  const { ask, configure, switchOn, grant } = await externalWorld(t, {
    settings: { RATE_LIMIT_LOGIN: '3/m' },
  })
  await configure('idp')
  await grant('ops', 'security-admin')
  await switchOn('idp')
  const good = await signed()
  const bad = await signed({}, 'k', 'x'.repeat(32))
  for (let time = 0; time < 3; time++) assert.equal((await ask(bad)).status, 401)
  assert.equal((await ask(good)).status, 429)
})
