import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { z } from 'zod'
import {
  Identity,
  IdentityCreate,
  IdentityDetails,
  IdentityParams,
  IdentityQuery,
  IdentityUpdate,
  JwtAuth,
  JwtAuthAnswer,
  JwtAuthCreate,
  JwtAuthRevoked,
  JwtAuthUpdate,
  LoginBody,
  Membership,
  ringOfUrl,
  TokenAnswer,
  TokenBody,
} from '../../src/identities/schema.ts'

// Identity contract, sections 1, 2, 3, 7, 9, 10 and 12.

const URL = 'https://issuer.example/jwks.json'
const jwks = { configurationType: 'jwks', jwksUrl: URL, boundClaims: {} }
const fixed = { configurationType: 'static', publicKeys: ['pem'], boundClaims: {} }

const issuesOf = (schema: z.ZodType, body: unknown) => schema.safeParse(body).error?.issues ?? []
const pathsOf = (schema: z.ZodType, body: unknown) =>
  issuesOf(schema, body).map(({ path }) => path.join('.'))
const isValid = (schema: z.ZodType, body: unknown) => schema.safeParse(body).success

const ANYWHERE = [{ ipAddress: '0.0.0.0/0' }, { ipAddress: '::/0' }]

test('section 2: what a POST leaves out has these defaults', () => {
  const defaults = {
    ...{ jwksCaCert: '', boundIssuer: '', boundAudiences: '', boundClaims: {}, boundSubject: '' },
    ...{ accessTokenTrustedIps: ANYWHERE, accessTokenTTL: 2592000, accessTokenMaxTTL: 2592000 },
    accessTokenNumUsesLimit: 0,
  }
  const { configurationType, jwksUrl } = jwks
  assert.deepEqual(JwtAuthCreate.parse(jwks), {
    ...{ configurationType, jwksUrl, publicKeys: [] },
    ...defaults,
  })
  assert.deepEqual(JwtAuthCreate.parse(fixed), {
    ...{ configurationType: 'static', jwksUrl: '', publicKeys: ['pem'] },
    ...defaults,
  })
})

test('section 2: texts are trimmed, lists normalised, keys left as they are, and the rest is dropped', () => {
  const parsed = JwtAuthCreate.parse({
    ...jwks,
    jwksUrl: ` ${URL}\n`,
    jwksCaCert: ' pem\n',
    publicKeys: [' pem\n'],
    boundIssuer: ' https://i ',
    boundAudiences: ' red,green ,, blue ',
    boundClaims: { ' a ': ' x,{y,z} ,', b: 'q' },
    boundSubject: ' a, b ',
    accessTokenTrustedIps: [{ ipAddress: ' 10.0.0.0/8 ', prefix: 9 }],
    accessTokenPeriod: 5,
    unknown: true,
  })
  assert.deepEqual(parsed, {
    configurationType: 'jwks',
    jwksUrl: URL,
    jwksCaCert: 'pem',
    publicKeys: [' pem\n'],
    boundIssuer: 'https://i',
    boundAudiences: 'red, green, blue',
    boundClaims: { ' a ': 'x, {y,z}', b: 'q' },
    boundSubject: 'a, b',
    accessTokenTrustedIps: [{ ipAddress: '10.0.0.0/8' }],
    accessTokenTTL: 2592000,
    accessTokenMaxTTL: 2592000,
    accessTokenNumUsesLimit: 0,
  })
})

const TEN_YEARS = 315_360_000
/** Each with the place of what is wrong. */
const REFUSED: [body: Record<string, unknown>, path: string][] = [
  [{ ...jwks, configurationType: undefined }, 'configurationType'],
  [{ ...jwks, configurationType: 'oidc' }, 'configurationType'],
  [{ ...jwks, jwksUrl: undefined }, 'jwksUrl'],
  [{ ...jwks, jwksUrl: 'issuer.example/jwks' }, 'jwksUrl'],
  [{ ...jwks, jwksUrl: '' }, 'jwksUrl'],
  [{ ...jwks, jwksUrl: 'ftp://issuer.example/' }, 'jwksUrl'],
  [{ ...jwks, jwksUrl: 'file:///etc/passwd' }, 'jwksUrl'],
  [{ ...jwks, jwksUrl: 'data:application/json,{}' }, 'jwksUrl'],
  [{ ...jwks, jwksUrl: `${URL}?${'x'.repeat(2048)}` }, 'jwksUrl'],
  [{ ...jwks, jwksUrl: 'ring:' }, 'jwksUrl'],
  [{ ...jwks, jwksUrl: 'ring:a b' }, 'jwksUrl'],
  [{ ...jwks, jwksUrl: 'ring:../x' }, 'jwksUrl'],
  [{ ...jwks, jwksUrl: `ring:${'a'.repeat(65)}` }, 'jwksUrl'],
  [{ ...jwks, jwksCaCert: null }, 'jwksCaCert'],
  [{ ...jwks, publicKeys: 'pem' }, 'publicKeys'],
  [{ ...fixed, publicKeys: undefined }, 'publicKeys'],
  [{ ...fixed, publicKeys: [] }, 'publicKeys'],
  [{ ...fixed, publicKeys: ['pem', ''] }, 'publicKeys.1'],
  [{ ...fixed, publicKeys: [5] }, 'publicKeys.0'],
  [{ ...jwks, boundIssuer: 5 }, 'boundIssuer'],
  [{ ...jwks, boundAudiences: ['a'] }, 'boundAudiences'],
  [{ ...jwks, boundAudiences: '!a' }, 'boundAudiences'],
  [{ ...jwks, boundSubject: '+(a)' }, 'boundSubject'],
  [{ ...jwks, boundClaims: undefined }, 'boundClaims'],
  [{ ...jwks, boundClaims: null }, 'boundClaims'],
  [{ ...jwks, boundClaims: [] }, 'boundClaims'],
  [{ ...jwks, boundClaims: { a: 5 } }, 'boundClaims.a'],
  [{ ...jwks, boundClaims: { a: ['x'] } }, 'boundClaims.a'],
  [{ ...jwks, boundClaims: { a: '' } }, 'boundClaims.a'],
  [{ ...jwks, boundClaims: { b: 'x', a: ' , ,' } }, 'boundClaims.a'],
  [{ ...jwks, boundClaims: { 'a.b': 'x, (a+)+b' } }, 'boundClaims.a.b'],
  [{ ...jwks, boundClaims: JSON.parse('{"__proto__":"x"}') }, 'boundClaims.__proto__'],
  [{ ...jwks, accessTokenTrustedIps: [] }, 'accessTokenTrustedIps'],
  [{ ...jwks, accessTokenTrustedIps: ['10.0.0.1'] }, 'accessTokenTrustedIps.0'],
  [{ ...jwks, accessTokenTrustedIps: [{}] }, 'accessTokenTrustedIps.0.ipAddress'],
  ...['accessTokenTTL', 'accessTokenMaxTTL'].flatMap((name): typeof REFUSED =>
    [-1, TEN_YEARS + 1, 1.5, '900', null, true].map((value) => [{ ...jwks, [name]: value }, name]),
  ),
  ...[-1, 1.5, '1', null].map((value): (typeof REFUSED)[number] => [
    { ...jwks, accessTokenNumUsesLimit: value },
    'accessTokenNumUsesLimit',
  ]),
]

for (const [body, path] of REFUSED) {
  const what = JSON.stringify(body).slice(0, 100)
  test(`section 2: ${path} is refused, on POST and on PATCH, in ${what}`, () => {
    const isLeftOut = path === 'boundClaims' && body.boundClaims === undefined
    for (const schema of isLeftOut ? [JwtAuthCreate] : [JwtAuthCreate, JwtAuthUpdate]) {
      assert.deepEqual(pathsOf(schema, body), [path])
      const [issue] = issuesOf(schema, body)
      assert.ok(issue?.code && issue.message)
    }
  })
}

const EDGES: Record<string, unknown>[] = [
  { ...jwks, accessTokenTTL: 0, accessTokenMaxTTL: 0, accessTokenNumUsesLimit: 0 },
  { ...jwks, accessTokenTTL: TEN_YEARS, accessTokenMaxTTL: TEN_YEARS },
  { ...jwks, accessTokenNumUsesLimit: Number.MAX_SAFE_INTEGER },
  { ...jwks, jwksUrl: 'http://127.0.0.1:8080/jwks' },
  { ...jwks, jwksUrl: 'HTTPS://issuer.example' },
  { ...jwks, jwksUrl: 'ring:payments' },
  { ...fixed, jwksUrl: 'not a url' },
  { ...jwks, boundClaims: { 'https://x.example/role': 'a', constructor: 'b', '__proto__.a': 'c' } },
  { ...jwks, accessTokenTrustedIps: [{ ipAddress: 'left to section 5' }] },
]

for (const body of EDGES) {
  test(`section 2: accepted: ${JSON.stringify(body).slice(0, 100)}`, () => {
    assert.deepEqual(issuesOf(JwtAuthCreate, body), [])
    assert.deepEqual(issuesOf(JwtAuthUpdate, body), [])
    assert.deepEqual(JwtAuthUpdate.parse(body).boundClaims, body.boundClaims)
  })
}

test('the faults of all bounds come together, each at its place', () => {
  const body = { ...jwks, boundSubject: '!s', boundAudiences: 'a, (b)', boundClaims: { c: '' } }
  assert.deepEqual(pathsOf(JwtAuthCreate, body), [
    ...['boundSubject', 'boundAudiences', 'boundClaims.c'],
  ])
})

test('our addition: ring:NAME names a ring, and nothing else does', () => {
  assert.equal(ringOfUrl('ring:payments'), 'payments')
  for (const text of [URL, 'ring:', 'Ring:a', 'ring:a/b', 'ring:a\n', 'https://ring:a@x']) {
    assert.equal(ringOfUrl(text), undefined, text)
  }
})

// Section 3: PATCH is only half partial ----------------------------------------------------------------

test('section 3: a PATCH says nothing of what it leaves out, the trap of zod 4', () => {
  assert.deepEqual(JwtAuthUpdate.parse({ configurationType: 'jwks', jwksUrl: URL }), {
    ...{ configurationType: 'jwks', jwksUrl: URL, jwksCaCert: '', publicKeys: [] },
  })
  assert.deepEqual(JwtAuthUpdate.parse({ configurationType: 'static', publicKeys: ['pem'] }), {
    ...{ configurationType: 'static', jwksUrl: '', jwksCaCert: '', publicKeys: ['pem'] },
  })
})

test('section 3: what a PATCH sends is there, normalised, also when it is empty', () => {
  const sent = {
    ...{ boundIssuer: '', boundAudiences: 'a,b', boundClaims: {}, boundSubject: '' },
    ...{ accessTokenTrustedIps: [{ ipAddress: '::1' }], accessTokenTTL: 0, accessTokenMaxTTL: 0 },
    accessTokenNumUsesLimit: 0,
  }
  const {
    configurationType: _type,
    jwksUrl: _url,
    jwksCaCert: _ca,
    publicKeys: _keys,
    ...parsed
  } = JwtAuthUpdate.parse({ configurationType: 'jwks', jwksUrl: URL, ...sent })
  assert.deepEqual(parsed, { ...sent, boundAudiences: 'a, b' })
})

test('section 3: a PATCH needs its type, and what the type needs', () => {
  assert.deepEqual(pathsOf(JwtAuthUpdate, { jwksUrl: URL }), ['configurationType'])
  assert.deepEqual(pathsOf(JwtAuthUpdate, { configurationType: 'jwks' }), ['jwksUrl'])
  assert.deepEqual(pathsOf(JwtAuthUpdate, { configurationType: 'static' }), ['publicKeys'])
})

// Answers ----------------------------------------------------------------------------------------------

const EXAMPLE = {
  id: 'b1f0',
  accessTokenTTL: 3600,
  accessTokenMaxTTL: 86400,
  accessTokenNumUsesLimit: 0,
  accessTokenTrustedIps: [
    { ipAddress: '10.20.0.0', type: 'ipv4', prefix: 16 },
    { ipAddress: '2001:4860::8', type: 'ipv6' },
  ],
  identityId: '7c4e',
  configurationType: 'jwks',
  jwksUrl: URL,
  boundIssuer: 'https://issuer.example',
  boundAudiences: 'api://a, api://b',
  boundClaims: { env: 'prod' },
  boundSubject: 'svc:*',
  createdAt: '2026-01-05T10:00:00.000Z',
  updatedAt: '2026-01-05T10:00:00.000Z',
  accessTokenPeriod: 0,
  jwksCaCert: '',
  publicKeys: [],
}
const reversed = (object: object) => Object.fromEntries(Object.entries(object).reverse())

test('section 2: an answer has the 17 members in their order, and no others', () => {
  const answer = JwtAuthAnswer.parse({
    identityJwtAuth: { ...reversed(EXAMPLE), orgId: 'o', rootKid: 'k' },
  })
  assert.equal(JSON.stringify(answer), JSON.stringify({ identityJwtAuth: EXAMPLE }))
  assert.equal(Object.keys(JwtAuth.shape).length, 17)
})

test('section 2: the answer to DELETE has neither jwksCaCert nor publicKeys', () => {
  const { jwksCaCert: _ca, publicKeys: _keys, ...rest } = EXAMPLE
  const answer = JwtAuthRevoked.parse({ identityJwtAuth: EXAMPLE })
  assert.equal(JSON.stringify(answer), JSON.stringify({ identityJwtAuth: rest }))
})

test('sections 7 and 9: a login and a renewal answer these four members', () => {
  const answer = {
    ...{ accessToken: 'a.b.c', expiresIn: 3600, accessTokenMaxTTL: 86400, tokenType: 'Bearer' },
  }
  const parsed = TokenAnswer.parse({ ...reversed(answer), jti: 'x' })
  assert.equal(JSON.stringify(parsed), JSON.stringify(answer))
})

// Login, renewal, identities ---------------------------------------------------------------------------

test('section 7: what a login sends is trimmed; the slug is one', () => {
  const body = { identityId: ' i ', jwt: '\na.b.c\n', organizationSlug: ' my-org ', extra: 1 }
  assert.deepEqual(LoginBody.parse(body), {
    ...{ identityId: 'i', jwt: 'a.b.c', organizationSlug: 'my-org' },
  })
  assert.deepEqual(LoginBody.parse({ identityId: '', jwt: '' }), { identityId: '', jwt: '' })
  assert.deepEqual(pathsOf(LoginBody, {}), ['identityId', 'jwt'])
  assert.deepEqual(pathsOf(LoginBody, { identityId: 1, jwt: {} }), ['identityId', 'jwt'])
  for (const organizationSlug of [
    'My-Org',
    'a b',
    '-a',
    'a-',
    'a--b',
    '',
    'ä',
    'a'.repeat(65),
    5,
  ]) {
    const paths = pathsOf(LoginBody, { identityId: 'i', jwt: 'j', organizationSlug })
    assert.ok(paths.length > 0 && paths.every((path) => path === 'organizationSlug'))
  }
})

test('sections 1, 9 and 10: tokens and ids are trimmed texts', () => {
  assert.deepEqual(TokenBody.parse({ accessToken: ' a.b.c\n' }), { accessToken: 'a.b.c' })
  assert.deepEqual(pathsOf(TokenBody, {}), ['accessToken'])
  assert.deepEqual(IdentityParams.parse({ identityId: ' no uuid ' }), { identityId: 'no uuid' })
})

test('section 12: an identity is created with these defaults', () => {
  assert.deepEqual(IdentityCreate.parse({ name: ' ci ', organizationId: ' any ', other: 1 }), {
    ...{ name: 'ci', role: 'no-access', hasDeleteProtection: false, organizationId: 'any' },
  })
  const metadata = [{ key: ' k ', value: ' v ' }]
  const full = {
    name: 'ci',
    organizationId: '',
    role: 'member',
    hasDeleteProtection: true,
    metadata,
  }
  assert.deepEqual(IdentityCreate.parse(full), { ...full, metadata: [{ key: 'k', value: 'v' }] })
})

const IDENTITY_REFUSED: [over: Record<string, unknown>, path: string][] = [
  [{ name: undefined }, 'name'],
  [{ name: ' ' }, 'name'],
  [{ name: 'a'.repeat(256) }, 'name'],
  [{ organizationId: undefined }, 'organizationId'],
  [{ role: '' }, 'role'],
  [{ role: null }, 'role'],
  [{ hasDeleteProtection: 'true' }, 'hasDeleteProtection'],
  [{ metadata: {} }, 'metadata'],
  [{ metadata: [{ key: 'k' }] }, 'metadata.0.value'],
  [{ metadata: [{ key: ' ', value: 'v' }] }, 'metadata.0.key'],
]

for (const [over, path] of IDENTITY_REFUSED) {
  test(`section 12: refused: ${JSON.stringify(over).slice(0, 60)} (${path})`, () => {
    assert.deepEqual(pathsOf(IdentityCreate, { name: 'n', organizationId: 'o', ...over }), [path])
  })
}

test('section 12: a PATCH may send any field but the organisation, and defaults to none', () => {
  assert.deepEqual(IdentityUpdate.parse({ organizationId: 'other' }), {})
  const sent = { name: 'n', role: 'member', hasDeleteProtection: false, metadata: [] }
  assert.deepEqual(IdentityUpdate.parse(sent), sent)
  assert.equal(isValid(IdentityUpdate, { name: '' }), false)
  assert.deepEqual(IdentityQuery.parse({ orgId: ' o ', other: '1' }), { orgId: 'o' })
  assert.deepEqual(IdentityQuery.parse({}), {})
})

test('section 12: answers have these members, in this order', () => {
  assert.deepEqual(Object.keys(Identity.shape), [
    ...['id', 'name', 'authMethod', 'orgId', 'hasDeleteProtection', 'createdAt', 'updatedAt'],
    ...['authMethods', 'metadata'],
  ])
  assert.deepEqual(Object.keys(Membership.shape), [
    ...['id', 'role', 'roleId', 'orgId', 'identityId', 'createdAt', 'updatedAt'],
    ...['lastLoginAuthMethod', 'lastLoginTime', 'metadata', 'identity'],
  ])
  assert.deepEqual(Object.keys(Membership.shape.identity.shape), [
    ...['id', 'name', 'orgId', 'hasDeleteProtection', 'authMethods', 'activeLockoutAuthMethods'],
  ])
  const details = { identityDetails: { organization: { id: 'o', name: 'n', slug: 's' } } }
  assert.deepEqual(IdentityDetails.parse(details), details)
})
