import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { SignJWT } from 'jose'
import { parseStaticKeys, readStaticKeys } from '../../src/data-api/static-file.ts'
import { CERTIFICATE } from '../external-security/world.ts'
import { aSigner, NOW, type Signer, setUp } from './world.ts'

// jwks-setup contract, sections 7 and 8: which source a token is of, where it counts, and what the log says of it.

const OK = [200, ''] as const
const INVALID = [401, 'invalid JWT'] as const
const SHARED = 'a shared secret of more than 32 characters'

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'keyringd-jwt-auth-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

function fileOf(t: TestContext, content: object): string {
  const file = join(folderOf(t), 'jwt_auth_config.json')
  writeFileSync(file, JSON.stringify(content))
  return file
}

/** Signed with the shared secret of the file, and as its tokens are: without a kid. */
const shared = (claims: object = {}) =>
  new SignJWT({ sub: 'ann', exp: NOW + 3600, ...claims })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(Buffer.from(SHARED))

/** A static file with that secret, and a set of these keys. */
const withFile = (t: TestContext, ...signers: Signer[]) =>
  setUp(t, signers, {
    settings: {
      JWT_AUTH_CONFIG_FILE: fileOf(t, { methods: [{ algorithms: ['HS256'], secret: SHARED }] }),
    },
  })

test('section 7: without a kid the file is asked where no key of the set fits the alg', async (t) => {
  const [a, other] = [aSigner('a'), aSigner('a')]
  const world = await withFile(t, a)
  assert.deepEqual(await world.bearer(await shared()), OK)
  assert.deepEqual(await world.bearer(await a.sign({}, { kid: undefined })), OK)
  // One that fits is meant, though another made the token; a kid of the set means the set.
  assert.deepEqual(await world.bearer(await other.sign({}, { kid: undefined })), INVALID)
  const named = await new SignJWT({ sub: 'ann', exp: NOW + 60 })
    .setProtectedHeader({ alg: 'HS256', kid: 'a' })
    .sign(Buffer.from(SHARED))
  assert.deepEqual(await world.bearer(named), INVALID)
})

test('product.md 4: on /v1 only tokens of the set count, those of the file do not', async (t) => {
  const a = aSigner('a')
  const world = await withFile(t, a)
  await world.must('PATCH', '/v1/users/ann', { role: 'operator' })
  const iss = 'https://idp.test/'
  await world.set('jwks_issuer', iss)
  const status = async (token: string) =>
    (await world.ask({ authorization: `Bearer ${token}` }, { method: 'GET', url: '/v1/status' }))
      .status
  const [ofSet, ofFile] = [await a.sign({ iss }), await shared({ iss })]
  assert.equal(await status(ofSet), 200)
  assert.equal(await status(ofFile), 401)
  // Not after it counted on the data API either, where what was checked is remembered.
  assert.equal((await world.bearer(ofFile))[0], 403)
  assert.equal(await status(ofFile), 401)
})

test('context.ts: what a token lets its user make ends no later than the token', async (t) => {
  const a = aSigner('a')
  const world = await setUp(t, [a])
  await world.must('PATCH', '/v1/users/ann', { role: 'admin' })
  const iss = 'https://idp.test/'
  await world.set('jwks_issuer', iss)
  let made = 0
  const make = async (token: string, more: object = {}) => {
    const name = `made-${++made}`
    const answer = await world.app.inject({
      ...{ method: 'POST', url: '/v1/api-tokens', body: { name, grants: ['verify'], ...more } },
      headers: { authorization: `Bearer ${token}` },
    })
    return [answer.statusCode, answer.json().code]
  }
  for (const exp of [NOW + 600, NOW + 600.5]) {
    const token = await a.sign({ iss, exp })
    assert.deepEqual(await make(token), [403, 'privilege_boundary'])
    assert.deepEqual(await make(token, { ttl: '11m' }), [403, 'privilege_boundary'])
    assert.deepEqual(await make(token, { ttl: '9m' }), [201, undefined])
  }
  // An end that no calendar has is one all the same.
  const [status] = await make(await a.sign({ iss, exp: 1e300 }))
  assert.equal(status, 403)
})

test('product.md 4: the check of a token does not go on where access tokens count', async (t) => {
  const a = aSigner('a')
  const world = await setUp(t, [a])
  const token = await a.sign()
  const kids = (await world.call('GET', '/v1/rings/access/keys')).json.keys
  const [ours] = kids as { kid: string }[]
  // Neither our kid nor our issuer makes a token of the set one of ours.
  const posing = await a.sign({}, { kid: ours?.kid })
  assert.deepEqual(await world.bearer(posing), INVALID)
  assert.deepEqual(await world.bearer(token), OK)
})

test('section 7: why a token was refused is in the log, and nowhere else', async (t) => {
  const a = aSigner('a')
  const world = await setUp(t, [a])
  const table: [what: string, token: string, check: string, reason: RegExp][] = [
    ['expired', await a.sign({ exp: NOW - 60 }), 'exp', /expired/],
    ['another kid', await a.sign({}, { kid: 'x' }), 'key', /kid/],
    ['another key', await aSigner('a').sign(), 'signature', /does not verify/],
    ['no name', await a.sign({ sub: 7 }), 'username', /sub/],
    ['no user', await a.sign({ sub: 'nobody' }), 'user', /jwt: true/],
    ['no token', 'a.b.c', 'format', /./],
  ]
  for (const [what, token, check, reason] of table) {
    world.log.length = 0
    assert.deepEqual(await world.bearer(token), INVALID, what)
    const line = world.log.map((each) => JSON.parse(each)).find((each) => each.check !== undefined)
    assert.equal(line?.check, check, what)
    assert.match(line.reason, reason, what)
    assert.ok(!world.log.join('').includes(token), what)
  }
})

test('section 8: the secret of a method may be a certificate; its key alone counts', () => {
  const rsa = { algorithms: ['RS256', 'RS384'], secret: CERTIFICATE }
  const { methods } = parseStaticKeys(Buffer.from(JSON.stringify({ methods: [rsa] })))
  assert.deepEqual([...(methods[0]?.algorithms ?? [])], ['RS256', 'RS384'])
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 1024 })
  const weak = publicKey.export({ type: 'spki', format: 'pem' })
  const refused: object[] = [
    { ...rsa, secret: weak },
    { ...rsa, algorithms: [['RS256']] },
    { algorithms: [['HS256']], secret: SHARED },
  ]
  for (const method of refused) {
    const bytes = Buffer.from(JSON.stringify({ methods: [method] }))
    assert.throws(() => parseStaticKeys(bytes), { code: 'config_invalid' })
  }
})

test('section 8: the static file is read to a limit, whatever it is', (t) => {
  const folder = folderOf(t)
  const large = join(folder, 'large.json')
  writeFileSync(large, `{"methods":[],"pad":"${'x'.repeat(1024 * 1024)}"}`)
  for (const path of [large, '/dev/zero']) {
    assert.throws(() => readStaticKeys(path), { code: 'config_invalid', message: /too large/ })
  }
  assert.throws(() => readStaticKeys(folder), { code: 'config_invalid', message: /cannot be read/ })
})

test('section 4: what is too large to be a token is refused as any other', async (t) => {
  const world = await setUp(t, [aSigner('a')])
  const segments = `${'a'.repeat(16 * 1024)}.b.c`
  for (const token of [segments, Buffer.from(segments).toString('base64')]) {
    assert.equal((await world.bearer(token))[0], 401)
  }
})

test('section 4: base64 of a token is exact, in either alphabet, and one layer deep', async (t) => {
  const a = aSigner('a')
  const world = await setUp(t, [a])
  const token = Buffer.from(await a.sign())
  const [plain, url] = [token.toString('base64'), token.toString('base64url')]
  for (const good of [plain, url]) assert.deepEqual(await world.bearer(good), OK)
  for (const bad of [`${plain}!`, `*${url}`, `${url.slice(0, 9)}$${url.slice(9)}`, `=${url}`]) {
    assert.deepEqual(await world.bearer(bad), INVALID, bad.slice(0, 20))
  }
})
