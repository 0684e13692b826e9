import assert from 'node:assert/strict'
import test from 'node:test'
import { randomId, system } from '../../src/context.ts'
import { createPromises } from '../../src/keyring/promises.ts'
import type { Signed } from '../../src/keyring/sign.ts'
import type { Store } from '../../src/store/store.ts'
import { memoryStore, type TestServer, testClock, testServer } from '../server.ts'
import { onDisk } from './on-disk.ts'

const FAST = { ROOT_KEY_ALGORITHM: 'ES256' }

const sign = ({ keyring }: TestServer, ttl: number): Promise<Signed> =>
  keyring.signing.sign('default', { claims: { sub: 'a' }, ttl }, system)

const forceRotate = ({ keyring }: TestServer) =>
  keyring.rotation.rotate({ ring: 'default', force: true }, system)

async function promiseWrites({ call }: TestServer): Promise<number> {
  const { json } = await call('GET', '/metrics')
  return Number(/^keyringd_promise_writes_total (\d+)$/m.exec(json)?.[1] ?? Number.NaN)
}

test('at the moment of each answer a promise on disk covers its exp', async (t) => {
  const disk = onDisk(t)
  const server = await disk.start()
  const covered = ({ kid, exp }: Signed) => {
    // Another connection sees only what is committed.
    const [row] = disk.sql('select until from promises where kid = ?', kid)
    return Number(row?.['until'] ?? 0) >= exp
  }
  const ttls = [1, 60, 600, 601, 3600, 86_400, 5, 86_399, 43_200]
  const answers: Promise<boolean>[] = []
  for (const ttl of ttls) answers.push(sign(server, ttl).then(covered))
  assert.deepEqual(
    await Promise.all(answers),
    ttls.map(() => true),
  )
  for (const ttl of ttls) {
    disk.clock.advance('7m')
    assert.ok(covered(await sign(server, ttl)))
  }
  await disk.stop()
  const again = await disk.start()
  for (const ttl of ttls) assert.ok(covered(await sign(again, ttl)))
})

test('ten thousand signatures cost a handful of writes', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const before = await promiseWrites(server)
  for (let round = 0; round < 100; round++) {
    await Promise.all(Array.from({ length: 100 }, () => sign(server, 3600)))
    server.clock.advance('15s')
  }
  const writes = (await promiseWrites(server)) - before
  // 1,485 s in steps of 600 s.
  assert.ok(writes >= 3 && writes <= 4, `${writes} writes`)
})

test('signers that come together share a write, whatever order they come in', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const before = await promiseWrites(server)
  const ttls = Array.from({ length: 500 }, (_, index) => 86_000 - index)
  await Promise.all(ttls.map((ttl) => sign(server, ttl)))
  assert.equal((await promiseWrites(server)) - before, 1)
})

/** The store, but promises wait at a gate or fail: what a slow or full disk does. */
function gated(store: Store) {
  let gate = Promise.resolve()
  let failure: Error | undefined
  const grouped: Store['grouped'] = async (work) => {
    await gate
    if (failure) throw failure
    return store.grouped(work)
  }
  return {
    store: { ...store, grouped } satisfies Store,
    shut(): () => void {
      const { promise, resolve } = Promise.withResolvers<void>()
      gate = promise
      return resolve
    },
    fail(error: Error | undefined) {
      failure = error
    },
  }
}

test('a promise that loses to a retirement is not given: the token is signed by the new key', async (t) => {
  const clock = testClock()
  const real = await memoryStore(clock, randomId)
  t.after(() => real.close())
  const { store, shut } = gated(real)
  const server = await testServer(t, { settings: FAST, store, clock })
  const old = server.keyring.ringView('default').signers.get('ES256')?.kid ?? ''

  const open = shut()
  const signing = [sign(server, 60), sign(server, 3600), sign(server, 86_400)]
  const { keys } = await forceRotate(server)
  open()
  for (const { kid, exp } of await Promise.all(signing)) {
    assert.equal(kid, keys[0]?.kid)
    assert.notEqual(kid, old)
    assert.ok(((await store.read.promises.get(kid)) ?? 0n) >= exp)
  }
  assert.equal(await store.read.promises.get(old), undefined)
})

test('no promise, no token; and the next one is none the worse', async (t) => {
  const clock = testClock()
  const real = await memoryStore(clock, randomId)
  t.after(() => real.close())
  const { store, fail } = gated(real)
  const server = await testServer(t, { settings: FAST, store, clock })
  fail(new Error('the disk is full'))
  const refused = await Promise.allSettled([sign(server, 60), sign(server, 60), sign(server, 900)])
  assert.deepEqual(
    refused.map(({ status }) => status),
    ['rejected', 'rejected', 'rejected'],
  )
  fail(undefined)
  const { kid, exp } = await sign(server, 60)
  assert.ok(((await store.read.promises.get(kid)) ?? 0n) >= exp)
})

test('rotations in a burst of signatures leave no token without a promise, and every one verifies', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const tokens: Promise<Signed>[] = []
  const rotations: Promise<unknown>[] = []
  for (let round = 0; round < 40; round++) {
    for (let one = 0; one < 25; one++) tokens.push(sign(server, 60 + ((one * 977) % 80_000)))
    if (round % 4 === 1) rotations.push(forceRotate(server))
    if (round % 3 === 0) await new Promise((resolve) => setImmediate(resolve))
    // Signatures are under way all the while.
    if (round % 10 === 9) await Promise.all(rotations)
  }
  await Promise.all(rotations)
  const signed = await Promise.all(tokens)
  const promises = await server.store.read.promises.list()
  assert.ok(new Set(signed.map(({ kid }) => kid)).size > 2, 'several keys signed')
  for (const { kid, exp, token } of signed) {
    assert.ok((promises.get(kid) ?? 0n) >= exp, `${kid} promises ${exp}`)
    const verdict = await server.keyring.verification.withRing('default', token, {})
    assert.equal(verdict.valid, true)
  }
})

test('the key of a token stays in the set until the token has expired everywhere', async (t) => {
  const server = await testServer(t, { settings: FAST })
  const { token, kid, exp } = await sign(server, 86_400)
  await forceRotate(server)
  const isPublished = async () => {
    const { json } = await server.call('GET', '/.well-known/jwks.json')
    return json.keys.some((key: { kid: string }) => key.kid === kid)
  }
  const verify = async () => server.keyring.verification.withRing('default', token, {})
  while (Number(server.clock.now() / 1_000_000_000n) < exp - 9000) {
    server.clock.advance('100m')
    await server.tick()
    assert.ok(await isPublished())
    assert.equal((await verify()).valid, true)
  }
  // Step of the promise, skew and max-age.
  server.clock.advance('160m')
  await server.tick()
  assert.equal(await isPublished(), false)
  assert.equal((await verify()).checks.at(-1)?.name, 'key')
})

test('what was refused once is not remembered as promised', async (t) => {
  const { store } = await testServer(t, { settings: FAST })
  const promises = createPromises(store, () => {})
  for (let round = 0; round < 2; round++) {
    assert.equal(await promises.cover('unknown', 60, 60), false)
    assert.equal(await promises.cover('unknown', 30, 60), false)
  }
})
