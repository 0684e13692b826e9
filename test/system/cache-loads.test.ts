import assert from 'node:assert/strict'
import { test } from 'node:test'
import { badDocuments, worseDocuments } from './cache-documents.ts'
import { FAR, keyPair, PLACES, publicHalf, type SigningKey, secret, tokenOf } from './cdn-token.ts'
import { createLoader, needsCache, siteOf, startCache } from './traffic-server.ts'

// Which documents a real cache loads, and what it does with those: made with jose, whatever our own checks say.

test('contract 6.2: which documents a cache loads', needsCache, async (t) => {
  const loads = await createLoader(t)
  const wrong: string[] = []
  for (const { what, document, ...row } of [
    ...(await badDocuments()),
    ...(await worseDocuments()),
  ]) {
    if ((await loads(document)) !== row.loads) wrong.push(what)
  }
  assert.deepEqual(wrong, [])
  assert.equal(await loads('{"renewal_kid":null,"keys":null}'), false)
  assert.equal(await loads('{}'), false)
})

test('contract 6.2: a reload that fails leaves the old rules', needsCache, async (t) => {
  const key = secret('good')
  const document = JSON.stringify({ studio: { renewal_kid: 'good', keys: [key.jwk] } })
  const good = { host: 'good.test', xmlId: 'good', document }
  const cache = await startCache(t, [good])
  const bad = { host: 'bad.test', xmlId: 'bad', document: '{"renewal_kid":null,"keys":null}' }
  assert.equal(await cache.reload([good, bad]), 'refused')
  const token = await tokenOf(key, { iss: 'studio', exp: FAR, cdniuc: '' })
  assert.equal(await cache.statusWith('http://good.test/a', token), 200)
  assert.equal(await cache.statusWith('http://bad.test/a', token), 404)
})

test('contract 6.2: documents that a cache loads, and how it goes wrong', needsCache, async (t) => {
  const k = secret('k')
  const twin = secret('twin')
  const second = secret('twin')
  const es = await keyPair('k', 'ES256')
  const set = (more: object, ...keys: object[]) => ({ studio: { renewal_kid: 'k', ...more, keys } })
  const short = secret('short', 'HS256', 8)
  const documents: Record<string, unknown> = {
    padded: set({}, { ...k.jwk, k: `${secret('k', 'HS256', 32).jwk.k}=` }),
    short: set({}, k.jwk, short.jwk),
    unknown: set({}, k.jwk, secret('other', 'XS1').jwk, secret('third', 'RS256').jwk),
    twins: set({}, k.jwk, twin.jwk, second.jwk),
    'renewal-public': set({}, publicHalf(es.jwk)),
    'renewal-alg': set({}, { ...k.jwk, alg: 'XS1' }, twin.jwk),
    'directives-text': set({ auth_directives: 'allow' }, k.jwk),
    'directives-auth': set({ auth_directives: [{ auth: 'maybe', uri: 'regex:.*' }] }, k.jwk),
    'directives-regex': set({ auth_directives: [{ auth: 'allow', uri: 'regex:(' }] }, k.jwk),
    'directives-every': set({ auth_directives: [{ auth: 'allow', uri: 7 }] }, k.jwk),
    'directives-allow': set({ auth_directives: [{ auth: 'allow', uri: 'regex:.*free' }] }, k.jwk),
    strip: set({ strip_token: 'yes' }, k.jwk),
    id: set({ id: 7 }, k.jwk),
    members: set({ odd: [1] }, { ...k.jwk, use: 'sig', key_ops: ['verify'], nbf: FAR, exp: 1 }),
  }
  const sites = Object.entries(documents).map(([name, document]) => siteOf(name, document))
  const cache = await startCache(t, sites)

  const renewable = { iss: 'studio', exp: FAR, cdniuc: '', cdnistt: 1, cdniets: 60 }
  const ask = async (name: string, key?: SigningKey, path = '/a.ts') => {
    const uri = `http://${name}.test${path}`
    const asked = key ? PLACES['query']?.(uri, await tokenOf(key, renewable)) : { uri }
    const { status, cookies } = await cache.get(asked?.uri ?? '')
    return `${status} ${cookies.length > 0 ? 'renewed' : 'not renewed'}`
  }
  const rows: [string, string, SigningKey | undefined, string?][] = [
    ['short', '200 renewed', short],
    ['unknown', '200 renewed', k],
    ['twins', '200 renewed', twin],
    ['twins', '403 not renewed', second],
    ['renewal-public', '200 not renewed', es],
    ['renewal-alg', '200 not renewed', twin],
    ['directives-text', '200 renewed', k],
    ['directives-text', '403 not renewed', undefined],
    ['directives-auth', '403 not renewed', undefined],
    ['directives-regex', '403 not renewed', undefined],
    ['directives-every', '200 not renewed', undefined],
    ['directives-allow', '200 not renewed', undefined, '/free'],
    ['directives-allow', '403 not renewed', undefined, '/paid'],
    // The URL that a directive is matched with has its query.
    ['directives-allow', '200 not renewed', undefined, '/paid?free'],
    ['strip', '200 renewed', k],
    ['id', '200 renewed', k],
    ['members', '200 renewed', k],
  ]
  const told: string[] = []
  for (const [name, expected, key, path] of rows) {
    const got = await ask(name, key, path)
    if (got !== expected) told.push(`${name} ${path ?? ''}: ${got}, not ${expected}`)
  }
  assert.deepEqual(told, [])
})

test(
  'contract 6.2: every algorithm, public halves, any issuer name, two issuers',
  needsCache,
  async (t) => {
    const hmacs = ['HS256', 'HS384', 'HS512'].map((alg) => secret(alg, alg))
    const pairs = await Promise.all(
      ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512'].map((alg) =>
        keyPair(alg, alg),
      ),
    )
    const names = ['__proto__', 'constructor', 'alerts', '42', 'ä ö', 'https://a.example/b']
    const keys = JSON.stringify([
      ...hmacs.map(({ jwk }) => jwk),
      ...pairs.map(({ jwk }) => publicHalf(jwk)),
    ])
    const sets = names.map(
      (name, at) =>
        `${JSON.stringify(name)}:{${at === 0 ? '"renewal_kid":"HS256",' : ''}"keys":${keys}}`,
    )
    const cache = await startCache(t, [siteOf('all', `{${sets.join(',')}}`)])
    for (const iss of names) {
      for (const key of [...hmacs, ...pairs]) {
        const token = await tokenOf(key, { iss, exp: FAR, cdniuc: '' })
        assert.equal(
          await cache.statusWith('http://all.test/a', token),
          200,
          `${iss} ${key.jwk.kid}`,
        )
      }
    }
  },
)
