import assert from 'node:assert/strict'
import { test } from 'node:test'
import { compactVerify, decodeJwt, decodeProtectedHeader, importJWK, type JWK } from 'jose'
import {
  FAR,
  keyPair,
  PLACES,
  publicHalf,
  renewalIn,
  type SigningKey,
  secret,
  tampered,
  tokenOf,
} from './cdn-token.ts'
import { needsCache, siteOf, startCache } from './traffic-server.ts'

// What the contract says of the cache, asked of a real one: keys and tokens are made with jose, so that this holds, or
// not, whatever our own signing does.

const nowSeconds = () => Math.floor(Date.now() / 1000)
const escaped = (uri: string) => uri.replace(/[.\\+*?^$()[\]{}|]/g, '\\$&')
const exactly = (uri: string) => `regex:^${escaped(uri)}$`

test(
  'contract 9: a cache answers URIs signed with HS256, RS256 and ES256, wherever the token is',
  needsCache,
  async (t) => {
    const hs = secret('hs')
    const keys = {
      HS256: hs,
      RS256: await keyPair('rs', 'RS256'),
      ES256: await keyPair('es', 'ES256'),
    }
    const known = [hs.jwk, publicHalf(keys.RS256.jwk), publicHalf(keys.ES256.jwk)]
    const document = { studio: { renewal_kid: 'hs', keys: known } }
    const cache = await startCache(t, [siteOf('cdn', document)])

    const uri = 'http://cdn.test/video/a.ts'
    const good = { iss: 'studio', exp: FAR, cdniuc: exactly(uri) }
    for (const [alg, key] of Object.entries(keys)) {
      const token = await tokenOf(key, good)
      for (const [place, put] of Object.entries(PLACES)) {
        const { uri: asked, headers } = put(uri, token)
        const { status, text } = await cache.get(asked, headers)
        assert.deepEqual([status, text], [200, 'the film'], `${alg}, ${place}`)
      }
      const refused = {
        expired: await tokenOf(key, { ...good, exp: nowSeconds() - 1 }),
        'of another URI': await tokenOf(key, {
          ...good,
          cdniuc: exactly('http://cdn.test/video/b.ts'),
        }),
        tampered: tampered(token),
        'of a foreign key': await tokenOf({ ...(await foreign(alg, key.jwk)) }, good),
        'of a foreign issuer': await tokenOf(key, { ...good, iss: 'other' }),
        'with a foreign kid': await tokenOf(key, good, { kid: 'other' }),
      }
      for (const [why, bad] of Object.entries(refused)) {
        for (const [place, put] of Object.entries(PLACES)) {
          const { uri: asked, headers } = put(uri, bad)
          assert.equal((await cache.get(asked, headers)).status, 403, `${alg}, ${why}, ${place}`)
        }
      }
    }
    const before = cache.seen.length
    assert.equal((await cache.get(uri)).status, 403)
    assert.equal(cache.seen.length, before)
  },
)

/** A key of the same kind and kid that the cache does not know. */
async function foreign(alg: string, { kid = '' }: JWK): Promise<SigningKey> {
  return alg.startsWith('HS') ? secret(kid, alg) : keyPair(kid, alg)
}

test('contract 9: what a cache makes of each claim', needsCache, async (t) => {
  const key = secret('k')
  const cache = await startCache(t, [
    siteOf('plain', { studio: { renewal_kid: 'k', keys: [key.jwk] } }),
    siteOf('named', { studio: { renewal_kid: 'k', id: 'cache-1', keys: [key.jwk] } }),
  ])

  const base = {
    iss: 'studio',
    exp: FAR,
    cdniuc: 'regex:^http://(plain|named)\\.test/video/[a-z0-9.]*$',
  }
  const now = nowSeconds()
  const renewed = { cdnistt: 1, cdniets: 60 }
  const sha = Buffer.from(
    await crypto.subtle.digest('SHA-256', Buffer.from('http://plain.test/video/1.ts')),
  )
  // Claim by claim: what is changed, and the status; `no` and `yes` say whether there is a renewal.
  const rows: [string, Record<string, unknown>, number, ('yes' | 'no')?, string?][] = [
    ['nothing changed', {}, 200, 'no'],
    ['no iss', { iss: undefined }, 403],
    ['no cdniuc', { cdniuc: undefined }, 200],
    ['an empty cdniuc', { cdniuc: '' }, 200],
    ['a hash', { cdniuc: `hash:sha-256;${sha.toString('base64url')}` }, 403],
    ['a regex anchored nowhere', { cdniuc: 'regex:http://plain.test/vid' }, 200],
    ['a regex that begins later', { cdniuc: 'regex:/video/' }, 403],
    ['a Perl class', { cdniuc: 'regex:^http://plain\\.test/video/\\d\\.ts$' }, 403],
    ['a Perl group', { cdniuc: 'regex:^http://plain\\.test/video/(?:1)\\.ts$' }, 403],
    ['no exp', { exp: undefined }, 200],
    ['exp null', { exp: null }, 200],
    ['exp a string of the past', { exp: '1' }, 200],
    ['exp a fraction', { exp: now + 600.5 }, 200],
    ['exp past', { exp: now - 1 }, 403],
    ['nbf past', { nbf: now - 1 }, 200],
    ['nbf future', { nbf: now + 600 }, 403],
    ['iat future', { iat: now + 600 }, 200],
    ['aud where the set has no id', { aud: 'cache-1' }, 403],
    ['aud of this cache', { aud: 'cache-1' }, 200, 'no', 'named.test'],
    ['aud with this cache in it', { aud: ['x', 'cache-1'] }, 200, 'no', 'named.test'],
    ['aud of another cache', { aud: 'cache-2' }, 403, 'no', 'named.test'],
    ['sub', { sub: 'anybody' }, 200],
    ['jti', { jti: 'once' }, 403],
    ['cdniv 1', { cdniv: 1 }, 200],
    ['cdniv 2', { cdniv: 2 }, 403],
    ['cdnicrit', { cdnicrit: 'exp' }, 403],
    ['cdniip', { cdniip: '127.0.0.1/32' }, 403],
    ['cdnistt 0', { cdnistt: 0 }, 200, 'no'],
    ['cdnistt 2', { cdnistt: 2, cdniets: 60 }, 403],
    ['cdnistt without cdniets', { cdnistt: 1 }, 200, 'no'],
    ['cdniets without cdnistt', { cdniets: 60 }, 200, 'no'],
    ['a renewal', renewed, 200, 'yes'],
    ['cdnistd negative', { ...renewed, cdnistd: -1 }, 403],
    ['cdnistd as deep as the path', { ...renewed, cdnistd: 2 }, 200, 'no'],
    ['cdnistd in the path', { ...renewed, cdnistd: 1 }, 200, 'yes'],
  ]
  const told: string[] = []
  for (const [what, change, status, renewal = 'no', host = 'plain.test'] of rows) {
    const token = await tokenOf(key, { ...base, ...change })
    const { uri = '' } = PLACES['query']?.(`http://${host}/video/1.ts`, token) ?? {}
    const answer = await cache.get(uri)
    const got = [answer.status, answer.cookies.length > 0 ? 'yes' : 'no']
    if (got.join() !== [status, renewal].join()) told.push(`${what}: ${got.join(' ')}`)
  }
  assert.deepEqual(told, [])
  const other = await tokenOf(key, base, { alg: 'HS512' })
  assert.equal(
    await cache.statusWith('http://plain.test/video/1.ts', other),
    200,
    'the alg of a key is not held to',
  )
})

test('contract 11: a cache renews', needsCache, async (t) => {
  const first = secret('first')
  const second = await keyPair('second', 'ES256')
  const document = {
    one: { keys: [first.jwk] },
    two: { renewal_kid: 'second', keys: [second.jwk] },
  }
  const cache = await startCache(t, [siteOf('cdn', document)])
  const carried = {
    ...{ sub: 'anybody', nbf: 1_700_000_000, cdniuc: 'regex:^http://cdn\\.test/.*$' },
    ...{ cdniets: 30, cdnistt: 1, cdnistd: 2 },
  }
  const token = await tokenOf(first, { iss: 'one', exp: FAR, ...carried })
  const before = Date.now() / 1000
  const { uri = '' } = PLACES['query']?.('http://cdn.test/a/b/c/d.ts', token) ?? {}
  const answer = await cache.get(uri)
  const after = Date.now() / 1000
  const renewal = renewalIn(answer.cookies)
  assert.ok(renewal, answer.cookies.join())
  assert.equal(renewal.path, '/a/b')
  assert.deepEqual(answer.cookies, [`URISigningPackage=${renewal.token}; Path=/a/b`])
  await compactVerify(renewal.token, await importJWK(publicHalf(second.jwk)))
  const { kid, alg } = decodeProtectedHeader(renewal.token)
  assert.deepEqual({ kid, alg }, { kid: 'second', alg: 'ES256' })
  const { exp = 0, iat = 0, ...rest } = decodeJwt(renewal.token)
  assert.deepEqual(rest, { iss: 'two', cdniv: 1, ...carried })
  assert.ok(exp >= before + 29 && exp <= after + 31, `${exp}`)
  assert.ok(iat >= before - 1 && iat <= after + 1, `${iat}`)
  const cookie = { cookie: `URISigningPackage=${renewal.token}` }
  const next = await cache.get('http://cdn.test/a/b/e.ts', cookie)
  assert.deepEqual([next.status, renewalIn(next.cookies)?.path], [200, '/a/b'])
})

test('contract 12: the test vectors', needsCache, async (t) => {
  const document = {
    'studio-a': {
      renewal_kid: '2026-b',
      keys: [
        {
          kty: 'oct',
          alg: 'HS256',
          kid: '2026-a',
          k: 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8',
        },
        {
          kty: 'oct',
          alg: 'HS256',
          kid: '2026-b',
          k: 'ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8',
        },
      ],
    },
  }
  const cache = await startCache(t, [siteOf('studio', document, 'cdn.example')])
  const base64url = (text: string) => Buffer.from(text).toString('base64url')
  const signed = (exp: number, signature: string) =>
    [
      base64url('{"alg":"HS256","kid":"2026-a"}'),
      base64url(
        `{"iss":"studio-a","exp":${exp},"cdniuc":"regex:^http://cdn\\\\.example/video/.*$"}`,
      ),
      signature,
    ].join('.')
  const uri = 'http://cdn.example/video/a.ts'
  assert.equal(
    await cache.statusWith(uri, signed(FAR, 'Z9UG0ZZjhhibX741HG-M_-qdYAPVEXtcZSLldBqDEPs')),
    200,
  )
  const expired = signed(1_700_000_000, 'wVmbiqCzj1-j8NmUeruSTh6lIGNbAHyMH4AnCptLSsk')
  assert.equal(await cache.statusWith(uri, expired), 403)
})
