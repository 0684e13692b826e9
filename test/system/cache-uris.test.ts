import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isProblem } from '../../src/errors.ts'
import { openDocument } from '../../src/uri-signing/document.ts'
import { placeToken } from '../../src/uri-signing/uri.ts'
import { type SignUriRequest, signUri, verifyUri } from '../../src/uri-signing/uri-token.ts'
import { secret } from './cdn-token.ts'
import { needsCache, startCache } from './traffic-server.ts'

// Where the spelling of URIs is odd, our verdict on a signed URI and that of a real cache are the same.

const part = fc.constantFrom(
  ...[
    'a',
    'B',
    '7',
    '-',
    '.',
    '_',
    '~',
    '..',
    '/',
    '//',
    '/./',
    '/../',
    '/a/b/',
    '%2e',
    '%2E%2e',
    '%2F',
    '%2f',
  ],
  ...[
    '%41',
    '%7e',
    '%20',
    '%25',
    '%25%34%31',
    '%C3%A4',
    '%c3%a4',
    '%E2%82%AC',
    '%3F',
    '%3b',
    '%5B',
    '%7C',
    '%5C',
  ],
  ...[
    '!',
    '$',
    '&',
    "'",
    '(',
    ')',
    '*',
    '+',
    ',',
    ';',
    '=',
    ':',
    '@',
    '%2B',
    '%00',
    '%ff',
    '%22',
    '%5E',
    '%7B2%7D',
  ],
)
const text = (maxLength: number) => fc.array(part, { maxLength }).map((parts) => parts.join(''))
const uri = fc
  .record({
    host: fc.constantFrom('cdn.test', 'cdn.test', 'CDN.test', 'cdn.test:80'),
    path: text(6),
    query: fc.option(
      fc.tuple(text(4), fc.boolean()).map(([given, more]) => `?${given}${more ? '&c=d?e' : ''}`),
    ),
  })
  .map(({ host, path, query }) => `http://${host}/${path}${query ?? ''}`)

/** The cache takes the first two slashes of a path for one. */
const hasTwoSlashes = (spelled: string): boolean => /^http:\/\/[^/]*\/\//.test(spelled)

/**
 * What else this cache does not see as it came, and then refuses: a semicolon at the end of the path, a question mark at
 * the end of the URI, and some sequences of dot segments.
 */
const isLost = (spelled: string): boolean => /;(\?|$)|\?$|\/(\.|%2e){1,2}([/?]|$)/i.test(spelled)

/** Another URI that is near. */
const near = (signed: string) =>
  fc.oneof(
    { weight: 3, arbitrary: fc.constant(signed) },
    {
      weight: 4,
      arbitrary: fc.constantFrom(
        `${signed}a`,
        `${signed}/`,
        `${signed}/b`,
        `${signed}?x=1`,
        `${signed}%41`,
      ),
    },
    fc.constant(signed.replace('.test/', '.test/a/')),
    fc.constant(signed.slice(0, -1)),
    fc.constant(signed.toUpperCase().replace('HTTP', 'http')),
    uri,
  )
const asked = uri.chain((signed) =>
  fc.record({
    signed: fc.constant(signed),
    other: near(signed),
    container: fc.constantFrom('exact' as const, 'any-query' as const, 'below' as const),
    placement: fc.constantFrom(
      'query' as const,
      'path-segment' as const,
      'path-parameter' as const,
      'cookie' as const,
    ),
  }),
)

test(
  'contract 9, 10: a cache and our verifier agree on which URIs a token is for',
  needsCache,
  async (t) => {
    const key = secret('k')
    const document = Buffer.from(JSON.stringify({ studio: { renewal_kid: 'k', keys: [key.jwk] } }))
    const cache = await startCache(t, [{ host: 'cdn.test', xmlId: 'cdn', document }])
    const opened = openDocument(document)
    const usable = opened.renewal.key.usable()
    assert.ok(usable)
    const now = Date.now() / 1000
    const seen = { 200: 0, 403: 0, unsigned: 0 }

    const kept = asked.filter(
      ({ signed, other }) => !hasTwoSlashes(signed) && !hasTwoSlashes(other),
    )
    const holds = fc.asyncProperty(kept, async ({ signed, other, container, placement }) => {
      const request: SignUriRequest = { uri: signed, issuer: 'studio', ttl: 3600, container }
      let token: string
      try {
        token = (await signUri(request, usable, now)).token
      } catch (error) {
        assert.ok(isProblem(error, 'uri_invalid'), String(error))
        seen.unsigned += 1
        return
      }
      const cookie = placement === 'cookie' ? `URISigningPackage=${token}` : ''
      const placed = placeToken(other, token, placement)
      const { code } = await verifyUri({ uri: placed, cookies: cookie, document: opened, now })
      const { status } = await cache.get(placed, cookie ? { cookie } : {})
      if (status === 200) seen[200] += 1
      if (status === 403) seen[403] += 1
      const both = `${status} from the cache, ${code} from us`
      if (status === 200) assert.equal(code, 200, both)
      if (code === 200 && !isLost(signed) && !isLost(other)) assert.equal(status, 200, both)
    })
    await fc.assert(holds, { numRuns: 1500 })
    assert.ok(seen[200] > 200 && seen[403] > 200 && seen.unsigned < 700, JSON.stringify(seen))
  },
)
