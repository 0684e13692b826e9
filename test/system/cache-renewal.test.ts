import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeJwt, decodeProtectedHeader } from 'jose'
import { openDocument } from '../../src/uri-signing/document.ts'
import { renewToken, verifyUri } from '../../src/uri-signing/uri-token.ts'
import { FAR, keyPair, renewalIn, secret, tokenOf } from './cdn-token.ts'
import { needsCache, startCache } from './traffic-server.ts'

// Not among them: a path with `%20`, which a cache writes as a space, so that the cookie is never sent back.
const PATHS = [
  '/',
  '/a',
  '/a/',
  '/a/b',
  '/a/b/',
  '/a/b/c/d.ts',
  '/a//b/c',
  '/a/./b/../c/d',
  '/a~b/c%2Fd/e',
]
const MORE: Record<string, object> = {
  'nothing more': {},
  'a subject and a start': { sub: 'a.b.c.d.e', nbf: 1_700_000_000 },
  'an audience': { aud: ['other', 'cache-1'] },
  'no version': { cdniv: 1 },
}

test('contract 11: we renew as a cache renews', needsCache, async (t) => {
  const first = secret('first')
  const renewal = await keyPair('renewal', 'ES256')
  const document = Buffer.from(
    JSON.stringify({
      one: { id: 'cache-1', keys: [first.jwk] },
      two: { renewal_kid: 'renewal', keys: [renewal.jwk] },
    }),
  )
  const opened = openDocument(document)
  const cache = await startCache(t, [{ host: 'cdn.test', xmlId: 'cdn', document }])
  const base = {
    iss: 'one',
    exp: FAR,
    cdniuc: 'regex:^http://cdn\\.test/.*$',
    cdnistt: 1,
    cdniets: 30,
  }

  for (const path of PATHS) {
    for (const depth of [undefined, 0, 1, 2, 3]) {
      for (const [what, more] of Object.entries(MORE)) {
        const claims = { ...base, ...more, ...(depth !== undefined && { cdnistd: depth }) }
        const token = await tokenOf(first, claims)
        const uri = `http://cdn.test${path}`
        const said = `${path}, depth ${depth}, ${what}`
        const cookie = `URISigningPackage=${token}`
        const { status, cookies } = await cache.get(uri, { cookie })
        assert.equal(status, 200, said)
        const theirs = renewalIn(cookies)
        const now = Date.now() / 1000
        const ours = await renewToken({ claims, uri, document: opened, now })
        assert.equal(ours?.path, theirs?.path, said)
        if (!ours || !theirs) continue
        assert.equal(ours.setCookie, cookies[0]?.replace(theirs.token, ours.token), said)
        const [header, { exp = 0, iat = 0, ...rest }] = read(ours.token)
        const [theirHeader, { exp: theirExp = 0, iat: theirIat = 0, ...theirRest }] = read(
          theirs.token,
        )
        assert.deepEqual([header, rest], [theirHeader, theirRest], said)
        assert.ok(Math.abs(exp - theirExp) < 5 && Math.abs(iat - theirIat) < 5, said)
        for (const renewed of [ours.token, theirs.token]) {
          const again = { uri, cookies: `URISigningPackage=${renewed}`, document: opened }
          assert.equal((await verifyUri({ ...again, now: Date.now() / 1000 })).code, 200, said)
          assert.equal((await cache.get(uri, { cookie: again.cookies })).status, 200, said)
        }
      }
    }
  }
})

/** A cache spells out the depth that is 0 when it is not there. */
const read = (token: string) =>
  [decodeProtectedHeader(token), { cdnistd: 0, ...decodeJwt(token) }] as const
