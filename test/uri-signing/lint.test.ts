import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Finding, type LintOptions, lintDocument } from '../../src/uri-signing/lint.ts'
import { bytesOf, documentWith, KEYS, keyOf, oct, publicHalf, STUDIO_A } from './key-documents.ts'

// Issue 4, lint: contract section 6.2, and what loads and is dangerous all the same.

const good = oct('good')
const findingsOf = (document: unknown, options?: LintOptions): Finding[] =>
  lintDocument(bytesOf(document), options)

const rulesOf = (document: unknown, options?: LintOptions): string[] =>
  findingsOf(document, options).map(({ rule }) => rule)

test('nothing to say about a good document', () => {
  assert.deepEqual(findingsOf(STUDIO_A, { now: 1 }), [])
  assert.deepEqual(findingsOf(documentWith(Object.values(KEYS)), { now: 1 }), [])
})

const ERRORS: [rule: string, document: unknown, kid?: string][] = [
  ['malformed-json', '{'],
  ['malformed-json', documentWith([{ kid: 'a' }])],
  ['issuer-missing', { '': { renewal_kid: 'good', keys: [good] } }],
  ['alg-missing', documentWith([{ ...good, alg: '' }])],
  ['kid-missing', documentWith([{ ...good, kid: '' }])],
  ['renewal-kid-missing', { i: { keys: [good] } }],
  [
    'renewal-kid-repeated',
    { i: { renewal_kid: 'good', keys: [good] }, j: { renewal_kid: 'good', keys: [good] } },
  ],
  ['renewal-kid-unknown', { i: { renewal_kid: 'x', keys: [good] } }],
  ['duplicate-member', JSON.stringify(documentWith([good])).replace('"kty"', '"kid":"x","kty"')],
  ['unportable-json', documentWith([good], { note: '\0' })],
  ['keys-not-array', { i: { ...good, renewal_kid: 'good' } }],
  ['strip-token-type', documentWith([good], { strip_token: 1 })],
  ['id-type', documentWith([good], { id: 1 })],
  [
    'auth-directives',
    documentWith([good], { auth_directives: [{ auth: 'deny', uri: 'regex:(' }] }),
  ],
  [
    'key-type',
    documentWith([good, { kty: 'OKP', alg: 'EdDSA', kid: 'e', crv: 'Ed25519', x: 'AA' }]),
    'e',
  ],
  ['base64url', documentWith([{ ...good, k: 'AAA=' }]), 'good'],
  ['duplicate-kid', documentWith([good, good]), 'good'],
  ['renewal-key', documentWith([publicHalf(keyOf('ES256'))]), 'es256'],
  ['alg-mismatch', documentWith([good, { ...oct('b'), alg: 'ES256' }]), 'b'],
  ['key-too-short', documentWith([good, oct('b', 'HS512', 63)]), 'b'],
  ['key-unusable', documentWith([good, publicHalf({ ...keyOf('ES256'), y: 'AAAA' })]), 'es256'],
]

for (const [rule, document, kid] of ERRORS) {
  test(`an error: ${rule} ${kid ?? ''}`, () => {
    const [first, ...more] = findingsOf(document)
    assert.deepEqual([first?.severity, first?.rule, first?.kid], ['error', rule, kid])
    assert.match(first?.message ?? '', /^[A-Z].*\.$/s)
    assert.equal(more.filter(({ severity }) => severity === 'error').length, 0)
  })
}

test('every error is told, with its issuer, and no key material', () => {
  const found = findingsOf({
    i: { renewal_kid: 'good', keys: [good, oct('s', 'HS256', 8), oct('t', 'HS256', 9)] },
    j: { keys: [oct('u', 'HS256', 10)], id: 1 },
  })
  assert.deepEqual(
    found.filter(({ severity }) => severity === 'error').map(({ issuer, kid }) => [issuer, kid]),
    [
      ['i', 's'],
      ['i', 't'],
      ['j', undefined],
      ['j', 'u'],
    ],
  )
  const said = JSON.stringify(found)
  for (const length of [8, 9, 10]) assert.ok(!said.includes(oct('x', 'HS256', length)['k'] ?? '?'))
})

const allow = (uri: string) => documentWith([good], { auth_directives: [{ auth: 'allow', uri }] })
const BYPASS = 'auth-directive-bypass'

const DIRECTIVES: [uri: string, rules: string[]][] = [
  ['regex:.*\\.jpg', [BYPASS]],
  ['regex:.*\\.jpg$', [BYPASS]],
  ['regex:^http://cdn\\.example/.*\\.jpg$', [BYPASS]],
  ['regex:http://cdn\\.example/pictures/.*\\.jpg', [BYPASS]],
  ['regex:[^?]*\\.jpg', [BYPASS]], // open at its end: a.jpg/secret
  ['regex:.*', [BYPASS]],
  ['regex:http://cdn\\.example', [BYPASS]],
  ['regex:[^?]*\\.jpg$', []],
  ['regex:^http://cdn\\.example/[^?]*\\.jpg(\\?.*)?$', []],
  ['regex:^http://cdn\\.example/crossdomain\\.xml$', []],
]

for (const [uri, rules] of DIRECTIVES) {
  test(`an allow directive: ${uri}`, () => {
    assert.deepEqual(rulesOf(allow(uri)), rules)
  })
}

test('a directive that a query passes by is shown the URL that does', () => {
  const [finding] = findingsOf(allow('regex:.*\\.jpg'))
  assert.match(finding?.message ?? '', /http:\/\/cdn\.example\/(anything|secret\?x=\.jpg)/)
})

test('a deny directive lets nothing through', () => {
  const document = documentWith([good], { auth_directives: [{ auth: 'deny', uri: 'regex:.*' }] })
  assert.deepEqual(rulesOf(document), [])
})

const DAY = 86_400
const WARNINGS: [rule: string, document: unknown, options?: LintOptions][] = [
  [
    'renewal-by-other-issuer',
    { i: { renewal_kid: 'good', keys: [good] }, j: { keys: [oct('j')] } },
  ],
  [
    'renewal-kid-ignored',
    { i: { renewal_kid: 'good', keys: [good] }, j: { renewal_kid: null, keys: [oct('j')] } },
  ],
  ['use-not-sig', documentWith([{ ...good, use: 'enc' }])],
  ['key-ops', documentWith([{ ...good, key_ops: ['verify'] }])],
  ['key-expired', documentWith([{ ...good, exp: 100 }]), { now: 100 }],
  ['key-expires-soon', documentWith([{ ...good, exp: 14 * DAY }]), { now: 1 }],
  ['key-not-yet', documentWith([{ ...good, nbf: 200 }]), { now: 100 }],
  [
    'promise-ends-soon',
    documentWith([good, oct('b')]),
    { now: 1, promisedUntil: (_, kid) => (kid === 'b' ? DAY : undefined) },
  ],
]

for (const [rule, document, options] of WARNINGS) {
  test(`a warning: ${rule}`, () => {
    const [finding, ...more] = findingsOf(document, options)
    assert.deepEqual([finding?.severity, finding?.rule, more], ['warning', rule, []])
  })
}

test('warnings about a whole document', () => {
  const set = (keys: unknown[], members: object) => ({ keys, ...members })
  assert.deepEqual(
    rulesOf({
      i: set([good], { renewal_kid: 'good', id: 'one', strip_token: true }),
      j: set([], { id: 'two', strip_token: false, renewal_kid: 0 }),
    }),
    ['ids-differ', 'strip-token-differs', 'no-keys', 'renewal-kid-ignored'],
  )
})

test('nothing is said about time without a clock, nor about what is far away', () => {
  assert.deepEqual(rulesOf(documentWith([{ ...good, exp: 1, nbf: 9e9 }])), [])
  assert.deepEqual(rulesOf(documentWith([{ ...good, exp: 1 + 15 * DAY }]), { now: 1 }), [])
})

test('a document of bad keys has an answer that can be read', () => {
  const keys = Array.from({ length: 5000 }, (_, at) => oct(`k${at}`, 'HS256', 8))
  assert.equal(findingsOf(documentWith(keys)).length, 200)
})
