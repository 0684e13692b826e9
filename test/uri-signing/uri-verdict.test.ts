import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hmac } from '../../src/uri-signing/algorithms.ts'
import { REASONS, type UriVerdict, verifyUri } from '../../src/uri-signing/uri-token.ts'
import { documentWith, keyOf, oct, opened, publicHalf, usableOf } from './key-documents.ts'

// Contract section 10: the order of the checks, and the codes of RFC 9246 section 6.4.

const NOW = 1_700_000_000.5
const URI = 'http://cdn.example/v/a.ts'
const document = opened({
  i: {
    renewal_kid: 'a',
    keys: [oct('a'), oct('b', 'HS512', 64, 9), publicHalf(keyOf('ES256'))],
    id: 'cache',
  },
  __proto__x: { keys: [oct('a', 'HS256', 64, 99)] },
})
const CLAIMS = { iss: 'i', exp: NOW + 1, cdniuc: 'regex:^http://cdn\\.example/v/.*$' }

const encode = (value: unknown) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

/** A token under key `a` of `i`, whatever it says. */
function tokenOf(claims: unknown, header: unknown = { alg: 'HS256', kid: 'a' }): string {
  const { signingKey } = usableOf(document, 'i', 'a')
  assert.ok(signingKey)
  const input = `${encode(header)}.${encode(claims)}`
  return `${input}.${hmac(signingKey, 'HS256', input).toString('base64url')}`
}

const verdictOn = (token: string, uri = URI): Promise<UriVerdict> =>
  verifyUri({ uri: `${uri}?URISigningPackage=${token}`, document, now: NOW })

const JWE = 'eyJhbGciOiJkaXIifQ..aXY.Y2lwaGVy.dGFn'

const CODES: [what: string, claims: object, code: number][] = [
  ['verified', {}, 200],
  ['iss missing', { iss: undefined }, 401],
  ['iss unknown', { iss: 'other' }, 401],
  ['iss of a prototype', { iss: 'constructor' }, 401],
  ['iss no text', { iss: ['i'] }, 401],
  ['iss of another set', { iss: '__proto__x' }, 400],
  ['sub in clear', { sub: 'user' }, 402],
  ['sub encrypted', { sub: JWE }, 200],
  ['aud not the id', { aud: 'other' }, 403],
  ['aud a list without the id', { aud: ['x', 'y'] }, 403],
  ['aud null', { aud: null }, 403],
  ['aud the id', { aud: 'cache' }, 200],
  ['aud a list with the id', { aud: ['x', 'cache'] }, 200],
  ['exp missing', { exp: undefined }, 404],
  ['exp as text', { exp: '9999999999' }, 404],
  ['exp null', { exp: null }, 404],
  ['exp now', { exp: NOW }, 404],
  ['exp just passed', { exp: NOW - 0.001 }, 404],
  ['exp in a fraction of a second', { exp: NOW + 0.001 }, 200],
  ['nbf in a fraction of a second', { nbf: NOW + 0.001 }, 405],
  ['nbf now', { nbf: NOW }, 200],
  ['nbf as text', { nbf: '1' }, 405],
  ['only cdnistt', { cdnistt: 1 }, 406],
  ['only cdniets', { cdniets: 30 }, 406],
  ['cdnistt of another kind', { cdnistt: 2, cdniets: 30 }, 406],
  ['cdnistt as text', { cdnistt: '1', cdniets: 30 }, 406],
  ['cdniets no integer', { cdnistt: 1, cdniets: 1.5 }, 406],
  ['cdnistd negative', { cdnistt: 1, cdniets: 30, cdnistd: -1 }, 406],
  ['both', { cdnistt: 1, cdniets: 30, cdnistd: 1 }, 200],
  ['jti', { jti: 'x' }, 407],
  ['jti of another kind', { jti: 1 }, 407],
  ['cdniv 2', { cdniv: 2 }, 408],
  ['cdniv as text', { cdniv: '1' }, 408],
  ['cdniv 1', { cdniv: 1 }, 200],
  ['cdnicrit', { cdnicrit: 'x' }, 409],
  ['cdniip', { cdniip: JWE }, 410],
  ['cdniuc missing', { cdniuc: undefined }, 411],
  ['cdniuc empty', { cdniuc: '' }, 411],
  ['cdniuc no text', { cdniuc: 1 }, 411],
  ['cdniuc of other URIs', { cdniuc: 'regex:^http://cdn\\.example/w/.*$' }, 411],
  ['cdniuc of no known kind', { cdniuc: 'prefix:http://cdn.example/' }, 411],
  ['iat is not looked at', { iat: 'never' }, 200],
  ['the container comes last', { cdniuc: '', exp: 1 }, 404],
]

for (const [what, claims, code] of CODES) {
  test(`section 6.4 of RFC 9246: ${what}: ${code}`, async () => {
    const verdict = await verdictOn(tokenOf({ ...CLAIMS, ...claims }))
    assert.equal(verdict.code, code)
    assert.equal(verdict.reason, REASONS[verdict.code])
    const last = verdict.checks.at(-1)
    assert.equal(last?.ok, code === 200)
    assert.equal(last?.reason === undefined, code === 200)
    assert.equal(
      verdict.checks.slice(0, -1).every(({ ok }) => ok),
      true,
    )
  })
}

const good = tokenOf(CLAIMS)
const [head = '', body = '', signature = ''] = good.split('.')
const asPublicKeySecret = encode(JSON.stringify(publicHalf(keyOf('ES256'))))

const FORGED: [what: string, token: string, check: string][] = [
  ['no token at all', 'x', 'format'],
  ['empty', '', 'format'],
  ['two segments', `${head}.${body}`, 'format'],
  ['four segments', `${good}.x`, 'format'],
  ['a header that is no JSON', `${encode('x')}.${body}.${signature}`, 'format'],
  ['a payload that is no JSON', tokenOf('x'), 'format'],
  ['a payload that is a list', tokenOf([]), 'format'],
  ['a duplicate claim', tokenOf('{"iss":"i","iss":"i"}'), 'format'],
  [
    'inexact base64url',
    `${head}.${body}.${signature.slice(0, -1)}${signature.endsWith('B') ? 'C' : 'B'}`,
    'format',
  ],
  ['crit', tokenOf(CLAIMS, { alg: 'HS256', kid: 'a', crit: ['x'] }), 'format'],
  ['no alg', tokenOf(CLAIMS, { kid: 'a' }), 'format'],
  ['a kid that is no text', tokenOf(CLAIMS, { alg: 'HS256', kid: 1 }), 'format'],
  ['a kid that is unknown', tokenOf(CLAIMS, { alg: 'HS256', kid: 'x' }), 'key'],
  ['none', `${encode({ alg: 'none', kid: 'a' })}.${body}.`, 'algorithm'],
  ['another alg of the same secret', tokenOf(CLAIMS, { alg: 'HS512', kid: 'a' }), 'algorithm'],
  [
    'HMAC with a public key',
    tokenOf(CLAIMS, { alg: 'HS256', kid: 'es256', jwk: asPublicKeySecret }),
    'algorithm',
  ],
  ['EdDSA', tokenOf(CLAIMS, { alg: 'EdDSA', kid: 'a' }), 'algorithm'],
  ['a changed payload', `${head}.${encode({ ...CLAIMS, exp: 9e9 })}.${signature}`, 'signature'],
  [
    'a changed signature',
    `${head}.${body}.${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}`,
    'signature',
  ],
  ['no signature', `${head}.${body}.`, 'signature'],
  ['half a signature', `${head}.${body}.${signature.slice(0, 20)}`, 'signature'],
  [
    'an ECDSA signature of zeros',
    `${encode({ alg: 'ES256', kid: 'es256' })}.${body}.${'A'.repeat(86)}`,
    'signature',
  ],
  [
    'an ECDSA signature too short',
    `${encode({ alg: 'ES256', kid: 'es256' })}.${body}.AAAA`,
    'signature',
  ],
]

for (const [what, token, check] of FORGED) {
  test(`section 10, code 400: ${what}`, async () => {
    const verdict = await verdictOn(token)
    assert.equal(verdict.code, 400)
    assert.equal(verdict.checks.at(-1)?.name, check)
    assert.equal(verdict.claims, undefined)
  })
}

test('section 10: without kid, every key of the issuer that is for the alg', async () => {
  const { signingKey } = usableOf(document, 'i', 'b')
  assert.ok(signingKey)
  const input = `${encode({ alg: 'HS512' })}.${encode(CLAIMS)}`
  const verdict = await verdictOn(
    `${input}.${hmac(signingKey, 'HS512', input).toString('base64url')}`,
  )
  assert.deepEqual([verdict.code, verdict.kid], [200, 'b'])
})

test('section 10: without kid, a crowd of keys is not tried', async () => {
  const crowd = opened(documentWith(Array.from({ length: 33 }, (_, at) => oct(`k${at}`))))
  const uri = `${URI}?URISigningPackage=${tokenOf(CLAIMS, { alg: 'HS256' })}`
  const verdict = await verifyUri({ uri, document: crowd, now: NOW })
  assert.deepEqual([verdict.code, verdict.checks.at(-1)?.name], [400, 'algorithm'])
})

test('section 6.2: of two keys with one kid, the first, as in a cache', async () => {
  const twice = opened(documentWith([oct('a', 'HS256', 64, 99), oct('a')]), 'compat')
  const uri = `${URI}?URISigningPackage=${good}`
  assert.equal((await verifyUri({ uri, document: twice, now: NOW })).code, 400)
})

test('section 10: a bad token in the URI does not stop a good cookie', async () => {
  const stale = tokenOf({ ...CLAIMS, exp: 1 })
  const uri = `${URI}?URISigningPackage=${stale}`
  const P = 'URISigningPackage'
  const cookies = [`a=1; ${P}=x; ${P}=${good}`]
  const verdict = await verifyUri({ uri, cookies, document, now: NOW })
  assert.deepEqual([verdict.code, verdict.source], [200, 'cookie'])
  // Also where the cookie is for exactly this URI: the bad token is no part of it.
  const exact = tokenOf({ ...CLAIMS, cdniuc: 'regex:^http://cdn\\.example/v/a\\.ts$' })
  assert.equal((await verifyUri({ uri, cookies: `${P}=${exact}`, document, now: NOW })).code, 200)
  const all = await verifyUri({ uri, cookies: `${P}=x`, document, now: NOW })
  assert.deepEqual([all.code, all.source], [404, 'uri'])
})

test('section 10: no token: 000; no URI: 500', async () => {
  assert.equal((await verifyUri({ uri: URI, document, now: NOW })).code, 0)
  assert.equal((await verifyUri({ uri: URI, cookies: 'a=b', document, now: NOW })).code, 0)
  assert.equal((await verifyUri({ uri: 'video', document, now: NOW })).code, 500)
  assert.equal((await verdictOn(good, 'ftp://cdn.example/v/a.ts')).code, 500)
  assert.equal((await verdictOn(good, 'http://cdn.example/v/%zz')).code, 500)
  const cookies = `URISigningPackage=${good}`
  assert.equal((await verifyUri({ uri: 'x', cookies, document, now: NOW })).code, 500)
  assert.equal((await verdictOn(good, `http://cdn.example/v/${'a'.repeat(40_000)}`)).code, 500)
})
