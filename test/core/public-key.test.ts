import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Algorithm, importJwkSet, importPublicJwk, weaknessOf } from '../../src/core/index.ts'
import { detailOf, pairOf, problemOf } from './fixtures.ts'

const rsa = (await pairOf('RS256')).publicJwk
const ec = (await pairOf('ES256')).publicJwk
const okp = (await pairOf('EdDSA')).publicJwk
const akp = (await pairOf('ML-DSA-44')).publicJwk
const without = (jwk: object, name: string) =>
  Object.fromEntries(Object.entries(jwk).filter(([each]) => each !== name))
const number = (value: bigint) => {
  const digits = value.toString(16)
  return Buffer.from(digits.padStart(digits.length + (digits.length % 2), '0'), 'hex').toString(
    'base64url',
  )
}
const modulus = BigInt(`0x${Buffer.from(rsa.n ?? '', 'base64url').toString('hex')}`)

test('a key keeps its alg and kid, and only what it has', () => {
  const bound = importPublicJwk(ec)
  assert.deepEqual([bound.alg, bound.kid], ['ES256', 'ES256-1'])
  const bare = importPublicJwk({ kty: 'EC', crv: 'P-256', x: ec.x, y: ec.y })
  assert.deepEqual(Object.keys(bare), ['key'])
  assert.ok(bound.key.equals(bare.key))
})

test('a key without alg can be bound to one that fits', () => {
  assert.equal(importPublicJwk(without(rsa, 'alg'), 'PS512').alg, 'PS512')
  assert.equal(importPublicJwk(without(okp, 'alg'), 'Ed25519').alg, 'Ed25519')
  assert.equal(importPublicJwk(without(akp, 'alg'), 'ML-DSA-44').alg, 'ML-DSA-44')
  assert.equal(importPublicJwk(rsa, 'RS256').alg, 'RS256')
})

test('extensions of a key are ignored, and so are members of other key types', () => {
  const key = importPublicJwk({ ...ec, x5c: ['MII'], ext: true, n: 'AQAB', key_ops: ['verify'] })
  assert.ok(key.key.equals(importPublicJwk(ec).key))
  assert.ok(importPublicJwk({ ...rsa, crv: 'P-256' }))
})

const AKP_LENGTH = 'The pub of the key does not have 1312 bytes'
const RSA_EXPONENT = 'The RSA exponent is not an odd number from 65537 to 2^64'
const refusals: [string, unknown, string, Algorithm?][] = [
  ['null', null, 'The key is not a JSON object'],
  ['an array', [ec], 'The key is not a JSON object'],
  ['text', 'ec', 'The key is not a JSON object'],
  ['a symmetric key', { kty: 'oct', k: 'AAAA' }, 'Symmetric keys are not accepted'],
  ['an EC private key', { ...ec, d: 'AAAA' }, 'The key has private members'],
  ['an RSA key with a prime', { ...rsa, p: 'AAAA' }, 'The key has private members'],
  ['an AKP private key', { ...akp, priv: 'AAAA' }, 'The key has private members'],
  ['a key for encryption', { ...rsa, use: 'enc' }, 'The use of the key is not sig'],
  [
    'key_ops of another kind',
    { ...rsa, key_ops: ['sign'] },
    'The key_ops of the key do not contain verify',
  ],
  [
    'key_ops that are text',
    { ...rsa, key_ops: 'verify' },
    'The key_ops of the key do not contain verify',
  ],
  ['key_ops that repeat', { ...rsa, key_ops: ['verify', 'verify'] }, 'The key_ops repeat a value'],
  [
    'a kid that is a number',
    { ...ec, kid: 1 },
    'The kid of the key is not a string of at most 512 characters',
  ],
  [
    'a long kid',
    { ...ec, kid: 'k'.repeat(513) },
    'The kid of the key is not a string of at most 512 characters',
  ],
  ['an unknown alg', { ...ec, alg: 'ES256K' }, 'The alg is not supported'],
  ['an alg that is a number', { ...ec, alg: 5 }, 'The alg is not supported'],
  ['an alg from the prototype', { ...ec, alg: 'constructor' }, 'The alg is not supported'],
  ['another alg than asked for', rsa, 'The key is not for PS256', 'PS256'],
  ['an alg of another type', { ...ec, alg: 'RS256' }, 'The key does not fit RS256'],
  ['an alg of another curve', { ...ec, alg: 'ES384' }, 'The key does not fit ES384'],
  ['an unknown type', { kty: 'XYZ' }, 'The key type or curve is not supported'],
  [
    'an unknown curve',
    { ...without(ec, 'alg'), crv: 'secp256k1' },
    'The key type or curve is not supported',
  ],
  ['X25519', { kty: 'OKP', crv: 'X25519', x: okp.x }, 'The key type or curve is not supported'],
  ['AKP without alg', without(akp, 'alg'), 'A key of type AKP needs an alg'],
  ['AKP of another size', { ...akp, alg: 'ML-DSA-44', pub: 'AAAA' }, AKP_LENGTH],
  ['a missing member', without(ec, 'y'), 'The y of the key is not exact base64url'],
  ['an empty member', { ...ec, y: '' }, 'The y of the key is not exact base64url'],
  ['padding', { ...ec, x: `${ec.x}=` }, 'The x of the key is not exact base64url'],
  ['whitespace', { ...okp, x: ` ${okp.x}` }, 'The x of the key is not exact base64url'],
  ['a short coordinate', { ...ec, x: ec.x?.slice(4) }, 'The x of the key does not have 32 bytes'],
  [
    'a point off the curve',
    { ...ec, x: ec.y, y: ec.x },
    'The key is not valid, such as a point off its curve',
  ],
  ['a small exponent', { ...rsa, e: 'Aw' }, RSA_EXPONENT],
  ['an exponent of 1', { ...rsa, e: 'AQ' }, RSA_EXPONENT],
  ['an even exponent', { ...rsa, e: 'AQAC' }, RSA_EXPONENT],
  ['a huge exponent', { ...rsa, e: number(2n ** 64n + 1n) }, RSA_EXPONENT],
  ['leading zeros in the exponent', { ...rsa, e: 'AAEAAQ' }, 'An RSA number has leading zeros'],
  [
    'leading zeros in the modulus',
    { ...rsa, n: `AAAA${rsa.n}` },
    'An RSA number has leading zeros',
  ],
  [
    'a short modulus',
    { ...rsa, n: number(modulus >> 1n) },
    'The RSA modulus has fewer than 2048 bits',
  ],
  [
    'a long modulus',
    { ...rsa, n: number(2n ** 8192n + 1n) },
    'The RSA modulus has more than 8192 bits',
  ],
  [
    'a very long modulus',
    { ...rsa, n: number(2n ** 20000n + 1n) },
    'The RSA modulus has more than 8192 bits',
  ],
  [
    'an even modulus',
    { ...rsa, n: number(modulus - 1n) },
    'The key is weak: the modulus has a small prime factor',
  ],
]

for (const [name, jwk, reason, alg] of refusals) {
  test(`refused: ${name}`, () => {
    const problem = problemOf(() => importPublicJwk(jwk, alg))
    assert.deepEqual([problem.code, problem.detail], ['key_rejected', reason])
  })
}

test('no bit is too many: the largest modulus that OpenSSL takes is taken', () => {
  // Primality is not ours to judge; the smallest odd candidate without small factors will do.
  let n = 2n ** 8192n - 1n
  while (weaknessOf(n) !== undefined) n -= 2n
  assert.equal(importPublicJwk({ ...rsa, n: number(n) }).alg, 'RS256')
})

const modularPower = (base: bigint, exponent: bigint, prime: bigint): bigint => {
  let power = 1n
  for (let b = base % prime, e = exponent; e > 0n; e >>= 1n, b = (b * b) % prime) {
    if (e & 1n) power = (power * b) % prime
  }
  return power
}
const nextPrime = (from: bigint): bigint => {
  let n = from | 1n
  while (modularPower(3n, n - 1n, n) !== 1n) n += 2n
  return n
}

test('factors that lie close together are found', () => {
  const p = nextPrime(2n ** 1023n + 2n ** 1022n)
  const q = nextPrime(p + 2n ** 500n)
  assert.equal(weaknessOf(p * q), 'the factors of the modulus are too close together')
  assert.equal(weaknessOf(p * p), 'the factors of the modulus are too close together')
  assert.equal(weaknessOf(p * nextPrime(p + 2n ** 900n)), undefined)
})

test('moduli with the structure of ROCA keys are found', () => {
  // Factors of the form k·M + 65537^a mod M, M the product of small primes, as the flawed chips
  // made them.
  const primes = [
    3n,
    5n,
    7n,
    11n,
    13n,
    17n,
    19n,
    23n,
    29n,
    31n,
    37n,
    41n,
    43n,
    47n,
    53n,
    59n,
    61n,
    67n,
  ]
  const more = [71n, 73n, 79n, 83n, 89n, 97n, 101n, 103n, 107n, 109n, 113n, 127n, 131n, 137n, 139n]
  const all = [...primes, ...more, 149n, 151n, 157n, 163n, 167n]
  const product = all.reduce((left, right) => left * right, 2n)
  const factor = (k: bigint, power: bigint) => k * product + modularPower(65537n, power, product)
  const flawed = [...Array(40).keys()].map((i) => {
    const k = 2n ** 800n + BigInt(i) * 982451653n
    return weaknessOf(factor(k, 11n) * factor(k * 3n + 1n, 29n + BigInt(i)))
  })
  // Here the factors are no primes, so some have a small factor above 167 and are refused for that.
  assert.ok(flawed.every((weakness) => weakness !== undefined))
  assert.ok(flawed.includes('the modulus has the ROCA fingerprint (CVE-2017-15361)'))
})

const SMALL_ORDER = [
  '0100000000000000000000000000000000000000000000000000000000000000',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0000000000000000000000000000000000000000000000000000000000000080',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85',
]

const P25519 = 2n ** 255n - 19n
const D25519 = 37095705934669439343138083508754565189542113879843219016388785533085940283555n
const modulo = (value: bigint) => ((value % P25519) + P25519) % P25519
/** y of 2·(x, y) on edwards25519, by the addition law; x² follows from y. */
const doubled = (y: bigint): bigint => {
  const inverse = (value: bigint) => modularPower(modulo(value), P25519 - 2n, P25519)
  const xx = modulo((y * y - 1n) * inverse(D25519 * y * y + 1n))
  return modulo((y * y + xx) * inverse(1n - D25519 * xx * y * y))
}

for (const point of SMALL_ORDER) {
  test(`an Ed25519 key of small order is refused: ${point.slice(0, 4)}…${point.slice(-2)}`, () => {
    const bytes = Buffer.from(point, 'hex')
    const y = BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`) & (2n ** 255n - 1n)
    assert.equal(doubled(doubled(doubled(y))), 1n)
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: bytes.toString('base64url') }
    const detail = detailOf(() => importPublicJwk(jwk))
    assert.equal(detail, 'The key is weak: a point of small order')
  })
}

test('an Ed25519 key that is not canonical is refused', () => {
  const x = Buffer.from(`f0${'ff'.repeat(30)}7f`, 'hex').toString('base64url')
  const detail = detailOf(() => importPublicJwk({ kty: 'OKP', crv: 'Ed25519', x }))
  assert.equal(detail, 'The point of the key is not canonical')
})

test('a set keeps what it can use and says why the rest is left out', () => {
  const { keys, ignored } = importJwkSet({ keys: [ec, { kty: 'oct', k: 'AA' }, rsa, { kty: 'X' }] })
  assert.deepEqual(
    keys.map(({ kid }) => kid),
    ['ES256-1', 'RS256-1'],
  )
  assert.deepEqual(ignored, [
    { index: 1, reason: 'Symmetric keys are not accepted' },
    { index: 3, reason: 'The key type or curve is not supported' },
  ])
})

test('keys that share a kid are left out, and the others stay', () => {
  const { keys, ignored } = importJwkSet({ keys: [ec, { ...rsa, kid: ec.kid }, okp] })
  assert.deepEqual(
    keys.map(({ kid }) => kid),
    ['EdDSA-1'],
  )
  const reason = 'Another key of the set has the same kid'
  assert.deepEqual(ignored, [
    { index: 0, reason },
    { index: 1, reason },
  ])
})

test('an unusable key takes no kid away from a usable one', () => {
  const { keys } = importJwkSet({ keys: [{ kty: 'oct', k: 'AA', kid: ec.kid }, ec] })
  assert.equal(keys.length, 1)
})

test('a set that is none, or too large, is refused whole', () => {
  assert.equal(
    detailOf(() => importJwkSet({ keys: [ec, rsa] }, 1)),
    'The set has more than 1 keys',
  )
  assert.equal(
    detailOf(() => importJwkSet({ keys: {} })),
    'The set has no array of keys',
  )
  assert.equal(
    detailOf(() => importJwkSet([ec])),
    'The set has no array of keys',
  )
})

test("a fault that is not the key's is not hidden", () => {
  const failing = Object.defineProperty({ ...ec }, 'kty', {
    get: () => {
      throw new Error('not the key')
    },
  })
  assert.throws(() => importJwkSet({ keys: [failing] }), { message: 'not the key' })
})

test('several keys without kid are no ambiguity', () => {
  assert.equal(importJwkSet({ keys: [without(ec, 'kid'), without(rsa, 'kid')] }).keys.length, 2)
})
