import assert from 'node:assert/strict'
import { createHmac, createPublicKey } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { SignJWT } from 'jose'
import { parseStaticKeys, readStaticKeys } from '../../src/data-api/static-file.ts'
import { AS_ROOT, aSigner, dataApiWorld, NOW, setUp } from './world.ts'

// jwks-setup contract, sections 7 and 8: which tokens count, and whose they are.

const OK = [200, ''] as const
const INVALID = [401, 'invalid JWT'] as const

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')

test('sections 4, 7, 9.7, 9.8: a token by token, what counts and what does not', async (t) => {
  const [a, rsa, ed, p384] = [
    ...[aSigner('a'), aSigner('r', 'RS256'), aSigner('e', 'EdDSA'), aSigner('p', 'ES384')],
  ] as const
  const world = await setUp(t, [a, rsa, ed, p384])
  const twin = aSigner('a')
  const pem = createPublicKey({ key: rsa.jwk as never, format: 'jwk' })
    .export({ type: 'spki', format: 'pem' })
    .toString()
  const parts = `${encode({ alg: 'HS256', kid: 'r' })}.${encode({ sub: 'ann', exp: NOW + 60 })}`
  const confused = `${parts}.${createHmac('sha256', pem).update(parts).digest('base64url')}`
  const none = `${encode({ alg: 'none' })}.${encode({ sub: 'ann', exp: NOW + 60 })}.`
  const table: [what: string, token: string, answer: readonly [number, string]][] = [
    ['as it should be', await a.sign(), OK],
    ['RS256', await rsa.sign(), OK],
    ['PS256 with a key that names no alg', await ps256(rsa.privateKey), OK],
    ['EdDSA', await ed.sign(), OK],
    ['ES384', await p384.sign(), OK],
    ['without a kid', await a.sign({}, { kid: undefined }), OK],
    ['another kid', await a.sign({}, { kid: 'b' }), INVALID],
    ['the kid of another key', await a.sign({}, { kid: 'r' }), INVALID],
    ['the right kid, the wrong key', await twin.sign(), INVALID],
    ['HS256 with the PEM of a key', confused, INVALID],
    ['alg none', none, INVALID],
    ['without exp', await a.sign({ exp: undefined }), INVALID],
    ['expired within the tolerance', await a.sign({ exp: NOW - 59 }), OK],
    ['expired', await a.sign({ exp: NOW - 60 }), INVALID],
    ['not yet, within the tolerance', await a.sign({ nbf: NOW + 60 }), OK],
    ['not yet', await a.sign({ nbf: NOW + 61 }), INVALID],
    ['without sub', await a.sign({ sub: undefined }), INVALID],
    ['an empty sub', await a.sign({ sub: '' }), INVALID],
    ['a sub in other letters', await a.sign({ sub: 'Ann' }), INVALID],
    ['nobody', await a.sign({ sub: 'nobody' }), INVALID],
    ['a user without jwt', await a.sign({ sub: 'cat' }), INVALID],
    ['a user without the right', await a.sign({ sub: 'bob' }), [403, FORBIDDEN]],
    ['any audience', await a.sign({ aud: 'whoever' }), OK],
    ['base64 of it', Buffer.from(await a.sign()).toString('base64'), OK],
    ['base64url of it', Buffer.from(await a.sign()).toString('base64url'), OK],
    ['base64 of base64', twice(await a.sign()), INVALID],
    ['two segments', (await a.sign()).split('.').slice(0, 2).join('.'), INVALID],
    ['nothing', '.', INVALID],
  ]
  for (const [what, token, expected] of table) {
    // Each success replaces the set by the same one.
    assert.deepEqual(await world.bearer(token), expected, what)
  }
  const sub = Buffer.from(`${(await a.sign()).split('.')[0]}`, 'base64url').toString()
  assert.match(sub, /ES256/)
  assert.equal((await world.bearer(`${await a.sign()}x`))[0], 401)
})

const FORBIDDEN = 'Error 1227: Access denied; administrative privilege required'
const twice = (token: string) =>
  Buffer.from(Buffer.from(token).toString('base64')).toString('base64')

const ps256 = (key: Parameters<SignJWT['sign']>[0]) =>
  new SignJWT({ sub: 'ann', exp: NOW + 60 })
    .setProtectedHeader({ alg: 'PS256', kid: 'r' })
    .sign(key)

test('section 7: an unknown critical header is refused', async (t) => {
  const a = aSigner('a')
  const world = await setUp(t, [a])
  const token = await new SignJWT({ sub: 'ann', exp: NOW + 60, 'urn:x': true })
    .setProtectedHeader({ alg: 'ES256', kid: 'a', crit: ['urn:x'], 'urn:x': true } as never)
    .sign(a.privateKey, { crit: { 'urn:x': true } })
  assert.deepEqual(await world.bearer(token), INVALID)
})

test('section 7: alg and issuer of an entry bind it', async (t) => {
  const [bound, named] = [aSigner('b', 'RS256'), aSigner('n')]
  bound.jwk['alg'] = 'PS256'
  named.jwk['issuer'] = 'https://idp.test/'
  const world = await setUp(t, [bound, named])
  assert.deepEqual(await world.bearer(await bound.sign()), INVALID, 'RS256 with a PS256 key')
  assert.deepEqual(await world.bearer(await named.sign()), INVALID)
  assert.deepEqual(await world.bearer(await named.sign({ iss: 'https://idp.test' })), INVALID)
  assert.deepEqual(await world.bearer(await named.sign({ iss: 'https://idp.test/' })), OK)
  const without = await named.sign({ iss: 'https://idp.test/' }, { kid: undefined })
  assert.deepEqual(await world.bearer(without), OK)
})

test('sections 7, 8: the claims that the settings name count from the answer on', async (t) => {
  const a = aSigner('a')
  const world = await setUp(t, [a])
  const token = await a.sign({ login: 'ann', sub: 'x', aud: ['one', 'two'] })
  const by = await a.sign({ aud: 'three' })
  assert.deepEqual(await world.bearer(token), INVALID)
  await world.set('jwks_username_field', 'login')
  assert.deepEqual(await world.bearer(token), OK)
  await world.set('jwks_require_audience', 'two')
  assert.deepEqual(await world.bearer(token), OK)
  await world.set('jwks_require_audience', 'three')
  assert.deepEqual(await world.bearer(token), INVALID)
  await world.set('jwks_username_field', 'sub')
  assert.deepEqual(await world.bearer(by), OK)
  await world.set('jwks_username_field', '__proto__')
  assert.deepEqual(await world.bearer(by), INVALID)
})

test('a token that was checked once ends with its exp, its user, and its key', async (t) => {
  const [a, b] = [aSigner('a'), aSigner('b')]
  const world = await setUp(t, [a])
  const brief = await a.sign({ exp: NOW + 60 })
  const long = await a.sign({ exp: NOW + 36_000 })
  assert.deepEqual([await world.bearer(brief), await world.bearer(long)], [OK, OK])
  world.clock.advance('2m')
  assert.deepEqual([await world.bearer(brief), await world.bearer(long)], [INVALID, OK])
  await world.must('PATCH', '/v1/users/ann', { jwt: false })
  assert.deepEqual(await world.bearer(long), INVALID)
  await world.must('PATCH', '/v1/users/ann', { jwt: true })
  assert.deepEqual(await world.bearer(long), OK)
  await world.must('DELETE', '/v1/users/ann')
  await world.must('POST', '/v1/users', { name: 'ann', role: 'security-admin', jwt: true })
  assert.deepEqual(await world.bearer(long), OK, 'the name is what counts')
  world.serve(b)
  assert.equal((await world.ask(AS_ROOT)).status, 200)
  assert.deepEqual(await world.bearer(long), INVALID)
})

test('product.md 4: on /v1 such a token counts only where jwks_issuer names its issuer', async (t) => {
  const a = aSigner('a')
  const world = await setUp(t, [a])
  await world.must('PATCH', '/v1/users/ann', { role: 'operator' })
  const token = await a.sign({ iss: 'https://idp.test/' })
  const status = async (url: string) =>
    (await world.ask({ authorization: `Bearer ${token}` }, { method: 'GET', url })).status
  assert.equal(await status('/v1/status'), 401)
  await world.set('jwks_issuer', 'https://other.test/')
  assert.equal(await status('/v1/status'), 401)
  await world.set('jwks_issuer', 'https://idp.test/')
  assert.equal(await status('/v1/status'), 200)
  assert.equal(await status('/v1/users'), 403)
  assert.equal(await status('/manage/v2/external-security'), 401)
  assert.equal(await status('/api/v1/identities/details'), 403)
})

test('POST /v1/verify {dataApi}: every check by name', async (t) => {
  const a = aSigner('a')
  const world = await setUp(t, [a])
  const checksOf = async (token: string) =>
    (await world.verify(token)).checks.map(({ name, ok }) => `${ok ? '' : '!'}${name}`)
  const all = ['format', 'key', 'algorithm', 'signature', 'claims', 'exp', 'nbf', 'iss', 'aud']
  assert.deepEqual(await checksOf(await a.sign()), [...all, 'username', 'user'])
  assert.deepEqual(await checksOf(await a.sign({ sub: 'cat' })), [...all, 'username', '!user'])
  assert.deepEqual(await checksOf(await a.sign({ sub: 7 })), [...all, '!username'])
  assert.deepEqual(await checksOf(await a.sign({}, { kid: 'x' })), ['format', '!key'])
  assert.deepEqual(await checksOf('x'), ['!format'])
})

const CERTIFICATE_KEY = aSigner('f', 'RS256')
const PEM = createPublicKey({ key: CERTIFICATE_KEY.jwk as never, format: 'jwk' })
  .export({ type: 'spki', format: 'pem' })
  .toString()
const SHARED = 'a shared secret of more than 32 characters'

function fileOf(t: TestContext, content: unknown): string {
  const folder = mkdtempSync(join(tmpdir(), 'keyringd-jwt-auth-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'jwt_auth_config.json')
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content))
  return file
}

test('section 8: keys of the static file, chosen by alg, and only where no key of the set is meant', async (t) => {
  const file = fileOf(t, {
    username_claim: 'login',
    methods: [
      { algorithms: ['RS256', 'PS256'], secret: PEM },
      { algorithms: ['HS256'], secret: SHARED },
    ],
  })
  const world = await dataApiWorld(t, { settings: { JWT_AUTH_CONFIG_FILE: file } })
  const unset = [400, 'jwks_endpoint is not set'] as const
  const mine = await CERTIFICATE_KEY.sign({ login: 'ann', sub: 'x' })
  const hs = (claims: object, alg = 'HS256', secret = SHARED) =>
    new SignJWT({ exp: NOW + 60, login: 'ann', ...claims })
      .setProtectedHeader({ alg })
      .sign(Buffer.from(secret))
  assert.deepEqual(await world.bearer(mine), unset, 'before any set was loaded')
  assert.deepEqual(await world.bearer(await hs({})), unset)
  assert.deepEqual(await world.bearer(await hs({}, 'HS512')), INVALID)
  assert.deepEqual(await world.bearer(await hs({}, 'HS256', PEM)), INVALID)
  assert.deepEqual(await world.bearer(await hs({ exp: undefined })), INVALID)
  assert.deepEqual(await world.bearer(await hs({ login: 7 })), INVALID)
  assert.deepEqual(await world.bearer(await aSigner('f', 'RS256').sign({ login: 'ann' })), INVALID)
  assert.deepEqual(await world.bearer(await aSigner('f').sign({ login: 'ann' })), INVALID)
  // A set whose key has the token's kid is asked, and the file is not.
  const other = aSigner('f')
  world.serve(other)
  await world.set('jwks_endpoint', world.issuer.url)
  assert.equal((await world.ask(AS_ROOT)).status, 200)
  assert.deepEqual(await world.bearer(mine), INVALID)
  assert.deepEqual(
    await world.bearer(await CERTIFICATE_KEY.sign({ login: 'ann' }, { kid: 'g' })),
    OK,
  )
  assert.deepEqual(await world.bearer(await other.sign()), OK)
})

test('section 8: a static file that is no good ends the start with a sentence, and repeats nothing', (t) => {
  const method = { algorithms: ['RS256'], secret: PEM }
  const table: [content: unknown, reason: RegExp][] = [
    ['{', /no JSON/],
    ['[]', /no JSON object/],
    ['{}', /methods is a list/],
    [{ methods: [] }, /methods is a list/],
    [{ methods: Array(101).fill(method) }, /methods is a list/],
    [{ methods: [method], more: 1 }, /no member more/],
    [{ methods: [method], username_claim: '' }, /username_claim/],
    [{ methods: [7] }, /methods\[0\] is no JSON object/],
    [{ methods: [{ ...method, kid: 'x' }] }, /other members/],
    [{ methods: [{ ...method, algorithms: [] }] }, /algorithms is a list/],
    [{ methods: [{ ...method, algorithms: ['none'] }] }, /not supported/],
    [{ methods: [{ ...method, algorithms: ['RS256', 'HS256'] }] }, /mixes both kinds/],
    [{ methods: [{ ...method, algorithms: ['ES256'] }] }, /the key is not for ES256/],
    [{ methods: [{ ...method, secret: '' }] }, /secret is text/],
    [{ methods: [{ ...method, secret: 'hunter2' }] }, /Expected exactly one PEM block/],
    [{ methods: [{ algorithms: ['HS256'], secret: PEM }] }, /a public key is no shared secret/],
    [{ methods: [{ algorithms: ['HS256'], secret: 'hunter2' }] }, /fewer than 32 characters/],
  ]
  for (const [content, reason] of table) {
    const file = fileOf(t, content)
    assert.throws(
      () => readStaticKeys(file),
      (error: Error & { code?: string; detail?: string }) => {
        assert.equal(error.code, 'config_invalid')
        assert.match(error.detail ?? '', reason)
        assert.match(error.detail ?? '', /^KEYRINGD_JWT_AUTH_CONFIG_FILE \(/)
        assert.doesNotMatch(error.detail ?? '', /hunter2/)
        return true
      },
    )
  }
  assert.throws(() => readStaticKeys('/nonexistent/file'), { code: 'config_invalid' })
  const good = parseStaticKeys(Buffer.from(JSON.stringify({ methods: [method] })))
  assert.equal(good.methods.length, 1)
})
