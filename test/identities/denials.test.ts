import assert from 'node:assert/strict'
import { createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { parseBounds } from '../../src/identities/bounds.ts'
import type { Configuration } from '../../src/identities/checks.ts'
import { examine } from '../../src/identities/examine.ts'
import { endpoint } from '../remote-jwks/endpoint.ts'
import { testClock } from '../server.ts'
import {
  configPath,
  identitiesWorld,
  secondsOf,
  startIssuer,
  type World,
  workload,
} from './setup.ts'

// Identity contract, section 7 (login and its denials) and section 15 (hostile JWTs).

const pair = (namedCurve = 'P-256') => generateKeyPairSync('ec', { namedCurve })
const encode = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

/** A JWS of anything at all: header and payload as text, or as what becomes JSON. */
function forge(header: unknown, payload: unknown, key: KeyObject): string {
  const input = `${encode(header)}.${encode(payload)}`
  const signature = sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' })
  return `${input}.${signature.toString('base64url')}`
}

/** Status, message, and the reason on record. */
async function outcome(world: World, id: string, jwt: string): Promise<string> {
  const before = (await world.events(/^login\./)).length
  const { status, json } = await world.login(id, jwt)
  const [event] = (await world.events(/^login\./)).slice(before)
  const error = { 401: 'UnauthorizedError', 403: 'ForbiddenError' }[status as 401]
  assert.equal(json.error, status === 200 ? undefined : error)
  assert.ok(
    !Object.values(json).includes(event?.detail['reason']),
    'the reason is for the record alone',
  )
  return `${status} ${json.message ?? 'ok'} | ${event?.detail['reason'] ?? event?.type}`
}

const DENIED = 'Access denied: '
const verification = (reason: string) => `401 ${DENIED}${reason} | jwt_verification_failed`
const OK = '200 ok | login.succeeded'
const INVALID = '401 Invalid JWT | invalid_jwt'

test('section 7: every denial, in the order of the steps', async (t) => {
  const world = await identitiesWorld(t)
  const bounds = {
    ...{ boundIssuer: 'iss-1', boundSubject: 'svc:*', boundAudiences: 'a, b-*' },
    boundClaims: { env: 'prod', 'nested.team': 'red, blue' },
  }
  const { id, issuer } = await workload(t, world, bounds)
  const exp = secondsOf(world) + 60
  const good = { iss: 'iss-1', sub: 'svc:x', aud: 'a', env: 'prod', nested: { team: 'blue' }, exp }
  const rows: [Record<string, unknown>, string][] = [
    [{}, OK],
    [{ aud: ['x', 'b-1'] }, OK],
    [{ iss: 'iss-1/', sub: 'x', aud: 'x' }, `403 ${DENIED}issuer mismatch | issuer_mismatch`],
    [{ iss: undefined }, `403 ${DENIED}issuer mismatch | issuer_mismatch`],
    [
      { sub: undefined, aud: undefined },
      `401 ${DENIED}token has no subject field | missing_subject`,
    ],
    [{ sub: 'user:x', aud: undefined }, `403 ${DENIED}subject not allowed | subject_not_allowed`],
    ...[undefined, '', []].map((aud): [Record<string, unknown>, string] => [
      { aud, env: undefined },
      `401 ${DENIED}token has no audience field | missing_audience`,
    ]),
    [
      { aud: 'c', env: undefined },
      `401 ${DENIED}token audience not allowed | audience_not_allowed`,
    ],
    ...[undefined, '', []].map((env): [Record<string, unknown>, string] => [
      { env },
      `401 ${DENIED}token has no env field | missing_claim`,
    ]),
    [{ env: 'dev', nested: {} }, `401 ${DENIED}claim mismatch for field env | claim_mismatch`],
    [{ nested: {} }, `401 ${DENIED}token has no nested.team field | missing_claim`],
    [
      { nested: { team: 'green' } },
      `401 ${DENIED}claim mismatch for field nested.team | claim_mismatch`,
    ],
    [
      { nested: { team: null } },
      `401 ${DENIED}claim mismatch for field nested.team | claim_mismatch`,
    ],
  ]
  for (const [claims, expected] of rows) {
    const jwt = await issuer.sign({ ...good, ...claims })
    assert.equal(await outcome(world, id, jwt), expected, JSON.stringify(claims))
  }
})

test('section 7: exp and nbf to the second, without tolerance; absent is no limit', async (t) => {
  // At a whole second: there the edges are.
  const world = await identitiesWorld(t, { clock: testClock(1_767_225_600_000_000_000n) })
  const { id, issuer } = await workload(t, world)
  const now = secondsOf(world)
  const one = (reason: string) =>
    verification(`JWT verification failed with all keys. Errors - ${reason}`)
  for (const [claims, expected] of [
    [{}, OK],
    [{ exp: now + 1, nbf: now }, OK],
    [{ exp: now }, one('jwt expired')],
    [{ exp: now - 1 }, one('jwt expired')],
    [{ nbf: now + 1 }, one('jwt not active')],
    [{ iat: now + 1000 }, OK],
    [{ exp: 1e300 }, OK],
    [{ exp: String(now + 60) }, one('jwt malformed')],
    [{ exp: null }, one('jwt malformed')],
    [{ nbf: [now] }, one('jwt malformed')],
  ] as const) {
    const jwt = forge({ alg: 'ES256' }, { sub: 's', ...claims }, issuer.privateKey)
    assert.equal(await outcome(world, id, jwt), expected, JSON.stringify(claims))
  }
  world.clock.advance('500ms')
  const half = forge({ alg: 'ES256' }, { exp: now + 0.5 }, issuer.privateKey)
  assert.equal(await outcome(world, id, half), one('jwt expired'))
  for (const exp of ['1e999', '-1e999']) {
    const jwt = forge({ alg: 'ES256' }, `{"exp":${exp}}`, issuer.privateKey)
    assert.equal(await outcome(world, id, jwt), one('jwt malformed'))
  }
})

test('section 7: a static configuration gives one reason for each key', async (t) => {
  const world = await identitiesWorld(t)
  const [first, second] = [await startIssuer(t), await startIssuer(t)]
  const { publicKey: rsa, privateKey: rsaPrivate } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
  })
  const { publicKey: ed, privateKey: edPrivate } = generateKeyPairSync('ed25519')
  const pem = (key: KeyObject) => key.export({ type: 'spki', format: 'pem' }).toString()
  const publicKeys = [first.publicPem, pem(rsa), second.publicPem, pem(ed)]
  const id = await world.identity()
  await world.attach(id, { configurationType: 'static', publicKeys, boundClaims: {} })
  const now = secondsOf(world)
  const reasons = (...each: string[]) =>
    verification(`JWT verification failed with all keys. Errors - ${each.join('; ')}`)
  const [bad, alg] = ['invalid signature', 'invalid algorithm']
  assert.equal(await outcome(world, id, await second.sign({})), OK)
  const eddsa = `${encode({ alg: 'EdDSA' })}.${encode({})}`
  assert.equal(
    await outcome(
      world,
      id,
      `${eddsa}.${sign(null, Buffer.from(eddsa), edPrivate).toString('base64url')}`,
    ),
    OK,
  )
  const rs = `${encode({ alg: 'RS256' })}.${encode({})}`
  assert.equal(
    await outcome(
      world,
      id,
      `${rs}.${sign('sha256', Buffer.from(rs), rsaPrivate).toString('base64url')}`,
    ),
    OK,
  )
  const stranger = await startIssuer(t)
  assert.equal(await outcome(world, id, await stranger.sign({})), reasons(bad, alg, bad, alg))
  const expired = await second.sign({ exp: now - 1 })
  assert.equal(await outcome(world, id, expired), reasons(bad, alg, 'jwt expired', alg))
  const hs = forge({ alg: 'HS256' }, {}, first.privateKey)
  assert.equal(await outcome(world, id, hs), reasons(alg, alg, alg, alg))
})

test('section 7: keys of a set: by kid, or the only one that fits', async (t) => {
  const world = await identitiesWorld(t)
  const issuer = await startIssuer(t)
  const other = pair()
  const id = await world.identity()
  await world.attach(id, { configurationType: 'jwks', jwksUrl: issuer.url, boundClaims: {} })
  const jwk = ({ publicKey }: { publicKey: KeyObject }, members: object) => ({
    ...publicKey.export({ format: 'jwk' }),
    ...members,
  })
  const publish = (...keys: object[]) => {
    issuer.publish(keys)
    world.clock.advance('11m')
  }
  const es = (members: object = {}) => jwk(issuer, { kid: 'key-1', ...members })
  const none = `401 ${DENIED}no matching signing key | signing_key_not_found`
  const by = (header: object, key = issuer.privateKey) =>
    forge({ alg: 'ES256', ...header }, { sub: 's' }, key)
  assert.equal(await outcome(world, id, by({ kid: 'key-1' })), OK)
  assert.equal(await outcome(world, id, by({})), OK)
  assert.equal(await outcome(world, id, by({ kid: 'key-2' })), none)
  assert.equal(
    await outcome(world, id, by({ kid: 'key-1' }, other.privateKey)),
    verification('invalid signature'),
  )
  publish(es(), jwk(other, { kid: 'key-2' }))
  assert.equal(await outcome(world, id, by({})), none, 'two keys fit')
  assert.equal(
    await outcome(world, id, by({ kid: 'key-2' })),
    verification('invalid signature'),
    'swapped kid',
  )
  assert.equal(await outcome(world, id, by({ kid: 'key-2' }, other.privateKey)), OK)
  publish(es({ alg: 'ES384' }))
  assert.equal(
    await outcome(world, id, by({ kid: 'key-1' })),
    none,
    'a key whose alg is not of its curve is none',
  )
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
  publish(jwk(rsa, { kid: 'key-1', alg: 'RS256' }))
  assert.equal(await outcome(world, id, by({ kid: 'key-1' })), verification('invalid algorithm'))
  publish(es({ use: 'enc' }))
  assert.equal(await outcome(world, id, by({ kid: 'key-1' })), none)
  publish({ kty: 'oct', kid: 'key-1', k: encode('secret-of-the-set') })
  assert.equal(await outcome(world, id, by({ kid: 'key-1' })), none)
  assert.equal(
    await outcome(world, id, forge({ alg: 'HS256', kid: 'key-1' }, {}, issuer.privateKey)),
    verification('invalid algorithm'),
  )
  publish()
  assert.equal(await outcome(world, id, by({})), none)
})

test('section 7: a set that cannot be had is 502, once a minute on record, and counts against nobody', async (t) => {
  const world = await identitiesWorld(t, { settings: { RATE_LIMIT_LOGIN: '3/m' } })
  const issuer = await startIssuer(t)
  const id = await world.identity()
  await world.attach(id, {
    configurationType: 'jwks',
    jwksUrl: issuer.url.replace(/:\d+/, ':1'),
    boundClaims: {},
  })
  for (let round = 0; round < 6; round++) {
    const { status, json } = await world.login(id, await issuer.sign({}))
    assert.deepEqual([status, json.error], [502, 'BadGateway'])
  }
  const events = await world.events(/^login\.denied$/)
  assert.deepEqual(
    events.map(({ detail }) => detail['reason']),
    ['jwks_unreachable'],
  )
  world.clock.advance('61s')
  await world.login(id, await issuer.sign({}))
  assert.equal((await world.events(/^login\.denied$/)).length, 2)
})

test('section 1: a set that does not come in time is 504 GatewayTimeoutError, in the envelope, and on record as that', async (t) => {
  const world = await identitiesWorld(t)
  const { promise: asked, resolve } = Promise.withResolvers<void>()
  const stalled = await endpoint(t, () => resolve())
  const { issuer } = await workload(t, world)
  const id = await world.identity()
  const source = { configurationType: 'jwks', jwksUrl: stalled.url, boundClaims: {} }
  assert.equal((await world.attach(id, source)).status, 200)
  const jwt = await issuer.sign({})
  t.mock.timers.enable({ apis: ['setTimeout'] })
  let isOver = false
  const login = world.login(id, jwt).finally(() => {
    isOver = true
  })
  await asked
  t.mock.timers.tick(4999)
  await setImmediate()
  assert.equal(isOver, false, 'it has 5 s')
  t.mock.timers.tick(1)
  const { status, json } = await login
  const { reqId, ...rest } = json
  assert.equal(status, 504)
  assert.match(reqId, /^req-\w+$/)
  assert.deepEqual(rest, {
    ...{ statusCode: 504, error: 'GatewayTimeoutError', message: 'The JWKS endpoint timed out' },
  })
  const events = await world.events(/^login\./)
  assert.deepEqual(
    events.map(({ type, detail }) => [type, detail['reason']]),
    [['login.denied', 'jwks_timeout']],
  )
})

test('section 7: no configuration, no identity, another organisation', async (t) => {
  const world = await identitiesWorld(t)
  const { id, jwt } = await workload(t, world)
  const unknown = 'JWT auth method not found for identity, did you configure JWT auth?'
  const bare = await world.identity()
  for (const one of ['nobody', '', bare]) {
    const { status, json } = await world.login(one, await jwt())
    assert.deepEqual([status, json.error, json.message], [404, 'NotFound', unknown])
  }
  const slug = async (organizationSlug: string) => {
    const body = { identityId: id, jwt: await jwt(), organizationSlug }
    return world.ask('POST', '/api/v1/auth/jwt-auth/login', { body, token: null })
  }
  const other = await slug('elsewhere')
  assert.deepEqual(
    [other.status, other.json.message],
    [404, 'Sub organization with slug elsewhere not found'],
  )
  const details = await world.ask('GET', '/api/v1/identities/details', {
    token: (await world.login(id, await jwt())).json.accessToken,
  })
  const { slug: own } = details.json.identityDetails.organization
  assert.equal((await slug(own)).status, 200)
  assert.equal((await slug('Not A Slug')).status, 422)
  const denied = (await world.events(/^login\.denied$/)).map(({ subject, detail }) => [
    subject,
    detail['reason'],
  ])
  assert.deepEqual(denied, [
    [bare, 'jwt_auth_not_found'],
    [id, 'organisation_not_found'],
  ])
})

test('section 15: hostile JWTs are denied, never an error of ours', async (t) => {
  const world = await identitiesWorld(t)
  const { id, issuer } = await workload(t, world)
  const { privateKey: key, publicPem } = issuer
  const hmac = (alg: string, secret: string) => {
    const input = `${encode({ alg })}.${encode({ sub: 's' })}`
    return `${input}.${createHmac(`sha${alg.slice(2)}`, secret)
      .update(input)
      .digest('base64url')}`
  }
  const one = (reason: string) =>
    verification(`JWT verification failed with all keys. Errors - ${reason}`)
  const [alg, bad, malformed] = [
    one('invalid algorithm'),
    one('invalid signature'),
    one('jwt malformed'),
  ]
  const es = { alg: 'ES256' }
  const good = forge(es, { sub: 's' }, key)
  const [head = '', body = '', mac = ''] = good.split('.')
  const deep = (depth: number) => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`
  const invalidUtf8 = Buffer.concat([
    Buffer.from('{"sub":"'),
    Buffer.from([0xff, 0xfe]),
    Buffer.from('"}'),
  ])
  const signedBytes = (bytes: Buffer) => {
    const input = `${encode(es)}.${bytes.toString('base64url')}`
    return `${input}.${sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
  }
  const rows: [string, string, string][] = [
    ['as it should be', good, OK],
    ['with spaces around', ` ${good}\n`, OK],
    ...['none', 'None', 'NONE', 'nOnE'].map((name): [string, string, string] => [
      name,
      `${encode({ alg: name })}.${body}.`,
      alg,
    ]),
    ['none, signed', forge({ alg: 'none' }, {}, key), alg],
    ...['HS256', 'HS384', 'HS512'].map((name): [string, string, string] => [
      `${name} over the PEM text`,
      hmac(name, publicPem),
      alg,
    ]),
    ['HS256 over the trimmed PEM text', hmac('HS256', publicPem.trim()), alg],
    ['HS256 over nothing', hmac('HS256', ''), alg],
    ['no alg', forge({}, {}, key), alg],
    ['alg as a number', forge({ alg: 256 }, {}, key), alg],
    ['alg as an array', forge({ alg: ['ES256'] }, {}, key), alg],
    ['alg in lower case', forge({ alg: 'es256' }, {}, key), alg],
    ['ML-DSA', forge({ alg: 'ML-DSA-44' }, {}, key), alg],
    ['ES256K', forge({ alg: 'ES256K' }, {}, key), alg],
    ['an algorithm of another curve', forge({ alg: 'ES384' }, {}, key), alg],
    ['an algorithm of another type', forge({ alg: 'RS256' }, {}, key), alg],
    ['two algs, the last is none', forge('{"alg":"ES256","alg":"none"}', {}, key), alg],
    ['two algs, the last is ours', forge('{"alg":"none","alg":"ES256"}', {}, key), malformed],
    ['crit', forge({ ...es, crit: ['exp'], exp: 1 }, {}, key), malformed],
    ['an empty crit', forge({ ...es, crit: [] }, {}, key), malformed],
    ['b64', forge({ ...es, b64: false, crit: ['b64'] }, {}, key), malformed],
    ['b64 alone', forge({ ...es, b64: true }, {}, key), malformed],
    ['zip', forge({ ...es, zip: 'DEF' }, {}, key), malformed],
    ['kid as an object', forge({ ...es, kid: { $ne: 1 } }, {}, key), malformed],
    ['kid as a path', forge({ ...es, kid: '../../dev/null' }, {}, key), OK],
    ['a long kid', forge({ ...es, kid: 'k'.repeat(600) }, {}, key), malformed],
    ['typ as a number', forge({ ...es, typ: 1 }, {}, key), malformed],
    ['a header array', forge([es], {}, key), INVALID],
    ['a header that is text', forge('"ES256"', {}, key), INVALID],
    ['a header null', forge('null', {}, key), INVALID],
    ['a header that is no JSON', forge('{alg', {}, key), INVALID],
    ['a payload array', forge(es, [{ sub: 's' }], key), malformed],
    ['a payload null', forge(es, 'null', key), malformed],
    ['a payload text', forge(es, '"s"', key), malformed],
    ['a payload that is no JSON', forge(es, '{sub', key), malformed],
    ['duplicate members', forge(es, '{"sub":"a","sub":"b"}', key), malformed],
    ['duplicate members by escape', forge(es, '{"sub":"a","\\u0073ub":"b"}', key), malformed],
    ['duplicate members further down', forge(es, '{"x":{"a":1,"a":2}}', key), malformed],
    ['deep nesting', forge(es, deep(1000), key), malformed],
    ['deep nesting in the header', forge(`{"alg":"ES256","x":${deep(500)}}`, {}, key), malformed],
    ['invalid UTF-8', signedBytes(invalidUtf8), malformed],
    ['a byte order mark', signedBytes(Buffer.from('\ufeff{}')), malformed],
    [
      'an embedded key',
      (() => {
        const mine = pair()
        return forge(
          { ...es, jwk: mine.publicKey.export({ format: 'jwk' }) },
          { sub: 's' },
          mine.privateKey,
        )
      })(),
      bad,
    ],
    ['another key', forge(es, {}, pair().privateKey), bad],
    ['an empty signature', `${head}.${body}.`, bad],
    ['a zero signature', `${head}.${body}.${Buffer.alloc(64).toString('base64url')}`, bad],
    [
      'a DER signature',
      `${head}.${body}.${sign('sha256', Buffer.from(`${head}.${body}`), key).toString('base64url')}`,
      bad,
    ],
    ['a longer signature', `${head}.${body}.${mac}AAAA`, bad],
    ['another payload', `${head}.${encode({ sub: 'admin' })}.${mac}`, bad],
    [
      'a spare bit in the signature',
      `${head}.${body}.${mac.slice(0, -1)}${mac.endsWith('B') ? 'C' : 'B'}`,
      bad,
    ],
    ['padding', `${good}==`, INVALID],
    ['another alphabet', `${head}.${body}.+/${mac.slice(2)}`, INVALID],
    ['four segments', `${good}.x`, INVALID],
    ['two segments', `${head}.${body}`, INVALID],
    ['five segments, as a JWE', `${good}.x.y`, INVALID],
    ['no payload', `${head}..${mac}`, INVALID],
    ['nothing', '', INVALID],
    ['dots', '..', INVALID],
    [
      'a JSON serialization',
      JSON.stringify({ payload: body, protected: head, signature: mac }),
      INVALID,
    ],
    ['16 KiB and more', `${head}.${'A'.repeat(16 * 1024)}.${mac}`, INVALID],
    ['a megabyte', 'A'.repeat(1_000_000), INVALID],
    ['a megabyte with dots', `${head}.${'A'.repeat(999_000)}.${mac}`, INVALID],
  ]
  for (const [what, jwt, expected] of rows)
    assert.equal(await outcome(world, id, jwt), expected, what)
  assert.equal((await world.login(id, 'A'.repeat(1_100_000))).status, 413)
  for (const jwt of [1, null, ['x'], { toString: 'x' }, true]) {
    const body = { identityId: id, jwt }
    assert.equal(
      (await world.ask('POST', '/api/v1/auth/jwt-auth/login', { body, token: null })).status,
      422,
    )
  }
})

test('section 15: nothing is matched for who has shown no signature, or comes too late', async () => {
  const { privateKey, publicKey } = pair()
  const patterns = {
    boundIssuer: '',
    boundSubject: 'x',
    boundAudiences: 'x',
    boundClaims: { x: 'x' },
  }
  const configuration: Configuration = {
    ...{ type: 'static', bounds: parseBounds(patterns), refusedAudiences: [] },
    keys: async () => [{ key: publicKey }],
  }
  for (const [jwt, last, all] of [
    [forge({ alg: 'ES256' }, {}, pair().privateKey), 'signature', 8],
    [forge({ alg: 'ES256' }, { exp: 9 }, privateKey), 'exp', 9],
  ] as const) {
    const { checks } = await examine(configuration, jwt, 10, 'decide')
    assert.equal(checks.at(-1)?.name, last)
    assert.equal(checks.filter(({ ok }) => !ok).length, 1)
    assert.equal((await examine(configuration, jwt, 10, 'explain')).checks.length, all)
  }
})

test('section 7: what is addressed to our issuer or token endpoint is no login, and the explanation says so', async (t) => {
  const world = await identitiesWorld(t, { settings: { OIDC_ISSUER: 'https://id.example' } })
  const { id, issuer } = await workload(t, world)
  for (const aud of [
    'https://id.example/rings/access',
    'https://id.example/oauth/token',
    ['x', 'https://id.example/rings/access'],
  ]) {
    const jwt = await issuer.sign({ aud })
    assert.equal(
      await outcome(world, id, jwt),
      `401 ${DENIED}token audience not allowed | audience_not_allowed`,
    )
    const { json } = await world.ask('POST', `/v1/identities/${id}/explain-login`, {
      body: { jwt },
    })
    assert.equal(json.ok, false)
    assert.equal(json.checks.at(-1).name, 'audience')
  }
  assert.equal(await outcome(world, id, await issuer.sign({ aud: 'https://id.example' })), OK)
})

test('an access token is no JWT for a login, whatever the source', async (t) => {
  const world = await identitiesWorld(t)
  const { id, token } = await workload(t, world)
  assert.match(await outcome(world, id, await token()), /invalid signature|invalid algorithm/)
  await world.app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = world.app.server.address() as { port: number }
  for (const path of ['/rings/access/.well-known/jwks.json', '/.well-known/jwks.json']) {
    const body = { configurationType: 'jwks', jwksUrl: `http://127.0.0.1:${port}${path}` }
    await world.ask('PATCH', configPath(id), { body })
    assert.equal((await world.login(id, await signedByDefault(world))).status, 502)
  }
})

async function signedByDefault(world: World): Promise<string> {
  const request = { claims: { sub: 's' }, ttl: '5m' }
  return (await world.call('POST', '/v1/rings/default/sign', request)).json.token
}
