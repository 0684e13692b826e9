import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  cookieTokens,
  findToken,
  MAX_URI,
  normaliseUri,
  type Placement,
  parseUri,
  placeToken,
} from '../../src/uri-signing/uri.ts'
import { uris } from './arbitraries.ts'

// Contract section 9: normalisation (RFC 9246 section 2.1.15, RFC 3986 sections 6.2.2 and 6.2.3), and where tokens are.

const NORMALISED: [what: string, uri: string, normal: string][] = [
  [
    'scheme and host in lower case, path as it is',
    'HTTP://CDN.Example/Video/A',
    'http://cdn.example/Video/A',
  ],
  [':80 for http', 'http://h:80/a', 'http://h/a'],
  [':443 for https', 'https://h:443/a', 'https://h/a'],
  ['other ports stay', 'http://h:443/a', 'http://h:443/a'],
  ['an empty port goes', 'http://h:/a', 'http://h/a'],
  ['an empty path becomes /', 'http://h', 'http://h/'],
  ['an empty path before a query', 'http://h?a=1', 'http://h/?a=1'],
  ['an empty query stays', 'http://h/a?', 'http://h/a?'],
  ['unreserved characters are decoded', 'http://h/%41%7a%30%2D%2e%5F%7E?%61', 'http://h/Az0-._~?a'],
  ['reserved ones stay, in upper case', 'http://h/%2f%3f%23?%26', 'http://h/%2F%3F%23?%26'],
  ['the rest stays, in upper case', 'http://h/%20%c3%a9%25%0a', 'http://h/%20%C3%A9%25%0A'],
  ['nothing is decoded twice', 'http://h/%2541', 'http://h/%2541'],
  ['dot segments', 'http://h/a/./b/../c', 'http://h/a/c'],
  ['dot segments above the root', 'http://h/../../a', 'http://h/a'],
  ['a final dot', 'http://h/a/.', 'http://h/a/'],
  ['two final dots', 'http://h/a/b/..', 'http://h/a/'],
  ['encoded dots are dots', 'http://h/a/%2e%2E/b', 'http://h/b'],
  ['encoded slashes are none', 'http://h/a/..%2fb', 'http://h/a/..%2Fb'],
  ['dots in the query stay', 'http://h/a?x=/../b', 'http://h/a?x=/../b'],
  ['names that begin with dots', 'http://h/.a/..b/...', 'http://h/.a/..b/...'],
  ['an address', 'http://[::1]:8080/a', 'http://[::1]:8080/a'],
  ['an encoded host', 'http://%43dn.example/', 'http://cdn.example/'],
]

for (const [what, uri, normal] of NORMALISED) {
  test(`section 9, normalised: ${what}`, () => {
    assert.equal(normaliseUri(uri), normal)
    assert.equal(normaliseUri(normal), normal)
  })
}

const MALFORMED: [what: string, uri: string][] = [
  ['empty', ''],
  ['relative', '/video/a.ts'],
  ['another scheme', 'ftp://h/a'],
  ['no host', 'http:///a'],
  ['no slashes', 'http:h/a'],
  ['a user', 'http://user@h/a'],
  ['a fragment', 'http://h/a#b'],
  ['a port that is none', 'http://h:x/a'],
  ['half an escape', 'http://h/%4'],
  ['an escape that is none', 'http://h/%zz'],
  ['a space', 'http://h/a b'],
  ['a line break', 'http://h/a\n'],
  ['other letters', 'http://h/é'],
  ['an unclosed address', 'http://[::1/a'],
  ['too long', `http://h/${'a'.repeat(MAX_URI)}`],
]

for (const [what, uri] of MALFORMED) {
  test(`section 9, malformed: ${what}`, () => {
    assert.equal(parseUri(uri), undefined)
    assert.equal(normaliseUri(uri), undefined)
  })
}

test('section 9: normalising twice is normalising once', () => {
  fc.assert(
    fc.property(uris(), (uri) => {
      const normal = normaliseUri(uri)
      assert.notEqual(normal, undefined)
      assert.equal(normaliseUri(normal ?? ''), normal)
    }),
    { numRuns: 2000 },
  )
})

const P = 'URISigningPackage'
const T = 'eyJh.eyJp.c2ln'

const FOUND: [what: string, uri: string, stripped: string][] = [
  ['the contract’s first', `http://h/p?a=1&${P}=${T}`, 'http://h/p?a=1'],
  ['the contract’s second', `http://h/p?${P}=${T}&b=2`, 'http://h/p?b=2'],
  ['alone in the query', `http://h/p?${P}=${T}`, 'http://h/p'],
  ['between parameters', `http://h/p?a=1&${P}=${T}&b=2`, 'http://h/p?a=1&b=2'],
  ['a path parameter', `http://h/p;${P}=${T}`, 'http://h/p'],
  ['a path parameter before a query', `http://h/p;${P}=${T}?a=1`, 'http://h/p?a=1'],
  ['a path parameter before another', `http://h/p;${P}=${T};v=1`, 'http://h/p;v=1'],
  ['a path segment', `http://h/${P}=${T}/p/q`, 'http://h/p/q'],
  ['the last path segment', `http://h/p/${P}=${T}`, 'http://h/p'],
  ['before a fragment', `http://h/p?${P}=${T}#f`, 'http://h/p#f'],
]

for (const [what, uri, stripped] of FOUND) {
  test(`section 9, token found: ${what}`, () => {
    assert.deepEqual(findToken(uri), { token: T, stripped })
  })
}

test('section 9: the first token counts, and only after a reserved character', () => {
  assert.equal(findToken(`http://h/p?${P}=one&${P}=two`)?.token, 'one')
  assert.equal(findToken(`http://h/p?x${P}=one&${P}=two`)?.token, 'two')
  assert.equal(findToken(`http://h/p?x${P}=one`), undefined)
  assert.equal(findToken(`http://h/p?${P}`), undefined)
  assert.equal(findToken(`${P}=one`), undefined)
  assert.equal(findToken(`http://h/p?x=1&other=${T}`, 'other')?.stripped, 'http://h/p?x=1')
})

test('section 9: a token that was placed is found again, and what is left is the URI', () => {
  const placements: Placement[] = ['query', 'path-parameter', 'path-segment']
  fc.assert(
    fc.property(uris(), fc.constantFrom(...placements), (uri, placement) => {
      const placed = placeToken(uri, T, placement)
      const found = findToken(placed)
      assert.equal(found?.token, T)
      assert.equal(normaliseUri(found?.stripped ?? ''), normaliseUri(uri))
      // An empty path is written out where the token would be taken for a part of the host.
      const isWritten = placement === 'path-parameter' && parseUri(uri)?.path === ''
      if (!isWritten) assert.equal(found?.stripped, uri)
    }),
    { numRuns: 2000 },
  )
  assert.equal(placeToken('http://h/a', T, 'cookie'), 'http://h/a')
})

test('section 10: cookies from left to right, at most eight', () => {
  assert.deepEqual(cookieTokens([`a=1; ${P}=one;${P}=two`, `${P}= three ; b=${P}`]), [
    'one',
    'two',
    'three',
  ])
  assert.deepEqual(cookieTokens([`x${P}=one; ${P}x=two; ${P}`]), [])
  assert.equal(cookieTokens([`${P}=one;`.repeat(100)]).length, 8)
})
