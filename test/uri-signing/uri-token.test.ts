import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { compactVerify, decodeProtectedHeader, importJWK, type JWK } from 'jose'
import { hmac } from '../../src/uri-signing/algorithms.ts'
import type { ContainerForm } from '../../src/uri-signing/container.ts'
import { normaliseUri, type Placement, placeToken } from '../../src/uri-signing/uri.ts'
import {
  type SignedUri,
  type SignUriRequest,
  signUri,
  verifyUri,
} from '../../src/uri-signing/uri-token.ts'
import { problemOf } from '../core/fixtures.ts'
import { uris } from './arbitraries.ts'
import {
  documentWith,
  KEYS,
  keyOf,
  oct,
  opened,
  publicHalf,
  STUDIO_A,
  usableOf,
} from './key-documents.ts'

// Contract section 9, OURS when signing.

const NOW = 1_700_000_000.25
const studio = opened(STUDIO_A)
const key = usableOf(studio, 'studio-a', '2026-a')
const REQUEST: SignUriRequest = {
  uri: 'http://cdn.example/video/a.ts',
  issuer: 'studio-a',
  ttl: 60,
}

/** With a secret the answer is there at once. */
function signed(over: Partial<SignUriRequest> = {}): SignedUri {
  const result = signUri({ ...REQUEST, ...over }, key, NOW)
  assert.ok(!(result instanceof Promise))
  return result
}

const partOf = (token: string, at: number): string =>
  Buffer.from(token.split('.')[at] ?? '', 'base64url').toString()

test('section 9: header and claims, in their order', () => {
  const { uri, token, kid, exp } = signed()
  assert.equal(partOf(token, 0), '{"alg":"HS256","kid":"2026-a"}')
  assert.equal(
    partOf(token, 1),
    '{"iss":"studio-a","exp":1700000060,"iat":1700000000,"cdniuc":"regex:^http://cdn\\\\.example/video/a\\\\.ts$"}',
  )
  assert.equal(uri, `http://cdn.example/video/a.ts?URISigningPackage=${token}`)
  assert.deepEqual({ kid, exp }, { kid: '2026-a', exp: 1_700_000_060 })
})

test('section 9: claims on request, and none that a cache refuses', () => {
  const { token } = signed({
    nbf: 5,
    audience: ['a', 'b'],
    renewable: { seconds: 30, depth: 2 },
    container: 'below',
  })
  assert.deepEqual(JSON.parse(partOf(token, 1)), {
    ...{ iss: 'studio-a', aud: ['a', 'b'], exp: 1_700_000_060, nbf: 5, iat: 1_700_000_000 },
    ...{ cdniuc: 'regex:^http://cdn\\.example/video/a\\.ts([/?].*)?$' },
    ...{ cdniets: 30, cdnistt: 1, cdnistd: 2 },
  })
  assert.equal(
    'cdnistd' in JSON.parse(partOf(signed({ renewable: { seconds: 9 } }).token, 1)),
    false,
  )
})

const PLACED: [placement: Placement, uri: string, before: string, after: string][] = [
  ['query', 'http://h/p', 'http://h/p?URISigningPackage=', ''],
  ['query', 'http://h/p?a=1', 'http://h/p?a=1&URISigningPackage=', ''],
  ['path-parameter', 'http://h/p?a=1', 'http://h/p;URISigningPackage=', '?a=1'],
  ['path-segment', 'http://h/p/q?a=1', 'http://h/URISigningPackage=', '/p/q?a=1'],
  ['path-segment', 'http://h', 'http://h/URISigningPackage=', ''],
]

for (const [placement, uri, before, after] of PLACED) {
  test(`section 9: placement ${placement} in ${uri}`, () => {
    const made = signed({ uri, placement })
    assert.equal(made.uri, `${before}${made.token}${after}`)
  })
}

test('section 9: a cookie leaves the URI as it is', () => {
  assert.equal(signed({ placement: 'cookie' }).uri, REQUEST.uri)
})

const REFUSED: [what: string, over: Partial<SignUriRequest>][] = [
  ['a malformed URI', { uri: '/video/a.ts' }],
  ['a URI with a fragment', { uri: 'http://h/a#b' }],
  ['a URI with a token', { uri: 'http://h/a?URISigningPackage=x' }],
  ['a URI over 8 KiB', { uri: `http://h/${'a'.repeat(8192)}` }],
  ['a URI that makes too long a token', { uri: `http://h/${'%20'.repeat(2700)}` }],
  ['an empty issuer', { issuer: '' }],
  ['a ttl of nothing', { ttl: 0 }],
  ['a ttl of half a second', { ttl: 0.5 }],
  ['a ttl beyond numbers', { ttl: Number.POSITIVE_INFINITY }],
  ['an nbf that is no whole second', { nbf: 1.5 }],
  ['a renewal of nothing', { renewable: { seconds: 0 } }],
  ['a negative depth', { renewable: { seconds: 1, depth: -1 } }],
  ['a parameter that is no name', { parameter: 'a=b' }],
]

for (const [what, over] of REFUSED) {
  test(`section 9, not signed: ${what}`, () => {
    assert.equal(problemOf(() => signed(over)).code, 'uri_invalid')
  })
}

test('a public-only key signs nothing', () => {
  const document = opened(documentWith([oct('a'), publicHalf(keyOf('ES256'))]))
  const problem = problemOf(() => signUri(REQUEST, usableOf(document, 'i', 'es256'), NOW))
  assert.equal(problem.code, 'key_unusable')
})

for (const [alg, jwk] of Object.entries(KEYS)) {
  test(`section 6.2: ${alg} signs what jose and we verify`, async () => {
    const document = opened(documentWith([jwk]))
    const made = await signUri(
      { ...REQUEST, issuer: 'i' },
      usableOf(document, 'i', jwk['kid'] ?? ''),
      NOW,
    )
    const theirs = await importJWK(publicHalf(jwk) as JWK, alg)
    await compactVerify(made.token, theirs, { algorithms: [alg] })
    assert.deepEqual(decodeProtectedHeader(made.token), { alg, kid: jwk['kid'] })
    const verdict = await verifyUri({ uri: made.uri, document, now: NOW })
    assert.deepEqual([verdict.code, verdict.kid], [200, jwk['kid']])
  })
}

test('a signer of one’s own is given the key and the signing input', async () => {
  const document = opened(documentWith([keyOf('ES256')]))
  const usable = usableOf(document, 'i', 'es256')
  const inputs: string[] = []
  const { token } = await signUri(REQUEST, usable, NOW, async (given, input) => {
    assert.equal(given.key, usable.signingKey)
    inputs.push(input)
    return 'c2ln'
  })
  assert.equal(token, `${inputs[0]}.c2ln`)
})

const FORMS: ContainerForm[] = ['exact', 'any-query', 'below', 'hash']
const PLACEMENTS: Placement[] = ['query', 'path-parameter', 'path-segment', 'cookie']

const verdictOf = (made: SignedUri, uri: string, placement: Placement) =>
  verifyUri({
    uri,
    cookies: placement === 'cookie' ? `a=b; URISigningPackage=${made.token}` : [],
    document: studio,
    now: NOW,
  })

test('what is signed verifies, in every form and place', async () => {
  await fc.assert(
    fc.asyncProperty(
      uris(),
      fc.constantFrom(...FORMS),
      fc.constantFrom(...PLACEMENTS),
      async (uri, container, placement) => {
        const made = signed({ uri, container, placement })
        const verdict = await verdictOf(made, made.uri, placement)
        assert.equal(verdict.code, 200, verdict.checks.at(-1)?.reason ?? '')
        assert.equal(verdict.source, placement === 'cookie' ? 'cookie' : 'uri')
      },
    ),
    { numRuns: 500 },
  )
})

test('an exact token is for no other URI', async () => {
  const more = fc.constantFrom('x', '/', '%2F', '?', '&y', '..', '?x', '%20', ';a')
  await fc.assert(
    fc.asyncProperty(uris(), more, fc.constantFrom(...PLACEMENTS), async (uri, tail, placement) => {
      const made = signed({ uri, placement: 'cookie' })
      const other = `${uri}${tail}`
      const asked = placement === 'cookie' ? other : placeToken(other, made.token, placement)
      const isSame = normaliseUri(other) === normaliseUri(uri)
      const { code } = await verdictOf(made, asked, placement)
      assert.equal(code, isSame ? 200 : normaliseUri(other) === undefined ? 500 : 411)
    }),
    { numRuns: 500 },
  )
})

test('section 12: the studio-a vectors, byte for byte', async () => {
  const header = Buffer.from('{"alg":"HS256","kid":"2026-a"}').toString('base64url')
  const vectors: [exp: number, signature: string, code: number][] = [
    [4_102_444_800, 'Z9UG0ZZjhhibX741HG-M_-qdYAPVEXtcZSLldBqDEPs', 200],
    [1_700_000_000, 'wVmbiqCzj1-j8NmUeruSTh6lIGNbAHyMH4AnCptLSsk', 404],
  ]
  for (const [exp, signature, code] of vectors) {
    const claims = `{"iss":"studio-a","exp":${exp},"cdniuc":"regex:^http://cdn\\\\.example/video/.*$"}`
    const input = `${header}.${Buffer.from(claims).toString('base64url')}`
    assert.ok(key.signingKey)
    assert.equal(hmac(key.signingKey, 'HS256', input).toString('base64url'), signature)
    const uri = `http://cdn.example/video/a.ts?URISigningPackage=${input}.${signature}`
    assert.equal((await verifyUri({ uri, document: studio, now: NOW })).code, code)
  }
})
