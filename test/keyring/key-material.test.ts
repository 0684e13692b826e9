import assert from 'node:assert/strict'
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { isProblem, Problem } from '../../src/errors.ts'
import { createAeadProvider } from '../../src/kek/aead.ts'
import type { KekProvider } from '../../src/kek/provider.ts'
import { countingIds, memoryStore, type TestServer, testClock, testServer } from '../server.ts'
import { KEK, onDisk } from './on-disk.ts'

// Keyring contract, section 6: what a root key is made of, who wraps it, and who opens it again.

const FAST = { ROOT_KEY_ALGORITHM: 'ES256' }

/** A provider with a KEK of its own. */
const provider = (id: string): KekProvider => ({
  ...createAeadProvider(Buffer.alloc(32, id)),
  id,
})

const rotate = (server: TestServer) => server.call('PUT', '/v1/operator/keyring/rotate')

/** Starts, and starts again, on one store. */
async function restarting(t: TestContext) {
  const clock = testClock()
  const store = await memoryStore(clock, countingIds())
  t.after(() => store.close())
  return {
    store,
    start: (providers: KekProvider[], open = true) =>
      testServer(t, { settings: FAST, store, clock, providers, open }),
  }
}

test('section 6: a root key is 32 random bytes, under which its own private half is sealed by AES-256-GCM', async (t) => {
  const disk = onDisk(t, { ROOT_KEY_ALGORITHM: 'RS256' })
  await disk.start()
  const kids = disk.kids('default', 'private_sealed is not null')
  assert.equal(kids.length, 2)
  const seen = new Set<string>()
  for (const kid of kids) {
    const dataKey = Buffer.from(await disk.dataKey(kid))
    assert.equal(dataKey.length, 32)
    const { private_sealed: sealed, root_kid: root, public_jwk: jwk } = disk.row(kid)
    assert.equal(root, kid, 'a root key is sealed under its own data key')
    // Format, nonce, ciphertext, tag: the nonce is in front and of 12 bytes.
    const half = await disk.privateHalf(kid)
    assert.ok(Buffer.isBuffer(sealed))
    assert.equal(sealed.length, 1 + 12 + half.length + 16)
    for (const one of [dataKey, sealed.subarray(1, 13)]) seen.add(one.toString('hex'))
    const key = createPrivateKey({ key: half, format: 'der', type: 'pkcs8' })
    assert.partialDeepStrictEqual(
      [key.asymmetricKeyType, key.asymmetricKeyDetails],
      ['rsa', { modulusLength: 2048, publicExponent: 65537n }],
    )
    const { n } = createPublicKey(key).export({ format: 'jwk' })
    assert.equal(JSON.parse(String(jwk)).n, n)
  }
  assert.equal(seen.size, 4, 'no data key and no nonce twice')
})

test('section 6: material and wraps never leave through HTTP', async (t) => {
  const disk = onDisk(t)
  const server = await disk.start()
  assert.equal((await rotate(server)).status, 200)
  const secrets: Buffer[] = []
  for (const kid of disk.kids('default', 'private_sealed is not null')) {
    secrets.push(Buffer.from(await disk.dataKey(kid)), await disk.privateHalf(kid))
    const { d = '' } = createPrivateKey({
      ...{ key: await disk.privateHalf(kid), format: 'der', type: 'pkcs8' },
    }).export({ format: 'jwk' })
    secrets.push(Buffer.from(d, 'base64url'), disk.row(kid)['private_sealed'] as Buffer)
  }
  const wraps = disk.sql('select wrapped from root_key_wraps')
  secrets.push(...wraps.map(({ wrapped }) => wrapped as Buffer), Buffer.from(KEK))
  assert.ok(secrets.length >= 4 * 2 + 3 && secrets.every(({ length }) => length >= 32))

  const { paths } = server.app.swagger() as { paths: Record<string, Record<string, unknown>> }
  const urls = Object.entries(paths).filter(([, methods]) => 'get' in methods)
  const answers = ['/metrics', '/openapi.yaml', '/docs', '/v1/operator/keyring/keys?pretty']
  answers.push(...urls.map(([path]) => path.replace('{ring}', 'default')))
  answers.push(...urls.map(([path]) => path.replace('{ring}', 'access')))
  let isRead = 0
  for (const url of new Set(answers.filter((path) => !path.includes('{')))) {
    const answer = await server.app.inject({
      url,
      headers: { authorization: 'Bearer management-token-of-the-tests-0123456789' },
    })
    if (answer.statusCode === 200) isRead += 1
    for (const secret of secrets) {
      for (const encoding of ['hex', 'base64', 'base64url'] as const) {
        // Without padding, and without the last characters, which depend on what follows.
        const text = secret.toString(encoding).replace(/=+$/, '').slice(0, -1)
        assert.equal(answer.body.includes(text), false, `${url}: ${encoding}`)
      }
    }
    assert.doesNotMatch(answer.body, /"(?:d|p|q|dp|dq|qi|priv)":/, url)
  }
  assert.ok(isRead >= 20, `${isRead} documents were read`)
})

test('section 6: every provider wraps each new key, and any of them opens it again', async (t) => {
  const { store, start } = await restarting(t)
  const [one, two] = [provider('one'), provider('two')]
  const server = await start([one, two])
  assert.equal((await rotate(server)).status, 200)
  for (const { wraps } of await store.read.rootKeys.list()) {
    assert.deepEqual(wraps.map(({ providerId }) => providerId).sort(), ['one', 'two'])
  }
  for (const providers of [[two], [one]]) {
    const again = await start(providers)
    const body = { claims: { sub: 'a' }, ttl: '1h' }
    assert.equal((await again.call('POST', '/v1/rings/default/sign', body)).status, 200)
  }
  await assert.rejects(start([provider('three')]), (error) => {
    assert.ok(isProblem(error, 'kek_wrong'))
    return error.detail.startsWith('No configured KEK provider has a wrap of root key ')
  })
})

test('section 6: when one provider cannot wrap, nothing is stored and the old key stays', async (t) => {
  const { store, start } = await restarting(t)
  let isDown = false
  const two = provider('two')
  const server = await start([
    provider('one'),
    {
      ...two,
      wrap: (...args) =>
        isDown ? Promise.reject(new Problem('kek_unreachable', 'It is away')) : two.wrap(...args),
    },
  ])
  const before = await server.call('GET', '/v1/rings/default/keys')
  isDown = true
  assert.partialDeepStrictEqual(await rotate(server), { status: 500, json: 'It is away' })
  assert.deepEqual((await server.call('GET', '/v1/rings/default/keys')).json, before.json)
  assert.equal((await store.read.rootKeys.list()).length, before.json.keys.length)
  isDown = false
  assert.equal((await rotate(server)).status, 200)
})

test('section 6: wraps are tried in parallel: a provider that hangs does not keep another from opening', {
  timeout: 10_000,
}, async (t) => {
  const { start } = await restarting(t)
  const [one, two] = [provider('one'), provider('two')]
  await start([one, two])
  const hanging = (of: KekProvider) => ({ ...of, unwrap: () => new Promise<never>(() => {}) })
  for (const providers of [
    [hanging(one), two],
    [one, hanging(two)],
  ]) {
    const server = await start(providers)
    assert.equal((await server.call('GET', '/readyz')).status, 200)
  }
})

test('section 6: an unreachable provider is tried again after 1 s, growing to 5 s', async (t) => {
  const { start } = await restarting(t)
  const one = provider('one')
  await start([one])
  let isDown = true
  let rounds = 0
  const active = { ...one }
  active.unwrap = async (wrapped, context) => {
    if (!isDown) return one.unwrap(wrapped, context)
    throw new Problem('kek_unreachable', 'It is away')
  }
  const server = await start([active], false)
  // Once a round, and each of them is in the log.
  const roundsSoFar = () =>
    server.log.filter((line) => line.includes('a KEK provider cannot be reached')).length
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const stopping = new AbortController()
  t.after(() => stopping.abort())
  const opened = server.open([active], stopping.signal)
  const settle = async () => {
    for (let turn = 0; turn < 20; turn++) await setImmediate()
  }
  for (const seconds of [0, 1, 2, 4, 5, 5]) {
    if (seconds > 0) {
      t.mock.timers.tick(seconds * 1000 - 1)
      await settle()
      assert.equal(roundsSoFar(), rounds, `not before ${seconds} s`)
      t.mock.timers.tick(1)
    }
    await settle()
    rounds += 1
    assert.equal(roundsSoFar(), rounds, `after ${seconds} s`)
  }
  const waiting = await server.app.inject({ url: '/readyz' })
  assert.match(waiting.body, /the KEK provider/)
  isDown = false
  t.mock.timers.tick(5000)
  await opened
  assert.equal((await server.app.inject({ url: '/readyz' })).statusCode, 200)
})
