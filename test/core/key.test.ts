import assert from 'node:assert/strict'
import { createPublicKey } from 'node:crypto'
import { test } from 'node:test'
import {
  ALGORITHMS,
  type Algorithm,
  generateKeyMaterial,
  importPrivateKey,
  importPublicJwk,
  thumbprint,
  toPublicJwk,
} from '../../src/core/index.ts'
import { detailOf, problemOf } from './fixtures.ts'

// RFC 7638 section 3.1, RFC 8037 appendix A.3, RFC 9964 (the key whose seed is all zeros).
const RFC7638_N =
  '0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPeb' +
  'WKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQ' +
  'MicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2Nc' +
  'Rwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw'

test('thumbprints are those of the RFCs', async () => {
  const rsa = { kty: 'RSA', n: RFC7638_N, e: 'AQAB', alg: 'RS256', kid: '2011-04-29' }
  assert.equal(thumbprint(rsa), 'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs')

  const x = '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo'
  const okp = { kty: 'OKP', crv: 'Ed25519', x }
  assert.equal(thumbprint(okp), 'kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k')

  // The PKCS#8 form of a key ends in its seed.
  const { privateDer } = await generateKeyMaterial('ML-DSA-44')
  const zeros = Buffer.concat([privateDer.subarray(0, -32), Buffer.alloc(32)])
  const akp = createPublicKey(importPrivateKey(zeros) as never).export({ format: 'jwk' })
  assert.equal(thumbprint(akp), 'T4xl70S7MT6Zeq6r9V9fPJGVn76wfnXJ21-gyo0Gu6o')
})

test('a thumbprint covers the required members alone, in whatever order they come', async () => {
  for (const alg of ['RS256', 'ES256', 'EdDSA', 'ML-DSA-44'] satisfies Algorithm[]) {
    const { publicJwk, thumbprint: expected } = await generateKeyMaterial(alg)
    const shuffled = Object.fromEntries(Object.entries(publicJwk).reverse())
    assert.equal(thumbprint({ ...shuffled, kid: 'any', use: 'enc' }), expected)
    const member = Object.keys(ALGORITHMS[alg].material)[0] ?? ''
    assert.notEqual(thumbprint({ ...publicJwk, [member]: 'AAAA' }), expected)
  }
})

test('a key without a needed member has no thumbprint', () => {
  assert.equal(problemOf(() => thumbprint({ kty: 'RSA', n: 'AQAB' })).code, 'key_rejected')
  assert.equal(
    detailOf(() => thumbprint({ kty: 'RSA', n: 'AQAB' })),
    'The key has no e',
  )
  assert.equal(
    detailOf(() => thumbprint({ crv: 'P-256' })),
    'The key has no kty',
  )
  const unknown = detailOf(() => thumbprint({ kty: 'oct', k: 'AQAB' }))
  assert.equal(unknown, 'The key type is not supported')
})

test('a published key is built from the allow-list: nothing else gets in', () => {
  const source = {
    n: 'bg',
    e: 'AQAB',
    d: 's',
    p: 's',
    kty: 'oct',
    use: 'enc',
    kid: 'x',
    alg: 'none',
    x5c: [],
  }
  assert.deepEqual(Object.entries(toPublicJwk(source, 'RS256', 'kid-1')), [
    ['use', 'sig'],
    ['kty', 'RSA'],
    ['kid', 'kid-1'],
    ['alg', 'RS256'],
    ['n', 'bg'],
    ['e', 'AQAB'],
  ])
})

test('a published key cannot lack a member', () => {
  const problem = problemOf(() => toPublicJwk({ x: 'AA' }, 'ES256', 'kid-1'))
  assert.deepEqual([problem.code, problem.detail], ['key_rejected', 'The key has no y'])
})

test('a private key that is none is unusable, and the message says nothing about it', () => {
  const problem = problemOf(() => importPrivateKey(Buffer.from('secret bytes')))
  assert.deepEqual([problem.code, problem.detail.includes('secret')], ['key_unusable', false])
})

test('a generated key passes the screen for keys of others', async () => {
  const { publicJwk } = await generateKeyMaterial('PS256')
  assert.equal(importPublicJwk(publicJwk).alg, 'PS256')
})
