import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import test from 'node:test'
import { exportJWK, SignJWT } from 'jose'
import { type TestServer, testServer } from '../server.ts'
import { callerWith, callWith } from './callers.ts'

const FAST = { ROOT_KEY_ALGORITHM: 'ES256' }
const ISSUER = 'https://id.example.net'

async function signed(server: TestServer, claims: Record<string, unknown> = {}, ring = 'default') {
  const body = { claims: { sub: 'a', aud: ['x', 'y'], ...claims }, ttl: '1h' }
  const { status, json } = await server.call('POST', `/v1/rings/${ring}/sign`, body)
  assert.equal(status, 200, JSON.stringify(json))
  return json as { token: string; kid: string; exp: number }
}

const verify = async (server: TestServer, token: string, over: Record<string, unknown> = {}) => {
  const { status, json } = await server.call('POST', '/v1/verify', {
    ...{ token, with: { ring: 'default' }, ...over },
  })
  assert.equal(status, 200, JSON.stringify(json))
  const failed = json.checks.filter(({ ok }: { ok: boolean }) => !ok)
  assert.equal(json.valid, failed.length === 0)
  return failed.map(({ name }: { name: string }) => name).join(' ') || 'valid'
}

/** A token with another header, and the payload and signature it had. */
const withHeader = (token: string, change: Record<string, unknown>): string => {
  const [header = '', ...rest] = token.split('.')
  const before = JSON.parse(Buffer.from(header, 'base64url').toString())
  const after = Buffer.from(JSON.stringify({ ...before, ...change })).toString('base64url')
  return [after, ...rest].join('.')
}

const withPayload = (token: string, claims: Record<string, unknown>): string => {
  const [header, , signature] = token.split('.')
  return [header, Buffer.from(JSON.stringify(claims)).toString('base64url'), signature].join('.')
}

test('audience, issuer and both ends of a lifetime decide, to the second', async (t) => {
  const server = await testServer(t, { settings: FAST, issuer: ISSUER })
  const { token, exp } = await signed(server)
  assert.equal(await verify(server, token), 'valid')
  assert.equal(await verify(server, token, { audience: 'x' }), 'valid')
  assert.equal(await verify(server, token, { audience: 'y' }), 'valid')
  assert.equal(await verify(server, token, { audience: 'X' }), 'aud')
  assert.equal(await verify(server, token, { audience: '' }), 'aud')
  assert.equal(await verify(server, token, { issuer: ISSUER }), 'valid')
  assert.equal(await verify(server, token, { issuer: `${ISSUER}/` }), 'iss')
  assert.equal(await verify(server, token, { issuer: 'z', audience: 'z' }), 'iss aud')

  const seconds = () => Number(server.clock.now() / 1_000_000_000n)
  // 60 s of leeway: `exp` + 59 is still good, `exp` + 60 is not.
  server.clock.advance(`${exp + 59 - seconds()}s`)
  assert.equal(await verify(server, token), 'valid')
  server.clock.advance('1s')
  assert.equal(await verify(server, token), 'exp')
  server.clock.jump('-1h')
  server.clock.jump('-1m')
  assert.equal(await verify(server, token), 'valid')
  server.clock.jump('-1m')
  assert.equal(await verify(server, token), 'valid', 'a clock that is a minute behind')
  server.clock.jump('-1s')
  assert.equal(await verify(server, token), 'nbf')
})

test('a token that a profile gave another issuer is not taken for one of the ring', async (t) => {
  const server = await testServer(t, { settings: FAST, issuer: ISSUER })
  const profile = { iss: 'client-1', sub: '*', maxTtl: '5m' }
  assert.equal((await server.call('PUT', '/v1/rings/default/profiles/p', profile)).status, 200)
  const body = { claims: { sub: 'a' }, ttl: '1m', profile: 'p' }
  const { token } = (await server.call('POST', '/v1/rings/default/sign', body)).json
  assert.equal(await verify(server, token), 'iss')
  assert.equal(await verify(server, token, { issuer: 'client-1' }), 'valid')
  const auth = await callWith(server, `Bearer ${token}`)('GET', '/v1/rings/default/auth')
  assert.equal(auth.status, 401)
})

test('without leeway the second of exp is the first that is too late', async (t) => {
  const server = await testServer(t, { settings: { ...FAST, CLOCK_SKEW: '0s' } })
  const { token } = await signed(server)
  server.clock.advance('3599s')
  assert.equal(await verify(server, token), 'valid')
  server.clock.advance('1s')
  assert.equal(await verify(server, token), 'exp')
})

test('what was tampered with, or is no JWS of ours, is not valid', async (t) => {
  const server = await testServer(t, { settings: FAST, issuer: ISSUER })
  await server.call('POST', '/v1/rings', { name: 'ring', algorithms: ['ES256', 'EdDSA', 'RS256'] })
  const { token, kid } = await signed(server)
  const other = await signed(server, {}, 'ring')
  const [head = '', payload = '', signature = ''] = token.split('.')
  const flipped = signature.startsWith('A') ? `B${signature.slice(1)}` : `A${signature.slice(1)}`
  const secret = new TextEncoder().encode(
    JSON.stringify(server.keyring.ringView('default').keys[0]?.publicJwk),
  )
  const confused = await new SignJWT({ sub: 'a' })
    .setProtectedHeader({ alg: 'HS256', kid })
    .setExpirationTime('1h')
    .sign(secret)

  const cases: [string, string, string][] = [
    ['another signature', `${head}.${payload}.${flipped}`, 'signature'],
    ['no signature', `${head}.${payload}.`, 'signature'],
    ['other claims', withPayload(token, { sub: 'root' }), 'signature'],
    ['an unknown kid', withHeader(token, { kid: 'unknown' }), 'key'],
    ['the kid of another ring', withHeader(token, { kid: other.kid }), 'key'],
    ['a token of another ring', other.token, 'key'],
    ['no kid', withHeader(token, { kid: undefined }), 'signature'],
    ['alg none', withHeader(token, { alg: 'none' }), 'format'],
    ['alg NONE', withHeader(token, { alg: 'NONE' }), 'format'],
    ['a symmetric alg', confused, 'format'],
    ['an alg of another curve', withHeader(token, { alg: 'ES384' }), 'algorithm'],
    ['an alg of another type', withHeader(token, { alg: 'RS256' }), 'algorithm'],
    ['embedded key', withHeader(token, { jwk: { kty: 'oct', k: 'AA' } }), 'signature'],
    ['crit', withHeader(token, { crit: ['exp'], exp: 1 }), 'format'],
    ['zip', withHeader(token, { zip: 'DEF' }), 'format'],
    ['padding', `${token}=`, 'format'],
    ['a space', `${token} `, 'format'],
    ['two segments', `${head}.${payload}`, 'format'],
    ['five segments', `${token}.a.b`, 'format'],
    ['no JWS at all', 'hello', 'format'],
    ['nothing', '', 'format'],
    ['1 MB', 'a'.repeat(1_000_000), 'format'],
  ]
  for (const [name, text, expected] of cases) {
    assert.equal(await verify(server, text), expected, name)
  }
  assert.equal(await verify(server, other.token, { with: { ring: 'ring' } }), 'valid')
})

test('a withdrawn key verifies nothing, a retired one until then', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const { token, kid } = await signed(server)
  assert.equal((await server.call('POST', '/v1/rings/default/rotate')).status, 200)
  assert.equal(await verify(server, token), 'valid')
  server.clock.advance('2h')
  await server.tick()
  const { json } = await server.call('GET', '/v1/rings/default/keys')
  const key = json.keys.find((one: { kid: string }) => one.kid === kid)
  assert.partialDeepStrictEqual(key, { state: 'retired', published: false })
  assert.equal(await verify(server, token), 'key')
})

test('keys that the caller brings: public ones that can be used, and no others', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const jwk = { ...(await exportJWK(publicKey)), kid: 'k', alg: 'ES256' }
  const { d } = await exportJWK(privateKey)
  const now = Number(server.clock.now() / 1_000_000_000n)
  const token = await new SignJWT({ sub: 'a', aud: 'x', iss: 'them' })
    .setProtectedHeader({ alg: 'ES256', kid: 'k' })
    .setIssuedAt(now)
    .setExpirationTime(now + 60)
    .sign(privateKey)
  const noise = { kty: 'unknown', kid: 'noise' }
  const check = (keys: unknown[], over = {}) =>
    verify(server, token, { with: { jwks: { keys } }, ...over })

  assert.equal(await check([jwk]), 'valid')
  assert.equal(await check([noise, 7, null, jwk]), 'valid', 'unusable ones are passed over')
  assert.equal(await check([jwk], { audience: 'x', issuer: 'them' }), 'valid')
  assert.equal(await check([jwk], { audience: 'y', issuer: 'us' }), 'iss aud')
  assert.equal(await check([{ ...jwk, alg: undefined }]), 'valid')
  assert.equal(await check([]), 'key')
  assert.equal(await check([{ ...jwk, kid: 'other' }]), 'key')
  assert.equal(await check([{ ...jwk, d }]), 'key', 'private members')
  assert.equal(await check([{ ...jwk, alg: 'ES384' }]), 'key')
  assert.equal(await check([{ ...jwk, use: 'enc' }]), 'key')
  assert.equal(await check([jwk, jwk]), 'key', 'two of one kid')
  assert.equal(await check(Array(99).fill(noise).concat(jwk)), 'valid')

  const secret = new Uint8Array(32).fill(1)
  const oct = { kty: 'oct', k: Buffer.from(secret).toString('base64url'), kid: 'k', alg: 'HS256' }
  const symmetric = await new SignJWT({ sub: 'a' })
    .setProtectedHeader({ alg: 'HS256', kid: 'k' })
    .sign(secret)
  assert.equal(await verify(server, symmetric, { with: { jwks: { keys: [oct] } } }), 'format')

  const refused: [string, unknown][] = [
    ['101 keys', { jwks: { keys: Array(101).fill(jwk) } }],
    ['no array', { jwks: { keys: jwk } }],
    ['no set', { jwks: [jwk] }],
    ['two sources', { ring: 'default', jwks: { keys: [] } }],
    ['none', {}],
  ]
  for (const [name, source] of refused) {
    const answer = await server.call('POST', '/v1/verify', { token, with: source })
    assert.equal(answer.status, 422, name)
  }
})

test("who may verify: with a grant on the ring, or on all; a set of one's own needs the latter", async (t) => {
  const server = await testServer(t, { settings: FAST })
  await server.call('POST', '/v1/rings', { name: 'ring', algorithms: ['ES256'] })
  const { token } = await signed(server, {}, 'ring')
  const onRing = await callerWith(server, 'on-ring', ['verify@ring:ring'])
  const onAll = await callerWith(server, 'on-all', ['verify'])
  const none = await callerWith(server, 'none', ['sign@ring:ring'])
  const cases: [string, ReturnType<typeof callWith>, unknown, number][] = [
    ['ring', onRing, { ring: 'ring' }, 200],
    ['another ring', onRing, { ring: 'default' }, 403],
    ['an unknown ring', onRing, { ring: 'unknown' }, 403],
    ['a set', onRing, { jwks: { keys: [] } }, 403],
    ['all, ring', onAll, { ring: 'ring' }, 200],
    ['all, unknown ring', onAll, { ring: 'unknown' }, 404],
    ['all, set', onAll, { jwks: { keys: [] } }, 200],
    ['no grant', none, { ring: 'ring' }, 403],
    ['no credential', callWith(server), { ring: 'ring' }, 401],
  ]
  for (const [name, call, source, status] of cases) {
    const answer = await call('POST', '/v1/verify', { token, with: source })
    assert.equal(answer.status, status, name)
  }
})

test('auth checks the bearer of the request and says who it is', async (t) => {
  const server = await testServer(t, { settings: FAST, issuer: ISSUER })
  const { token, exp } = await signed(server, { name: 'é', sub: 'job-1' })
  const auth = (authorization?: string, query = '', ring = 'default') =>
    callWith(server, authorization)('GET', `/v1/rings/${ring}/auth${query}`)

  const good = await auth(`Bearer ${token}`)
  assert.equal(good.status, 200)
  assert.equal(good.headers['x-auth-subject'], 'job-1')
  const claims = JSON.parse(
    Buffer.from(String(good.headers['x-auth-claims']), 'base64url').toString(),
  )
  assert.partialDeepStrictEqual(claims, { sub: 'job-1', name: 'é', exp, iss: ISSUER })
  assert.equal(good.headers['cache-control'], 'no-store')

  assert.equal((await auth(`bearer  ${token}`)).status, 200)
  assert.equal((await auth(`Bearer ${token}`, '?aud=x')).status, 200)
  assert.equal((await auth(`Bearer ${token}`, '?aud=z')).status, 401)
  assert.equal((await auth(`Bearer ${token}`, '?aud=')).status, 401)
  for (const bad of [undefined, '', 'Bearer', 'Bearer ', `Basic ${token}`, token, 'Bearer a b']) {
    const answer = await auth(bad)
    assert.equal(answer.status, 401, String(bad))
    assert.ok(answer.headers['www-authenticate'])
    assert.equal(answer.headers['x-auth-subject'], undefined)
  }
  assert.equal((await auth(`Bearer ${token}`, '', 'access')).status, 401)
  assert.equal((await auth(`Bearer ${token}`, '', 'unknown')).status, 404)
  server.clock.advance('62m')
  assert.equal((await auth(`Bearer ${token}`)).status, 401)
})

test('a subject that no header carries is percent-encoded, and comes back whole', async (t) => {
  const server = await testServer(t, { settings: FAST })
  for (const sub of [
    'é',
    'a b',
    '100%',
    'a\r\nX-Admin: 1',
    '日本語 🔑',
    '\u0000',
    '',
    'a%20b',
    7,
  ]) {
    const { token } = await signed(server, { sub })
    const answer = await callWith(server, `Bearer ${token}`)('GET', '/v1/rings/default/auth')
    assert.equal(answer.status, 200, JSON.stringify(sub))
    const header = String(answer.headers['x-auth-subject'] ?? '')
    assert.match(header, /^[\x21-\x7e]*$/)
    assert.equal(decodeURIComponent(header), typeof sub === 'string' ? sub : '')
    assert.equal(answer.headers['x-admin'], undefined)
  }
  const { token } = await signed(server, { sub: '\ud800' })
  const answer = await callWith(server, `Bearer ${token}`)('GET', '/v1/rings/default/auth')
  assert.equal(answer.status, 401)
})
