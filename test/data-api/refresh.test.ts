import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { pino } from 'pino'
import { system } from '../../src/context.ts'
import { readKeys } from '../../src/data-api/key-set.ts'
import { createUpdates } from '../../src/data-api/update.ts'
import { listenOn } from '../loopback.ts'
import { needs } from '../needs.ts'
import { endpoint, open } from '../remote-jwks/endpoint.ts'
import { countingIds, memoryStore, testClock } from '../server.ts'
import { AS_ROOT, aSigner, dataApiWorld, setOf, setUp } from './world.ts'

// jwks-setup contract, section 6: the timed refresh beside the call, certificates, and what is on record of failures.

/** Updates alone: the settings are plain values, the clock is a test's. */
async function updatesAlone(t: TestContext) {
  const clock = testClock()
  const store = await memoryStore(clock, countingIds())
  t.after(() => store.close())
  const issuer = await endpoint(t)
  const values: Record<string, unknown> = {
    ...{ jwks_endpoint: issuer.url, jwks_ssl_ca_certificate: '', jwks_update_interval: 5 },
  }
  const updates = createUpdates({
    context: {
      ...{ store, log: pino({ level: 'silent' }), newId: countingIds(1000) },
      ...{ now: clock.now, monotonic: clock.monotonic },
    },
    ...{ fetch: open().fetch, isOurs: async () => false },
    settings: { get: (name: string) => values[name] as never, onChange: () => () => undefined },
  })
  t.after(updates.close)
  return { updates, issuer, values, clock, store }
}

test('sections 1, 6: a timed refresh that comes due during a call does not undo it', async (t) => {
  const [a, b] = [aSigner('a'), aSigner('b')]
  const { updates, issuer, values, clock } = await updatesAlone(t)
  issuer.answer((_, response) => response.end(setOf(a)))
  await updates.update(system)
  const { promise: asked, resolve } = Promise.withResolvers<() => void>()
  issuer.answer((request, response) => {
    if (request.url?.endsWith('?b')) resolve(() => response.end(setOf(b)))
    else response.end(setOf(a))
  })
  values['jwks_endpoint'] = `${issuer.url}?b`
  const call = updates.update(system)
  const answer = await asked
  // Longer than the interval: the other endpoint is slow, and the old one is due again.
  clock.advance('6s')
  const due = updates.tick()
  answer()
  await Promise.all([call, due])
  const active = updates.active()
  assert.equal(active?.url, `${issuer.url}?b`)
  assert.deepEqual(
    active?.keys.map(({ kid }) => kid),
    ['b'],
  )
})

test('sections 5, 6.2: what is no usable URL is told from what cannot be fetched', async (t) => {
  const { updates, issuer, values } = await updatesAlone(t)
  const code = async () =>
    updates.update(system).then(
      () => assert.fail('it did not fail'),
      (error: { code?: string }) => error.code,
    )
  const port = issuer.port
  for (const bad of [
    ...['nonsense', '//host/path', 'ftp://a.test/', 'file:///etc/passwd', 'data:,{}', 'https://'],
    ...[`http://user@127.0.0.1:${port}/`, `http://:pass@127.0.0.1:${port}/`, 'https://a b/'],
    ...[`http://127.0.0.1:${port}/\n`, `https://a.test/${'x'.repeat(2048)}`],
  ]) {
    values['jwks_endpoint'] = bad
    assert.equal(await code(), 'jwks_endpoint_invalid', bad.slice(0, 60))
  }
  // Over http anybody on the way could become every user.
  values['jwks_endpoint'] = 'http://93.184.215.14/'
  assert.equal(await code(), 'jwks_endpoint_invalid')
  values['jwks_endpoint'] = ''
  assert.equal(await code(), 'jwks_endpoint_unset')
  values['jwks_endpoint'] = `http://localhost:${port}/`
  assert.equal(await code(), 'jwks_update_failed')
  assert.equal(issuer.seen.length, 0)
})

test('section 6.2: every address that leads inside is refused, and nothing is asked', async (t) => {
  const world = await dataApiWorld(t, { settings: { ALLOW_INTERNAL_HOSTS: 'internal.example' } })
  const { port } = world.issuer
  for (const host of [
    ...['127.0.0.1', '127.1', '2130706433', '0x7f.1', '[::1]', '[::ffff:127.0.0.1]', '0.0.0.0'],
    ...['10.0.0.1', '172.16.0.1', '192.168.0.1', '169.254.169.254', '100.64.0.1', '[fd00::1]'],
    ...['localhost', 'host.docker.internal'],
  ]) {
    await world.set('jwks_endpoint', `http://${host}:${port}/jwks.json`)
    const { status, text } = await world.ask(AS_ROOT)
    const refused = [500, 'JWKS update failed: Local IPs not allowed as URL']
    assert.deepEqual([status, text], refused, host)
  }
  assert.equal(world.issuer.connections.all, 0)
})

test('section 6.3: a private post-quantum key spoils a set as any other', async () => {
  const { privateKey } = generateKeyPairSync('ml-dsa-44')
  const jwk = { ...privateKey.export({ format: 'jwk' }), kid: 'pq', alg: 'ML-DSA-44' }
  const body = Buffer.from(JSON.stringify({ keys: [aSigner('a').jwk, jwk] }))
  await assert.rejects(
    readKeys(body, async () => false),
    { code: 'jwks_update_failed', detail: 'a key has private members' },
  )
})

test('sections 5, 6.6: a call that fails is on record with who called; a timed one is logged only', async (t) => {
  const world = await setUp(t, [aSigner('a')])
  world.issuer.answer((_, response) => response.writeHead(500).end())
  await world.ask(AS_ROOT)
  world.clock.advance('1h')
  await world.dataApi.tick()
  await world.set('jwks_endpoint', '')
  await world.ask(AS_ROOT)
  const rows = await world.store.read.audit.list(0n, 1000)
  const failures = rows.filter(({ type }) => type === 'data-api.update-failed')
  const host = new URL(world.issuer.url).host
  assert.deepEqual(
    failures.map(({ subject, principal, detail }) => [subject, principal, JSON.parse(detail)]),
    [[host, 'user:root', { code: 'jwks_update_failed' }]],
  )
  const logged = world.log.filter((line) => line.includes('was not updated'))
  assert.equal(logged.length, 2)
  assert.equal(world.dataApi.status().keys, 1)
})

test('section 6.1: calls that share a fetch that fails are each on record', async (t) => {
  const world = await setUp(t, [aSigner('a')])
  const { promise: asked, resolve } = Promise.withResolvers<() => void>()
  world.issuer.answer((_, response) => resolve(() => response.writeHead(500).end()))
  const calls = [world.ask(AS_ROOT), world.ask(AS_ROOT)]
  ;(await asked)()
  for (const { status } of await Promise.all(calls)) assert.equal(status, 500)
  const rows = await world.store.read.audit.list(0n, 1000)
  assert.equal(rows.filter(({ type }) => type === 'data-api.update-failed').length, 2)
})

test(
  'sections 6.2, 8: jwks_ssl_ca_certificate alone is trusted where it is set',
  needs('openssl'),
  async (t) => {
    const [own, other] = [authority(t), authority(t)]
    const a = aSigner('a')
    const server = createServer(own.server, (_, response) => response.end(setOf(a)))
    const port = await listenOn(t, server)
    const world = await dataApiWorld(t)
    await world.set('jwks_endpoint', `https://127.0.0.1:${port}/jwks.json`)
    const failed = async () => {
      const { status, text } = await world.ask(AS_ROOT)
      assert.equal(status, 500)
      assert.match(text, /^JWKS update failed: [\x20-\x7e]{1,120}$/)
    }
    await failed()
    await world.set('jwks_ssl_ca_certificate', other.pem)
    await failed()
    await world.set('jwks_ssl_ca_certificate', own.pem)
    assert.equal((await world.ask(AS_ROOT)).status, 200)
    // A timed refresh trusts what the setting says then.
    await world.set('jwks_ssl_ca_certificate', other.pem)
    world.clock.advance('1h')
    await world.dataApi.tick()
    assert.ok(world.dataApi.status().lastError)
    assert.equal((await world.verify(await a.sign({ exp: 4_000_000_000 }))).valid, true)
  },
)

/** A certificate authority, and a server of its. */
function authority(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'keyringd-data-api-ca-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const at = (name: string) => join(folder, name)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'ignore' })
  const fresh = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']
  openssl(
    ...['req', '-x509', ...fresh, '-subj', '/CN=Test CA'],
    ...['-keyout', at('ca.key'), '-out', at('ca.crt')],
  )
  openssl(
    ...[
      'req',
      '-x509',
      ...fresh,
      '-subj',
      '/CN=endpoint',
      '-addext',
      'subjectAltName=IP:127.0.0.1',
    ],
    ...['-CA', at('ca.crt'), '-CAkey', at('ca.key'), '-keyout', at('key'), '-out', at('crt')],
  )
  return {
    pem: readFileSync(at('ca.crt'), 'utf8'),
    server: { cert: readFileSync(at('crt')), key: readFileSync(at('key')) },
  }
}

test('section 6: a restart does not put the timed refresh off', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'keyringd-data-api-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const [a, b] = [aSigner('a'), aSigner('b')]
  const clock = testClock()
  const file = join(folder, 'k.db')
  const first = await memoryStore(clock, countingIds(1_000_000), file)
  const world = await setUp(t, [a], { store: first, clock })
  await world.close()
  await first.close()
  clock.advance('59m59s')
  const second = await memoryStore(clock, countingIds(2_000_000), file)
  t.after(() => second.close())
  const again = await dataApiWorld(t, { store: second, clock })
  world.serve(b)
  await again.dataApi.tick()
  const due = again.dataApi.status().nextAttemptAt ?? 0n
  // What is kept has whole milliseconds.
  assert.equal(due / 1_000_000n, clock.now() / 1_000_000n + 1000n)
  assert.equal((await again.verify(await a.sign({ exp: 4_000_000_000 }))).valid, true)
  clock.advance('1s')
  await again.dataApi.tick()
  assert.equal((await again.verify(await b.sign({ exp: 4_000_000_000 }))).valid, true)
})

test('a set that is dropped is trusted no more, over a restart too, until the next call', async (t) => {
  const a = aSigner('a')
  const world = await setUp(t, [a])
  const token = await a.sign({ exp: 4_000_000_000 })
  assert.equal((await world.bearer(token))[0], 200)
  const status = async () => (await world.call('GET', '/v1/status')).json.remoteSets
  const [before] = await status()
  assert.deepEqual(
    [before.source, before.host, before.keys],
    ['jwks_setup', `127.0.0.1:${world.issuer.port}`, 1],
  )
  assert.equal(before.lastError, null)

  const drop = () => world.call('DELETE', '/v1/data-api/keys')
  assert.equal((await drop()).status, 204)
  assert.equal((await world.bearer(token))[0], 401)
  assert.equal(await world.store.read.dataApiKeys.get(), undefined)
  assert.deepEqual(await status(), [])
  world.clock.advance('2h')
  await world.dataApi.tick()
  assert.equal((await world.bearer(token))[0], 401)
  assert.equal((await world.ask(AS_ROOT)).status, 200)
  assert.equal((await world.bearer(token))[0], 200)

  // One that runs is waited for: what it fetched is dropped as well.
  const { promise: asked, resolve } = Promise.withResolvers<() => void>()
  world.issuer.answer((_, response) => resolve(() => response.end(setOf(a))))
  const call = world.ask(AS_ROOT)
  const answer = await asked
  const dropping = drop()
  answer()
  assert.deepEqual([(await call).status, (await dropping).status], [200, 204])
  assert.equal((await world.bearer(token))[0], 401)

  world.issuer.answer((_, response) => response.writeHead(500).end())
  await world.ask(AS_ROOT)
  const [failed] = await status()
  assert.match(failed.lastError, /500/)
  const rows = await world.store.read.audit.list(0n, 1000)
  const dropped = rows.filter(({ type }) => type === 'data-api.keys-dropped')
  assert.deepEqual(
    dropped.map(({ principal, detail }) => [principal, JSON.parse(detail)]),
    Array(2).fill(['token:management', { keys: 1 }]),
  )
})
