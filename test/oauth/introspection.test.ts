import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeJwt } from 'jose'
import { secondsOf } from '../identities/setup.ts'
import { API, FORM, ISSUER, oauthWorld, outcome } from './setup.ts'

// RFC 7662 and RFC 7009.

test('RFC 7662 2.2: an active token says whose it is, and for whom; looking is no use of it', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client({ accessTokenTTL: 900, accessTokenNumUsesLimit: 1 })
  const token = await client.login()
  const now = secondsOf(world)
  const expected = {
    ...{ active: true, token_type: 'Bearer', iss: ISSUER, sub: client.id, aud: ISSUER },
    ...{ client_id: client.id, jti: decodeJwt(token).jti, iat: now, exp: now + 900 },
  }
  for (let look = 0; look < 2; look++) {
    const { status, json, headers } = await world.introspect(token)
    assert.equal(status, 200)
    assert.equal(headers['cache-control'], 'no-store')
    assert.deepEqual(json, expected)
  }
  const foreign = (await world.exchange(token, { audience: API })).json.access_token
  assert.equal((await world.introspect(foreign)).json.aud, API)
  assert.deepEqual((await world.introspect(token)).json, { active: false }, 'its use is spent')
  world.clock.advance('900s')
  assert.deepEqual((await world.introspect(foreign)).json, { active: false }, 'expired')
})

test('RFC 7662 2.2: whatever is no token of ours is not active', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client()
  const signed = await world.call('POST', '/v1/rings/default/sign', { claims: {}, ttl: '1m' })
  const token = await client.login()
  for (const odd of [
    ...['junk', 'a.b.c', await client.jwt(), signed.json.token, `${token}x`, `${token} `],
    'x'.repeat(60_000),
  ]) {
    const { status, json } = await world.introspect(odd)
    assert.deepEqual([status, json], [200, { active: false }])
  }
})

test('RFC 7662 2.1, 2.3: the caller authenticates, and needs verify on the ring', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client()
  const token = await client.login()
  const made = async (name: string, grants: string[]) => {
    const answer = await world.call('POST', '/v1/api-tokens', { name, grants })
    return answer.json.token as string
  }
  const ask = (credential: string | null) =>
    world.ask('POST', '/oauth/introspect', {
      ...{ token: credential, body: `token=${token}`, headers: { 'content-type': FORM } },
    })
  const resource = await made('resource', ['verify@ring:access'])
  assert.equal((await ask(resource)).json.active, true)
  const other = await ask(await made('other', ['verify@ring:default', 'keyring-read']))
  assert.equal(outcome(other), '403 insufficient_scope')
  assert.equal(
    other.headers['www-authenticate'],
    'Bearer realm="keyringd", error="insufficient_scope"',
  )
  const nobody = await ask(null)
  assert.equal(outcome(nobody), '401 invalid_token')
  assert.equal(nobody.headers['www-authenticate'], 'Bearer realm="keyringd"')
  for (const bad of ['krd_nobody', 'junk', `${token}x`]) {
    const answer = await ask(bad)
    assert.equal(outcome(answer), '401 invalid_token')
    assert.match(String(answer.headers['www-authenticate']), /error="invalid_token"/)
  }
  assert.equal(outcome(await ask(token)), '403 insufficient_scope', 'no right by being asked about')
  const operator = await world.client({ accessTokenNumUsesLimit: 1 }, 'operator')
  const bearer = await operator.login()
  assert.equal((await ask(bearer)).json.active, true)
  assert.equal(outcome(await ask(bearer)), '401 invalid_token', 'to ask is a use of the asker’s')
})

test('RFC 7009 2.1, 2.2: who has a token may end it, again is no error, and what is none is gone already', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client({}, 'member')
  const token = await client.login()
  for (const odd of ['junk', await client.jwt(), `${token}x`, 'x'.repeat(60_000)]) {
    const { status, text } = await world.revoke(odd)
    assert.deepEqual([status, text], [200, ''])
  }
  assert.equal((await world.ask('GET', '/api/v1/identities', { token })).status, 200)
  for (let again = 0; again < 2; again++) {
    const { status, text, headers } = await world.revoke(token)
    assert.deepEqual([status, text, headers['cache-control']], [200, '', 'no-store'])
  }
  assert.equal((await world.ask('GET', '/api/v1/identities', { token })).status, 401)
  assert.equal((await world.audited('token.revoked')).length, 1)
})

test('RFC 7009 2.1: a token for another audience ends its family, and no other', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client({}, 'member')
  const [token, other] = [await client.login(), await client.login()]
  const foreign = (await world.exchange(token, { audience: API })).json.access_token
  const form = `token=${foreign}&token_type_hint=refresh_token&client_id=x&client_secret=y`
  const headers = { 'content-type': FORM }
  const answer = await world.ask('POST', '/oauth/revoke', { token: null, body: form, headers })
  assert.equal(answer.status, 200)
  for (const one of [token, foreign]) {
    assert.deepEqual((await world.introspect(one)).json, { active: false })
  }
  assert.equal((await world.introspect(other)).json.active, true)
})
