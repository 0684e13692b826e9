import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { system } from '../../src/context.ts'
import { createUpdates } from '../../src/data-api/update.ts'
import { endpoint, open } from '../remote-jwks/endpoint.ts'
import { countingIds, memoryStore, testClock } from '../server.ts'
import { AS_ROOT, aSigner, dataApiWorld, type Signer, setOf, setUp } from './world.ts'

// jwks-setup contract, section 6: how the active set is replaced, and that nothing else replaces it.

const OK = [200, '']
const INVALID = [401, 'invalid JWT']

test('sections 1, 9.4: what the endpoint serves counts from the call on, and not before', async (t) => {
  const [a, b] = [aSigner('a'), aSigner('b')]
  const world = await setUp(t, [a])
  const { bearer, serve, set } = world
  serve(b)
  // Neither does another address, nor time below the interval.
  await set('jwks_endpoint', `${world.issuer.url}?again`)
  world.clock.advance('59m')
  await world.dataApi.tick()
  assert.deepEqual((await world.verify(await a.sign())).valid, true)
  assert.deepEqual(await bearer(await b.sign()), INVALID)
  // The call of whoever the old set vouches for replaces that set.
  assert.deepEqual(await bearer(await a.sign()), OK)
  assert.deepEqual(await bearer(await a.sign()), INVALID)
  assert.deepEqual(await bearer(await b.sign()), OK)
})

const BAD: [what: string, answer: RequestListener | string, text: RegExp][] = [
  ['not JSON', '<html>', /^JWKS update failed: not JSON$/],
  ['not JSON twice', '{"keys":[],"keys":[]}', /not JSON/],
  ['no set', '{}', /no JWK Set/],
  ['a list', '[]', /no JWK Set/],
  ['keys that are no list', '{"keys":{}}', /no JWK Set/],
  ['an empty set', '{"keys":[]}', /no usable key/],
  ['symmetric keys only', '{"keys":[{"kty":"oct","k":"AAAA","kid":"a"}]}', /no usable key/],
  ['an entry that is no key', '{"keys":[{"kid":"a"}]}', /an entry that is no key/],
  ['an entry that is no object', '{"keys":[7]}', /an entry that is no key/],
  ['too deep', `{"keys":[],"a":${'['.repeat(50)}${']'.repeat(50)}}`, /not JSON/],
  ['2 MiB', JSON.stringify({ keys: [], pad: 'x'.repeat(2 * 1024 * 1024) }), /bytes/],
  ['201', (_, response) => response.writeHead(201).end('{"keys":[]}'), /status 201/],
  ['500', (_, response) => response.writeHead(500).end(), /status 500/],
  ['404', (_, response) => response.writeHead(404).end(), /status 404/],
  ['a redirect', (_, response) => response.writeHead(302, { location: '/' }).end(), /a redirect/],
  ['no HTTP', (_, { socket }) => socket?.end('nonsense\r\n\r\n'), /: no HTTP that can be read$/],
  ['an answer that breaks off', (_, response) => response.destroy(), /.+/],
]

test('sections 5, 6.3, 6.6, 9.5: every failure says why, and leaves the old set trusted', async (t) => {
  const a = aSigner('a')
  const world = await setUp(t, [a])
  const token = await a.sign()
  for (const [what, answer, text] of BAD) {
    world.issuer.answer(typeof answer === 'string' ? (_, response) => response.end(answer) : answer)
    const failed = await world.ask(AS_ROOT)
    assert.equal(failed.status, 500, what)
    assert.match(failed.text, text, what)
    assert.match(failed.text, /^JWKS update failed: [^\n]{1,120}$/, what)
    assert.equal((await world.verify(token)).valid, true, what)
  }
  await world.set('jwks_endpoint', world.issuer.url.replace('http:', 'https:'))
  assert.match((await world.ask(AS_ROOT)).text, /^JWKS update failed: no TLS that can be spoken$/)
  // Nobody listens there any more.
  await world.set('jwks_endpoint', 'http://127.0.0.1:1/jwks.json')
  assert.match((await world.ask(AS_ROOT)).text, /^JWKS update failed: .*ECONNREFUSED/)
  assert.equal((await world.verify(token)).valid, true)
})

test('sections 5, 6.2: an endpoint that is unset, private or no name is told apart', async (t) => {
  const world = await dataApiWorld(t, { settings: { ALLOW_INTERNAL_HOSTS: 'internal.example' } })
  const ask = async () => {
    const { status, text } = await world.ask(AS_ROOT)
    return [status, text]
  }
  assert.deepEqual(await ask(), [400, 'jwks_endpoint is not set'])
  await world.set('jwks_endpoint', world.issuer.url)
  assert.deepEqual(await ask(), [500, 'JWKS update failed: Local IPs not allowed as URL'])
  for (const bad of ['ftp://a.test/', 'https://user:pass@a.test/', 'nonsense', 'https://a b/']) {
    const { status } = await world.call('PUT', '/v1/settings/jwks_endpoint', { value: bad })
    assert.equal(status, 422, bad)
  }
  assert.equal(world.issuer.seen.length, 0)
})

/** Updates alone, with a limit that a test can wait for. */
async function updatesOf(t: import('node:test').TestContext, timeoutMs: number) {
  const clock = testClock()
  const store = await memoryStore(clock, countingIds())
  t.after(() => store.close())
  const issuer = await endpoint(t)
  const { pino } = await import('pino')
  const context = {
    ...{ store, log: pino({ level: 'silent' }), newId: countingIds(1000) },
    ...{ now: clock.now, monotonic: clock.monotonic },
  }
  const values: Record<string, unknown> = {
    ...{ jwks_endpoint: issuer.url, jwks_ssl_ca_certificate: '', jwks_update_interval: 3600 },
  }
  const updates = createUpdates({
    ...{ context, timeoutMs, isOurs: async () => false },
    fetch: open().fetch,
    settings: { get: (name: string) => values[name] as never, onChange: () => () => undefined },
  })
  t.after(updates.close)
  return { updates, issuer, values }
}

test('section 5, 9.5: an endpoint that stalls is 504 in time', async (t) => {
  const { updates, issuer } = await updatesOf(t, 200)
  issuer.answer(() => undefined)
  await assert.rejects(updates.update(system), { code: 'jwks_update_timeout', detail: 'timeout' })
  assert.equal(updates.active(), undefined)
})

test('sections 5, 6.6, 9.5: while the endpoint stalls the old set counts, and after it, too', async (t) => {
  const a = aSigner('a')
  const world = await setUp(t, [a])
  const { promise: asked, resolve } = Promise.withResolvers<() => void>()
  world.issuer.answer((_, response) => resolve(() => response.destroy()))
  const waiting = world.ask(AS_ROOT)
  const release = await asked
  assert.equal((await world.verify(await a.sign())).valid, true)
  release()
  assert.equal((await waiting).status, 500)
  assert.equal((await world.verify(await a.sign())).valid, true)
})

test('section 6: an unknown kid is refused and fetches nothing', async (t) => {
  const a = aSigner('a')
  const world = await setUp(t, [a])
  const before = world.issuer.seen.length
  world.serve(a, aSigner('b'))
  for (let time = 0; time < 20; time++) {
    assert.equal((await world.verify(await a.sign({}, { kid: `b${time}` }))).valid, false)
    world.clock.advance('1m')
  }
  assert.equal(world.issuer.seen.length, before)
})

test('section 6.4: during an update the old set counts whole, after it the new one whole', async (t) => {
  const [a, b, c] = [aSigner('a'), aSigner('b'), aSigner('c')]
  const world = await setUp(t, [a, b])
  const seen = async () => {
    const tokens = await Promise.all([a, b, c].map((one) => one.sign()))
    const verdicts = await Promise.all(tokens.map((token) => world.verify(token)))
    return verdicts.map(({ valid }) => valid)
  }
  const { promise: asked, resolve } = Promise.withResolvers<(text: string) => void>()
  world.issuer.answer((_, response) => resolve((text) => response.end(text)))
  const update = world.ask(AS_ROOT)
  const answer = await asked
  assert.deepEqual(await seen(), [true, true, false])
  answer(setOf(b, c))
  for (let isDone = false; !isDone; ) {
    const before = await Promise.race([update.then(() => true), seen()])
    if (before === true) isDone = true
    else assert.ok(['true,true,false', 'false,true,true'].includes(String(before)), `${before}`)
  }
  assert.equal((await update).status, 200)
  assert.deepEqual(await seen(), [false, true, true])
})

test('sections 6.1, 9.6: 50 calls at once are one fetch, and each has its outcome', async (t) => {
  const a = aSigner('a')
  const world = await setUp(t, [a])
  const before = world.issuer.seen.length
  const { promise: asked, resolve } = Promise.withResolvers<() => void>()
  world.issuer.answer((_, response) => resolve(() => response.end(setOf(a))))
  const all = Array.from({ length: 50 }, () => world.ask(AS_ROOT))
  ;(await asked)()
  const statuses = (await Promise.all(all)).map(({ status }) => status)
  assert.deepEqual(new Set(statuses), new Set([200]))
  assert.equal(world.issuer.seen.length, before + 1)
})

test('section 6.1: a call with another endpoint waits, and runs its own', async (t) => {
  const [a, b] = [aSigner('a'), aSigner('b')]
  const { updates, issuer, values } = await updatesOf(t, 10_000)
  const { promise: asked, resolve } = Promise.withResolvers<() => void>()
  issuer.answer((request, response) => {
    if (request.url?.endsWith('?other')) response.end(setOf(b))
    else resolve(() => response.end(setOf(a)))
  })
  const first = updates.update(system)
  const answer = await asked
  values['jwks_endpoint'] = `${issuer.url}?other`
  const second = updates.update(system)
  assert.equal(issuer.seen.length, 1, 'it waits')
  answer()
  await first
  await second
  assert.equal(issuer.seen.length, 2)
  assert.deepEqual(
    updates.active()?.keys.map(({ kid }) => kid),
    ['b'],
  )
})

test('section 6.3: what is dropped and what spoils a whole set', async (t) => {
  const [a, b, rsa] = [aSigner('a'), aSigner('b'), aSigner('r', 'RS256')]
  const world = await setUp(t, [a])
  const serve = (...keys: object[]) =>
    world.issuer.answer((_, response) => response.end(JSON.stringify({ keys })))
  const weak = { kty: 'RSA', kid: 'w', n: 'u'.repeat(171), e: 'AQAB' }
  const dropped = [
    ...[{ ...a.jwk, use: 'enc' }, { ...a.jwk, key_ops: ['sign'] }, weak],
    ...[{ kty: 'oct', k: 'AAAA', kid: 'o' }, { kty: 'XYZ' }, { kty: 'EC', crv: 'P-192', kid: 'p' }],
  ]
  serve(...dropped, b.jwk)
  assert.equal((await world.ask(AS_ROOT)).status, 200)
  assert.equal(world.dataApi.status().keys, 1)
  assert.equal(world.dataApi.status().ignored, dropped.length)
  const secret = b.privateKey.export({ format: 'jwk' })
  const spoiled: [keys: object[], reason: RegExp][] = [
    [[b.jwk, { ...a.jwk, d: secret.d }], /a key has private members/],
    [[b.jwk, { ...rsa.jwk, dp: 'AA' }], /a key has private members/],
    [[b.jwk, { ...rsa.jwk, use: 'enc', oth: [] }], /a key has private members/],
    [
      [
        { ...a.jwk, kid: 'x' },
        { ...b.jwk, kid: 'x' },
      ],
      /two keys with one kid/,
    ],
  ]
  for (const [keys, reason] of spoiled) {
    serve(...keys)
    assert.match((await world.ask(AS_ROOT)).text, reason)
  }
  // The same key twice is one; one kid on keys of two types is two.
  serve(a.jwk, a.jwk, { ...rsa.jwk, kid: 'a' })
  assert.equal((await world.ask(AS_ROOT)).status, 200)
  assert.equal(world.dataApi.status().keys, 2)
  assert.equal((await world.verify(await a.sign())).valid, true)
})

test('product.md 4: a set with a key or kid of this server is refused', async (t) => {
  const a = aSigner('a')
  const world = await setUp(t, [a])
  const ours = (await world.call('GET', '/.well-known/jwks.json')).json.keys[0]
  const serve = (...keys: object[]) =>
    world.issuer.answer((_, response) => response.end(JSON.stringify({ keys })))
  for (const bad of [ours, { ...ours, kid: 'other' }, { ...a.jwk, kid: ours.kid }]) {
    serve(a.jwk, bad)
    const { status, text } = await world.ask(AS_ROOT)
    assert.deepEqual([status, text], [500, 'JWKS update failed: a key or kid of this server'])
  }
})

test('section 6: timed refresh of the active address, whatever the setting says', async (t) => {
  const [a, b] = [aSigner('a'), aSigner('b')]
  const world = await setUp(t, [a])
  world.serve(b)
  await world.set('jwks_endpoint', 'https://elsewhere.example/')
  world.clock.advance('59m59s')
  await world.dataApi.tick()
  assert.equal((await world.verify(await b.sign())).valid, false)
  world.clock.advance('1s')
  await world.dataApi.tick()
  assert.equal((await world.verify(await b.sign())).valid, true)
  // A failure is logged; the next time comes, and until then the set stays.
  world.issuer.answer((_, response) => response.writeHead(500).end())
  world.clock.advance('1h')
  await world.dataApi.tick()
  assert.equal((await world.verify(await b.sign({ exp: 4_000_000_000 }))).valid, true)
  assert.match(world.log.join(''), /was not updated/)
  // Switched off, it never comes.
  await world.set('jwks_update_interval', 0)
  world.serve(a)
  world.clock.advance('1000h')
  await world.dataApi.tick()
  assert.equal((await world.verify(await b.sign({ exp: 4_000_000_000 }))).valid, true)
})

test('section 6.5, 9.6: a restart with the endpoint down trusts what was trusted', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'keyringd-data-api-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const a: Signer = aSigner('a', 'RS256')
  a.jwk['issuer'] = 'https://idp.test/'
  const token = await a.sign({ iss: 'https://idp.test/', exp: 4_000_000_000 })
  const clock = testClock()
  const file = join(folder, 'k.db')
  const first = await memoryStore(clock, countingIds(1_000_000), file)
  const world = await setUp(t, [a], { store: first, clock })
  assert.equal((await world.verify(token)).valid, true)
  await world.close()
  await first.close()
  clock.advance('3000h')
  const second = await memoryStore(clock, countingIds(2_000_000), file)
  t.after(() => second.close())
  const again = await dataApiWorld(t, { store: second, clock })
  again.issuer.answer((_, response) => response.destroy())
  const { valid, checks } = await again.verify(token)
  assert.equal(valid, true, JSON.stringify(checks))
  assert.equal(
    (await again.verify(await a.sign({ exp: 4_000_000_000 }))).valid,
    false,
    'its issuer',
  )
})

test('an update is on record, and a timed one only where it changed something', async (t) => {
  const a = aSigner('a')
  const world = await setUp(t, [a])
  world.clock.advance('1h')
  await world.dataApi.tick()
  const rows = await world.store.read.audit.list(0n, 1000)
  const events = rows.filter(({ type }) => type.startsWith('data-api.'))
  assert.deepEqual(
    events.map(({ type, principal, detail }) => [type, principal, JSON.parse(detail)]),
    [['data-api.keys-updated', 'user:root', { keys: 1, ignored: 0, changed: true }]],
  )
})
