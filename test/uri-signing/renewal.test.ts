import assert from 'node:assert/strict'
import { test } from 'node:test'
import { renewToken, signUri, verifyUri } from '../../src/uri-signing/uri-token.ts'
import { documentWith, KEYS, oct, opened, publicHalf, usableOf } from './key-documents.ts'

// Contract section 11: the token that a cache answers with.

const NOW = 1_700_000_000.75
const URI = 'http://cdn.example/one/two/three.ts?a=/b/c/d'
/** The renewal key is another issuer's. */
const document = opened({
  owner: { keys: [oct('a')] },
  cache: { renewal_kid: 'r', keys: [oct('r', 'HS384', 48, 7)] },
})
const CLAIMS = {
  ...{ iss: 'owner', sub: 's', aud: ['x'], exp: NOW + 1, nbf: 5, iat: 1 },
  ...{ cdniuc: 'regex:^http://cdn\\.example/.*$', cdniets: 30, cdnistt: 1, cdnistd: 2 },
}

const renewed = (claims: object = {}, uri = URI) =>
  renewToken({ claims: { ...CLAIMS, ...claims }, uri, document, now: NOW })

const partOf = (token: string, at: number) =>
  JSON.parse(Buffer.from(token.split('.')[at] ?? '', 'base64url').toString())

test('section 11: header, claims and cookie', async () => {
  const renewal = await renewed()
  assert.ok(renewal)
  assert.deepEqual(partOf(renewal.token, 0), { alg: 'HS384', kid: 'r' })
  assert.deepEqual(Object.entries(partOf(renewal.token, 1)), [
    ...Object.entries({ iss: 'cache', sub: 's', aud: ['x'], exp: NOW + 30, nbf: 5, iat: NOW }),
    ...Object.entries({ cdniuc: CLAIMS.cdniuc, cdniv: 1, cdniets: 30, cdnistt: 1, cdnistd: 2 }),
  ])
  assert.equal(renewal.setCookie, `URISigningPackage=${renewal.token}; Path=/one/two`)
})

test('section 11: what is absent stays absent', async () => {
  const renewal = await renewed({
    sub: undefined,
    aud: undefined,
    nbf: undefined,
    cdnistd: undefined,
  })
  assert.deepEqual(Object.keys(partOf(renewal?.token ?? '', 1)), [
    ...['iss', 'exp', 'iat', 'cdniuc', 'cdniv', 'cdniets', 'cdnistt'],
  ])
})

const PATHS: [depth: number | undefined, uri: string, path: string | undefined][] = [
  [undefined, URI, '/'],
  [0, URI, '/'],
  [0, 'http://h', '/'],
  [1, URI, '/one'],
  [2, URI, '/one/two'],
  [3, URI, undefined],
  [4, URI, undefined],
  [1, 'http://h/one/', '/one'],
  [1, 'http://h/one', undefined],
  [2, 'http://h/one/../two/%7Ethree/', '/two/~three'],
  [1, 'http://h/one;Domain=example/two', undefined],
  [1, 'not a URI', undefined],
]

for (const [depth, uri, path] of PATHS) {
  test(`section 11: depth ${depth} of ${uri} is ${path}`, async () => {
    assert.equal((await renewed({ cdnistd: depth }, uri))?.path, path)
  })
}

const NONE: [what: string, claims: object][] = [
  ['no cdnistt', { cdnistt: undefined }],
  ['cdnistt 0', { cdnistt: 0 }],
  ['no cdniets', { cdniets: undefined }],
  ['cdniets 0', { cdniets: 0 }],
  ['cdniets negative', { cdniets: -1 }],
  ['cdniets a fraction', { cdniets: 1.5 }],
]

for (const [what, claims] of NONE) {
  test(`section 11, no renewal: ${what}`, async () => {
    assert.equal(await renewed(claims), undefined)
  })
}

test('section 6.2: a renewal key without its private half renews nothing', async () => {
  const compat = opened(documentWith([publicHalf(KEYS['ES256'] ?? {})]), 'compat')
  const renewal = await renewToken({ claims: CLAIMS, uri: URI, document: compat, now: NOW })
  assert.equal(renewal, undefined)
})

test('section 11: a renewed token verifies as a cookie, and is renewed again', async () => {
  const key = usableOf(document, 'owner', 'a')
  const made = await signUri(
    {
      uri: URI,
      issuer: 'owner',
      ttl: 10,
      container: 'below',
      renewable: { seconds: 30, depth: 1 },
    },
    key,
    NOW,
  )
  let claims = (await verifyUri({ uri: made.uri, document, now: NOW })).claims
  for (const now of [NOW + 1, NOW + 30, NOW + 59]) {
    assert.ok(claims)
    const renewal = await renewToken({ claims, uri: URI, document, now })
    const cookies = renewal?.setCookie.split(';')[0] ?? ''
    const verdict = await verifyUri({ uri: URI, cookies, document, now: now + 29.9 })
    assert.deepEqual([verdict.code, verdict.issuer, verdict.kid], [200, 'cache', 'r'])
    assert.equal((await verifyUri({ uri: URI, cookies, document, now: now + 30 })).code, 404)
    claims = verdict.claims
  }
})
