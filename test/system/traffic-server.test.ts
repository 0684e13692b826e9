import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { decodeProtectedHeader } from 'jose'
import { type ServerProcess, startServer } from '../../scripts/server-process.ts'
import { badDocuments } from './cache-documents.ts'
import { keyPair, PLACES, renewalIn, secret, tampered } from './cdn-token.ts'
import { bounded, request } from './process.ts'
import { type Cache, createLoader, needsCache, type Site, startCache } from './traffic-server.ts'

// The whole way: a Traffic Ops client puts keys, a real cache loads them, and answers the URIs that we sign.

const PASSWORD = 'correct horse battery staple'
const HOST = 'cdn.test'
const URI = `http://${HOST}/video/a.ts`

/** A server as people run it, with a tenant, its CDN administrator and two delivery services. */
async function startOwner(t: TestContext, settings: Record<string, string> = {}) {
  const server = await startServer({ settings: { ROOT_KEY_ALGORITHM: 'ES256', ...settings } })
  t.after(server.stop)
  await must(server, 'POST', '/v1/tenants', { name: 'studio' })
  const user = { name: 'ann', password: PASSWORD, role: 'cdn-admin', tenant: 'studio' }
  await must(server, 'POST', '/v1/users', user)
  for (const xmlId of ['demo', 'other']) {
    await must(server, 'PUT', `/v1/delivery-services/${xmlId}`, { tenant: 'studio', cdn: 'one' })
  }
  return server
}

async function must(server: ServerProcess, method: string, path: string, body?: unknown) {
  const { status, json } = await server.call(method, path, body)
  assert.ok(status < 300, `${method} ${path}: ${status} ${JSON.stringify(json)}`)
  // biome-ignore lint/suspicious/noExplicitAny: the tests say what they expect
  return json as any
}

/** A client of Traffic Ops: logs in, keeps its cookies, and asks for the keys of a service. */
async function logIn({ url }: ServerProcess) {
  const body = JSON.stringify({ u: 'ann', p: PASSWORD })
  const answer = await request(`${url}/api/5.0/user/login`, { method: 'POST', body })
  assert.equal(answer.json.alerts[0].text, 'Successfully logged in.')
  const cookie = answer.headers
    .getSetCookie()
    .map((each) => each.split(';')[0])
    .join('; ')
  return (method: 'GET' | 'PUT' | 'DELETE', xmlId: string, document?: string) =>
    request(`${url}/api/5.0/deliveryservices/${xmlId}/urisignkeys`, {
      method,
      headers: { cookie },
      ...(document !== undefined && { body: document }),
    })
}

type Keys = Awaited<ReturnType<typeof logIn>>

/** What a cache is given: what the Traffic Ops API answers, byte for byte. */
async function siteOf(keys: Keys, xmlId = 'demo', host = HOST): Promise<Site> {
  const { status, text } = await keys('GET', xmlId)
  assert.equal(status, 200, text)
  return { host, xmlId, document: text }
}

/** A document with a key of each kind; the secret signs renewals. */
async function documentOf(prefix: string): Promise<string> {
  const keys = [
    secret(`${prefix}-HS256`).jwk,
    (await keyPair(`${prefix}-RS256`, 'RS256')).jwk,
    (await keyPair(`${prefix}-ES256`, 'ES256')).jwk,
  ]
  return JSON.stringify({ studio: { renewal_kid: `${prefix}-HS256`, keys } }, undefined, 2)
}

interface Signed {
  uri: string
  token: string
  kid: string
}

const sign = (server: ServerProcess, more: object = {}, xmlId = 'demo'): Promise<Signed> =>
  must(server, 'POST', `/v1/delivery-services/${xmlId}/sign`, { uri: URI, ttl: '10m', ...more })

const verify = (server: ServerProcess, uri: string, cookies?: string) =>
  must(server, 'POST', '/v1/delivery-services/demo/verify', { uri, ...(cookies && { cookies }) })

/** The cache's answer to a token in each place; ours agrees with it. */
async function everywhere(server: ServerProcess, cache: Cache, token: string, status: number) {
  for (const [place, put] of Object.entries(PLACES)) {
    const { uri, headers } = put(URI, token)
    assert.equal((await cache.get(uri, headers)).status, status, place)
    const { code } = await verify(server, uri, headers?.['cookie'])
    assert.equal(code === 200, status === 200, `${place}: ${code}`)
  }
}

/** Asks until it is so: what time alone brings about. */
async function until(isSo: () => Promise<boolean>): Promise<void> {
  const look = async () => {
    while (!(await isSo()));
  }
  await bounded(look(), 'what was waited for')
}

test(
  'a cache that loads what we serve answers what we sign, and nothing else',
  needsCache,
  async (t) => {
    const server = await startOwner(t)
    const keys = await logIn(server)
    const document = await documentOf('demo')
    for (const [xmlId, text] of [
      ['demo', document],
      // The same names, other keys.
      ['other', await documentOf('demo')],
    ] as const) {
      const put = await keys('PUT', xmlId, text)
      assert.deepEqual([put.status, put.text], [200, text])
    }
    const site = await siteOf(keys)
    assert.equal(site.document, document)
    const cache = await startCache(t, [site])

    for (const alg of ['HS256', 'RS256', 'ES256']) {
      const kid = `demo-${alg}`
      const good = await sign(server, { kid })
      assert.equal(good.kid, kid)
      assert.equal((await cache.get(good.uri)).status, 200, alg)
      await everywhere(server, cache, good.token, 200)
      await everywhere(server, cache, tampered(good.token), 403)
      await everywhere(server, cache, (await sign(server, { kid }, 'other')).token, 403)
      const elsewhere = await sign(server, { kid, uri: `http://${HOST}/video/b.ts` })
      await everywhere(server, cache, elsewhere.token, 403)
    }
    const seen = cache.seen.length
    assert.equal((await cache.get(URI)).status, 403)
    assert.equal((await verify(server, URI)).code, 0)
    assert.equal(cache.seen.length, seen)

    const short = await sign(server, { ttl: '1s' })
    await until(async () => (await cache.get(short.uri)).status === 403)
    assert.equal((await verify(server, short.uri)).code, 404)

    const below = await sign(server, { container: 'below', uri: `http://${HOST}/video/` })
    const cookie = `URISigningPackage=${below.token}`
    assert.equal((await cache.get(`http://${HOST}/video/c/d.ts?e`, { cookie })).status, 200)
    assert.equal((await cache.get(`http://${HOST}/videos`, { cookie })).status, 403)
  },
)

test('what a cache renews, our verifier accepts', needsCache, async (t) => {
  const server = await startOwner(t)
  const keys = await logIn(server)
  await keys('PUT', 'demo', await documentOf('demo'))
  const cache = await startCache(t, [await siteOf(keys)])
  for (const kid of ['demo-HS256', 'demo-RS256', 'demo-ES256']) {
    const { uri, token } = await sign(server, { kid, renewable: true })
    const { status, cookies } = await cache.get(uri)
    const renewal = renewalIn(cookies)
    assert.equal(status, 200, kid)
    assert.ok(renewal, `${kid}: ${cookies.join()}`)
    assert.notEqual(renewal.token, token)
    const cookie = `URISigningPackage=${renewal.token}`
    const verdict = await verify(server, URI, cookie)
    assert.deepEqual([verdict.code, verdict.claims.iss], [200, 'studio'], kid)
    const again = await cache.get(URI, { cookie })
    assert.deepEqual([again.status, again.cookies.length], [200, 1], kid)
  }
})

test(
  'a cache follows a rotation by reloading, and nobody is turned away',
  needsCache,
  async (t) => {
    const server = await startOwner(t)
    const keys = await logIn(server)
    const own = '/v1/delivery-services/demo'
    const { kid: old } = await must(server, 'POST', `${own}/generate`, { issuer: 'studio' })
    const cache = await startCache(t, [await siteOf(keys)])
    const pid = cache.serverPid()
    const isGood = async ({ uri }: Signed) => (await cache.get(uri)).status === 200
    const renewedBy = async ({ uri }: Signed) => {
      const { token = '' } = renewalIn((await cache.get(uri)).cookies) ?? {}
      return decodeProtectedHeader(token).kid
    }
    const step = (name: string) => server.call('POST', `${own}/rotate`, { step: name })
    const reload = async () => {
      assert.equal(await cache.reload([await siteOf(keys)]), 'loaded')
      const cachesReloadedAt = new Date().toISOString()
      return () => must(server, 'POST', `${own}/attest`, { cachesReloadedAt })
    }
    const before = await sign(server, { renewable: true })
    assert.deepEqual([before.kid, await isGood(before)], [old, true])

    const plan = await must(server, 'POST', `${own}/rotate`, { automatic: false })
    const next = plan.rotations[0].newKid
    const attest = await reload()
    assert.equal((await step('sign')).status, 409, 'nobody says that caches know the new key')
    assert.equal((await sign(server)).kid, old)
    await attest()
    assert.equal((await step('sign')).status, 200)
    const after = await sign(server, { renewable: true })
    assert.deepEqual([after.kid, await isGood(after), await isGood(before)], [next, true, true])
    assert.equal(await renewedBy(after), old)

    assert.equal((await step('renew')).status, 200)
    const attestAgain = await reload()
    await attestAgain()
    assert.deepEqual([await renewedBy(before), await renewedBy(after)], [next, next])
    const { status, json } = await step('remove')
    assert.deepEqual([status, (json as { code: string }).code], [409, 'rotation_unsafe'])

    // What would have become of the tokens under the old key.
    const { studio } = JSON.parse((await keys('GET', 'demo')).text)
    studio.keys = studio.keys.filter(({ kid }: { kid: string }) => kid !== old)
    assert.equal((await keys('PUT', 'demo', JSON.stringify({ studio }))).status, 200)
    await reload()
    assert.deepEqual([await isGood(before), await isGood(after)], [false, true])
    assert.equal(cache.serverPid(), pid)
  },
)

test(
  'a cache that need only verify gets no private key but that of renewals',
  needsCache,
  async (t) => {
    const server = await startOwner(t)
    const keys = await logIn(server)
    assert.equal((await keys('PUT', 'demo', await documentOf('demo'))).status, 200)
    const { token } = await must(server, 'POST', '/v1/api-tokens', {
      name: 'edge',
      grants: ['DS-SECURITY-KEY:READ@delivery-service:demo'],
    })
    const ask = (path: string) =>
      request(`${server.url}/v1/delivery-services/${path}`, {
        headers: { authorization: `Bearer ${token}` },
      })
    assert.equal((await ask('other/cache-config?public=true')).status, 403)
    const { status, text } = await ask('demo/cache-config?public=true')
    assert.equal(status, 200, text)
    assert.doesNotMatch(text, /"(?:d|p|q|dp|dq|qi)"/)
    const site = { host: HOST, xmlId: 'demo', document: text }
    const cache = await startCache(t, [site])
    for (const kid of ['demo-HS256', 'demo-RS256', 'demo-ES256']) {
      const { status: answered, cookies } = await cache.get(
        (await sign(server, { kid, renewable: true })).uri,
      )
      assert.deepEqual([answered, cookies.length], [200, 1], kid)
    }
  },
)

test('contract 6.2: what strict refuses, a cache cannot do with', needsCache, async (t) => {
  const strict = await startOwner(t)
  const compat = await startOwner(t, { URI_SIGNING_VALIDATION: 'compat' })
  const [refusing, storing] = [await logIn(strict), await logIn(compat)]
  const isLoaded = await createLoader(t)
  for (const { what, document, reason, loads } of await badDocuments()) {
    const refused = await refusing('PUT', 'demo', document)
    assert.equal(refused.status, 400, what)
    const [{ text, level }] = refused.json.alerts
    assert.equal(level, 'error')
    assert.ok(text.startsWith(`invalid keyset: ${reason}`), `${what}: ${text}`)
    const stored = await storing('PUT', 'demo', document)
    assert.deepEqual([stored.status, stored.text], [200, document], what)
    assert.equal(await isLoaded((await storing('GET', 'demo')).text), loads, what)
  }
  assert.equal((await refusing('GET', 'demo')).text, '{"renewal_kid":null,"keys":null}')
})
