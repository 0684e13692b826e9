import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import fc from 'fast-check'
import { parseBasic } from '../../src/access/basic.ts'
import { type TestServerOptions, testServer } from '../server.ts'

// A name and a password in every request: jwks-setup contract section 4, external-security contract section 2.

const LIST = '/manage/v2/external-security'
const PASSWORD = 'correct horse battery staple'
const encoded = (text: string | Uint8Array) => Buffer.from(text).toString('base64')

async function basicWorld(t: TestContext, settings: TestServerOptions['settings'] = {}) {
  const server = await testServer(t, { settings: { ROOT_KEY_ALGORITHM: 'EdDSA', ...settings } })
  const made = await server.call('POST', '/v1/users', {
    ...{ name: 'ann', password: PASSWORD, role: 'security-admin' },
  })
  assert.equal(made.status, 201, JSON.stringify(made.json))
  return Object.assign(server, {
    async ask(password: string, name = 'ann', remoteAddress = '192.0.2.1') {
      const answer = await server.app.inject({
        ...{ method: 'GET', url: LIST, remoteAddress },
        headers: { authorization: `Basic ${encoded(`${name}:${password}`)}` },
      })
      return answer.statusCode
    },
  })
}

test('section 4: UTF-8, the first colon splits, the password may be empty', () => {
  const table: [header: string, expected: ReturnType<typeof parseBasic>][] = [
    [`Basic ${encoded('a:b')}`, { name: 'a', password: 'b' }],
    [`bAsIc   ${encoded('a:b')}  `, { name: 'a', password: 'b' }],
    [`Basic ${encoded('a:b:c:')}`, { name: 'a', password: 'b:c:' }],
    [`Basic ${encoded('a:')}`, { name: 'a', password: '' }],
    [`Basic ${encoded(':b')}`, { name: '', password: 'b' }],
    [`Basic ${encoded('ä:ü')}`, { name: 'ä', password: 'ü' }],
    [`Basic ${encoded('\ufeffa:b')}`, { name: '\ufeffa', password: 'b' }],
    [`Basic ${encoded('a:b').replace(/=+$/, '')}`, { name: 'a', password: 'b' }],
    ['Basic', undefined],
    ['Basic ', undefined],
    ['Basic ???', undefined],
    ['Basic a:b', undefined],
    [`Basic ${encoded('ab')}`, undefined],
    [`Basic ${encoded('a:b')} more`, undefined],
    [`Basic ${encoded(new Uint8Array([0xff, 0x3a, 0x62]))}`, undefined],
    // The alphabet of URLs, and bits that mean nothing.
    [`Basic ${Buffer.from('a:?>?>~~').toString('base64url')}`, undefined],
    ['Basic YTp=', undefined],
    [`Bearer ${encoded('a:b')}`, undefined],
    [`Basic ${encoded(`a:${'x'.repeat(4096)}`)}`, undefined],
  ]
  for (const [header, expected] of table) assert.deepEqual(parseBasic(header), expected, header)
})

test('section 4: whatever a header is, it is read or refused, and never throws', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
      parseBasic(`Basic ${text}`)
    }),
  )
  const name = fc.string({ unit: 'grapheme', maxLength: 60 }).filter((text) => !text.includes(':'))
  fc.assert(
    fc.property(name, fc.string({ unit: 'grapheme', maxLength: 60 }), (user, password) => {
      const given = `Basic ${encoded(`${user}:${password}`)}`
      assert.deepEqual(parseBasic(given), { name: user, password })
    }),
  )
})

test('a password that is remembered is none for an address that has failed too often', async (t) => {
  const { ask, clock } = await basicWorld(t, { RATE_LIMIT_LOGIN: '3/m' })
  assert.equal(await ask(PASSWORD, 'ann', '192.0.2.9'), 200, 'now it is remembered')
  for (let time = 0; time < 3; time++) assert.equal(await ask(`guess ${time}`), 401)
  assert.equal(await ask('another guess'), 429)
  // Otherwise who is refused could go on to guess: the right one alone would be answered for.
  assert.equal(await ask(PASSWORD), 429)
  assert.equal(await ask(PASSWORD, 'ann', '192.0.2.9'), 200, 'who did not fail is not locked out')
  clock.advance('1m')
  assert.equal(await ask(PASSWORD), 200)
})

test('a password is looked up once a minute, and no more once the user was changed', async (t) => {
  const { ask, call, clock, store } = await basicWorld(t)
  assert.equal(await ask(PASSWORD), 200)
  // Nobody was told of this, so only a request that reads would see it.
  const row = await store.read.users.byName('ann')
  assert.ok(row)
  await store.transaction((tx) => tx.users.update({ ...row, passwordHash: undefined }))
  assert.equal(await ask(PASSWORD), 200)
  clock.advance('1m')
  assert.equal(await ask(PASSWORD), 401)
  await store.transaction((tx) => tx.users.update(row))
  assert.equal(await ask(PASSWORD), 200)
  await call('PATCH', '/v1/users/ann', { password: 'another good password' })
  assert.equal(await ask(PASSWORD), 401, 'at once')
  assert.equal(await ask('another good password'), 200)
  await call('PATCH', '/v1/users/ann', { role: 'member' })
  assert.equal(await ask('another good password'), 401, 'without the rights')
  await call('DELETE', '/v1/users/ann')
  assert.equal(await ask('another good password'), 401)
})
