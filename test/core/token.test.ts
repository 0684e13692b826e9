import assert from 'node:assert/strict'
import {
  createPublicKey,
  createSecretKey,
  generateKeyPairSync,
  sign as signBytes,
} from 'node:crypto'
import { test } from 'node:test'
import { decodeProtectedHeader, jwtVerify } from 'jose'
import {
  type Algorithm,
  RESERVED_HEADERS,
  screenCompact,
  signCompact,
  type VerificationKey,
  type VerifyOptions,
  verifySignature,
  verifyToken,
} from '../../src/core/index.ts'
import { encode, pairOf } from './fixtures.ts'

const es256 = await pairOf('ES256')
const other = await pairOf('ES256', 'ES256-2')
const rs256 = await pairOf('RS256')
const eddsa = await pairOf('EdDSA')

const sign = (claims: Record<string, unknown>, header: Record<string, unknown> = {}) =>
  signCompact(es256.signing, header, claims)

const check = (
  token: string,
  options: Partial<VerifyOptions> = {},
  keys: readonly VerificationKey[] = [es256.verification],
) => verifyToken(token, { keys: () => keys, now: 1000, skew: 0, ...options })

/** The failed checks of a token, as `name: reason`. */
const faults = async (
  token: string,
  options?: Partial<VerifyOptions>,
  keys?: VerificationKey[],
) => {
  const verdict = await check(token, options, keys)
  const failed = verdict.checks.filter(({ ok }) => !ok)
  assert.equal(verdict.valid, failed.length === 0)
  return failed.map(({ name, reason }) => `${name}: ${reason}`)
}

/** A token with our signature over whatever payload. */
function signPayload(payload: string): string {
  const { key } = es256.signing
  const input = `${encode({ alg: 'ES256', kid: 'ES256-1' })}.${encode(payload)}`
  const signature = signBytes('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' })
  return `${input}.${signature.toString('base64url')}`
}

test('the header is alg, kid, typ, then the rest, and alg and kid are ours', async () => {
  const header = { x: 1, kid: 'theirs', typ: 'at+jwt', alg: 'none', a: [2] }
  const [first = ''] = (await sign({ sub: 'a' }, header)).split('.')
  const text = Buffer.from(first, 'base64url').toString()
  assert.equal(text, '{"alg":"ES256","kid":"ES256-1","typ":"at+jwt","x":1,"a":[2]}')
})

test('a header without typ has none, and one key can alternate between types', async () => {
  for (const typ of ['JWT', undefined, 'JWT', 'at+jwt', 'JWT']) {
    const header = decodeProtectedHeader(await sign({}, { typ }))
    assert.deepEqual(header, { alg: 'ES256', kid: 'ES256-1', ...(typ && { typ }) })
  }
})

test('one key under two names or algorithms says each time what it is', async () => {
  const { key } = eddsa.signing
  for (const [kid, alg] of [
    ['a', 'EdDSA'],
    ['b', 'EdDSA'],
    ['b', 'Ed25519'],
    ['a', 'EdDSA'],
  ] as const) {
    const token = await signCompact({ kid, alg, key }, { typ: 'JWT' }, {})
    assert.deepEqual(decodeProtectedHeader(token), { alg, kid, typ: 'JWT' })
  }
})

test('reserved header parameters are refused', async () => {
  for (const name of RESERVED_HEADERS.filter((each) => each !== 'alg' && each !== 'kid')) {
    const message = `The header cannot set ${name}`
    await assert.rejects(sign({}, { [name]: 'x' }), { code: 'invalid_request', message })
  }
  await assert.rejects(sign({}, { typ: 5 }), { code: 'invalid_request' })
})

test('a key that cannot sign rejects, in the thread pool as on the event loop', async () => {
  for (const [pair, alg] of [
    [es256, 'ES256'],
    [rs256, 'RS256'],
  ] as const) {
    const key = createPublicKey(pair.signing.key as never)
    await assert.rejects(signCompact({ kid: 'k', alg, key }, {}, {}))
  }
  // A key too small for its padding fails inside the thread pool.
  const tiny = generateKeyPairSync('rsa', { modulusLength: 512 }).privateKey
  await assert.rejects(signCompact({ kid: 'k', alg: 'PS512', key: tiny }, {}, {}))
})

test('a valid token: every check in order, and the claims', async () => {
  const claims = { iss: 'https://a', sub: 's', aud: ['x', 'y'], exp: 1001, nbf: 1000, iat: 5000 }
  const verdict = await check(await sign(claims, { typ: 'JWT' }), {
    issuer: 'https://a',
    audience: 'y',
    requireExp: true,
    typ: 'jwt',
  })
  const names = [
    'format',
    'key',
    'algorithm',
    'signature',
    'claims',
    'typ',
    'exp',
    'nbf',
    'iss',
    'aud',
  ]
  assert.deepEqual(verdict, {
    valid: true,
    header: { alg: 'ES256', kid: 'ES256-1', typ: 'JWT' },
    kid: 'ES256-1',
    claims,
    checks: names.map((name) => ({ name, ok: true })),
  })
  // A claim that only has the right form was compared to nothing, and the check says so.
  const { valid, checks } = await check(await sign(claims), {})
  assert.ok(valid)
  assert.deepEqual(checks.slice(-2), [
    { name: 'iss', ok: true, reason: 'No issuer was asked for' },
    { name: 'aud', ok: true, reason: 'No audience was asked for' },
  ])
  const { payload } = await jwtVerify(await sign(claims), es256.verification.key, {
    currentDate: new Date(1000_000),
    audience: 'y',
  })
  assert.deepEqual(payload, claims)
})

test('what is no JWS is invalid, never an exception', async () => {
  for (const junk of ['', 'x', 'a.b.c', '...', '{}', 5, null, undefined, {}]) {
    const verdict = await check(junk as string)
    assert.deepEqual([verdict.valid, verdict.checks.length], [false, 1])
    assert.deepEqual(Object.keys(verdict), ['valid', 'checks'])
    assert.equal(verdict.checks[0]?.name, 'format')
  }
})

test('limits of the token reach the screen', async () => {
  const token = await sign({ sub: 'a' })
  const limits = { maxTokenSize: token.length - 1 }
  assert.deepEqual(await faults(token, { limits }), ['format: The token is too large'])
})

test('a failure before the claims ends the checks and withholds the claims', async () => {
  const token = await sign({ sub: 'a' })
  const [head, body, signature = ''] = token.split('.')
  const forged = `${head}.${encode({ sub: 'b' })}.${signature}`
  const cases: [string, VerificationKey[], string][] = [
    [token, [], 'key: No key has this kid'],
    [token, [other.verification], 'key: No key has this kid'],
    [token, [{ ...rs256.verification, kid: 'ES256-1' }], 'algorithm: The key is not for ES256'],
    [token, [{ key: other.verification.key }], 'signature: The signature does not verify'],
    [forged, [es256.verification], 'signature: The signature does not verify'],
    [`${head}.${body}.`, [es256.verification], 'signature: The signature does not verify'],
    [`${head}.${body}.AAAA`, [es256.verification], 'signature: The signature does not verify'],
  ]
  for (const [text, keys, fault] of cases) {
    const verdict = await check(text, {}, keys)
    assert.deepEqual(await faults(text, {}, keys), [fault])
    assert.equal(verdict.checks.at(-1)?.ok, false)
    assert.deepEqual([verdict.kid, verdict.claims], ['ES256-1', undefined])
  }
})

test('keys are asked for by kid and algorithm', async () => {
  const asked: [string | undefined, Algorithm][] = []
  await check(await sign({}), {
    keys: (kid, alg) => {
      asked.push([kid, alg])
      return []
    },
  })
  assert.deepEqual(asked, [['ES256-1', 'ES256']])
})

test('a fault of the caller is no fault of the token', async () => {
  const keys = () => {
    throw new Error('the key list is gone')
  }
  await assert.rejects(check(await sign({}), { keys }), { message: 'the key list is gone' })
})

test('the algorithm is that of the key, whatever the header says', async () => {
  // The same Ed25519 key under two names: a token for one is none for the other.
  const token = await signCompact({ ...eddsa.signing, alg: 'Ed25519' }, {}, {})
  assert.deepEqual(await faults(token, {}, [eddsa.verification]), [
    'algorithm: The key is not for Ed25519',
  ])
  const { key, kid = '' } = eddsa.verification
  assert.deepEqual(await faults(token, {}, [{ key, kid }]), [])
  assert.deepEqual(await faults(token, {}, [{ key, kid, alg: 'Ed25519' }]), [])
})

test('an RSA key that names no algorithm serves every RSA algorithm, and nothing else', async () => {
  const { key } = rs256.verification
  for (const alg of ['RS256', 'RS512', 'PS256', 'PS384'] as const) {
    const token = await signCompact({ ...rs256.signing, alg }, {}, {})
    assert.deepEqual(await faults(token, {}, [{ key }]), [], alg)
  }
  assert.deepEqual(await faults(await sign({}), {}, [{ key }]), [
    'algorithm: The key is not for ES256',
  ])
})

test('a key that claims an algorithm it does not fit verifies nothing', async () => {
  const { key } = rs256.verification
  const screened = screenCompact(await sign({}))
  assert.equal(await verifySignature(screened, { key, alg: 'ES256' }), false)
  const secret = createSecretKey(Buffer.alloc(32))
  assert.equal(await verifySignature(screened, { key: secret, alg: 'ES256' }), false)
  // jose throws a TypeError for a private key where a public one is due.
  assert.equal(await verifySignature(screened, { key: es256.signing.key }), false)
})

function withoutKid(): string {
  const input = `${encode({ alg: 'ES256' })}.${encode({ sub: 'a' })}`
  const options = { key: es256.signing.key, dsaEncoding: 'ieee-p1363' } as const
  return `${input}.${signBytes('sha256', Buffer.from(input), options).toString('base64url')}`
}

test('a token without kid is tried against the keys that fit, up to eight', async () => {
  const token = withoutKid()
  const verdict = await check(
    token,
    {},
    [rs256, other, es256].map(({ verification }) => verification),
  )
  assert.deepEqual([verdict.valid, Object.hasOwn(verdict, 'kid')], [true, false])
  assert.deepEqual(await faults(token, {}, []), [
    'key: The token names no kid, and there is no key',
  ])
  const keys = (count: number) => [...Array(count - 1).fill(other.verification), es256.verification]
  assert.deepEqual(await faults(token, {}, keys(8)), [])
  assert.deepEqual(await faults(token, {}, keys(9)), ['algorithm: Too many keys fit the token'])
})

test('a payload that is no claims set fails once the signature has been checked', async () => {
  for (const [payload, reason] of [
    ['[]', 'The payload is not a JSON object'],
    ['null', 'The payload is not a JSON object'],
    ['"a"', 'The payload is not a JSON object'],
    ['', 'The JSON text is not valid'],
    ['{"a":1,"a":2}', 'The JSON text has a duplicate member'],
  ] as const) {
    assert.deepEqual(await faults(signPayload(payload)), [`claims: ${reason}`])
    assert.equal((await check(signPayload(payload))).claims, undefined)
  }
})

const table: [string, Record<string, unknown>, Partial<VerifyOptions>, string[]][] = [
  ['no exp, none needed', {}, {}, []],
  ['no exp where one is needed', {}, { requireExp: true }, ['exp: The token has no exp']],
  ['exp in the future', { exp: 1001 }, {}, []],
  ['exp now', { exp: 1000 }, {}, ['exp: The token has expired']],
  ['exp now, with skew', { exp: 1000 }, { skew: 1 }, []],
  ['exp just outside the skew', { exp: 940 }, { skew: 60 }, ['exp: The token has expired']],
  ['exp just inside the skew', { exp: 940.5 }, { skew: 60 }, []],
  ['exp as text', { exp: '2000' }, {}, ['exp: The exp is not a number']],
  ['exp of null', { exp: null }, {}, ['exp: The exp is not a number']],
  ['nbf now', { nbf: 1000 }, {}, []],
  ['nbf in the future', { nbf: 1001 }, {}, ['nbf: The token is not valid yet']],
  ['nbf at the edge of the skew', { nbf: 1060 }, { skew: 60 }, []],
  ['nbf past the skew', { nbf: 1061 }, { skew: 60 }, ['nbf: The token is not valid yet']],
  ['nbf as a list', { nbf: [1] }, {}, ['nbf: The nbf is not a number']],
  ['iat in the future', { iat: 9999 }, {}, []],
  ['any iss', { iss: 'x' }, {}, []],
  ['the iss wanted', { iss: 'x' }, { issuer: 'x' }, []],
  ['another iss', { iss: 'x/' }, { issuer: 'x' }, ['iss: The token is from another issuer']],
  ['no iss', {}, { issuer: 'x' }, ['iss: The token is from another issuer']],
  ['an iss that is a list', { iss: ['x'] }, { issuer: 'x' }, ['iss: The iss is not a string']],
  ['an odd iss that nobody asked about', { iss: 5 }, {}, ['iss: The iss is not a string']],
  ['any aud', { aud: ['x'] }, {}, []],
  ['the aud wanted', { aud: 'x' }, { audience: 'x' }, []],
  ['the aud among others', { aud: ['y', 'x'] }, { audience: 'x' }, []],
  ['another aud', { aud: 'xy' }, { audience: 'x' }, ['aud: The token is for another audience']],
  ['no aud', {}, { audience: 'x' }, ['aud: The token is for another audience']],
  ['an empty aud', { aud: [] }, { audience: 'x' }, ['aud: The token is for another audience']],
  [
    'a nested aud',
    { aud: [['x']] },
    { audience: 'x' },
    ['aud: The aud is not a string or a list of strings'],
  ],
  ['an odd aud', { aud: { x: 1 } }, {}, ['aud: The aud is not a string or a list of strings']],
  [
    'everything wrong at once',
    { exp: 1, nbf: 2000, iss: 'a' },
    { issuer: 'b', audience: 'c' },
    [
      'exp: The token has expired',
      'nbf: The token is not valid yet',
      'iss: The token is from another issuer',
      'aud: The token is for another audience',
    ],
  ],
]

for (const [name, claims, options, expected] of table) {
  test(`claims: ${name}`, async () => {
    const token = await sign(claims)
    assert.deepEqual(await faults(token, options), expected)
    assert.deepEqual((await check(token, options)).claims, claims)
  })
}

test('an exp beyond all numbers is no number', async () => {
  assert.deepEqual(await faults(signPayload('{"exp":1e999}')), ['exp: The exp is not a number'])
})

test('the typ compares as a media type', async () => {
  const typOf = async (typ: string | undefined, wanted: string) =>
    faults(await sign({}, { typ }), { typ: wanted })
  assert.deepEqual(await typOf('at+jwt', 'at+jwt'), [])
  assert.deepEqual(await typOf('application/AT+JWT', 'at+jwt'), [])
  assert.deepEqual(await typOf('at+jwt', 'application/at+jwt'), [])
  assert.deepEqual(await typOf('JWT', 'at+jwt'), ['typ: The typ is not at+jwt'])
  assert.deepEqual(await typOf(undefined, 'JWT'), ['typ: The typ is not JWT'])
})
