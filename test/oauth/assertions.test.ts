import assert from 'node:assert/strict'
import { createHmac, createSecretKey, generateKeyPairSync, sign } from 'node:crypto'
import { test } from 'node:test'
import { decodeJwt, SignJWT } from 'jose'
import { assertionFault, clientAssertionFault, usedAssertion } from '../../src/oauth/assertion.ts'
import { secondsOf } from '../identities/setup.ts'
import { countingIds, memoryStore, testClock } from '../server.ts'
import {
  API,
  BASE,
  BEARER,
  type Claims,
  ENDPOINT,
  ISSUER,
  type OAuthWorld,
  oauthWorld,
  outcome,
  type TestClient,
} from './setup.ts'

// RFC 7521 and 7523: assertions as grants and as client authentication.

const OURS = [ISSUER, ENDPOINT]
const good = { iss: 'c', sub: 'c', aud: ISSUER, exp: 1060, jti: 'one' }

const GRANT: [over: Claims, expected: string | undefined][] = [
  [{}, undefined],
  [{ aud: ENDPOINT }, undefined],
  [{ aud: ['https://other', ENDPOINT] }, undefined],
  [{ jti: undefined }, undefined],
  [{ exp: 1000 + 86_400 }, undefined],
  [{ exp: 1001 + 86_400 }, 'exp_too_far'],
  [{ iss: undefined }, 'issuer_missing'],
  [{ iss: '' }, 'issuer_missing'],
  [{ iss: 7 }, 'issuer_missing'],
  [{ iss: 'x'.repeat(513) }, 'issuer_missing'],
  [{ sub: undefined }, 'subject_missing'],
  [{ sub: ['c'] }, 'subject_missing'],
  [{ aud: undefined }, 'audience_not_ours'],
  [{ aud: [] }, 'audience_not_ours'],
  [{ aud: 'https://other' }, 'audience_not_ours'],
  [{ aud: `${ISSUER}/` }, 'audience_not_ours'],
  [{ aud: BASE }, 'audience_not_ours'],
  [{ aud: [ISSUER, 7] }, 'audience_not_ours'],
  [{ aud: { 0: ISSUER } }, 'audience_not_ours'],
  [{ exp: undefined }, 'exp_missing'],
  [{ exp: '1060' }, 'exp_missing'],
  [{ jti: 7 }, 'jti_unusable'],
  [{ jti: '' }, 'jti_unusable'],
  [{ jti: 'x'.repeat(513) }, 'jti_unusable'],
]

for (const [over, expected] of GRANT) {
  test(`RFC 7523 3: ${JSON.stringify(over).slice(0, 60)} is ${expected ?? 'accepted'}`, () => {
    assert.equal(assertionFault({ ...good, ...over }, { ours: OURS, now: 1000 }), expected)
  })
}

const CLIENT: [over: Claims, expected: string | undefined][] = [
  [{}, undefined],
  [{ exp: 1600 }, undefined],
  [{ exp: 1601 }, 'exp_too_far'],
  [{ exp: 1600.5 }, 'exp_too_far'],
  [{ iss: 'd' }, 'client_mismatch'],
  [{ sub: 'd' }, 'client_mismatch'],
  [{ jti: undefined }, 'jti_missing'],
  [{ aud: API }, 'audience_not_ours'],
]

for (const [over, expected] of CLIENT) {
  test(`RFC 7523 2.2, 3: ${JSON.stringify(over)} is ${expected ?? 'accepted'}`, () => {
    const about = { clientId: 'c', ours: OURS, now: 1000 }
    assert.equal(clientAssertionFault({ ...good, ...over }, about), expected)
  })
}

test('what is used is kept until it has expired everywhere, and a jti is not needed to know it again', () => {
  assert.deepEqual(usedAssertion(good, 'h.p.s', 60), { iss: 'c', jti: 'one', keepUntil: 1120 })
  const bare = { ...good, jti: undefined, exp: 1060.2 }
  const used = usedAssertion(bare, 'h.p.s', 60)
  assert.match(used.jti, /^sha256:/)
  assert.equal(used.keepUntil, 1121)
  assert.equal(usedAssertion(bare, 'h.p.another', 60).jti, used.jti, 'another signature, same JWT')
  assert.notEqual(usedAssertion(bare, 'h.q.s', 60).jti, used.jti)
  assert.equal(usedAssertion({ ...good, exp: 1e300 }, 'h.p.s', 60).keepUntil, 2 ** 53 - 1)
})

const bearer = (client: TestClient, assertion: string) => ({
  ...{ grant_type: BEARER, client_id: client.id, assertion },
})

test('an assertion becomes an access token of its identity, and RFC 9068 claims are in it', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client({ accessTokenTTL: 900 }, 'member')
  for (const form of [
    bearer(client, await client.assertion({ aud: ['x', ENDPOINT] })),
    await client.credentials(),
  ]) {
    const { status, json, headers, text } = await world.token(form)
    assert.equal(status, 200, text)
    assert.equal(headers['cache-control'], 'no-store')
    const { access_token: token, ...rest } = json
    assert.deepEqual(rest, { token_type: 'Bearer', expires_in: 900 })
    const claims = decodeJwt(token)
    const now = secondsOf(world)
    assert.deepEqual(
      [claims.iss, claims.aud, claims.sub, claims['client_id'], claims.iat, claims.exp],
      [ISSUER, ISSUER, client.id, client.id, now, now + 900],
    )
    assert.equal(typeof claims.jti, 'string')
    assert.equal((await world.ask('GET', `/api/v1/identities/${client.id}`, { token })).status, 200)
  }
  const grants = (await world.audited('token.issued')).map(({ detail }) => detail['grant'])
  assert.deepEqual(grants, ['jwt-bearer', 'client_credentials'])
})

test('RFC 7521 4.2: the client_id may be left out where the assertion names the client', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client()
  const { client_id: _, ...form } = await client.credentials()
  assert.equal((await world.token(form)).status, 200)
  const other = await world.client()
  const foreign = { ...(await client.credentials()), client_id: other.id }
  assert.equal(outcome(await world.token(foreign)), '400 invalid_client')
  for (const odd of ['', 'junk', `e30.${Buffer.from('{"sub":7}').toString('base64url')}.x`]) {
    const answer = await world.token({ ...form, client_assertion: odd })
    assert.match(outcome(answer), /^400 invalid_(client|request)$/)
  }
})

const parallel = async (world: OAuthWorld, form: Record<string, string>) => {
  const answers = await Promise.all(Array.from({ length: 8 }, () => world.token(form)))
  return answers.map(outcome).sort()
}

test('RFC 7523 3, item 7: an assertion counts once, however many present it at a time', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client()
  const refused = (error: string) => ['200 ok', ...Array<string>(7).fill(`400 ${error}`)]
  const once = bearer(client, await client.assertion())
  assert.deepEqual(await parallel(world, once), refused('invalid_grant'))
  const bare = bearer(client, await client.assertion({ jti: undefined }))
  assert.deepEqual(await parallel(world, bare), refused('invalid_grant'))
  assert.deepEqual(await parallel(world, await client.credentials()), refused('invalid_client'))
  const reasons = (await world.audited('token.denied')).map(({ detail }) => detail['reason'])
  assert.deepEqual([...new Set(reasons)], ['assertion_used'])
})

test('a used assertion is remembered until it has expired, and the clock skew longer', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client()
  const form = bearer(client, await client.assertion({ exp: secondsOf(world) + 3600 }))
  assert.equal((await world.token(form)).status, 200)
  const prune = () => world.store.transaction((tx) => tx.usedAssertions.prune(secondsOf(world), 10))
  world.clock.advance('3599s')
  assert.equal(outcome(await world.token(form)), '400 invalid_grant')
  assert.equal((await world.audited('token.denied')).at(-1)?.detail['reason'], 'assertion_used')
  world.clock.advance('61s')
  assert.equal(outcome(await world.token(form)), '400 invalid_grant', 'expired')
  const last = (await world.audited('login.denied')).at(-1)
  assert.equal(last?.detail['reason'], 'jwt_verification_failed')
  assert.equal(await prune(), 0)
  world.clock.advance('1s')
  assert.equal(await prune(), 1)
})

test('one replay table for both kinds: a client assertion is no grant afterwards, nor the reverse', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client({ boundSubject: '', boundClaims: { env: 'prod' } })
  const form = await client.credentials({ env: 'prod' })
  assert.equal((await world.token(form)).status, 200)
  const again = bearer(client, form['client_assertion'] ?? '')
  assert.equal(outcome(await world.token(again)), '400 invalid_grant')
  const assertion = await client.clientAssertion({ env: 'prod' })
  assert.equal((await world.token(bearer(client, assertion))).status, 200)
  const reverse = { ...form, client_assertion: assertion }
  assert.equal(outcome(await world.token(reverse)), '400 invalid_client')
})

test('a jti is known by its issuer, and logins use none up', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client()
  for (const iss of ['ci', 'other']) {
    const form = bearer(client, await client.assertion({ iss, jti: 'same' }))
    assert.equal((await world.token(form)).status, 200)
  }
  const jwt = await client.jwt({ jti: 'login' })
  for (let login = 0; login < 2; login++)
    assert.equal((await world.login(client.id, jwt)).status, 200)
})

test('an assertion that was refused is not used up', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client()
  const other = await world.client()
  const assertion = await client.assertion()
  assert.equal(outcome(await world.token(bearer(other, assertion))), '400 invalid_grant')
  assert.equal((await world.token(bearer(client, assertion))).status, 200)
})

test('a JWT for this server does not log in; it is exchanged unless it was an assertion before', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client()
  for (const aud of [ISSUER, ENDPOINT, ['x', ENDPOINT]]) {
    assert.equal((await world.login(client.id, await client.assertion({ aud }))).status, 401)
    const form = {
      subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
      client_id: client.id,
    }
    const assertion = await client.assertion({ aud })
    for (let time = 0; time < 2; time++) {
      assert.equal(
        (await world.exchange(assertion, form)).status,
        200,
        'an exchange uses nothing up',
      )
    }
    assert.equal((await world.token(bearer(client, assertion))).status, 200)
    assert.equal(outcome(await world.exchange(assertion, form)), '400 invalid_request')
  }
})

test('only boundClaims apply to a client’s own assertion, and they do', async (t) => {
  const world = await oauthWorld(t)
  const bounds = { boundIssuer: 'ci', boundSubject: 'svc:*', boundAudiences: 'api://a' }
  const client = await world.client({ ...bounds, boundClaims: { env: 'prod' } })
  assert.equal((await world.token(await client.credentials({ env: 'prod' }))).status, 200)
  assert.equal(
    outcome(await world.token(await client.credentials({ env: 'dev' }))),
    '400 invalid_client',
  )
  assert.equal(outcome(await world.token(await client.credentials())), '400 invalid_client')
  const form = bearer(client, await client.assertion({ env: 'prod' }))
  assert.equal(outcome(await world.token(form)), '400 invalid_grant', 'boundAudiences')
})

test('a configuration that bounds nothing is good for logins, not for OAuth', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client({ boundSubject: '', boundIssuer: 'ci' })
  const token = await client.login()
  const jwt = { subject_token_type: 'urn:ietf:params:oauth:token-type:jwt', client_id: client.id }
  for (const answer of [
    await world.token(await client.credentials()),
    await world.token(bearer(client, await client.assertion())),
    await world.exchange(token),
    await world.exchange(await client.jwt(), jwt),
  ]) {
    assert.equal(outcome(answer), '400 unauthorized_client', answer.text)
  }
})

test('who need not authenticate and does all the same must do it right', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client()
  const other = await world.client()
  const form = { ...bearer(client, await client.assertion()), ...(await client.auth()) }
  assert.equal((await world.token(form)).status, 200)
  const again = { ...form, assertion: await client.assertion() }
  assert.equal(outcome(await world.token(again)), '400 invalid_client', 'client assertion used')
  const forged = { ...(await other.auth({ iss: client.id, sub: client.id })), client_id: client.id }
  assert.equal(outcome(await world.token({ ...again, ...forged })), '400 invalid_client')
  const { client_id: _, ...unnamed } = { ...again, ...(await client.auth()) }
  assert.equal((await world.token(unnamed)).status, 200)

  const token = await client.login()
  const auth = await client.auth()
  assert.equal((await world.exchange(token, auth)).status, 200)
  assert.equal(outcome(await world.exchange(token, auth)), '400 invalid_client')
  const theirs = await world.exchange(token, await other.auth())
  assert.equal(outcome(theirs), '400 invalid_request', 'issued to another client')
})

test('a hostile assertion is a denial, never an error of ours', async (t) => {
  const world = await oauthWorld(t, { settings: { RATE_LIMIT_LOGIN: '1000/m' } })
  const client = await world.client()
  const other = await world.client()
  const claims = decodeJwt(await client.clientAssertion())
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const pem = client.issuer.publicPem
  const mac = (input: string) => createHmac('sha256', pem).update(input).digest('base64url')
  const hs = `${part({ alg: 'HS256' })}.${part(claims)}`
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const rs = `${part({ alg: 'RS256' })}.${part(claims)}`
  const es = `${part({ alg: 'ES256' })}.${part([claims])}`
  const signed = await client.clientAssertion()
  const [header = '', payload = '', signature = ''] = signed.split('.')
  const hostile: Record<string, string> = {
    none: `${part({ alg: 'none' })}.${part(claims)}.`,
    'HS256 over the PEM': `${hs}.${mac(hs)}`,
    'HS256 by jose': await new SignJWT(claims)
      .setProtectedHeader({ alg: 'HS256' })
      .sign(createSecretKey(Buffer.from(pem))),
    'another kind of key': `${rs}.${sign('sha256', Buffer.from(rs), privateKey).toString('base64url')}`,
    'another identity’s key': await other.issuer.sign({ ...claims }),
    'ES384 for ES256': `${part({ alg: 'ES384' })}.${payload}.${signature}`,
    'a payload that is an array': `${es}.${sign('sha256', Buffer.from(es), { key: client.issuer.privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`,
    'exp as text': await client.clientAssertion({ exp: '9999999999' }),
    'no exp': await client.clientAssertion({ exp: undefined }),
    'not yet': await client.clientAssertion({ nbf: secondsOf(world) + 5 }),
    expired: await client.clientAssertion({ exp: secondsOf(world) }),
    'too far': await client.clientAssertion({ exp: secondsOf(world) + 601 }),
    'no jti': await client.clientAssertion({ jti: undefined }),
    'no aud': await client.clientAssertion({ aud: undefined }),
    'for somebody else': await client.clientAssertion({ aud: 'https://other/oauth/token' }),
    'for the host': await client.clientAssertion({ aud: BASE }),
    'of another issuer': await client.clientAssertion({ iss: 'ci' }),
    'of another subject': await client.clientAssertion({ sub: 'svc:a' }),
    crit: await client
      .clientAssertion({}, { crit: ['x'], x: 1 })
      .catch(() => `${header}x.${payload}.x`),
    padded: `${signed}=`,
    'four parts': `${signed}.x`,
    large: `${header}.${'A'.repeat(20_000)}.${signature}`,
  }
  for (const [why, assertion] of Object.entries(hostile)) {
    const form = { ...(await client.credentials()), client_assertion: assertion }
    assert.equal(outcome(await world.token(form)), '400 invalid_client', why)
  }
  assert.equal(
    (await world.token({ ...(await client.credentials()), client_assertion: signed })).status,
    200,
  )
  const text = JSON.stringify(await world.store.read.audit.list(0n, 10_000), (_, value) =>
    typeof value === 'bigint' ? String(value) : value,
  )
  assert.ok(!text.includes(payload) && !world.log.join('').includes(payload))
})

test('after a restart a used assertion is still used, and a source that is none any more lets nobody in', async (t) => {
  const clock = testClock()
  const store = await memoryStore(clock, countingIds())
  const settings = { LOGIN_FROM_DEFAULT_RING: 'true' }
  const world = await oauthWorld(t, { store, clock, settings })
  const client = await world.client()
  const source = { configurationType: 'jwks', jwksUrl: 'ring:default', publicKeys: [] }
  const byRing = await world.client(source)
  const byUrl = await world.client({ ...source, jwksUrl: 'http://127.0.0.1:9/keys' })
  const sign = async () => {
    const body = { claims: { sub: 'svc:a', aud: ENDPOINT }, ttl: '1m' }
    return (await world.call('POST', '/v1/rings/default/sign', body)).json.token as string
  }
  const form = bearer(client, await client.assertion())
  assert.equal((await world.token(form)).status, 200)
  assert.equal((await world.token(bearer(byRing, await sign()))).status, 200)
  const late = await sign()

  const stricter = { ALLOW_INTERNAL_IP_CONNECTIONS: 'false' }
  const again = await oauthWorld(t, { store, clock, settings: stricter })
  t.after(() => store.close())
  assert.equal(outcome(await again.token(form)), '400 invalid_grant')
  assert.equal(outcome(await again.token(bearer(byRing, late))), '400 invalid_grant')
  const refused = await again.token(bearer(byUrl, await byUrl.assertion()))
  assert.equal(outcome(refused), '400 unauthorized_client')
})
