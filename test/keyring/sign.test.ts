import assert from 'node:assert/strict'
import test from 'node:test'
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose'
import { ALGORITHM_NAMES, ALGORITHMS } from '../../src/core/index.ts'
import { type TestServer, testServer } from '../server.ts'
import { callerWith, callWith } from './callers.ts'

const FAST = { ROOT_KEY_ALGORITHM: 'ES256' }
const ISSUER = 'https://id.example.net'

const body = (over: Record<string, unknown> = {}) => ({ claims: { sub: 'a' }, ttl: '1h', ...over })

async function makeRing(server: TestServer, over: Record<string, unknown> = {}) {
  const made = await server.call('POST', '/v1/rings', {
    ...{ name: 'ring', algorithms: ['ES256'], ...over },
  })
  assert.equal(made.status, 201, JSON.stringify(made.json))
}

test('every algorithm of the table signs, verifies here, and by a library with the published set', async (t) => {
  const server = await testServer(t, { settings: FAST, issuer: ISSUER })
  const classic = ALGORITHM_NAMES.filter((alg) => !ALGORITHMS[alg].postQuantum)
  const groups = [classic.slice(0, 6), classic.slice(6), ALGORITHM_NAMES.slice(-3)]
  for (const [index, algorithms] of groups.entries()) {
    const name = `ring-${index}`
    await makeRing(server, { name, algorithms })
    const issuer = `${ISSUER}/rings/${name}`
    const pq = algorithms.every((alg) => ALGORITHMS[alg].postQuantum)
    const path = `/rings/${name}/.well-known/jwks${pq ? '-pq' : ''}.json`
    const { json: set, status } = await server.call('GET', path)
    assert.equal(status, 200)
    assert.equal(set.keys.length, 2 * algorithms.length)
    for (const algorithm of algorithms) {
      const answer = await server.call('POST', `/v1/rings/${name}/sign`, body({ algorithm }))
      assert.equal(answer.status, 200, JSON.stringify(answer.json))
      const { token, kid, exp } = answer.json
      assert.deepEqual(decodeProtectedHeader(token), { alg: algorithm, kid, typ: 'JWT' })
      const now = Number(server.clock.now() / 1_000_000_000n)
      const { jti, ...claims } = decodeJwt(token)
      assert.deepEqual(claims, { iss: issuer, sub: 'a', iat: now, nbf: now, exp: now + 3600 })
      assert.equal(exp, now + 3600)
      assert.ok(jti)

      const ours = await server.call('POST', '/v1/verify', { token, with: { ring: name } })
      assert.equal(ours.json.valid, true, JSON.stringify(ours.json))
      const theirs = await server.call('POST', '/v1/verify', { token, with: { jwks: set } })
      assert.equal(theirs.json.valid, true)
      const library = await jwtVerify(token, createLocalJWKSet(set), {
        ...{ issuer, algorithms: [algorithm], currentDate: new Date(now * 1000) },
      })
      assert.equal(library.payload.sub, 'a')
    }
    const other = pq ? 'jwks.json' : 'jwks-pq.json'
    assert.equal((await server.call('GET', `/rings/${name}/.well-known/${other}`)).status, 404)
  }
})

test('the first algorithm of a ring is the default; another one than its own is refused', async (t) => {
  const server = await testServer(t, { settings: FAST })
  await makeRing(server, { algorithms: ['EdDSA', 'ES256'] })
  const algOf = async (algorithm?: string) => {
    const { json } = await server.call('POST', '/v1/rings/ring/sign', body({ algorithm }))
    return json.token ? decodeProtectedHeader(json.token).alg : json.code
  }
  assert.equal(await algOf(), 'EdDSA')
  assert.equal(await algOf('ES256'), 'ES256')
  assert.equal(await algOf('RS256'), 'algorithm_unavailable')
  assert.equal(await algOf('HS256'), 'invalid_request')
  assert.equal(await algOf('none'), 'invalid_request')
})

test('what the server sets cannot be chosen, in any spelling; nor how the header is read', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const codeOf = async (over: Record<string, unknown>) => {
    const { status, json } = await server.call('POST', '/v1/rings/default/sign', body(over))
    return `${status} ${json.code ?? ''}`.trim()
  }
  for (const claim of ['iss', 'iat', 'nbf', 'exp', 'jti', 'EXP', 'Iat']) {
    assert.equal(await codeOf({ claims: { sub: 'a', [claim]: 1 } }), '422 claim_reserved', claim)
  }
  for (const name of [
    'alg',
    'kid',
    'jku',
    'jwk',
    'x5u',
    'x5c',
    'x5t',
    'crit',
    'b64',
    'zip',
    'typ',
  ]) {
    assert.equal(await codeOf({ header: { [name]: 'a' } }), '422 invalid_request', name)
  }
  assert.equal(await codeOf({ header: { cty: 'text' }, typ: 'at+jwt' }), '200')
  for (const ttl of ['0s', '-1h', '500ms', 0, -5, 1.5, '', 'soon', null]) {
    assert.equal(await codeOf({ ttl }), '422 invalid_request', String(ttl))
  }
  assert.equal(await codeOf({ ttl: '24h' }), '200')
  assert.equal(await codeOf({ ttl: 86_400 }), '200')
  assert.equal(await codeOf({ ttl: 86_401 }), '422 ttl_too_long')
  assert.equal(await codeOf({ unknown: 1 }), '422 invalid_request')
})

test('a ring has a limit of its own for ttl', async (t) => {
  const server = await testServer(t, { settings: FAST })
  await makeRing(server, { maxTokenTtl: '5m' })
  const status = async (ttl: number) =>
    (await server.call('POST', '/v1/rings/ring/sign', body({ ttl }))).status
  assert.equal(await status(300), 200)
  assert.equal(await status(301), 422)
})

test('nothing is signed that our own verifier would not read', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const nested = (depth: number): unknown => (depth === 0 ? 1 : [nested(depth - 1)])
  const cases: [string, Record<string, unknown>, number][] = [
    ['deep', { claims: { sub: 'a', deep: nested(31) } }, 200],
    ['too deep', { claims: { sub: 'a', deep: nested(32) } }, 422],
    ['far too deep', { claims: { sub: 'a', deep: nested(3000) } }, 422],
    ['large', { claims: { sub: 'a'.repeat(11_000) } }, 200],
    ['too large', { claims: { sub: 'a'.repeat(13_000) } }, 422],
    ['deep header', { header: { x: nested(7) } }, 200],
    ['too deep header', { header: { x: nested(8) } }, 422],
    ['lone surrogate', { claims: { sub: '\ud800' } }, 200],
    ['other names', { claims: { sub: 'a', '': 1, toString: 1, constructor: 'x' } }, 200],
  ]
  for (const [name, over, status] of cases) {
    const signed = await server.call('POST', '/v1/rings/default/sign', body(over))
    assert.equal(signed.status, status, `${name}: ${JSON.stringify(signed.json)}`)
    if (status !== 200) continue
    const { token } = signed.json
    const { json } = await server.call('POST', '/v1/verify', { token, with: { ring: 'default' } })
    assert.equal(json.valid, true, `${name}: ${JSON.stringify(json.checks)}`)
  }
})

test('the keys of access and audit sign for the server only; an unknown ring is unknown', async (t) => {
  const server = await testServer(t, { settings: FAST })
  for (const ring of ['access', 'audit']) {
    const refused = await server.call('POST', `/v1/rings/${ring}/sign`, body())
    assert.equal(refused.status, 409)
    assert.equal(refused.json.code, 'ring_reserved')
    const profile = { sub: '*', maxTtl: '1h' }
    const put = await server.call('PUT', `/v1/rings/${ring}/profiles/p`, profile)
    assert.equal(put.json.code, 'ring_reserved')
  }
  assert.equal((await server.call('POST', '/v1/rings/none/sign', body())).status, 404)
  for (const wrong of [undefined, [1]]) {
    const { status, json } = await server.call('POST', '/v1/rings/default/sign', wrong)
    assert.equal(status, 422)
    assert.match(json.detail, /^body: Expected \{"claims": \{…\}, "ttl": "15m"\}/)
  }
})

test('a batch of a thousand: all or none, in order', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const items = Array.from({ length: 1000 }, (_, index) =>
    body({ claims: { sub: `job-${index}` } }),
  )
  const send = (batch: unknown[]) => server.call('POST', '/v1/rings/default/sign', { batch })
  const signed = await send(items)
  assert.equal(signed.status, 200)
  assert.deepEqual(
    signed.json.batch.map(({ token }: { token: string }) => decodeJwt(token).sub),
    items.map(({ claims }) => claims.sub),
  )
  const jtis = signed.json.batch.map(({ token }: { token: string }) => decodeJwt(token).jti)
  assert.equal(new Set(jtis).size, 1000)
  assert.equal((await send([...items, body()])).status, 422)
  assert.equal((await send([])).status, 422)

  const before = (await server.call('GET', '/metrics')).json
  const bad = items.with(7, body({ claims: { sub: 'a', exp: 1 } }))
  const refused = await send(bad)
  assert.partialDeepStrictEqual(refused.json, { code: 'claim_reserved', item: 7, claim: 'exp' })
  assert.ok(refused.json.detail.startsWith('batch/7: '))
  const count = (text: string) => /^keyringd_signatures_total\{.*\} (\d+)$/m.exec(text)?.[1]
  assert.equal(count((await server.call('GET', '/metrics')).json), count(before), 'nothing signed')
  assert.equal((await send(items.with(3, body({ unknown: 1 })))).status, 422)
})

test('who may sign: the ring, a profile of it, or nobody', async (t) => {
  const server = await testServer(t, { settings: FAST, issuer: ISSUER })
  await makeRing(server)
  await makeRing(server, { name: 'other' })
  const profile = {
    ...{ sub: 'job-*', aud: ['payments'], maxTtl: '10m', typ: 'at+jwt' },
    claims: { fixed: { env: 'prod' }, default: {}, allowed: ['build'] },
  }
  assert.equal((await server.call('PUT', '/v1/rings/ring/profiles/ci', profile)).status, 200)
  const onRing = await callerWith(server, 'on-ring', ['sign@ring:ring'])
  const onProfile = await callerWith(server, 'on-profile', ['sign@profile:ring/ci'])
  const neither = await callerWith(server, 'neither', ['verify'])
  const nobody = callWith(server)
  const expired = callWith(server, 'Bearer krd_unknown')

  const plain = body({ ttl: '10m' })
  const bounded = body({ profile: 'ci', ttl: '10m', claims: { sub: 'job-1', build: 4 } })
  const cases: [string, typeof nobody, string, unknown, number][] = [
    ['ring', onRing, 'ring', plain, 200],
    ['ring, with a profile', onRing, 'ring', bounded, 200],
    ['another ring', onRing, 'other', plain, 403],
    ['an unknown ring', onRing, 'unknown', plain, 403],
    ['an unknown profile', onRing, 'ring', { ...bounded, profile: 'none' }, 404],
    ['profile', onProfile, 'ring', bounded, 200],
    ['profile, without naming it', onProfile, 'ring', plain, 403],
    ['profile, naming another', onProfile, 'ring', { ...bounded, profile: 'none' }, 403],
    ['profile of another ring', onProfile, 'other', bounded, 403],
    ['no grant', neither, 'ring', plain, 403],
    ['no credential', nobody, 'ring', plain, 401],
    ['an unknown credential', expired, 'ring', plain, 401],
    ['no credential, unknown ring', nobody, 'unknown', plain, 401],
    ['sub outside', onProfile, 'ring', { ...bounded, claims: { sub: 'root' } }, 403],
    ['ttl outside', onProfile, 'ring', { ...bounded, ttl: '11m' }, 422],
    ['claim outside', onProfile, 'ring', { ...bounded, claims: { sub: 'job-1', x: 1 } }, 403],
    ['batch within', onProfile, 'ring', { batch: [bounded, bounded] }, 200],
    ['batch with one outside', onProfile, 'ring', { batch: [bounded, plain] }, 403],
  ]
  for (const [name, call, ring, asked, status] of cases) {
    const answer = await call('POST', `/v1/rings/${ring}/sign`, asked)
    assert.equal(answer.status, status, `${name}: ${JSON.stringify(answer.json)}`)
    assert.equal(status === 200, !('code' in answer.json))
  }

  const { json } = await onProfile('POST', '/v1/rings/ring/sign', bounded)
  assert.equal(decodeProtectedHeader(json.token).typ, 'at+jwt')
  assert.partialDeepStrictEqual(decodeJwt(json.token), {
    ...{ iss: `${ISSUER}/rings/ring`, sub: 'job-1', aud: 'payments', env: 'prod', build: 4 },
  })

  // A profile that is made tighter is tighter at once.
  const tight = { ...profile, sub: 'job-2' }
  assert.equal((await server.call('PUT', '/v1/rings/ring/profiles/ci', tight)).status, 200)
  assert.equal((await onProfile('POST', '/v1/rings/ring/sign', bounded)).status, 403)
  assert.equal((await server.call('DELETE', '/v1/rings/ring/profiles/ci')).status, 204)
  assert.equal((await onProfile('POST', '/v1/rings/ring/sign', bounded)).status, 403)
})

test('writing a profile needs the right to sign in its ring', async (t) => {
  const server = await testServer(t, { settings: FAST })
  await makeRing(server)
  const profile = { sub: '*', maxTtl: '1h' }
  const manager = await callerWith(server, 'manager', ['ring-manage'])
  const both = await callerWith(server, 'both', ['ring-manage', 'sign@ring:ring'])
  const put = '/v1/rings/ring/profiles/p'
  assert.equal((await manager('PUT', put, profile)).json.code, 'privilege_boundary')
  assert.equal((await both('PUT', put, profile)).status, 200)
  assert.equal((await manager('DELETE', put)).json.code, 'privilege_boundary')
  assert.equal((await both('DELETE', put)).status, 204)
  assert.equal((await both('DELETE', put)).json.code, 'profile_not_found')
})

test('before anything is unsealed nothing is signed, rotated or deleted, and all is published', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const { kid } = (await server.call('POST', '/v1/rings/default/sign', body())).json
  const closed = await testServer(t, {
    ...{ settings: FAST, store: server.store, clock: server.clock, open: false },
  })
  assert.equal((await closed.call('GET', '/.well-known/jwks.json')).json.keys.length, 2)
  assert.equal((await closed.call('GET', '/readyz')).status, 503)
  const calls: [string, string, unknown][] = [
    ['POST', '/v1/rings/default/sign', body()],
    ['POST', '/v1/rings/default/rotate', {}],
    ['POST', '/v1/rings/default/rotate', { activateAt: '2030-01-01T00:00:00Z' }],
    ['POST', '/v1/rings', { name: 'ring', algorithms: ['ES256'] }],
    ['DELETE', `/v1/rings/default/keys/${kid}`, undefined],
  ]
  for (const [method, url, asked] of calls) {
    const { status, json } = await closed.call(method, url, asked)
    assert.equal(`${status} ${json.code}`, '503 not_ready', url)
  }
  const scheduled = await closed.call('PUT', '/v1/operator/keyring/rotate?publish_time=1')
  assert.equal(scheduled.status, 500)
  assert.equal((await server.store.read.keys.list()).length, 6, 'no key without a wrap')
})
