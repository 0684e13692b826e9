import assert from 'node:assert/strict'
import { createPrivateKey, createPublicKey, verify } from 'node:crypto'
import { test } from 'node:test'
import { compactVerify, importJWK } from 'jose'
import {
  ALGORITHM_NAMES,
  ALGORITHMS,
  fits,
  generateKeyMaterial,
  isAlgorithm,
  screenCompact,
  signCompact,
  toPublicJwk,
  verifyToken,
} from '../../src/core/index.ts'
import { pairOf } from './fixtures.ts'

const WIRE_ORDER = {
  RSA: ['use', 'kty', 'kid', 'alg', 'n', 'e'],
  EC: ['use', 'kty', 'kid', 'crv', 'alg', 'x', 'y'],
  OKP: ['use', 'kty', 'kid', 'crv', 'alg', 'x'],
  AKP: ['use', 'kty', 'kid', 'alg', 'pub'],
}

test('the table has the algorithms that the product names, and no other', () => {
  assert.deepEqual([...ALGORITHM_NAMES].sort(), [
    'ES256',
    'ES384',
    'ES512',
    'Ed25519',
    'EdDSA',
    'ML-DSA-44',
    'ML-DSA-65',
    'ML-DSA-87',
    'PS256',
    'PS384',
    'PS512',
    'RS256',
    'RS384',
    'RS512',
  ])
  for (const name of ['none', 'None', 'HS256', 'rs256', 'toString', '__proto__', '']) {
    assert.equal(isAlgorithm(name), false, name)
  }
  assert.equal(isAlgorithm('Ed25519'), true)
})

test('RSA keys are made ahead, and only ML-DSA is post-quantum', () => {
  for (const alg of ALGORITHM_NAMES) {
    assert.equal(ALGORITHMS[alg].generatedAhead, /^[RP]S/.test(alg), alg)
    assert.equal(ALGORITHMS[alg].postQuantum, alg.startsWith('ML-DSA'), alg)
  }
})

for (const alg of ALGORITHM_NAMES) {
  test(`${alg}: what we sign verifies here, with jose and with node`, async () => {
    const { signing, verification, publicJwk } = await pairOf(alg)
    const token = await signCompact(signing, { typ: 'JWT' }, { sub: 'job-1' })
    const screened = screenCompact(token)

    const verdict = await verifyToken(token, { keys: () => [verification], now: 0, skew: 0 })
    assert.deepEqual([verdict.valid, verdict.claims], [true, { sub: 'job-1' }])

    const byJose = await compactVerify(token, await importJWK({ ...publicJwk }))
    assert.deepEqual(byJose.protectedHeader, { alg, kid: `${alg}-1`, typ: 'JWT' })

    const { hash, options } = ALGORITHMS[alg]
    const key = createPublicKey({ key: { ...publicJwk }, format: 'jwk' })
    const input = Buffer.from(screened.signingInput)
    assert.ok(verify(hash, input, { key, ...options }, screened.signature))
  })

  test(`${alg}: a generated key has its size, its wire order and no private member`, async () => {
    const material = await generateKeyMaterial(alg)
    const { kty, crv, nodeType } = ALGORITHMS[alg]
    const order = WIRE_ORDER[kty]
    const jwk = toPublicJwk(material.publicJwk, alg, 'a')
    assert.deepEqual(Object.keys(jwk), order)
    assert.deepEqual(
      Object.keys(material.publicJwk),
      order.filter((member) => member !== 'kid'),
    )
    assert.deepEqual([jwk.use, jwk.kty, jwk.crv, jwk.alg, jwk.kid], ['sig', kty, crv, alg, 'a'])

    const der = Buffer.from(material.privateDer)
    const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
    assert.equal(key.asymmetricKeyType, nodeType)
    assert.ok(fits(key, alg))
    if (kty !== 'RSA') return
    assert.equal(key.asymmetricKeyDetails?.modulusLength, 2048)
    assert.equal(key.asymmetricKeyDetails?.publicExponent, 65537n)
  })
}

test('a key fits the algorithms of its own type and curve only', async () => {
  const { verification } = await pairOf('ES256')
  const fitting = ALGORITHM_NAMES.filter((alg) => fits(verification.key, alg))
  assert.deepEqual(fitting, ['ES256'])
  const ed25519 = (await pairOf('EdDSA')).verification.key
  assert.deepEqual(
    ALGORITHM_NAMES.filter((alg) => fits(ed25519, alg)),
    ['EdDSA', 'Ed25519'],
  )
})
