import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import type { Authenticated, JwtBearer } from '../../src/access/authenticate.ts'
import { anonymous } from '../../src/context.ts'
import { isProblem } from '../../src/errors.ts'
import { MANAGEMENT_TOKEN, testServer } from '../server.ts'

// Product.md section 4: which credentials count on /manage, and that a second look at one is no second use of it.

const PASSWORD = 'correct horse battery staple'
const URL = '/v1/ping'
const md5 = (text: string) => hash('md5', text, 'hex')
const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`

async function world(t: TestContext) {
  const server = await testServer(t, { settings: { ROOT_KEY_ALGORITHM: 'EdDSA' } })
  const { access, call } = server
  const asked: string[] = []
  const bearer: JwtBearer = (token) => {
    asked.push(token)
    return { principal: anonymous, presented: true }
  }
  const look = async (headers: Record<string, string>): Promise<Authenticated> =>
    access.authenticateManage({ method: 'PUT', rawUrl: URL, headers, address: '192.0.2.1' }, bearer)
  const body = { name: 'ann', password: PASSWORD, role: 'security-admin', digest: true }
  assert.equal((await call('POST', '/v1/users', body)).status, 201)
  await look({})
  const [, nonce = ''] = /nonce="([^"]+)"/.exec(access.challenges()[0] ?? '') ?? []
  let uses = 0
  function digest(password = PASSWORD) {
    const nc = (++uses).toString(16).padStart(8, '0')
    const [ha1, ha2] = [md5(`ann:public:${password}`), md5(`PUT:${URL}`)]
    const response = md5(`${ha1}:${nonce}:${nc}:c:auth:${ha2}`)
    return `Digest username="ann", realm="public", nonce="${nonce}", uri="${URL}", qop=auth, nc=${nc}, cnonce="c", response="${response}"`
  }
  const idOf = async (headers: Record<string, string>) => (await look(headers)).principal.id
  return Object.assign(server, { look, idOf, digest, asked })
}

test('section 4: API tokens in both headers, Digest, Basic; other bearers are for others to judge', async (t) => {
  const { idOf, digest, asked } = await world(t)
  const [token, ann, nobody] = ['token:management', 'user:ann', 'anonymous']
  assert.equal(await idOf({ authorization: `Bearer ${MANAGEMENT_TOKEN}` }), token)
  assert.equal(await idOf({ 'x-nomad-token': MANAGEMENT_TOKEN }), token)
  assert.equal(await idOf({ authorization: digest() }), ann)
  assert.equal(await idOf({ authorization: digest().replace('Digest', 'dIGEST') }), ann)
  assert.equal(await idOf({ authorization: basic(`ann:${PASSWORD}`) }), ann)
  // The first decides, and what it is decides alone.
  const both = { 'x-nomad-token': 'krd_unknown', authorization: basic(`ann:${PASSWORD}`) }
  assert.equal(await idOf(both), nobody)
  assert.deepEqual(asked, [])
  for (const authorization of ['Bearer krd_unknown', 'Negotiate abc', 'Digest', 'Basic', 'x']) {
    assert.equal(await idOf({ authorization }), nobody, authorization)
  }
  assert.deepEqual(asked, [])
  assert.equal(await idOf({ authorization: 'Bearer a.b.c' }), nobody)
  assert.deepEqual(asked, ['a.b.c'])
})

test('a second look sees that the user was changed, and uses nothing up', async (t) => {
  const { look, digest, call } = await world(t)
  const found = {
    digest: await look({ authorization: digest() }),
    basic: await look({ authorization: basic(`ann:${PASSWORD}`) }),
  }
  const again = async (kind: keyof typeof found) => {
    const second = await found[kind].again?.()
    assert.ok(second)
    return second.principal
  }
  for (const kind of ['digest', 'basic'] as const) {
    assert.equal(await again(kind), found[kind].principal, kind)
    assert.equal(await again(kind), found[kind].principal, kind)
  }
  await call('PATCH', '/v1/users/ann', { role: 'member' })
  for (const kind of ['digest', 'basic'] as const) {
    const principal = await again(kind)
    assert.deepEqual([principal.id, principal.may('external-security')], ['user:ann', false], kind)
  }
  await call('PATCH', '/v1/users/ann', { password: 'another good password' })
  for (const kind of ['digest', 'basic'] as const) {
    assert.equal((await again(kind)).id, 'anonymous', kind)
  }
  const changed = await look({ authorization: digest('another good password') })
  assert.equal(changed.principal.id, 'user:ann')
  await call('DELETE', '/v1/users/ann')
  assert.equal((await changed.again?.())?.principal.id, 'anonymous')
})

test('a user who changes the own password goes on with Digest by the new one', async (t) => {
  const { idOf, digest, app } = await world(t)
  const answer = await app.inject({
    ...{ method: 'PUT', url: '/v1/users/ann/password' },
    payload: { currentPassword: PASSWORD, password: 'another good password' },
  })
  assert.equal(answer.statusCode, 204)
  assert.equal(await idOf({ authorization: digest() }), 'anonymous')
  assert.equal(await idOf({ authorization: digest('another good password') }), 'user:ann')
})

test('Basic and Digest are no credentials elsewhere', async (t) => {
  const { app, digest } = await world(t)
  for (const authorization of [basic(`ann:${PASSWORD}`), digest()]) {
    for (const url of ['/v1/status', '/v1/users', '/v1/settings', '/api/v1/identities/details']) {
      const answer = await app.inject({ method: 'GET', url, headers: { authorization } })
      assert.equal(answer.statusCode, 401, `${url} ${authorization.slice(0, 6)}`)
    }
  }
})

test('before anything is unsealed there is no challenge that could be answered, and no login', async (t) => {
  const server = await testServer(t, { open: false })
  const asked = { method: 'GET', rawUrl: URL, headers: {}, address: '192.0.2.1' }
  const nobody = { principal: anonymous, presented: true }
  await assert.rejects(
    async () => server.access.authenticateManage(asked, () => nobody),
    (error: unknown) => isProblem(error, 'not_ready'),
  )
  assert.deepEqual(server.access.challenges(), ['Basic realm="public"'])
})
