import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { checkDocument, openDocument, type ValidationMode } from '../../src/uri-signing/document.ts'
import { signUri } from '../../src/uri-signing/uri-token.ts'
import { badDocuments, worseDocuments } from './cache-documents.ts'
import { keyPair, publicHalf, secret } from './cdn-token.ts'
import { createLoader, needsCache, startCache } from './traffic-server.ts'

// No document that is accepted as `strict` can take a cache down: our checks against a real one.

const refusalOf = (document: string, mode: ValidationMode): string | undefined => {
  const checked = checkDocument(Buffer.from(document), mode)
  return 'refusal' in checked ? checked.refusal : undefined
}

test('contract 6.2: what is no good for a cache is refused in strict, and stored in compat', async () => {
  for (const row of [...(await badDocuments()), ...(await worseDocuments())]) {
    const { what, document, reason, malformed } = row
    const refusal = refusalOf(document, 'strict') ?? ''
    if (reason) assert.ok(refusal.startsWith(`invalid keyset: ${reason}`), `${what}: ${refusal}`)
    assert.match(refusal, malformed ? /^malformed JSON$/ : /^invalid keyset: ./, what)
    assert.equal(refusalOf(document, 'compat'), malformed ? refusal : undefined, what)
  }
})

/** What a member is replaced by; marks are replaced by what no value of JavaScript is written as. */
const RAW: Record<string, string> = {
  '@int': '9223372036854775808',
  '@real': '1e400',
  '@nul': '"\\u0000"',
  '@half': '"\\udc00"',
  '@deep': `${'['.repeat(3000)}${']'.repeat(3000)}`,
  '@zero': '-0.0E+1',
  '@twice': '1,"x":2',
}
const odd = fc.oneof(
  fc.constantFrom(null, true, 0, 7, '', '=', 'AA', 'A', '+/+/', 'ä', 'k', [], {}, [7], [{}]),
  fc.constantFrom(
    'HS256',
    'HS512',
    'RS256',
    'ES256',
    'ES384',
    'PS512',
    'EdDSA',
    'none',
    'P-256',
    'P-521',
  ),
  fc.constantFrom('oct', 'RSA', 'EC', 'OKP', 'AKP', 'sig', ...Object.keys(RAW)),
  fc.jsonValue({ maxDepth: 2 }),
)
const changed = (value: object, names: readonly string[], share: number) =>
  fc
    .record({
      is: fc.integer({ min: 0, max: 99 }).map((at) => at < share),
      name: fc.constantFrom(...names),
      to: fc.oneof(odd, fc.constant(undefined)),
    })
    .map(({ is, name, to }) => (is ? { ...value, [name]: to } : value))

const MEMBERS = [
  'kty',
  'alg',
  'kid',
  'k',
  'n',
  'e',
  'd',
  'x',
  'y',
  'crv',
  'use',
  'key_ops',
  'exp',
  'x5c',
]
const regex = fc.constantFrom(
  'regex:^http://a/.*',
  'regex:(',
  'regex:[a-z]{2}|b*',
  'regex:',
  'hash:x',
  '',
)
const directive = fc.oneof(
  fc.record({ auth: fc.constantFrom('allow', 'deny', 'maybe'), uri: fc.oneof(regex, odd) }),
  fc.record({ auth: fc.constantFrom('allow', 'deny'), uri: regex }),
  odd,
)

/** Documents of which most have one thing or two wrong, and some nothing. */
async function documents() {
  const pairs = await Promise.all(
    ['RS256', 'PS384', 'ES256', 'ES384', 'ES512'].map((alg) => keyPair(alg, alg)),
  )
  const jwks = [...pairs.map(({ jwk }) => jwk), ...pairs.map(({ jwk }) => publicHalf(jwk))]
  const key = fc
    .tuple(fc.constantFrom(...jwks, secret('s').jwk, secret('h', 'HS384').jwk), fc.nat(999))
    .chain(([jwk, at]) => changed({ ...jwk, kid: `${jwk.kid}-${at}` }, MEMBERS, 12))
  const optional = fc.record(
    {
      strip_token: fc.oneof(fc.boolean(), odd),
      id: fc.oneof(fc.string(), odd),
      auth_directives: fc.oneof(fc.array(directive, { maxLength: 3 }), odd),
      x: odd,
    },
    { requiredKeys: [] },
  )
  const extra = fc.oneof(
    { weight: 3, arbitrary: fc.constant({}) },
    { weight: 1, arbitrary: optional },
  )
  const set = fc
    .tuple(fc.array(key, { maxLength: 3 }), extra)
    .chain(([keys, more]) => changed({ keys, ...more }, ['keys', 'renewal_kid', 'x'], 5))
  const renewal = secret('renewal').jwk
  const first = changed(renewal, MEMBERS, 5).chain((jwk) =>
    set.map((rest) => ({
      renewal_kid: 'renewal',
      ...rest,
      keys: [jwk, ...('keys' in rest && Array.isArray(rest.keys) ? rest.keys : [])],
    })),
  )
  const name = fc.oneof(fc.constantFrom('studio', '__proto__', '42', 'alerts', ''), fc.string())
  const others = fc.array(fc.tuple(name, set), { maxLength: 2 })
  return fc.tuple(name, first, others).map(([issuer, main, more]) => {
    const sets = [[issuer, main], ...more].map(
      ([n, s]) => `${JSON.stringify(n)}:${JSON.stringify(s)}`,
    )
    const text = `{${sets.join(',')}}`
    return Object.entries(RAW).reduce((all, [mark, raw]) => all.replaceAll(`"${mark}"`, raw), text)
  })
}

test('no document that is accepted as strict fails to load in a cache', needsCache, async (t) => {
  const loads = await createLoader(t)
  const [accepted, refused] = [new Set<string>(), new Set<string>()]
  const many = fc.array(await documents(), { minLength: 50, maxLength: 50 })
  const holds = fc.asyncProperty(many, async (given) => {
    const good = given.filter((document) => refusalOf(document, 'strict') === undefined)
    for (const document of given) (good.includes(document) ? accepted : refused).add(document)
    return good.length === 0 || (await loads(...good))
  })
  await fc.assert(holds, { numRuns: 40 })
  // Or this would say nothing.
  assert.ok(accepted.size > 200 && refused.size > 200, `${accepted.size} : ${refused.size}`)
})

test(
  'with any document that is accepted as strict, a cache answers what each key signs, and renews it',
  needsCache,
  async (t) => {
    const sampled = fc.sample(await documents(), 400)
    const sites = sampled
      .filter((document) => refusalOf(document, 'strict') === undefined)
      .map((document, at) => ({ host: `site-${at}.test`, xmlId: `site-${at}`, document }))
    const cache = await startCache(t, sites)
    const pid = cache.serverPid()
    let signed = 0
    for (const { host, document } of sites) {
      const uri = `http://${host}/a`
      // A directive may let everybody in; then nothing is renewed.
      const { status: unsigned } = await cache.get(uri)
      assert.ok([200, 403].includes(unsigned), document)
      for (const { issuer, keys } of openDocument(Buffer.from(document)).issuers.values()) {
        for (const key of keys) {
          const usable = key.usable()
          if (!usable?.signingKey) continue
          const request = { uri, issuer, ttl: 600, renewable: { seconds: 60 } }
          const { uri: asked } = await signUri(request, usable, Date.now() / 1000)
          const { status, cookies } = await cache.get(asked)
          const renewed = unsigned === 200 ? 0 : 1
          assert.deepEqual([status, cookies.length], [200, renewed], `${key.kid} of ${document}`)
          signed += 1
        }
      }
    }
    assert.equal(cache.serverPid(), pid)
    assert.ok(sites.length > 20 && signed > 50, `${sites.length} documents, ${signed} keys`)
  },
)
