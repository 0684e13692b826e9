import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { decodeJwt, decodeProtectedHeader } from 'jose'
import type { Store } from '../../src/store/store.ts'
import { onDisk } from '../keyring/on-disk.ts'
import { countingIds, MANAGEMENT_TOKEN, memoryStore, testClock } from '../server.ts'
import {
  ADDRESS,
  type Answer,
  configPath,
  identitiesWorld,
  secondsOf,
  slowly,
  type World,
  workload,
  worldOn,
} from './setup.ts'

// Identity contract, sections 8 to 11: access tokens, their lifetime, uses, renewal and end.

const tokenCall = (world: World, what: 'renew' | 'revoke', accessToken: string, from = ADDRESS) =>
  world.ask('POST', `/api/v1/auth/token/${what}`, { body: { accessToken }, token: null, from })
const use = (world: World, token: string, from = ADDRESS) =>
  world.ask('GET', '/api/v1/identities/details', { token, from })
const said = ({ status, json }: Answer) => [status, json.error, json.message]
const gone = (why: string) => [401, 'UnauthorizedError', `Failed to authorize: ${why}`]
const notRenewed = (why: string) => [401, 'UnauthorizedError', `Cannot renew${why}`]
const OK = [200, undefined, undefined]

test('section 8: the claims, and a header that verifiers can trust', async (t) => {
  const world = await identitiesWorld(t)
  const config = { accessTokenTTL: 900, accessTokenMaxTTL: 7200, accessTokenNumUsesLimit: 5 }
  const { id, token } = await workload(t, world, {
    ...config,
    accessTokenTrustedIps: [{ ipAddress: '192.0.2.0/24' }],
  })
  const accessToken = await token()
  const now = secondsOf(world)
  const { identityJwtAuth } = (await world.ask('GET', configPath(id))).json
  const { jti, aud, orgId, ...rest } = decodeJwt(accessToken)
  assert.equal(typeof aud, 'string')
  assert.deepEqual(rest, {
    ...{ sub: id, client_id: id, identityAccessTokenId: jti, identityId: id, identityName: 'ci' },
    ...{ authMethod: 'jwt-auth', authTokenType: 'identityAccessToken' },
    ...{ configurationId: identityJwtAuth.id, rootOrgId: orgId, parentOrgId: orgId },
    ...{ accessTokenTTL: 900, accessTokenMaxTTL: 7200, accessTokenPeriod: 0, creationEpoch: now },
    ...{ numUsesLimit: 5, clientSecretId: '', identityAuth: {}, ipRestrictionEnabled: true },
    ...{ iat: now, exp: now + 900 },
  })
  const { kid, typ } = decodeProtectedHeader(accessToken)
  const { keys } = (await world.ask('GET', '/rings/access/.well-known/jwks.json')).json
  assert.ok(keys.some((key: { kid: string }) => key.kid === kid))
  assert.equal(typ, 'at+jwt')
  const open = await workload(t, world)
  const plain = decodeJwt(await open.token())
  assert.deepEqual([plain['ipRestrictionEnabled'], plain['numUsesLimit']], [false, undefined])
})

test('section 8: the lifetime of a first token and of a renewed one', async (t) => {
  for (const [ttl, maxTtl, after, lifetime] of [
    [900, 7200, 0, 900],
    [0, 0, 0, 7776000],
    [900, 7200, 6900, 300],
    [900, 7200, 7200, undefined],
    [0, 20000000, 0, 7776000],
    [900, 0, 50000, 900],
  ] as const) {
    const world = await identitiesWorld(t)
    const config = { accessTokenTTL: ttl, accessTokenMaxTTL: maxTtl }
    const { id, jwt } = await workload(t, world, config)
    let answer = await world.login(id, await jwt())
    const epoch = secondsOf(world)
    // Renewed in steps that keep it alive.
    while (secondsOf(world) < epoch + after) {
      world.clock.advance(`${Math.min(800, epoch + after - secondsOf(world))}s`)
      const renewed = await tokenCall(world, 'renew', answer.json.accessToken)
      if (renewed.status !== 200) {
        assert.equal(lifetime, undefined)
        break
      }
      answer = renewed
    }
    if (lifetime === undefined) continue
    const { accessToken, expiresIn, accessTokenMaxTTL } = answer.json
    const { iat, exp, creationEpoch } = decodeJwt(accessToken)
    assert.deepEqual(
      [expiresIn, accessTokenMaxTTL, Number(exp) - Number(iat)],
      [lifetime, maxTtl, lifetime],
    )
    assert.equal(creationEpoch, epoch)
  }
})

test('section 8: a token ends at its exp, to the second', async (t) => {
  const world = await identitiesWorld(t)
  const { token } = await workload(t, world, { accessTokenTTL: 60 })
  const accessToken = await token()
  world.clock.advance('59s')
  assert.deepEqual(said(await use(world, accessToken)), OK)
  world.clock.advance('1s')
  const expired = [403, 'TokenError', 'Your token has expired. Please re-authenticate.']
  assert.deepEqual(said(await use(world, accessToken)), expired)
  for (const what of ['renew', 'revoke'] as const) {
    assert.deepEqual(said(await tokenCall(world, what, accessToken)), expired)
  }
})

test('section 8: with limit N, N calls pass, however many are made at once', async (t) => {
  const world = await identitiesWorld(t)
  const { token } = await workload(t, world, { accessTokenNumUsesLimit: 3 })
  const accessToken = await token()
  const used = gone('token usage limit reached')
  assert.deepEqual(said(await use(world, accessToken)), OK)
  assert.deepEqual(said(await use(world, accessToken)), OK)
  const answers = await Promise.all(Array.from({ length: 50 }, () => use(world, accessToken)))
  assert.equal(answers.filter(({ status }) => status === 200).length, 1)
  for (const answer of answers) if (answer.status !== 200) assert.deepEqual(said(answer), used)
  assert.deepEqual(said(await use(world, accessToken)), used)
  const { status, json } = await tokenCall(world, 'renew', accessToken)
  assert.deepEqual([status, json.message], [401, 'Cannot renew exhausted access token'])
  assert.equal((await tokenCall(world, 'revoke', accessToken)).status, 200)
})

test('sections 8 and 9: renewals share the counter; login, renew and revoke consume no use', async (t) => {
  const world = await identitiesWorld(t)
  const { token } = await workload(t, world, { accessTokenNumUsesLimit: 2 })
  const first = await token()
  const renewed: string[] = []
  for (let round = 0; round < 5; round++) {
    world.clock.advance('2s')
    renewed.push((await tokenCall(world, 'renew', renewed.at(-1) ?? first)).json.accessToken)
  }
  assert.deepEqual(said(await use(world, first)), OK)
  assert.deepEqual(said(await use(world, renewed[2] ?? '')), OK)
  for (const one of [first, ...renewed]) {
    assert.deepEqual(said(await use(world, one)), gone('token usage limit reached'))
  }
})

test('section 8: a call refused for its address, or on a route that is none, does not consume a use', async (t) => {
  const world = await identitiesWorld(t)
  const trusted = [{ ipAddress: '192.0.2.7' }]
  const { token, id } = await workload(t, world, {
    accessTokenNumUsesLimit: 1,
    accessTokenTrustedIps: trusted,
  })
  const accessToken = await token()
  const refused = [
    403,
    'ForbiddenError',
    'You are not allowed to access this resource from the current IP address',
  ]
  for (const from of ['192.0.2.8', '::1', '2001:db8::7']) {
    assert.deepEqual(said(await use(world, accessToken, from)), refused)
  }
  await world.ask('GET', '/api/v1/nothing', { token: accessToken })
  assert.deepEqual(said(await use(world, accessToken)), OK)
  const denied = (await world.events(/^access\.denied$/)).map(({ subject, principal }) => [
    subject,
    principal,
  ])
  assert.deepEqual(denied, [['trusted-address@192.0.2.8', `identity:${id}`]])
})

test('section 5: trusted addresses are those of now, for tokens of before too; not asked at login', async (t) => {
  const world = await identitiesWorld(t)
  const { token, id, fixed } = await workload(t, world)
  const accessToken = await token()
  const patch = async (...ips: string[]) => {
    const { configurationType, publicKeys } = fixed
    const body = {
      configurationType,
      publicKeys,
      accessTokenTrustedIps: ips.map((ipAddress) => ({ ipAddress })),
    }
    assert.equal((await world.ask('PATCH', configPath(id), { body })).status, 200)
  }
  const statuses = async (...addresses: string[]) =>
    Promise.all(addresses.map(async (from) => (await use(world, accessToken, from)).status))
  assert.deepEqual(await statuses('192.0.2.7', '::1', '::ffff:192.0.2.7'), [200, 200, 200])
  await patch('0.0.0.0/0')
  assert.deepEqual(await statuses('192.0.2.7', '2001:4860::1', '::ffff:192.0.2.7'), [200, 403, 200])
  await patch('192.0.2.7', '2001:4860::/32')
  assert.deepEqual(
    await statuses('192.0.2.7', '192.0.2.8', '::ffff:192.0.2.7', '2001:4860::9', '2001:4861::9'),
    [200, 403, 200, 200, 403],
  )
  await patch('203.0.113.1')
  assert.deepEqual(await statuses('192.0.2.7'), [403])
  assert.ok(await token(), 'a login may come from anywhere')
  const forwarded = {
    'x-forwarded-for': '203.0.113.1',
    'x-real-ip': '203.0.113.1',
    forwarded: 'for=203.0.113.1',
  }
  const spoofed = await world.ask('GET', '/api/v1/identities/details', {
    token: accessToken,
    headers: forwarded,
  })
  assert.equal(spoofed.status, 403)
})

test('section 9: a renewal is a new JWS of the same family; the old one stays', async (t) => {
  const world = await identitiesWorld(t)
  const { token } = await workload(t, world, { accessTokenTTL: 100, accessTokenMaxTTL: 150 })
  const old = await token()
  world.clock.advance('60s')
  const answer = await tokenCall(world, 'renew', old)
  assert.deepEqual(Object.keys(answer.json).sort(), [
    'accessToken',
    'accessTokenMaxTTL',
    'expiresIn',
    'tokenType',
  ])
  const { accessToken, ...rest } = answer.json
  assert.deepEqual(rest, { expiresIn: 90, accessTokenMaxTTL: 150, tokenType: 'Bearer' })
  const [before, after] = [decodeJwt(old), decodeJwt(accessToken)]
  const same = ['jti', 'creationEpoch', 'identityId', 'configurationId', 'sub', 'aud']
  for (const name of same) assert.deepEqual(after[name], before[name], name)
  assert.equal(after.iat, secondsOf(world))
  assert.deepEqual(said(await use(world, old)), OK)
  assert.deepEqual(said(await use(world, accessToken)), OK)
  assert.equal((await world.events(/^token\.renewed$/)).length, 1)
})

test('section 9: what cannot be renewed', async (t) => {
  const world = await identitiesWorld(t, { settings: { MAX_TOKEN_TTL: '24h' } })
  const { token, id } = await workload(t, world, { accessTokenTTL: 100, accessTokenMaxTTL: 100 })
  const accessToken = await token()
  const malformed =
    'The provided access token is malformed. Please use a valid token or generate a new one and try again.'
  assert.deepEqual(said(await tokenCall(world, 'renew', 'x')), [403, 'TokenError', malformed])
  assert.deepEqual(said(await tokenCall(world, 'renew', MANAGEMENT_TOKEN)), [
    403,
    'TokenError',
    malformed,
  ])
  const [head, payload] = accessToken.split('.')
  const changed = `${head}.${payload}.${'A'.repeat(86)}`
  assert.deepEqual(said(await tokenCall(world, 'renew', changed)), [
    403,
    'TokenError',
    'invalid signature',
  ])
  await tokenCall(world, 'revoke', accessToken)
  assert.deepEqual(
    said(await tokenCall(world, 'renew', accessToken)),
    notRenewed(': token has been revoked'),
  )
  const second = await token()
  await world.ask('DELETE', configPath(id))
  assert.deepEqual(
    said(await tokenCall(world, 'renew', second)),
    notRenewed(': auth method has been revoked'),
  )
  await world.ask('DELETE', `/api/v1/identities/${id}`)
  assert.deepEqual(
    said(await tokenCall(world, 'renew', second)),
    notRenewed(': identity tokens have been revoked'),
  )
})

test('section 9: a token that outlived its max TTL, as a lower ceiling of before allowed, is not renewed', async (t) => {
  const world = await identitiesWorld(t)
  const { token } = await workload(t, world, { accessTokenTTL: 100, accessTokenMaxTTL: 100 })
  const claims = decodeJwt(await token())
  // As no login gives them: only the clock of another server could.
  const late = await world.keyring.signing.signOwn('access', 'at+jwt', {
    ...claims,
    exp: Number(claims.exp) + 100,
  })
  world.clock.advance('100s')
  assert.deepEqual(
    said(await tokenCall(world, 'renew', late)),
    notRenewed(': identity access token has reached its max TTL'),
  )
})

test('section 10: revocation is of the family, idempotent, and needs no more than the token', async (t) => {
  const world = await identitiesWorld(t)
  const { token } = await workload(t, world)
  const old = await token()
  world.clock.advance('1s')
  const renewed = (await tokenCall(world, 'renew', old)).json.accessToken
  const other = await token()
  for (const _ of [1, 2]) {
    const { status, json } = await tokenCall(world, 'revoke', old, '198.51.100.1')
    assert.deepEqual([status, json], [200, { message: 'Successfully revoked access token' }])
  }
  for (const one of [old, renewed])
    assert.deepEqual(said(await use(world, one)), gone('token has been revoked'))
  assert.deepEqual(said(await use(world, other)), OK)
  assert.equal((await world.events(/^token\.revoked$/)).length, 1)
})

test('section 10: a revocation outlives a restart, until after the last exp of a renewal', async (t) => {
  const disk = onDisk(t, { ROOT_KEY_ALGORITHM: 'ES256' })
  const start = async () => worldOn(await disk.start())
  let world = await start()
  const { token } = await workload(t, world, { accessTokenTTL: 3600 })
  const old = await token()
  world.clock.advance('30m')
  const renewed = (await tokenCall(world, 'renew', old)).json.accessToken
  await tokenCall(world, 'revoke', old)
  await disk.stop()
  world = await start()
  for (const one of [old, renewed])
    assert.deepEqual(said(await use(world, one)), gone('token has been revoked'))
  world.clock.advance('59m')
  await disk.stop()
  world = await start()
  assert.deepEqual(said(await use(world, renewed)), gone('token has been revoked'))
})

test('sections 9 and 10: a renewal that runs against a revocation leaves nothing alive', async (t) => {
  const world = await identitiesWorld(t)
  const { token } = await workload(t, world)
  for (let round = 0; round < 10; round++) {
    const accessToken = await token()
    const calls = ['renew', 'revoke', 'renew'] as const
    const [first, , second] = await Promise.all(
      calls.map((what) => tokenCall(world, what, accessToken)),
    )
    const renewed = [first, second].flatMap((one) =>
      one?.status === 200 ? one.json.accessToken : [],
    )
    for (const one of [accessToken, ...renewed]) {
      assert.deepEqual(said(await use(world, one)), gone('token has been revoked'))
    }
  }
})

test('section 11: what ends tokens, and what does not', async (t) => {
  const world = await identitiesWorld(t)
  const { token, id, fixed } = await workload(t, world)
  const first = await token()
  const { configurationType, publicKeys } = fixed
  const patched = {
    configurationType,
    publicKeys,
    boundSubject: 'nobody',
    accessTokenTTL: 1,
    accessTokenNumUsesLimit: 1,
  }
  await world.ask('PATCH', configPath(id), { body: patched })
  for (let round = 0; round < 3; round++) assert.deepEqual(said(await use(world, first)), OK)
  assert.equal((await tokenCall(world, 'renew', first)).json.expiresIn, 2592000)
  await world.ask('PATCH', configPath(id), { body: { ...patched, boundSubject: '' } })

  // Detached and attached within the same second: tokens of before are dead, those of after live.
  await world.ask('DELETE', configPath(id))
  assert.deepEqual(said(await use(world, first)), gone('auth method has been revoked'))
  await world.attach(id, fixed)
  assert.deepEqual(said(await use(world, first)), gone('auth method has been revoked'))
  const second = await token()
  assert.deepEqual(said(await use(world, second)), OK)
  await world.ask('DELETE', `/api/v1/identities/${id}`)
  for (const one of [first, second]) {
    assert.deepEqual(said(await use(world, one)), gone('identity tokens have been revoked'))
  }
})

test('a token whose login was overtaken by a detach is never answered', async (t) => {
  const world = await identitiesWorld(t)
  const { id, jwt, fixed } = await workload(t, world)
  for (let round = 0; round < 10; round++) {
    const presented = await jwt()
    const [login] = await Promise.all([
      world.login(id, presented),
      world.ask('DELETE', configPath(id)),
    ])
    if (login.status === 200) {
      const used = await use(world, login.json.accessToken)
      assert.deepEqual(said(used), gone('auth method has been revoked'))
    } else assert.equal(login.status, 404)
    await world.attach(id, fixed)
  }
})

test('section 8: what the access ring signs for another purpose is no access token', async (t) => {
  const world = await identitiesWorld(t)
  const { token } = await workload(t, world, { role: 'admin' })
  const claims = decodeJwt(await token())
  const signed = (typ: string, changed: object) =>
    world.keyring.signing.signOwn('access', typ, { ...claims, ...changed })
  const incomplete = [
    401,
    'UnauthorizedError',
    'Invalid identity access token claims, please re-authenticate',
  ]
  const foreign = [400, 'BadRequest', 'Token is not an identity access token']
  assert.deepEqual(said(await use(world, await signed('at+jwt', {}))), OK)
  for (const [what, jwt] of [
    ['another audience', await signed('at+jwt', { aud: 'https://other.example' })],
    ['another type', await signed('JWT', {})],
    ['no token type', await signed('at+jwt', { authTokenType: undefined })],
    ['a user token', await signed('at+jwt', { authTokenType: 'jwt' })],
  ] as const) {
    assert.deepEqual(said(await use(world, jwt)), incomplete, what)
    assert.equal((await world.ask('GET', '/v1/api-tokens', { token: jwt })).status, 401, what)
    for (const call of ['renew', 'revoke'] as const) {
      assert.deepEqual(said(await tokenCall(world, call, jwt)), foreign, what)
    }
  }
  for (const missing of ['jti', 'identityId', 'configurationId', 'creationEpoch']) {
    assert.deepEqual(
      said(await use(world, await signed('at+jwt', { [missing]: undefined }))),
      incomplete,
    )
  }
  const unknown = await signed('at+jwt', { identityId: 'nobody' })
  assert.deepEqual(said(await use(world, unknown)), gone('identity tokens have been revoked'))
})

test('no ring that a user signs with makes an access token', async (t) => {
  const world = await identitiesWorld(t)
  const { token } = await workload(t, world, { role: 'admin' })
  const { iat: _iat, exp: _exp, jti: _jti, iss: _iss, ...claims } = decodeJwt(await token())
  await world.call('POST', '/v1/rings', { name: 'ci', algorithms: ['ES256'] })
  for (const ring of ['default', 'ci']) {
    const request = { claims, ttl: '5m', typ: 'at+jwt' }
    const { status, json } = await world.call('POST', `/v1/rings/${ring}/sign`, request)
    assert.equal(status, 200, JSON.stringify(json))
    const signature = [403, 'TokenError', 'invalid signature']
    assert.deepEqual(said(await use(world, json.token)), signature)
    assert.deepEqual(said(await tokenCall(world, 'renew', json.token)), signature)
    assert.equal((await world.ask('GET', '/v1/api-tokens', { token: json.token })).status, 401)
  }
  for (const ring of ['access', 'audit']) {
    const answer = await world.call('POST', `/v1/rings/${ring}/sign`, { claims, ttl: '5m' })
    assert.ok(answer.status >= 400, `${ring} signs for nobody`)
  }
})

test('the second look, when the body is there, sees what has changed and is no second use', async (t) => {
  const world = await identitiesWorld(t)
  const limits = { accessTokenNumUsesLimit: 3, role: 'identity-admin' }
  const { token, id } = await workload(t, world, limits)
  const accessToken = await token()
  const body = { name: 'slow', organizationId: 'o' }
  const what = { path: '/api/v1/identities', token: accessToken, body }
  const path = `/api/v1/identities/${id}`
  const during = (method: string, where: string, change?: object) => () =>
    world.ask(method, where, change && { body: change })
  assert.equal(await slowly(t, world, what, during('PATCH', path, { name: 'new' })), 200)
  assert.equal(await slowly(t, world, what, during('PATCH', path, { role: 'member' })), 403)
  assert.equal(await slowly(t, world, what, during('DELETE', configPath(id))), 401)
  const { identities } = (await world.ask('GET', '/api/v1/identities')).json
  const slow = identities.filter(
    (one: { identity: { name: string } }) => one.identity.name === 'slow',
  )
  assert.equal(slow.length, 1)
  const row = await world.store.read.accessTokens.byId(String(decodeJwt(accessToken).jti))
  assert.equal(row?.usesLeft, 0)
})

test('a change of role takes effect at once', async (t) => {
  const world = await identitiesWorld(t)
  const { token, id } = await workload(t, world)
  const accessToken = await token()
  const read = async () =>
    (await world.ask('GET', '/api/v1/identities', { token: accessToken })).status
  assert.equal(await read(), 403)
  for (const [role, status] of [
    ['member', 200],
    ['no-access', 403],
    ['admin', 200],
  ] as const) {
    await world.ask('PATCH', `/api/v1/identities/${id}`, { body: { role } })
    assert.equal(await read(), status)
  }
})

/** A store that counts how often it is asked for anything. */
function counted(store: Store): { store: Store; asked(): number } {
  let asked = 0
  const counting = new Proxy(store, {
    get(target, name, receiver) {
      if (name === 'read' || name === 'transaction' || name === 'grouped') asked++
      return Reflect.get(target, name, receiver) as unknown
    },
  })
  return { store: counting, asked: () => asked }
}

async function countedWorld(t: TestContext) {
  const clock = testClock()
  const inner = await memoryStore(clock, countingIds(1))
  t.after(() => inner.close())
  const { store, asked } = counted(inner)
  return { world: await identitiesWorld(t, { store, clock }), asked }
}

test('a token whose uses are not counted is checked without the database', async (t) => {
  const { world, asked } = await countedWorld(t)
  const { token } = await workload(t, world, { role: 'member' })
  const accessToken = await token()
  const reads = async (token: string) => {
    const before = asked()
    const { status, text } = await world.ask('GET', '/v1/rings/default/keys', { token })
    assert.equal(status, 200, text)
    return asked() - before
  }
  // The first call may remember.
  for (const one of [accessToken, MANAGEMENT_TOKEN]) await reads(one)
  assert.equal(await reads(accessToken), await reads(MANAGEMENT_TOKEN))
})
