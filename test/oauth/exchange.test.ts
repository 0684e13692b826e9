import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLocalJWKSet, decodeJwt, jwtVerify } from 'jose'
import { ADDRESS, secondsOf } from '../identities/setup.ts'
import { ACCESS_TOKEN, API, ISSUER, JWT, oauthWorld, outcome, URN } from './setup.ts'

// RFC 8693: a token for a token.

test('a token for another audience is one of the family, and nobody’s credential here', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client({ accessTokenTTL: 900 }, 'admin')
  const subject = await client.login()
  const before = decodeJwt(subject)
  world.clock.advance('100s')
  const { status, json, text } = await world.exchange(subject, { audience: API })
  assert.equal(status, 200, text)
  const { access_token: token, ...rest } = json
  assert.deepEqual(rest, {
    ...{ token_type: 'Bearer', expires_in: 800, issued_token_type: ACCESS_TOKEN },
  })
  const set = (await world.ask('GET', '/rings/access/.well-known/jwks.json', { token: null })).json
  const { payload, protectedHeader } = await jwtVerify(token, createLocalJWKSet(set), {
    ...{ typ: 'at+jwt', audience: API, issuer: ISSUER },
    currentDate: new Date(secondsOf(world) * 1000),
  })
  assert.equal(protectedHeader.typ, 'at+jwt')
  assert.deepEqual(
    [payload.jti, payload['creationEpoch'], payload.sub, payload['client_id'], payload.exp],
    [before.jti, before['creationEpoch'], client.id, client.id, before.exp],
  )
  for (const name of ['authTokenType', 'identityName', 'orgId', 'numUsesLimit']) {
    assert.ok(!(name in payload), name)
  }

  assert.notEqual((await world.ask('GET', '/v1/rings', { token })).status, 200)
  assert.notEqual((await world.ask('GET', '/api/v1/identities', { token })).status, 200)
  assert.equal(outcome(await world.exchange(token)), '400 invalid_request')
  assert.equal(outcome(await world.exchange(token, { audience: API })), '400 invalid_request')
  const body = { accessToken: token }
  assert.notEqual((await world.ask('POST', '/api/v1/auth/token/renew', { body })).status, 200)
})

test('a token for this server ends with its subject, renewed or not, however long the chain', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client({ accessTokenTTL: 900, accessTokenMaxTTL: 0 }, 'member')
  const subject = await client.login()
  const { exp, jti } = decodeJwt(subject)
  let token = subject
  for (let link = 0; link < 3; link++) {
    world.clock.advance('200s')
    const { status, json, text } = await world.exchange(token)
    assert.equal(status, 200, text)
    token = json.access_token
    assert.deepEqual([decodeJwt(token).exp, decodeJwt(token).jti], [exp, jti])
    assert.equal(json.expires_in, 900 - 200 * (link + 1))
  }
  assert.equal((await world.ask('GET', '/api/v1/identities', { token })).status, 200)
  const renew = (accessToken: string) =>
    world.ask('POST', '/api/v1/auth/token/renew', { body: { accessToken }, token: null })
  const renewed = await renew(token)
  assert.equal(renewed.status, 200, renewed.text)
  assert.equal(decodeJwt(renewed.json.accessToken).exp, exp)
  assert.equal(decodeJwt((await renew(subject)).json.accessToken).exp, (exp ?? 0) + 600)
  world.clock.advance('300s')
  assert.equal((await world.ask('GET', '/api/v1/identities', { token })).status, 403)
  assert.equal(outcome(await world.exchange(token)), '400 invalid_request')
  assert.equal((await renew(token)).status, 403)
})

for (const how of ['revoked', 'detached', 'deleted'] as const) {
  test(`a token that was exchanged is ${how} with its family`, async (t) => {
    const world = await oauthWorld(t)
    const client = await world.client({}, 'member')
    const subject = await client.login()
    const ours = (await world.exchange(subject)).json.access_token
    const foreign = (await world.exchange(subject, { audience: API })).json.access_token
    for (const token of [subject, ours, foreign]) {
      assert.equal((await world.introspect(token)).json.active, true)
    }
    if (how === 'revoked') assert.equal((await world.revoke(subject)).status, 200)
    if (how === 'detached') {
      await world.ask('DELETE', `/api/v1/auth/jwt-auth/identities/${client.id}`)
    }
    if (how === 'deleted') await world.ask('DELETE', `/api/v1/identities/${client.id}`)
    for (const token of [subject, ours, foreign]) {
      assert.deepEqual((await world.introspect(token)).json, { active: false })
    }
    assert.notEqual((await world.ask('GET', '/api/v1/identities', { token: ours })).status, 200)
    for (const token of [subject, ours]) {
      assert.equal(outcome(await world.exchange(token)), '400 invalid_request')
    }
  })
}

test('an exchange is one use of its subject, and what is refused is none', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client({ accessTokenNumUsesLimit: 3 }, 'member')
  const other = await world.client()
  const subject = await client.login()
  assert.equal(outcome(await world.exchange(subject, { audience: 'x' })), '400 invalid_target')
  const mismatch = await world.exchange(subject, { client_id: other.id })
  assert.equal(outcome(mismatch), '400 invalid_request')
  assert.equal(outcome(await world.exchange(subject, { scope: 'x' })), '400 invalid_scope')
  for (let look = 0; look < 3; look++) {
    assert.equal((await world.introspect(subject)).json.active, true)
  }
  const foreign = (await world.exchange(subject, { audience: API })).json.access_token
  const ours = (await world.exchange(subject, { client_id: client.id })).json.access_token
  assert.equal((await world.ask('GET', '/api/v1/identities', { token: ours })).status, 200)
  assert.equal((await world.ask('GET', '/api/v1/identities', { token: ours })).status, 401)
  assert.equal(outcome(await world.exchange(subject)), '400 invalid_request')
  assert.equal((await world.introspect(ours)).json.active, false)
  assert.equal((await world.introspect(foreign)).json.active, true, 'uses are counted here only')
})

test('uses that are spent at the same time are spent once', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client({ accessTokenNumUsesLimit: 2 })
  const subject = await client.login()
  const answers = await Promise.all(Array.from({ length: 6 }, () => world.exchange(subject)))
  assert.deepEqual(answers.map(outcome).sort(), [
    ...['200 ok', '200 ok'],
    ...Array<string>(4).fill('400 invalid_request'),
  ])
})

test('a token is exchanged only from where it may be used', async (t) => {
  const world = await oauthWorld(t)
  const trusted = [{ ipAddress: '198.51.100.0/24' }]
  const client = await world.client({ accessTokenTrustedIps: trusted, accessTokenNumUsesLimit: 1 })
  const subject = await client.login()
  assert.equal(outcome(await world.exchange(subject, {}, ADDRESS)), '400 invalid_request')
  assert.equal((await world.exchange(subject, {}, '198.51.100.7')).status, 200)
  // A JWT that becomes a token for others, too: nobody asks this server again.
  const over = { subject_token_type: JWT, client_id: client.id, audience: API }
  const jwt = await client.jwt()
  assert.equal(outcome(await world.exchange(jwt, over, ADDRESS)), '400 invalid_request')
  assert.equal((await world.exchange(jwt, over, '198.51.100.7')).status, 200)
  const reasons = (await world.audited('token.denied')).map(({ detail }) => detail['reason'])
  assert.deepEqual(reasons, ['address_not_trusted', 'address_not_trusted'])
})

test('a JWT of somebody else is exchanged as a login would take it, as often as it is good', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client({ accessTokenTTL: 600 }, 'member')
  const jwt = await client.jwt({ jti: 'again' })
  for (const type of [JWT, `${URN}:token-type:id_token`, JWT]) {
    const over = { subject_token_type: type, client_id: client.id, requested_token_type: JWT }
    const { status, json, text } = await world.exchange(jwt, over)
    assert.equal(status, 200, text)
    assert.deepEqual(
      [json.issued_token_type, json.token_type, json.expires_in],
      [JWT, 'Bearer', 600],
    )
    const { access_token: token } = json
    assert.equal((await world.ask('GET', '/api/v1/identities', { token })).status, 200)
  }
  const over = { subject_token_type: JWT, client_id: client.id }
  const foreign = await world.exchange(jwt, { ...over, audience: API })
  assert.equal(decodeJwt(foreign.json.access_token).aud, API)
  assert.equal((await world.introspect(foreign.json.access_token)).json.active, true)
  assert.equal(
    outcome(await world.exchange(await client.jwt({ sub: 'x' }), over)),
    '400 invalid_request',
  )
  assert.equal(outcome(await world.exchange(await client.login(), over)), '400 invalid_request')
  const other = await world.client()
  assert.equal(outcome(await world.exchange(await other.jwt(), over)), '400 invalid_request')
  assert.equal(
    outcome(await world.exchange(jwt, { ...over, client_id: 'nobody' })),
    '400 invalid_client',
  )
  const denied = (await world.audited('login.denied')).map(({ detail }) => detail['reason'])
  assert.deepEqual(denied, [
    ...['subject_not_allowed', 'jwt_verification_failed', 'jwt_verification_failed'],
  ])
})

test('our own name as an audience is this server; without the setting nothing else is one', async (t) => {
  const world = await oauthWorld(t, { settings: { TOKEN_EXCHANGE_AUDIENCES: `${ISSUER}, b` } })
  const client = await world.client({}, 'member')
  const subject = await client.login()
  const own = (await world.exchange(subject, { audience: ISSUER })).json.access_token
  assert.equal((await world.ask('GET', '/api/v1/identities', { token: own })).status, 200)
  assert.equal((await world.exchange(subject, { audience: 'b' })).status, 200)
  const none = await oauthWorld(t, { settings: { TOKEN_EXCHANGE_AUDIENCES: '' } })
  const token = await (await none.client()).login()
  assert.equal(outcome(await none.exchange(token, { audience: ISSUER })), '400 invalid_target')
  assert.equal((await none.exchange(token)).status, 200)
})

test('an exchange is on record: by which grant, for whom, and no token', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client()
  const subject = await client.login()
  const { access_token: token } = (await world.exchange(subject, { audience: API })).json
  const [event] = await world.audited('token.issued')
  assert.equal(event?.subject, client.id)
  assert.deepEqual(
    [event?.detail['grant'], event?.detail['audience'], event?.detail['token']],
    ['token-exchange', API, decodeJwt(subject).jti],
  )
  const written = world.log.join('')
  for (const secret of [subject, token]) assert.ok(!written.includes(secret.split('.')[2]))
})
