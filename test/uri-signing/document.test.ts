import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkDocument, MAX_DOCUMENT } from '../../src/uri-signing/document.ts'
import { problemOf } from '../core/fixtures.ts'
import { bytesOf, documentWith, KEYS, oct, opened, refusalOf, STUDIO_A } from './key-documents.ts'

// Contract sections 5 and 6.1: what Traffic Ops accepts, and in which words it refuses.

const key = oct('a')
const set = { renewal_kid: 'a', keys: [key] }
const MALFORMED = 'malformed JSON'
const NO_ALG = 'invalid keyset: A Key has no algorithm, alg, specified'
const NO_KID = 'invalid keyset: A Key has no key id, kid, specified'
const NO_RENEWAL = 'invalid keyset: No renewal_kid was found in any keyset'
const UNMATCHED = 'invalid keyset: No key was found with a kid that matches the renewal kid'

const REFUSED: [row: string, document: unknown, refusal: string][] = [
  ['issuer name not empty', { '': set }, 'invalid keyset: JSON Keyset has no issuer'],
  ['alg missing', documentWith([{ ...key, alg: undefined }]), NO_ALG],
  ['alg empty', documentWith([{ ...key, alg: '' }]), NO_ALG],
  ['alg null counts as empty', documentWith([{ ...key, alg: null }]), NO_ALG],
  ['kid missing', documentWith([{ ...key, kid: undefined }]), NO_KID],
  ['kid empty', documentWith([{ ...key, kid: '' }]), NO_KID],
  ['alg comes before kid', documentWith([{ ...key, kid: '', alg: '' }]), NO_ALG],
  [
    'issuer comes before its keys',
    { '': { keys: [{ ...key, alg: '' }] } },
    'invalid keyset: JSON Keyset has no issuer',
  ],
  ['keys come before renewal_kid', { i: { keys: [{ ...key, alg: '' }] } }, NO_ALG],
  ['no renewal_kid', { i: { keys: [key] } }, NO_RENEWAL],
  ['renewal_kid null counts as absent', { i: { renewal_kid: null, keys: [key] } }, NO_RENEWAL],
  ['renewal_kid as a number counts as absent', { i: { renewal_kid: 1, keys: [key] } }, NO_RENEWAL],
  ['{}', {}, NO_RENEWAL],
  ['null', null, NO_RENEWAL],
  [
    'two renewal_kid',
    { i: set, j: set },
    'invalid keyset: More than one renewal_kid was found in the keysets',
  ],
  [
    'renewal_kid of another issuer',
    { i: { renewal_kid: 'b', keys: [key] }, j: { keys: [oct('b')] } },
    UNMATCHED,
  ],
  ['renewal_kid matches nothing', { i: { renewal_kid: 'b', keys: [key] } }, UNMATCHED],
  ['renewal_kid in a set with no keys', { i: { renewal_kid: 'b', keys: [] } }, UNMATCHED],
  ['renewal_kid in a set whose keys are null', { i: { renewal_kid: 'b', keys: null } }, UNMATCHED],
  ['renewal_kid empty', { i: { renewal_kid: '', keys: [key] } }, UNMATCHED],
  ['the empty document', '{"renewal_kid":null,"keys":null}', MALFORMED],
  ['an array', [], MALFORMED],
  ['a string', '"text"', MALFORMED],
  ['nothing', '', MALFORMED],
  ['not JSON', '{', MALFORMED],
  ['more than one value', '{} {}', MALFORMED],
  ['a trailing comma', '{"a":{},}', MALFORMED],
  ['a byte order mark', '\ufeff{}', MALFORMED],
  ['a set that is an array', { i: [] }, MALFORMED],
  ['a set that is a string', { i: 'keys' }, MALFORMED],
  ['a set that is a number', { i: 1 }, MALFORMED],
  ['a set that is null', { i: null }, MALFORMED],
  ['an empty set', { i: {} }, MALFORMED],
  ['keys as an object', { i: { keys: {} } }, MALFORMED],
  ['keys as text', { i: { keys: 'a' } }, MALFORMED],
  ['a key that is null', documentWith([key, null]), MALFORMED],
  ['a key that is text', documentWith([key, 'a']), MALFORMED],
  ['kty missing', documentWith([{ ...key, kty: undefined }]), MALFORMED],
  ['kty unknown', documentWith([{ ...key, kty: 'AKP' }]), MALFORMED],
  ['kty of a prototype', documentWith([{ ...key, kty: 'constructor' }]), MALFORMED],
  ['kty in other case', documentWith([{ ...key, kty: 'OCT' }]), MALFORMED],
  ['oct without k', documentWith([{ ...key, k: undefined }]), MALFORMED],
  ['RSA without n', documentWith([{ ...KEYS['RS256'], n: undefined }]), MALFORMED],
  ['RSA without e', documentWith([{ ...KEYS['RS256'], e: undefined }]), MALFORMED],
  ['EC without crv', documentWith([{ ...KEYS['ES256'], crv: undefined }]), MALFORMED],
  ['EC without x', documentWith([{ ...KEYS['ES256'], x: undefined }]), MALFORMED],
  ['EC without y', documentWith([{ ...KEYS['ES256'], y: undefined }]), MALFORMED],
  ['OKP without crv', documentWith([{ kty: 'OKP', alg: 'EdDSA', kid: 'a', x: 'AA' }]), MALFORMED],
  [
    'OKP without x',
    documentWith([{ kty: 'OKP', alg: 'EdDSA', kid: 'a', crv: 'Ed25519' }]),
    MALFORMED,
  ],
  ['kid as a number', documentWith([{ ...key, kid: 1 }]), MALFORMED],
  ['alg as a number', documentWith([{ ...key, alg: 1 }]), MALFORMED],
  ['use as an array', documentWith([{ ...key, use: ['sig'] }]), MALFORMED],
  ['k as a number', documentWith([{ ...key, k: 1 }]), MALFORMED],
  ['k that is no base64', documentWith([{ ...key, k: 'a b!' }]), MALFORMED],
  ['k of an impossible length', documentWith([{ ...key, k: 'AAAAA' }]), MALFORMED],
  ['k of two alphabets', documentWith([{ ...key, k: 'a-b+' }]), MALFORMED],
  ['k badly padded', documentWith([{ ...key, k: 'AAA==' }]), MALFORMED],
  ['n that is no base64', documentWith([{ ...KEYS['RS256'], n: '$$' }]), MALFORMED],
  ['a number beyond a double', '{"i":{"keys":[],"x":1e999}}', MALFORMED],
]

for (const [row, document, refusal] of REFUSED) {
  test(`section 6.1: ${row}`, () => {
    assert.equal(refusalOf(document, 'compat'), refusal)
    assert.equal(refusalOf(document, 'strict'), refusal)
  })
}

const STORED: [row: string, document: unknown][] = [
  ['the document of section 6', STUDIO_A],
  ['any alg text', documentWith([{ ...key, alg: 'whatever' }])],
  ['k in base64url', documentWith([{ ...key, k: 'a-_A' }])],
  ['k in standard base64', documentWith([{ ...key, k: 'a+/A' }])],
  ['k in padded base64url', documentWith([{ ...key, k: 'a-A=' }])],
  ['k in padded base64', documentWith([{ ...key, k: '/w==' }])],
  ['k with line breaks', documentWith([{ ...key, k: 'AAAA\nAAAA' }])],
  ['k empty', documentWith([{ ...key, k: '' }])],
  ['a bare JWK', { i: { ...key, renewal_kid: 'a' } }],
  ['public-only keys', documentWith([key, { ...KEYS['ES256'], d: undefined }])],
  [
    'unknown members',
    documentWith([{ ...key, key_ops: ['sign'], nbf: 1, x5c: [] }], { other: [1] }),
  ],
  [
    'renewal_kid of another type beside a good one',
    { i: set, j: { renewal_kid: 7, keys: [oct('j')] } },
  ],
  ['white space around it', `\n\t ${JSON.stringify(STUDIO_A)} \r\n`],
]

for (const [row, document] of STORED) {
  test(`section 6.1, stored: ${row}`, () => {
    assert.equal(refusalOf(document, 'compat'), undefined)
  })
}

test('section 5: issuer names are ordinary data, and keep their order', () => {
  const names = ['zeta', '42', '__proto__', 'constructor', 'alerts', '7', 'toString']
  const members = names.map((name, at) =>
    [JSON.stringify(name), JSON.stringify(at === 0 ? set : { keys: [oct(`k${at}`)] })].join(':'),
  )
  for (const mode of ['strict', 'compat'] as const) {
    const { issuers, renewal } = opened(`{${members.join(',')}}`, mode)
    assert.deepEqual([...issuers.keys()], names)
    assert.equal(issuers.get('__proto__')?.keys[0]?.kid, 'k2')
    assert.equal(renewal.issuer, 'zeta')
  }
  assert.equal(Object.getPrototypeOf({}), Object.prototype)
})

test('section 6.1: duplicate members are read as Go reads them', () => {
  const one = JSON.stringify(set)
  const other = JSON.stringify({ renewal_kid: 'b', keys: [oct('b')] })
  assert.equal(opened(`{"i":${one},"i":${other}}`, 'compat').renewal.key.kid, 'b')
  const twice = `{"i":{"renewal_kid":"a","keys":[${JSON.stringify(key)}],"keys":[${JSON.stringify(oct('b'))}]}}`
  const kids = opened(twice, 'compat')
    .issuers.get('i')
    ?.keys.map(({ kid }) => kid)
  assert.deepEqual(kids, ['a', 'b'])
})

test('section 6.1: invalid UTF-8 is no JSON', () => {
  const [before, after] = JSON.stringify({ 'i?': set }).split('?')
  const bytes = Buffer.concat([
    Buffer.from(before ?? ''),
    Buffer.of(0xff),
    Buffer.from(after ?? ''),
  ])
  assert.deepEqual(checkDocument(bytes, 'compat'), { refusal: MALFORMED })
})

test('section 5: a document larger than 1 MiB is not read', () => {
  const large = bytesOf(`${JSON.stringify(STUDIO_A)}${' '.repeat(MAX_DOCUMENT)}`)
  const problem = problemOf(() => checkDocument(large, 'compat'))
  assert.equal(problem.code, 'body_too_large')
})

test('section 6: the last id counts, and strip_token is read', () => {
  const document = opened({
    i: { ...set, id: 'one', strip_token: true },
    j: { keys: [oct('j')], id: 'two' },
    k: { keys: [oct('k')] },
  })
  assert.equal(document.id, 'two')
  assert.equal(document.issuers.get('i')?.stripToken, true)
  assert.equal(document.issuers.get('k')?.stripToken, undefined)
})
