import assert from 'node:assert/strict'
import {
  createPublicKey,
  ECDH,
  generateKeyPairSync,
  type KeyObject,
  X509Certificate,
} from 'node:crypto'
import { test } from 'node:test'
import { rootCertificates } from 'node:tls'
import { MAX_PEM_SIZE, signCompact, verifyToken } from '../../src/core/index.ts'
import {
  checkCaCertificates,
  MAX_CERTIFICATES,
  MAX_CERTIFICATES_SIZE,
  MAX_KEYS,
  parseStaticKeys,
} from '../../src/identities/static-keys.ts'
import { detailOf, pairOf, problemOf } from '../core/fixtures.ts'

// Identity contract, section 2.1.

const pem = (key: KeyObject, type: 'spki' | 'pkcs1' | 'pkcs8' | 'sec1') =>
  key.export({ format: 'pem', type: type as 'spki' }).toString()
const block = (label: string, der: Uint8Array) => {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}
const ecPair = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve })
const rsaPair = (modulusLength: number, publicExponent = 65537) =>
  generateKeyPairSync('rsa', { modulusLength, publicExponent })

const rsa = rsaPair(2048)
const ec = ecPair('P-256')
const ed = generateKeyPairSync('ed25519')
const spki = pem(ec.publicKey, 'spki')
const der = ec.publicKey.export({ format: 'der', type: 'spki' })
const [root = '', otherRoot = ''] = rootCertificates

const BLOCK = 'Expected exactly one PEM block, labelled PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE'

const ACCEPTED: [what: string, text: string, key: KeyObject][] = [
  ['RSA', pem(rsa.publicKey, 'spki'), rsa.publicKey],
  ['RSA as PKCS#1', pem(rsa.publicKey, 'pkcs1'), rsa.publicKey],
  ['P-256', spki, ec.publicKey],
  ...['P-384', 'P-521'].map((curve): [string, string, KeyObject] => {
    const { publicKey } = ecPair(curve)
    return [curve, pem(publicKey, 'spki'), publicKey]
  }),
  ['Ed25519', pem(ed.publicKey, 'spki'), ed.publicKey],
  ['a certificate', root, new X509Certificate(root).publicKey],
  ['CRLF and white space around', `\r\n ${spki.replaceAll('\n', '\r\n')}\t\n`, ec.publicKey],
  ['no final newline', spki.trim(), ec.publicKey],
]

for (const [what, text, key] of ACCEPTED) {
  test(`section 2.1: ${what} is accepted, for every algorithm of its kind`, () => {
    const [parsed, ...others] = parseStaticKeys([text])
    assert.deepEqual(Object.keys(parsed ?? {}), ['key'])
    assert.ok(parsed?.key.equals(key))
    assert.equal(parsed?.key.type, 'public')
    assert.equal(others.length, 0)
  })
}

test('section 2.1: a compressed point is the same key', () => {
  const point = ECDH.convertKey(der.subarray(-65), 'prime256v1', undefined, undefined, 'compressed')
  const head = Buffer.from(der.subarray(0, -65))
  // The lengths of the whole and of the bit string.
  for (const at of [1, 24]) head.writeUInt8(head.readUInt8(at) - 32, at)
  const [parsed] = parseStaticKeys([block('PUBLIC KEY', Buffer.concat([head, Buffer.from(point)]))])
  assert.deepEqual(parsed?.key.export({ format: 'jwk' }), ec.publicKey.export({ format: 'jwk' }))
})

const REFUSED: [what: string, text: string, reason: string][] = [
  // What upstream's verifier would take for an HMAC secret.
  ['text', 'just a secret', BLOCK],
  ['nothing', '', BLOCK],
  ['base64 without its armour', der.toString('base64'), BLOCK],
  ['a private key', pem(rsa.privateKey, 'pkcs8'), BLOCK],
  ['a private key, PKCS#1', pem(rsa.privateKey, 'pkcs1'), BLOCK],
  ['a private key, SEC 1', pem(ec.privateKey, 'sec1'), BLOCK],
  ['two blocks', spki + pem(ed.publicKey, 'spki'), BLOCK],
  ['two of the same', spki + spki, BLOCK],
  ['a private key behind a public one', spki + pem(ec.privateKey, 'pkcs8'), BLOCK],
  ['a certificate behind a key', spki + root, BLOCK],
  ['words before', `Subject: x\n${spki}`, BLOCK],
  ['words behind', `${spki}x`, BLOCK],
  ['headers in the block', spki.replace('\n', '\nProc-Type: 4,ENCRYPTED\n\n'), BLOCK],
  ['labels that differ', spki.replace('END PUBLIC', 'END RSA PUBLIC'), BLOCK],
  ['another label', block('EC PUBLIC KEY', der), BLOCK],
  ['small letters', spki.toLowerCase(), BLOCK],
  ['escaped newlines', spki.replaceAll('\n', '\\n'), BLOCK],
  ['no end', spki.slice(0, -10), BLOCK],
  [
    'a private key under the label of a public one',
    block('PUBLIC KEY', ec.privateKey.export({ format: 'der', type: 'pkcs8' })),
    'The block is no public key',
  ],
  [
    'a private key under the label of PKCS#1, which Node would take',
    block('RSA PUBLIC KEY', rsa.privateKey.export({ format: 'der', type: 'pkcs1' })),
    'The block is no rsa public key',
  ],
  [
    'SPKI under the label of PKCS#1',
    block('RSA PUBLIC KEY', rsa.publicKey.export({ format: 'der', type: 'spki' })),
    'The block is no rsa public key',
  ],
  [
    'PKCS#1 under the label of SPKI',
    block('PUBLIC KEY', rsa.publicKey.export({ format: 'der', type: 'pkcs1' })),
    'The block is no public key',
  ],
  ['a key as certificate', block('CERTIFICATE', der), 'The block is no certificate'],
  [
    'a key with more behind it',
    block('PUBLIC KEY', Buffer.concat([der, Buffer.from('more')])),
    'The block is no public key',
  ],
  ['a broken body', block('PUBLIC KEY', der.subarray(0, 40)), 'The block is no public key'],
  ['no base64', spki.replace('MF', '=='), 'The block is no public key'],
  [
    'RSA of 1024 bits',
    pem(rsaPair(1024).publicKey, 'spki'),
    'The RSA modulus has fewer than 2048 bits',
  ],
  [
    'RSA with exponent 3',
    pem(rsaPair(2048, 3).publicKey, 'spki'),
    'The RSA exponent is not an odd number from 65537 to 2^64',
  ],
  [
    'RSA-PSS',
    pem(generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).publicKey, 'spki'),
    'The key type is not RSA, EC or Ed25519',
  ],
  [
    'secp256k1',
    pem(ecPair('secp256k1').publicKey, 'spki'),
    'The key type or curve is not supported',
  ],
  [
    'a curve that JWK does not know',
    pem(ecPair('brainpoolP256r1').publicKey, 'spki'),
    'The curve is not P-256, P-384 or P-521',
  ],
  [
    'Ed448',
    pem(generateKeyPairSync('ed448').publicKey, 'spki'),
    'The key type is not RSA, EC or Ed25519',
  ],
  [
    'X25519',
    pem(generateKeyPairSync('x25519').publicKey, 'spki'),
    'The key type is not RSA, EC or Ed25519',
  ],
  [
    'ML-DSA',
    pem(generateKeyPairSync('ml-dsa-44').publicKey, 'spki'),
    'The key type is not RSA, EC or Ed25519',
  ],
  [
    'a long text',
    ' '.repeat(MAX_PEM_SIZE) + spki,
    `The text has more than ${MAX_PEM_SIZE} characters`,
  ],
]

for (const [what, text, reason] of REFUSED) {
  test(`section 2.1: ${what}: refused, by its index, without its content`, () => {
    const problem = problemOf(() => parseStaticKeys([spki, text, 'never read']))
    assert.equal(problem.status, 400)
    assert.equal(problem.detail, `publicKeys[1]: ${reason}`)
    assert.doesNotMatch(`${problem.stack} ${problem.cause}`, /MII|MFk|secret|BEGIN/)
  })
}

test('section 2.1: weak keys are refused as in a set', () => {
  const n = Buffer.from((3n ** 1292n).toString(16), 'hex').toString('base64url')
  const threes = createPublicKey({ key: { kty: 'RSA', n, e: 'AQAB' }, format: 'jwk' })
  const detail = detailOf(() => parseStaticKeys([pem(threes, 'spki')]))
  assert.equal(detail, 'publicKeys[0]: The key is weak: the modulus has a small prime factor')
  const point = Buffer.alloc(32)
  point.writeUInt8(1, 0)
  const head = ed.publicKey.export({ format: 'der', type: 'spki' }).subarray(0, -32)
  const neutral = block('PUBLIC KEY', Buffer.concat([head, point]))
  assert.match(
    detailOf(() => parseStaticKeys([neutral])),
    /small order/,
  )
})

test(`at most ${MAX_KEYS} keys`, () => {
  const keys = (length: number) => Array.from({ length }, () => spki)
  assert.equal(parseStaticKeys(keys(MAX_KEYS)).length, MAX_KEYS)
  assert.equal(
    detailOf(() => parseStaticKeys(keys(MAX_KEYS + 1))),
    `publicKeys: at most ${MAX_KEYS} keys`,
  )
  assert.deepEqual(parseStaticKeys([]), [])
})

test('what fails for another reason than the text is not taken for a refusal', () => {
  assert.throws(() => parseStaticKeys([null as never]), TypeError)
})

test('a parsed key verifies tokens of its owner and nobody else', async () => {
  const [own, other] = [await pairOf('ES256'), await pairOf('ES256', 'another')]
  const keys = parseStaticKeys([pem(own.verification.key, 'spki')])
  const isValid = async (signing: typeof own.signing) => {
    const token = await signCompact(signing, {}, { sub: 'x' })
    return (await verifyToken(token, { now: 0, skew: 0, keys: () => keys })).valid
  }
  assert.equal(await isValid(own.signing), true)
  assert.equal(await isValid(other.signing), false)
})

// jwksCaCert -------------------------------------------------------------------------------------------

const CA_ACCEPTED: [what: string, text: string][] = [
  ['one', root],
  ['trimmed', root.trim()],
  ['two', `${root}\n${otherRoot}`],
  ['CRLF', root.replaceAll('\n', '\r\n')],
  ['words around', `Issuer: x\n${root}\n# another\n${otherRoot}\nend`],
]

for (const [what, text] of CA_ACCEPTED) {
  test(`section 2, jwksCaCert: ${what} is accepted`, () => checkCaCertificates(text))
}

const NOTHING_ELSE = 'jwksCaCert: expected PEM certificates and nothing else'
const CA_REFUSED: [what: string, text: string, reason: string][] = [
  ['nothing', '', NOTHING_ELSE],
  ['text', 'certificate', NOTHING_ELSE],
  ['a key', spki, NOTHING_ELSE],
  ['a private key', pem(ec.privateKey, 'pkcs8'), NOTHING_ELSE],
  ['a private key behind it', `${root}\n${pem(ec.privateKey, 'pkcs8')}`, NOTHING_ELSE],
  ['half a block behind it', `${root}\n${root.slice(0, 200)}`, NOTHING_ELSE],
  ['another label', block('TRUSTED CERTIFICATE', Buffer.from('x')), NOTHING_ELSE],
  [
    'a key in the second block',
    `${root}\n${block('CERTIFICATE', der)}`,
    'jwksCaCert: certificate 1 cannot be read',
  ],
  [
    'too many',
    Array.from({ length: MAX_CERTIFICATES + 1 }, () => root).join('\n'),
    `jwksCaCert: at most ${MAX_CERTIFICATES} certificates`,
  ],
  [
    'too long',
    root + ' '.repeat(MAX_CERTIFICATES_SIZE),
    `jwksCaCert: at most ${MAX_CERTIFICATES_SIZE} characters`,
  ],
]

for (const [what, text, reason] of CA_REFUSED) {
  test(`section 2, jwksCaCert: ${what} is refused, without its content`, () => {
    const problem = problemOf(() => checkCaCertificates(text))
    assert.equal(problem.status, 400)
    assert.equal(problem.detail, reason)
  })
}
