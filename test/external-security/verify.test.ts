import assert from 'node:assert/strict'
import { createHmac, sign } from 'node:crypto'
import test from 'node:test'
import { SignJWT } from 'jose'
import { isProblem } from '../../src/errors.ts'
import { toSeconds } from '../../src/time.ts'
import { endpoint } from '../remote-jwks/endpoint.ts'
import { START } from '../server.ts'
import {
  CONFIGURATIONS,
  configuration,
  manageWorld,
  pemOf,
  rsaPair,
  SHARED,
  secretsOf,
  type World,
} from './world.ts'

// Contract section 7, and the stricter rules of product.md section 4 for who wants to act here.

const NOW = toSeconds(START)
const CLAIMS = {
  ...{ iss: 'https://idp.test/', aud: 'gateway', exp: NOW + 300 },
  ...{ preferred_username: 'ann', groups: ['dba', 'ops'] },
}

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')

function hs256(
  claims: object,
  { kid = 'k1', key = SHARED as string | Buffer, header = {} } = {},
): string {
  const input = `${encode({ alg: 'HS256', kid, ...header })}.${encode(claims)}`
  return `${input}.${createHmac('sha256', key).update(input).digest('base64url')}`
}

function rs256(claims: object, { kid = 'k1', pair = 'a', header = {} } = {}): string {
  const input = `${encode({ alg: 'RS256', kid, ...header })}.${encode(claims)}`
  return `${input}.${sign('sha256', Buffer.from(input), rsaPair(pair).privateKey).toString('base64url')}`
}

async function shared(t: test.TestContext, server: object = {}, more: object = {}): Promise<World> {
  const made = await manageWorld(t)
  await made.make('one', more, server)
  const body = secretsOf({ k1: SHARED, short: 'ExampleJWTSecret' })
  assert.equal((await made.ask('POST', 'one/jwt-secrets', { body })).status, 204)
  return made
}

async function keyed(t: test.TestContext, server: object = {}): Promise<World> {
  const made = await manageWorld(t)
  await made.make('one', {}, { 'oauth-jwt-alg': 'RS256', ...server })
  const body = secretsOf({ k1: pemOf(rsaPair().publicKey) })
  assert.equal((await made.ask('POST', 'one/jwt-secrets', { body })).status, 204)
  return made
}

/** The first check that failed, or `valid`. */
async function outcome({ service }: World, token: string): Promise<string> {
  const { valid, checks } = await service.verify('one', token)
  const failed = checks.find(({ ok }) => !ok)
  assert.equal(valid, failed === undefined)
  return failed?.name ?? 'valid'
}

/** The same by the stricter rules. */
async function acting({ service, on }: World, token: string): Promise<string> {
  on.add('one')
  const { user, verdict } = await service.authenticate('one', token)
  const failed = verdict.checks.find(({ ok }) => !ok)
  assert.equal(user === undefined, failed !== undefined)
  return failed?.name ?? 'valid'
}

test('section 7: a token of each algorithm verifies, with every check by name', async (t) => {
  for (const [made, token] of [
    [await shared(t), hs256(CLAIMS)],
    [await keyed(t), rs256(CLAIMS)],
  ] as const) {
    const { valid, user, roles, claims, kid, checks } = await made.service.verify('one', token)
    assert.equal(valid, true)
    assert.deepEqual([user, roles, kid], ['ann', ['dba', 'ops'], 'k1'])
    assert.deepEqual(claims, CLAIMS)
    assert.deepEqual(
      checks.map(({ name, ok }) => `${name} ${ok}`),
      [
        ...['format true', 'configuration true', 'algorithm true', 'key true', 'signature true'],
        ...['claims true', 'exp true', 'nbf true', 'iss true', 'user true'],
      ],
    )
  }
})

test('section 7: tokens that a library made verify', async (t) => {
  const one = await shared(t)
  const token = await new SignJWT(CLAIMS)
    .setProtectedHeader({ alg: 'HS256', kid: 'k1', typ: 'JWT' })
    .sign(Buffer.from(SHARED))
  assert.equal(await outcome(one, token), 'valid')
  const two = await keyed(t)
  const signed = await new SignJWT(CLAIMS)
    .setProtectedHeader({ alg: 'RS256', kid: 'k1' })
    .sign(rsaPair().privateKey)
  assert.equal(await outcome(two, signed), 'valid')
})

const { exp: _exp, ...NO_EXP } = CLAIMS
const none = `${encode({ alg: 'none', kid: 'k1' })}.${encode(CLAIMS)}.`

const FAILURES: [what: string, token: string, first: string][] = [
  ['is nothing', '', 'format'],
  ['is garbage', 'garbage', 'format'],
  ['has two segments', hs256(CLAIMS).split('.').slice(0, 2).join('.'), 'format'],
  ['has padding', `${hs256(CLAIMS)}=`, 'format'],
  ['has crit', hs256(CLAIMS, { header: { crit: ['exp'], exp: 1 } }), 'format'],
  ['has no algorithm', none, 'algorithm'],
  ['is RS256 where HS256 is set', rs256(CLAIMS), 'algorithm'],
  ['is HS512', hs256(CLAIMS, { header: { alg: 'HS512' } }), 'algorithm'],
  ['spells the algorithm in another way', hs256(CLAIMS, { header: { alg: 'hs256' } }), 'algorithm'],
  ['names no kid', hs256(CLAIMS, { header: { kid: undefined } }), 'key'],
  ['names a kid that is not there', hs256(CLAIMS, { kid: 'k2' }), 'key'],
  ['names a kid in other letters', hs256(CLAIMS, { kid: 'K1' }), 'key'],
  ['is signed with another secret', hs256(CLAIMS, { key: `${SHARED}x` }), 'signature'],
  ['is signed with nothing', hs256(CLAIMS, { key: '' }), 'signature'],
  [
    'was changed',
    hs256(CLAIMS).replace(/\.[^.]+\./, `.${encode({ ...CLAIMS, groups: ['admin'] })}.`),
    'signature',
  ],
  ['has a payload that is no object', hs256([1] as object), 'claims'],
  ['has expired by more than a minute', hs256({ ...CLAIMS, exp: NOW - 61 }), 'exp'],
  ['expires at a text', hs256({ ...CLAIMS, exp: String(NOW + 300) }), 'exp'],
  ['is not valid yet by more than a minute', hs256({ ...CLAIMS, nbf: NOW + 62 }), 'nbf'],
  ['is from another issuer', hs256({ ...CLAIMS, iss: 'https://idp.test' }), 'iss'],
  ['is from no issuer', hs256({ ...CLAIMS, iss: undefined }), 'iss'],
  ['names no user', hs256({ ...CLAIMS, preferred_username: undefined }), 'user'],
  ['names an empty user', hs256({ ...CLAIMS, preferred_username: '' }), 'user'],
  ['names a user that is a number', hs256({ ...CLAIMS, preferred_username: 1 }), 'user'],
  ['names several users', hs256({ ...CLAIMS, preferred_username: ['ann'] }), 'user'],
  ['says nothing of exp', hs256(NO_EXP), 'valid'],
  ['expired within a minute', hs256({ ...CLAIMS, exp: NOW - 59 }), 'valid'],
  ['will be valid within a minute', hs256({ ...CLAIMS, nbf: NOW + 60 }), 'valid'],
  ['is for another audience', hs256({ ...CLAIMS, aud: 'other' }), 'valid'],
  ['is for no audience', hs256({ ...CLAIMS, aud: undefined }), 'valid'],
  ['has an odd audience', hs256({ ...CLAIMS, aud: 1 }), 'valid'],
  ['is of a short secret', hs256(CLAIMS, { kid: 'short', key: 'ExampleJWTSecret' }), 'valid'],
]

test('section 7: what a token may be like, one by one', async (t) => {
  const made = await shared(t)
  for (const [what, token, first] of FAILURES) {
    assert.equal(await outcome(made, token), first, `a token that ${what}`)
  }
})

test('section 7: nothing that a token holds makes verification throw, nor do reasons quote it', async (t) => {
  const made = await shared(t)
  for (const token of [
    '',
    '.',
    '..',
    'a.b.c',
    'x'.repeat(20_000),
    hs256(CLAIMS, { kid: 'x'.repeat(600) }),
  ]) {
    const { valid, checks } = await made.service.verify('one', token)
    assert.equal(valid, false)
    if (token.length > 10) assert.ok(!JSON.stringify(checks).includes(token.slice(0, 100)))
  }
})

test('section 7: a public key is never a shared secret, whatever a token says', async (t) => {
  const made = await keyed(t)
  const pem = pemOf(rsaPair().publicKey)
  assert.equal(await outcome(made, hs256(CLAIMS, { key: pem })), 'algorithm')
  assert.equal(await outcome(made, rs256(CLAIMS, { pair: 'b' })), 'signature')
})

test('section 7: without an issuer set, any is taken', async (t) => {
  const made = await shared(t, { 'oauth-jwt-issuer-uri': '' })
  assert.equal(await outcome(made, hs256({ ...CLAIMS, iss: 'anybody' })), 'valid')
})

const ROLES: [claim: unknown, roles: string[]][] = [
  [
    ['a', 'b'],
    ['a', 'b'],
  ],
  ['a', ['a']],
  ['a b', ['a b']],
  [[], []],
  [undefined, []],
  ['', []],
  [1, []],
  [{ a: 1 }, []],
  [['a', 1, '', null, ['b']], ['a']],
]

test('section 7: roles are a list of texts or one text; without any the user is one all the same', async (t) => {
  const made = await shared(t)
  for (const [claim, expected] of ROLES) {
    const { valid, roles } = await made.service.verify('one', hs256({ ...CLAIMS, groups: claim }))
    assert.equal(valid, true)
    assert.deepEqual(roles, expected)
  }
})

test('section 4: attributes are literal names of claims: cognito:groups is one name, no path', async (t) => {
  const made = await shared(t, {
    ...{ 'oauth-role-attribute': 'cognito:groups', 'oauth-username-attribute': 'a.b' },
  })
  const token = hs256({ ...CLAIMS, 'a.b': 'ben', a: { b: 'no' }, 'cognito:groups': ['x'] })
  const { user, roles } = await made.service.verify('one', token)
  assert.deepEqual([user, roles], ['ben', ['x']])
})

for (const [what, secret, key] of [
  ['as given', SHARED, Buffer.from(SHARED)],
  ['in hexadecimal digits', 'ab'.repeat(32), Buffer.alloc(32, 0xab)],
  ['in base64url', Buffer.alloc(40, 7).toString('base64url'), Buffer.alloc(40, 7)],
] as const) {
  test(`section 5: a token is verified with the bytes of a secret ${what}`, async (t) => {
    const made = await shared(t)
    await made.ask('POST', 'one/jwt-secrets', { body: secretsOf({ k9: secret }) })
    assert.equal(await outcome(made, hs256(CLAIMS, { kid: 'k9', key })), 'valid')
    assert.equal(
      await outcome(made, hs256(CLAIMS, { kid: 'k9', key: Buffer.from(secret) })),
      'valid',
    )
  })
}

test('section 7: with oauth-jwks-uri and RS256 keys come from that set instead of the secrets', async (t) => {
  const { url, answer, seen } = await endpoint(t)
  const jwk = {
    ...rsaPair('b').publicKey.export({ format: 'jwk' }),
    kid: 'remote',
    use: 'sig',
    alg: 'RS256',
  }
  answer((_, response) => response.end(JSON.stringify({ keys: [jwk] })))
  const made = await keyed(t, { 'oauth-jwks-uri': url })
  assert.equal(await outcome(made, rs256(CLAIMS, { kid: 'remote', pair: 'b' })), 'valid')
  assert.equal(await outcome(made, rs256(CLAIMS)), 'key', 'a secret does not count')
  assert.equal(await outcome(made, rs256(CLAIMS, { kid: 'remote' })), 'signature')
  assert.equal(seen.length, 1)
})

test('section 7: an endpoint that fails is a key that cannot be had, and no error', async (t) => {
  const { url, answer } = await endpoint(t)
  answer((_, response) => response.writeHead(500).end('no'))
  const made = await keyed(t, { 'oauth-jwks-uri': url })
  const { checks } = await made.service.verify('one', rs256(CLAIMS))
  assert.match(checks.at(-1)?.reason ?? '', /^The keys of the issuer cannot be had: /)
})

test('section 7: with HS256 an oauth-jwks-uri means nothing', async (t) => {
  const { url, seen } = await endpoint(t)
  const made = await shared(t, { 'oauth-jwks-uri': url })
  assert.equal(await outcome(made, hs256(CLAIMS)), 'valid')
  assert.equal(seen.length, 0)
})

test('section 5.7: every change counts for the next verification', async (t) => {
  const made = await shared(t)
  const token = hs256(CLAIMS)
  const write = async (method: string, path: string, body?: unknown) => {
    const { status, text } = await made.ask(method, path, { body })
    assert.equal(status, 204, text)
  }
  assert.equal(await outcome(made, token), 'valid')
  await write('PUT', 'one/jwt-secrets', secretsOf({ k1: `${SHARED}2` }))
  assert.equal(await outcome(made, token), 'signature')
  assert.equal(await outcome(made, hs256(CLAIMS, { key: `${SHARED}2` })), 'valid')
  await write('DELETE', 'one/jwt-secrets/k1')
  assert.equal(await outcome(made, token), 'key')
  await write('POST', 'one/jwt-secrets', secretsOf({ k1: SHARED }))
  assert.equal(await outcome(made, token), 'valid')
  await write('PUT', 'one/properties', { 'oauth-server': { 'oauth-jwt-issuer-uri': 'other' } })
  assert.equal(await outcome(made, token), 'iss')
  await write('DELETE', 'one')
  await assert.rejects(made.service.verify('one', token), (error) =>
    isProblem(error, 'external_security_not_found'),
  )
  await made.make('one', {}, { 'oauth-jwt-issuer-uri': '' })
  assert.equal(await outcome(made, token), 'key', 'a new one of the same name has no old keys')
})

test('section 7: what is no oauth configuration verifies nothing, and says so', async (t) => {
  const made = await manageWorld(t)
  const body = {
    'external-security-name': 'one',
    authentication: 'kerberos',
    authorization: 'internal',
  }
  assert.equal((await made.ask('POST', CONFIGURATIONS, { body })).status, 201)
  assert.equal(await outcome(made, hs256(CLAIMS)), 'configuration')
  assert.equal(await acting(made, hs256(CLAIMS)), 'configuration')
})

// Who wants to act here.

test('product.md section 4: who acts needs exp, an audience, and a secret of 32 bytes', async (t) => {
  const made = await shared(t)
  for (const [what, token, first] of [
    ['is as it should be', hs256(CLAIMS), 'valid'],
    ['is for several audiences', hs256({ ...CLAIMS, aud: ['other', 'gateway'] }), 'valid'],
    ['has no exp', hs256(NO_EXP), 'exp'],
    ['has no audience', hs256({ ...CLAIMS, aud: undefined }), 'aud'],
    ['is for another', hs256({ ...CLAIMS, aud: 'other' }), 'aud'],
    ['is of a short secret', hs256(CLAIMS, { kid: 'short', key: 'ExampleJWTSecret' }), 'key'],
    ['names a user with a line end', hs256({ ...CLAIMS, preferred_username: 'a\nb' }), 'user'],
    ['names a long user', hs256({ ...CLAIMS, preferred_username: 'x'.repeat(256) }), 'user'],
  ] as const) {
    assert.equal(await acting(made, token), first, `a token that ${what}`)
  }
  const { user } = await made.service.authenticate('one', hs256(CLAIMS))
  assert.deepEqual(
    [user?.user, user?.roles, user?.configuration.name],
    ['ann', ['dba', 'ops'], 'one'],
  )
  assert.equal(user?.expiresAt, CLAIMS.exp * 1000)
})

test('product.md section 4: nothing authenticates that the setting does not name', async (t) => {
  const made = await shared(t)
  const { user, verdict } = await made.service.authenticate('one', hs256(CLAIMS))
  assert.equal(user, undefined)
  assert.equal(verdict.checks[0]?.name, 'configuration')
  made.on.add('two')
  assert.equal((await made.service.authenticate('two', hs256(CLAIMS))).user, undefined)
})

test('product.md section 4: with internal authorization the roles of a token mean nothing', async (t) => {
  const made = await shared(t, {}, { authorization: 'internal' })
  const { valid, roles } = await made.service.verify('one', hs256(CLAIMS))
  assert.deepEqual([valid, roles], [true, []])
})

const OFF: [what: string, more: object, server: object, words: RegExp | undefined][] = [
  ['as documented', {}, {}, undefined],
  ['with RS256', {}, { 'oauth-jwt-alg': 'RS256' }, undefined],
  ['with internal authorization', { authorization: 'internal' }, {}, undefined],
  [
    'with saml authorization',
    { authorization: 'saml', 'saml-server': { 'saml-entity-id': 'e' } },
    {},
    /authorization is saml/,
  ],
  [
    'of kerberos',
    { authentication: 'kerberos' },
    {},
    /authentication is kerberos; this server performs oauth only/,
  ],
  ['of another flow', {}, { 'oauth-flow-type': 'Authorization code' }, /oauth-flow-type/],
  ['of no flow', {}, { 'oauth-flow-type': undefined }, /oauth-flow-type/],
  [
    'of reference tokens',
    {},
    { 'oauth-token-type': 'Internally managed reference tokens' },
    /oauth-token-type/,
  ],
  ['of no token type', {}, { 'oauth-token-type': undefined }, /oauth-token-type/],
  [
    'with a short secret',
    {},
    {
      'oauth-jwt-secret': [
        { 'oauth-jwt-key-id': 'k"1', 'oauth-jwt-secret-value': 'ExampleJWTSecret' },
      ],
    },
    /the secret "k\\"1" has fewer than 32 bytes/,
  ],
  [
    'with a long secret',
    {},
    { 'oauth-jwt-secret': [{ 'oauth-jwt-key-id': 'k', 'oauth-jwt-secret-value': SHARED }] },
    undefined,
  ],
]

test('issue 5: what cannot be switched on, and why', async (t) => {
  const made = await manageWorld(t)
  for (const [what, more, server, words] of OFF) {
    await made.make(what, more, server)
    const why = await made.service.whyNot(what)
    if (words) assert.match(why ?? 'nothing', words, what)
    else assert.equal(why, undefined, what)
  }
  const body = {
    'external-security-name': 'bare',
    authentication: 'kerberos',
    authorization: 'internal',
  }
  await made.ask('POST', CONFIGURATIONS, { body })
  assert.match((await made.service.whyNot('bare')) ?? '', /kerberos/)
  assert.match((await made.service.whyNot('missing')) ?? '', /no external security/)
})

test('issue 5: what is switched on takes no short secret and stays one that can authenticate', async (t) => {
  const made = await manageWorld(t)
  await made.make('one')
  await made.ask('POST', 'one/jwt-secrets', { body: secretsOf({ k1: SHARED }) })
  made.on.add('one')
  const short = secretsOf({ k1: 'ExampleJWTSecret' })
  const adding = secretsOf({ k2: 'ExampleJWTSecret' })
  const inServer = (server: object) => ({ 'oauth-server': server })
  for (const [method, path, body] of [
    ['POST', 'one/jwt-secrets', adding],
    ['PUT', 'one/jwt-secrets', short],
    ['PUT', 'one/properties', short],
    ['PUT', 'one/properties', { authentication: 'kerberos' }],
    ['PUT', 'one/properties', inServer({ 'oauth-flow-type': 'Client credentials' })],
    [
      'PUT',
      'one/properties',
      inServer({ 'oauth-token-type': 'Internally managed reference tokens' }),
    ],
  ] as const) {
    const { status, json } = await made.ask(method, path, { body })
    assert.equal(status, 400)
    assert.match(json.errorResponse.message, /authenticates here/)
  }
  assert.equal(
    (await made.ask('PUT', 'one/properties', { body: { description: 'x' } })).status,
    204,
  )
  assert.equal(
    (await made.ask('POST', 'one/jwt-secrets', { body: secretsOf({ k3: SHARED }) })).status,
    204,
  )
})

test('product.md section 4: who lacks what role grants of a configuration give writes none of its keys', async (t) => {
  const made = await shared(t)
  const [row] = await made.store.read.externalSecurities.list()
  await made.store.transaction(async (tx) => {
    await tx.roleGrants.insert({
      ...{ id: 'g1', externalSecurityId: row?.id ?? '', externalName: 'dba', role: 'admin' },
      ...{ tenantId: undefined, createdAt: 1 },
    })
    await tx.audit.append({ type: 'role-grant.created', subject: 'g1', principal: 'user:admin' })
  })
  for (const [method, path, body] of [
    ['POST', 'one/jwt-secrets', secretsOf({ mine: SHARED })],
    ['PUT', 'one/jwt-secrets', secretsOf({ k1: `${SHARED}2` })],
    ['PUT', 'one/properties', { 'oauth-server': { 'oauth-jwks-uri': 'https://evil.test/' } }],
  ] as const) {
    const { status, json } = await made.ask(method, path, { body, as: 'guard' })
    assert.equal(status, 401, path)
    assert.match(json.errorResponse.message, /^You do not have credentials to access /)
    assert.equal((await made.ask(method, path, { body })).status, 204)
  }
  const body = configuration('free')
  assert.equal((await made.ask('POST', CONFIGURATIONS, { body, as: 'guard' })).status, 201)
  // The grants would go, too.
  assert.equal((await made.ask('DELETE', 'free', { as: 'guard' })).status, 204)
  assert.equal((await made.ask('DELETE', 'one', { as: 'guard' })).status, 401)
  assert.equal((await made.store.read.roleGrants.list()).length, 1)
  assert.equal((await made.ask('DELETE', 'one')).status, 204)
  const events = await made.store.read.audit.list(0n, 1000)
  const [grant, gone] = events.slice(-2)
  assert.deepEqual([grant?.type, grant?.subject], ['role-grant.deleted', 'g1'])
  assert.equal(gone?.type, 'external-security.deleted')
})

test('section 7: issuers by name, for who must choose a configuration', async (t) => {
  const made = await shared(t)
  assert.equal(await made.service.issuerOf('one'), 'https://idp.test/')
  await made.make('two', {}, { 'oauth-jwt-issuer-uri': '' })
  assert.equal(await made.service.issuerOf('two'), '')
  assert.equal(await made.service.issuerOf('three'), undefined)
})
