import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLocalJWKSet, decodeJwt, jwtVerify } from 'jose'
import { identitiesWorld, secondsOf, startIssuer } from './setup.ts'

test('a JWT of an issuer that publishes its keys becomes an access token that anybody can verify', async (t) => {
  const world = await identitiesWorld(t)
  const issuer = await startIssuer(t)
  const id = await world.identity('member')
  const config = { configurationType: 'jwks', jwksUrl: issuer.url, boundClaims: { env: 'prod' } }
  const attached = await world.attach(id, { ...config, boundSubject: 'svc:*', accessTokenTTL: 900 })
  assert.equal(attached.status, 200, attached.text)
  const now = secondsOf(world)
  const jwt = await issuer.sign({ sub: 'svc:a', env: 'prod', exp: now + 60 })
  const answer = await world.login(id, jwt)
  assert.equal(answer.status, 200, answer.text)
  assert.deepEqual(Object.keys(answer.json).sort(), [
    ...['accessToken', 'accessTokenMaxTTL', 'expiresIn', 'tokenType'],
  ])
  const { accessToken, expiresIn, accessTokenMaxTTL, tokenType } = answer.json
  assert.deepEqual([expiresIn, accessTokenMaxTTL, tokenType], [900, 2592000, 'Bearer'])

  const set = (await world.ask('GET', '/rings/access/.well-known/jwks.json', { token: null })).json
  const { payload } = await jwtVerify(accessToken, createLocalJWKSet(set), {
    ...{ typ: 'at+jwt', audience: decodeJwt(accessToken).aud as string },
    currentDate: new Date(now * 1000),
  })
  assert.equal(payload['identityId'], id)
  assert.equal(payload['authTokenType'], 'identityAccessToken')

  const used = await world.ask('GET', `/api/v1/identities/${id}`, { token: accessToken })
  assert.equal(used.status, 200, used.text)
  assert.equal(used.json.identity.lastLoginAuthMethod, 'jwt-auth')
  const own = await world.ask('GET', '/v1/rings/default/keys', { token: accessToken })
  assert.equal(own.status, 200, own.text)
  assert.equal((await world.ask('GET', '/v1/api-tokens', { token: accessToken })).status, 403)
  assert.equal(issuer.requests(), 1)
})

test('every check of a login is explained, pass or fail, and nothing is issued', async (t) => {
  const world = await identitiesWorld(t)
  const issuer = await startIssuer(t)
  const id = await world.identity()
  const config = {
    configurationType: 'static',
    publicKeys: [issuer.publicPem],
    boundClaims: { env: 'prod' },
  }
  await world.attach(id, { ...config, boundAudiences: 'a, b' })
  const jwt = await issuer.sign({ sub: 's', env: 'dev', exp: secondsOf(world) - 1, aud: 'b' })
  const { status, json } = await world.ask('POST', `/v1/identities/${id}/explain-login`, {
    body: { jwt },
  })
  assert.equal(status, 200)
  assert.equal(json.ok, false)
  assert.deepEqual(
    json.checks.map(({ name, ok }: { name: string; ok: boolean }) => `${ok ? '+' : '-'}${name}`),
    ['+format', '+algorithm', '+key', '+signature', '+payload', '-exp', '+audience', '-claim'],
  )
  assert.deepEqual(json.checks.at(-1), {
    ...{ name: 'claim', ok: false, claim: 'env', rule: 'prod' },
    reason: 'claim mismatch for field env',
  })
  // The same through /v1/verify, for who may see the identity.
  const body = { token: jwt, with: { identityId: id } }
  const verdict = (await world.ask('POST', '/v1/verify', { body })).json
  assert.equal(verdict.valid, false)
  assert.deepEqual(verdict.checks.at(-1), {
    ...{ name: 'claim', ok: false, reason: 'claim mismatch for field env' },
  })
  const good = await issuer.sign({ sub: 's', env: 'prod', aud: 'b' })
  const valid = await world.ask('POST', '/v1/verify', { body: { ...body, token: good } })
  assert.equal(valid.json.valid, true, valid.text)
  const blind = { name: 'blind', grants: ['verify'] }
  const token = (await world.ask('POST', '/v1/api-tokens', { body: blind })).json.token
  assert.equal((await world.ask('POST', '/v1/verify', { body, token })).status, 403)
  const nobody = { ...body, with: { identityId: 'nobody' } }
  assert.equal((await world.ask('POST', '/v1/verify', { body: nobody })).status, 404)
})
