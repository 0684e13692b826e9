import assert from 'node:assert/strict'
import { test } from 'node:test'
import { importJwkSet, importPublicJwk, thumbprint, verifyToken } from '../../src/core/index.ts'

// The examples of RFC 7515 (appendices A.2 and A.3), 7517 (A.1) and 8037 (A.4) that our algorithms
// reach.

/** The claims set of RFC 7515, with its line breaks. */
const PAYLOAD =
  'eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ'

const examples = [
  {
    name: 'RFC 7515 A.2, RS256',
    jwk: {
      kty: 'RSA',
      n:
        'ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0' +
        'Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXnd' +
        'S5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5Ihl' +
        'JH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ',
      e: 'AQAB',
    },
    header: 'eyJhbGciOiJSUzI1NiJ9',
    signature:
      'cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp' +
      '5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMH' +
      'lb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w' +
      '9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw',
  },
  {
    name: 'RFC 7515 A.3, ES256',
    jwk: {
      kty: 'EC',
      crv: 'P-256',
      x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU',
      y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0',
    },
    header: 'eyJhbGciOiJFUzI1NiJ9',
    signature:
      'DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q',
  },
]

for (const { name, jwk, header, signature } of examples) {
  test(name, async () => {
    const options = { keys: () => [importPublicJwk(jwk)], now: 1300819379, skew: 0 }
    const token = `${header}.${PAYLOAD}.${signature}`
    const verdict = await verifyToken(token, options)
    assert.equal(verdict.valid, true)
    assert.deepEqual(verdict.claims, {
      iss: 'joe',
      exp: 1300819380,
      'http://example.com/is_root': true,
    })
    assert.equal((await verifyToken(token, { ...options, now: 1300819380 })).valid, false)
  })
}

test('RFC 8037 A.4, EdDSA: the signature verifies, and its payload is no claims set', async () => {
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' }
  const token =
    'eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3' +
    'AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg'
  const options = { keys: () => [importPublicJwk(jwk)], now: 0, skew: 0 }
  const { checks } = await verifyToken(token, options)
  assert.deepEqual(
    checks.map(({ name, ok }) => [name, ok]),
    [
      ['format', true],
      ['key', true],
      ['algorithm', true],
      ['signature', true],
      ['claims', false],
    ],
  )
})

test('RFC 7517 A.1: of the two keys, the one for encryption is left out', () => {
  const ec = {
    kty: 'EC',
    crv: 'P-256',
    x: 'MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4',
    y: '4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM',
    use: 'enc',
    kid: '1',
  }
  const rsa = { ...examples[0]?.jwk, alg: 'RS256', kid: '2011-04-29' }
  const { keys, ignored } = importJwkSet({ keys: [ec, rsa] })
  assert.deepEqual(
    keys.map(({ kid, alg }) => [kid, alg]),
    [['2011-04-29', 'RS256']],
  )
  assert.deepEqual(ignored, [{ index: 0, reason: 'The use of the key is not sig' }])
  assert.equal(importJwkSet({ keys: [{ ...ec, use: 'sig' }] }).keys.length, 1)
  assert.equal(thumbprint(ec).length, 43)
})
