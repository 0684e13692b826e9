import assert from 'node:assert/strict'
import { createHmac, createPrivateKey, sign as signBytes } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose'
import { type TestServer, testServer } from '../server.ts'
import { onDisk } from './on-disk.ts'

// Keyring contract, section 7: what a token of the default ring says, and which tokens it takes. Where ours differ,
// docs/divergences.md says why.

const FAST = { ROOT_KEY_ALGORITHM: 'ES256' }
/** With a path and a slash at its end: nothing of it is touched. */
const ISSUER = 'https://id.example.net/ring/'

const seconds = ({ clock }: TestServer) => Number(clock.now() / 1_000_000_000n)

async function signed(server: TestServer, claims: object = {}, ttl = '1h') {
  const body = { claims: { sub: 'global:default:job', ...claims }, ttl }
  const { status, json } = await server.call('POST', '/v1/rings/default/sign', body)
  assert.equal(status, 200, JSON.stringify(json))
  return json as { token: string; kid: string }
}

const stateOf = async (server: TestServer, kid: string): Promise<string> => {
  const { json } = await server.call('GET', '/v1/operator/keyring/keys')
  return json.find(({ KeyID }: { KeyID: string }) => KeyID === kid)?.State
}

for (const [alg, settings] of [
  ['RS256', {}],
  ['EdDSA', { ROOT_KEY_ALGORITHM: 'EdDSA' }],
] as const) {
  test(`section 7: a token is compact, names ${alg}, its key and JWT, and is signed by the active key only`, async (t) => {
    const server = await testServer(t, { settings, issuer: ISSUER })
    const before = await signed(server)
    assert.deepEqual(decodeProtectedHeader(before.token), { alg, kid: before.kid, typ: 'JWT' })
    assert.match(before.token, /^[\w-]+\.[\w-]+\.[\w-]+$/)
    assert.equal(await stateOf(server, before.kid), 'active')
    const rotated = await server.call('PUT', '/v1/operator/keyring/rotate')
    assert.equal(rotated.status, 200)
    const after = await signed(server)
    assert.equal(after.kid, rotated.json.Key.KeyID)
    assert.deepEqual(
      [await stateOf(server, before.kid), await stateOf(server, after.kid)],
      ['inactive', 'active'],
    )
    const { json: set } = await server.call('GET', '/.well-known/jwks.json')
    assert.ok(set.keys.length >= 3, 'what waits is published, and has not signed')
    for (const { token } of [before, after]) {
      const currentDate = new Date(seconds(server) * 1000)
      const { payload } = await jwtVerify(token, createLocalJWKSet(set), { currentDate })
      assert.equal(payload.sub, 'global:default:job')
    }
  })
}

test('section 7: iss is the issuer byte for byte, and absent when there is none', async (t) => {
  const named = await testServer(t, { settings: FAST, issuer: ISSUER })
  assert.equal(decodeJwt((await signed(named)).token).iss, ISSUER)
  const unnamed = await testServer(t, { settings: { ...FAST, HOST: '0.0.0.0' } })
  assert.equal('iss' in decodeJwt((await signed(unnamed)).token), false)
})

test('section 7: aud is text for one, a list for several, absent for none; a list stays a list', async (t) => {
  const server = await testServer(t, { settings: FAST })
  for (const aud of ['x', ['x', 'y'], undefined, ['x'], []]) {
    const claims = decodeJwt((await signed(server, { aud })).token)
    assert.deepEqual(claims.aud, aud)
    assert.equal('aud' in claims, aud !== undefined)
  }
  const profile = { sub: '*', aud: ['vault'], maxTtl: '1h' }
  assert.equal((await server.call('PUT', '/v1/rings/default/profiles/p', profile)).status, 200)
  const body = { claims: { sub: 'a' }, ttl: '1h', profile: 'p' }
  const { json } = await server.call('POST', '/v1/rings/default/sign', body)
  assert.equal(decodeJwt(json.token).aud, 'vault')
})

test('section 7: iat and nbf are the time of signing, exp is that and the TTL, in whole seconds; jti is fresh', async (t) => {
  const server = await testServer(t, { settings: FAST })
  assert.notEqual(server.clock.now() % 1_000_000_000n, 0n, 'the clock is between two seconds')
  const now = seconds(server)
  const [one, two] = [
    decodeJwt((await signed(server)).token),
    decodeJwt((await signed(server)).token),
  ]
  for (const { iat, nbf, exp, jti } of [one, two]) {
    assert.deepEqual([iat, nbf, exp], [now, now, now + 3600])
    assert.match(String(jti), /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/)
  }
  assert.notEqual(one.jti, two.jti)
  for (const ttl of [0, '0s']) {
    const body = { claims: { sub: 'a' }, ttl }
    const { status, json } = await server.call('POST', '/v1/rings/default/sign', body)
    assert.deepEqual([status, json.code], [422, 'invalid_request'], 'every token ends')
  }
})

test('section 7: without an active key nothing is signed', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const closed = await testServer(t, {
    ...{ settings: FAST, store: server.store, clock: server.clock, open: false },
  })
  const body = { claims: { sub: 'a' }, ttl: '1h' }
  const { status, json } = await closed.call('POST', '/v1/rings/default/sign', body)
  assert.deepEqual(
    [status, json.code, json.detail],
    [503, 'not_ready', 'Ring default cannot sign yet'],
  )
})

/** Tokens that the active key signed, whatever they say, and what `/v1/verify` says of a token. */
async function forging(t: TestContext) {
  const disk = onDisk(t)
  const server = await disk.start({ issuer: ISSUER })
  const { kid } = await signed(server)
  const key = createPrivateKey({
    ...{ key: await disk.privateHalf(kid), format: 'der', type: 'pkcs8' },
  })
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  return {
    ...{ server, kid, key },
    forge(header: object, claims: object = {}): string {
      const now = seconds(server)
      const all = { iss: ISSUER, sub: 'a', iat: now, nbf: now, exp: now + 60, ...claims }
      const input = `${encode({ alg: 'ES256', kid, typ: 'JWT', ...header })}.${encode(all)}`
      const signature = signBytes('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' })
      return `${input}.${signature.toString('base64url')}`
    },
    async verdict(token: string): Promise<string> {
      const asked = { token, with: { ring: 'default' } }
      const { json } = await server.call('POST', '/v1/verify', asked)
      const failed = json.checks.find(({ ok }: { ok: boolean }) => !ok)
      assert.equal(json.valid, failed === undefined)
      return failed ? `${failed.name}: ${failed.reason}` : 'valid'
    },
  }
}

test('section 7: which key verifies, and by which algorithm alone', async (t) => {
  const { server, forge, verdict } = await forging(t)
  const good = forge({})
  const [head = '', payload = '', signature = ''] = good.split('.')
  assert.equal(await verdict(good), 'valid')
  assert.equal(await verdict(forge({ kid: undefined })), 'valid', 'tried with the keys there are')
  assert.equal(await verdict(forge({ kid: 'none-such' })), 'key: No key has this kid')
  const broken = 'signature: The signature does not verify'
  assert.equal(
    await verdict(`${head}.${payload}.${signature.replace(/^./, (c) => (c === 'A' ? 'B' : 'A'))}`),
    broken,
  )

  const { json } = await server.call('GET', '/.well-known/jwks.json')
  for (const alg of ['RS256', 'EdDSA', 'ES384']) {
    assert.equal(await verdict(forge({ alg })), `algorithm: The key is not for ${alg}`)
  }
  const none = forge({ alg: 'none' }).replace(/[^.]+$/, '')
  assert.match(await verdict(none), /^format: /)
  // A public key is no secret: whoever has it must not be able to sign with it.
  const hs = forge({ alg: 'HS256' }).replace(/\.[^.]+$/, '')
  const mac = createHmac('sha256', JSON.stringify(json.keys[0])).update(hs).digest('base64url')
  assert.match(await verdict(`${hs}.${mac}`), /^format: /)
})

test('section 7: expired and early are refused, with 60 s of leeway; iat decides nothing', async (t) => {
  const { server, forge, verdict } = await forging(t)
  const now = seconds(server)
  const cases: [object, string][] = [
    [{ exp: now - 59 }, 'valid'],
    [{ exp: now - 60 }, 'exp: The token has expired'],
    [{ exp: undefined }, 'exp: The token has no exp'],
    [{ nbf: now + 60 }, 'valid'],
    [{ nbf: now + 61 }, 'nbf: The token is not valid yet'],
    [{ iat: now + 3600 }, 'valid'],
    [{ iat: now + 3600, nbf: now + 3600 }, 'nbf: The token is not valid yet'],
    [{ iss: ISSUER.slice(0, -1) }, 'iss: The token is from another issuer'],
  ]
  for (const [claims, expected] of cases) {
    assert.equal(await verdict(forge({}, claims)), expected, JSON.stringify(claims))
  }
})

test('section 7: a third party needs the issuer alone: discovery below it leads to the keys', async (t) => {
  const server = await testServer(t, { issuer: ISSUER })
  const { token } = await signed(server, { aud: 'vault' })
  const { iss = '' } = decodeJwt(token)
  const at = (url: string) => server.call('GET', new URL(url).pathname.replace('/ring', ''))
  const { json: found } = await at(`${iss}.well-known/openid-configuration`)
  assert.equal(found.issuer, iss)
  assert.ok(found.id_token_signing_alg_values_supported.includes('RS256'))
  const { json: set } = await at(found.jwks_uri)
  const { payload } = await jwtVerify(token, createLocalJWKSet(set), {
    ...{ issuer: iss, audience: 'vault', algorithms: ['RS256'] },
    currentDate: new Date(seconds(server) * 1000),
  })
  assert.equal(payload.sub, 'global:default:job')
})
