import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hmac } from '../../src/uri-signing/algorithms.ts'
import { checkDocument, MAX_DOCUMENT } from '../../src/uri-signing/document.ts'
import { publicOnly } from '../../src/uri-signing/edge.ts'
import { addKey } from '../../src/uri-signing/edit.ts'
import { lintDocument } from '../../src/uri-signing/lint.ts'
import { signUri, verifyUri } from '../../src/uri-signing/uri-token.ts'
import {
  bytesOf,
  documentWith,
  keyOf,
  oct,
  opened,
  publicHalf,
  refusalOf,
  STUDIO_A,
  usableOf,
} from './key-documents.ts'

// Issue 4, errors and abuse. The limits of time are far above what is needed, and far below what anything quadratic takes.

const BOUND = { timeout: 10_000 }

const tenThousand = () =>
  documentWith(Array.from({ length: 10_000 }, (_, at) => ({ ...oct(`k${at}`, 'HS256', 32, at) })))

test('ten thousand keys', BOUND, () => {
  const bytes = bytesOf(tenThousand())
  assert.ok(bytes.length < MAX_DOCUMENT)
  const started = performance.now()
  const document = opened(tenThousand())
  assert.equal(document.issuers.get('i')?.keys.length, 10_000)
  assert.deepEqual(lintDocument(bytes, { now: 1 }), [])
  assert.deepEqual(Buffer.from(publicOnly(bytes)), bytes)
  assert.equal(addKey(bytes, 'i', oct('new')).length > bytes.length, true)
  assert.ok(performance.now() - started < 5000)
})

test('key pairs cost time, so that a hundred are enough', BOUND, () => {
  for (const alg of ['RS256', 'ES256', 'ES512']) {
    const pairs = Array.from({ length: 101 }, (_, at) => ({ ...keyOf(alg), kid: `k${at}` }))
    const started = performance.now()
    opened(documentWith(pairs.slice(1)))
    const took = performance.now() - started
    assert.ok(took < 3000, `${alg} took ${took} ms`)
    assert.equal(
      refusalOf(documentWith(pairs), 'strict'),
      'invalid keyset: more than 100 key pairs',
    )
    assert.equal(refusalOf(documentWith(pairs), 'compat'), undefined)
    assert.deepEqual(
      lintDocument(bytesOf(documentWith(pairs))).map(({ rule }) => rule),
      ['too-many'],
    )
  }
})

test('a megabyte of anything else', BOUND, () => {
  const fill = (piece: string, [before, after]: [string, string]) =>
    `${before}${piece.repeat(Math.floor((MAX_DOCUMENT - 200) / piece.length))}${after}`
  const texts = [
    fill('[', ['', '']),
    fill('{"a":', ['', '']),
    fill('"a":1,', ['{', '"b":2}']),
    fill('"', ['', '']),
    fill('\\"', ['{"', '":{}}']),
    fill('0', ['{"i":{"keys":[],"x":1', '}}']),
    fill(' ', ['', '{}']),
    fill('{},', ['{"i":{"keys":[', '{}]}}']),
    fill('null,', ['{"i":{"keys":[', 'null]}}']),
  ]
  for (const text of texts) {
    const checked = checkDocument(bytesOf(text), 'strict')
    assert.ok('refusal' in checked)
  }
})

test('a renewal key among ten thousand issuers', BOUND, () => {
  const document: Record<string, unknown> = { ...STUDIO_A }
  for (let at = 0; at < 10_000; at += 1) document[`issuer-${at}`] = { keys: [] }
  assert.equal(opened(document).issuers.size, 10_001)
  assert.equal(lintDocument(bytesOf(document)).length, 200)
})

test('a document’s expressions are not made to backtrack, nor are there too many', BOUND, () => {
  for (const uri of [
    'regex:^(a+)+(b*)*(.*.*)*$',
    `regex:${'(a|b)*'.repeat(150)}`,
    'regex:((a?){20}){10}a{200}b',
  ]) {
    const auth_directives = Array.from({ length: 201 }, () => ({ auth: 'allow', uri }))
    const started = performance.now()
    opened(documentWith([oct('a')], { auth_directives: auth_directives.slice(1) }))
    lintDocument(bytesOf(documentWith([oct('a')], { auth_directives: auth_directives.slice(1) })))
    const took = performance.now() - started
    assert.ok(took < 5000, `${uri} took ${took} ms`)
    const refusal = refusalOf(documentWith([oct('a')], { auth_directives }), 'strict')
    assert.equal(refusal, 'invalid keyset: more than 200 auth_directives')
  }
})

test('a token’s expression is not made to backtrack', BOUND, async () => {
  const document = opened(documentWith([oct('a')]))
  const { signingKey } = usableOf(document, 'i', 'a')
  assert.ok(signingKey)
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const claims = { iss: 'i', exp: 2, cdniuc: 'regex:^http://h/(a+)+(a*)*(.*a){20}b$' }
  const input = `${encode({ alg: 'HS256', kid: 'a' })}.${encode(claims)}`
  const token = `${input}.${hmac(signingKey, 'HS256', input).toString('base64url')}`
  const uri = `http://h/${'a'.repeat(8000)}`
  const started = performance.now()
  const verdict = await verifyUri({ uri, cookies: `URISigningPackage=${token}`, document, now: 1 })
  assert.equal(verdict.code, 411)
  assert.ok(performance.now() - started < 2000)
})

test('URIs of delimiters and of half tokens', BOUND, async () => {
  const document = opened(STUDIO_A)
  for (const piece of ['URISigningPackage=', '&URISigningPackage', '?', '%', '/..', ';', '%2e/']) {
    const uri = `http://h/${piece.repeat(Math.floor(20_000 / piece.length))}`
    const { code } = await verifyUri({ uri, cookies: ';'.repeat(100_000), document, now: 1 })
    assert.ok([0, 400, 500].includes(code))
  }
})

test('a public-only document of key pairs signs nothing, and verifies', async () => {
  const full = opened(documentWith([oct('r'), keyOf('PS256')]))
  const edge = opened(documentWith([oct('r'), publicHalf(keyOf('PS256'))]))
  const request = { uri: 'http://h/a', issuer: 'i', ttl: 9 }
  const { uri } = await signUri(request, usableOf(full, 'i', 'ps256'), 1)
  assert.equal((await verifyUri({ uri, document: edge, now: 1 })).code, 200)
  assert.throws(() => signUri(request, usableOf(edge, 'i', 'ps256'), 1))
})
