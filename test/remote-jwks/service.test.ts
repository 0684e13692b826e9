import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { pino } from 'pino'
import type { Context } from '../../src/context.ts'
import { isProblem, type ProblemCode } from '../../src/errors.ts'
import type { FetchRules } from '../../src/remote-jwks/fetch.ts'
import {
  createRemoteJwks,
  type RemoteJwksOptions,
  type RemoteSource,
} from '../../src/remote-jwks/service.ts'
import type { Store } from '../../src/store/store.ts'
import { toIso } from '../../src/time.ts'
import { pairOf } from '../core/fixtures.ts'
import { countingIds, memoryStore, testClock } from '../server.ts'
import { closed, endpoint, open, resolver } from './endpoint.ts'

interface Stage {
  options?: Partial<RemoteJwksOptions>
  rules?: Partial<FetchRules>
  file?: string
}

/** The service on a real store and a real endpoint, with a clock that the test moves. */
async function stage(t: TestContext, { options = {}, rules = {}, file }: Stage = {}) {
  const clock = testClock()
  const remote = await endpoint(t)
  const lines: string[] = []
  const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(line) })
  let store: Store | undefined
  const start = async () => {
    await store?.close()
    store = await memoryStore(clock, countingIds(), file)
    const context: Context = { ...clock, store, log, newId: countingIds() }
    return createRemoteJwks(context, open(rules), { isOurs: async () => false, ...options })
  }
  t.after(() => store?.close())
  const jwks = await start()
  const source: RemoteSource = { id: 'source-1', version: '1', url: remote.url }
  return {
    ...{ clock, remote, source, jwks, lines, restart: start },
    store: () => store as Store,
    /** The endpoint answers with keys of these kids from now on. */
    async serve(...kids: string[]) {
      const { publicJwk } = await pairOf('ES256')
      const body = JSON.stringify({ keys: kids.map((kid) => ({ ...publicJwk, kid })) })
      remote.answer((_, response) => response.end(body))
    },
    fail(status = 503) {
      remote.answer((_, response) => response.writeHead(status).end('secret-body'))
    },
    /** The kids that a token with `kid` finds; `jwks` after a restart is another one. */
    async kids(kid: string | undefined, from = jwks, of = source) {
      return (await from.keys(of, kid)).map((key) => key.kid).join()
    },
  }
}

function databaseFile(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'keyringd-remote-'))
  t.after(() => rmSync(folder, { recursive: true }))
  return join(folder, 'keyringd.db')
}

async function fails(work: Promise<unknown>, code: ProblemCode): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(isProblem(error, code), String(error))
    return true
  })
}

test('a set is fetched once in ten minutes, then anew, and a key that left it is gone', async (t) => {
  const { clock, remote, serve, kids } = await stage(t)
  await serve('a', 'b')
  assert.equal(await kids('a'), 'a,b')
  await serve('b', 'c')
  clock.advance('9m59s')
  assert.equal(await kids('a'), 'a,b')
  assert.equal(await kids(undefined), 'a,b')
  assert.equal(remote.seen.length, 1)
  clock.advance('1s')
  assert.equal(await kids('a'), 'b,c')
  assert.equal(remote.seen.length, 2)
})

test('fifty at once cause one request', async (t) => {
  const { remote, serve, kids, clock } = await stage(t)
  await serve('a')
  const all = await Promise.all(Array.from({ length: 50 }, () => kids('a')))
  assert.deepEqual(new Set(all), new Set(['a']))
  assert.equal(remote.seen.length, 1)
  clock.advance('10m')
  await Promise.all(Array.from({ length: 50 }, (_, n) => kids(n % 2 ? 'a' : `unknown-${n}`)))
  assert.equal(remote.seen.length, 2)
})

test('two hundred unknown kids cause one request per cooldown', async (t) => {
  const { clock, remote, serve, kids } = await stage(t)
  await serve('a')
  await kids('a')
  for (const [wait, requests] of [
    ['0s', 1],
    ['29s', 1],
    ['1s', 2],
    ['29s', 2],
    ['1s', 3],
  ] as const) {
    clock.advance(wait)
    await Promise.all(Array.from({ length: 200 }, (_, n) => kids(`unknown-${n}`)))
    assert.equal(remote.seen.length, requests, wait)
  }
  await serve('a', 'new')
  clock.advance('30s')
  assert.equal(await kids('new'), 'a,new', 'a new key is found before the set is old')
})

test('the cooldown counts from the attempt, of an empty set and of a failure too', async (t) => {
  const { clock, remote, serve, fail, kids } = await stage(t)
  await serve()
  assert.equal(await kids('a'), '')
  assert.equal(await kids(undefined), '')
  assert.equal(remote.seen.length, 1)
  clock.advance('30s')
  fail()
  assert.equal(await kids('a'), '', 'the empty set is still fresh')
  clock.advance('29s')
  assert.equal(await kids('a'), '')
  assert.equal(remote.seen.length, 2)
  await serve('a')
  clock.advance('1s')
  assert.equal(await kids('a'), 'a')
  assert.equal(remote.seen.length, 3)
})

test('a failure is remembered for five seconds', async (t) => {
  const { clock, remote, serve, fail, kids } = await stage(t)
  fail()
  const flood = () =>
    Promise.all(Array.from({ length: 50 }, (_, n) => fails(kids(`k${n}`), 'jwks_unreachable')))
  await flood()
  await serve('a')
  clock.advance('4s')
  await flood()
  assert.equal(remote.seen.length, 1)
  clock.advance('1s')
  assert.equal(await kids('a'), 'a')
  assert.equal(remote.seen.length, 2)
})

test('a bad answer never evicts good keys, and a known kid does not wait for it', async (t) => {
  const { clock, remote, serve, kids } = await stage(t)
  await serve('a')
  await kids('a')
  clock.advance('30s')
  const bad: RequestListener[] = [
    (_, response) => response.writeHead(500).end(),
    (_, response) => response.writeHead(302, { location: '/' }).end(),
    (_, response) => response.end('no JSON'),
    (_, response) => response.end(JSON.stringify({ keys: Array(101).fill({}) })),
    (_, response) => response.end(Buffer.alloc(300_000)),
    (request) => request.socket.destroy(),
  ]
  for (const listener of bad) {
    remote.answer(listener)
    const before = remote.seen.length
    assert.equal(await kids('unknown'), 'a')
    assert.equal(remote.seen.length, before + 1)
    assert.equal(await kids('a'), 'a')
    clock.advance('30s')
  }
  // An endpoint that hangs holds up those alone who ask for what only it can say.
  let end = () => {}
  const asked = new Promise<void>((resolve) => {
    remote.answer((_, response) => {
      end = () => response.end('{"keys":[]}')
      resolve()
    })
  })
  const unknown = kids('unknown')
  await asked
  assert.equal(await kids('a'), 'a')
  end()
  assert.equal(await unknown, '')
})

test('the last good set lasts 24 hours of outage, over a restart too, and then ends', async (t) => {
  const { clock, remote, serve, fail, kids, restart } = await stage(t, {
    file: databaseFile(t),
  })
  await serve('a')
  await kids('a')
  fail()
  clock.advance('12h')
  assert.equal(await kids('a'), 'a')
  assert.equal(remote.seen.length, 2, 'it was tried')
  const again = await restart()
  assert.equal(await kids('a', again), 'a')
  assert.equal(await kids('a', again), 'a')
  assert.equal(remote.seen.length, 3)
  clock.advance('11h59m59s')
  assert.equal(await kids('a', again), 'a')
  const third = await restart()
  assert.equal(await kids('a', third), 'a')
  clock.advance('1s')
  await fails(kids('a', third), 'jwks_unreachable')
  await fails(kids('a', again), 'jwks_unreachable')
  await fails(kids('a', await restart()), 'jwks_unreachable')
  await serve('b')
  clock.advance('5s')
  assert.equal(await kids('b', third), 'b')
})

test('what was kept counts only for the same URL and the same CA, and is read with distrust', async (t) => {
  const isOurs = { now: false }
  const { clock, serve, fail, kids, restart, source, store, remote } = await stage(t, {
    options: { isOurs: async () => isOurs.now },
    file: databaseFile(t),
  })
  await serve('a')
  await kids('a')
  fail()
  const found = async (over: Partial<RemoteSource> = {}) => {
    const jwks = await restart()
    return kids('a', jwks, { ...source, ...over }).catch((error) => error.code)
  }
  assert.equal(await found(), 'a')
  assert.equal(await found({ version: '2' }), 'a')
  assert.equal(await found({ url: `${remote.url}?other` }), 'jwks_unreachable')
  assert.equal(await found({ caCert: 'another' }), 'jwks_unreachable')
  assert.equal(await found({ id: 'another' }), 'jwks_unreachable')
  isOurs.now = true
  assert.equal(await found(), 'jwks_unreachable')
  isOurs.now = false
  clock.jump('-1s')
  assert.equal(await found(), 'jwks_unreachable', 'a set from the future has no age')
  clock.jump('1s')
  assert.equal(await found(), 'a')
  const put = (body: string) =>
    store().transaction((tx) =>
      tx.remoteJwks.put({
        source: source.id,
        url: source.url,
        body,
        fetchedAt: Number(clock.now() / 1_000_000n),
      }),
    )
  await put('not JSON')
  assert.equal(await found(), 'jwks_unreachable')
  await put('{"keys":[{"kty":"oct","k":"AAAA","kid":"a"}]}')
  assert.equal(await found(), '', 'a symmetric key is no key, wherever it lies')
})

test('another version of a source is another set', async (t) => {
  const { remote, serve, kids, source, jwks } = await stage(t)
  await serve('a')
  await kids('a')
  await serve('b')
  assert.equal(await kids('b', jwks, { ...source, version: '2' }), 'b')
  assert.equal(await kids('a', jwks, { ...source, version: '2' }), 'b')
  await serve('c')
  const moved = { ...source, version: '2', url: `${remote.url}?moved` }
  assert.equal(await kids('c', jwks, moved), 'c', 'nor does a set outlive its URL')
  assert.equal(remote.seen.length, 3)
})

test('what is forgotten is fetched anew, and nothing of it is left, whatever is under way', async (t) => {
  const { remote, serve, fail, kids, jwks, source, store, clock } = await stage(t)
  await serve('a')
  await kids('a')
  assert.ok(await store().read.remoteJwks.get(source.id))
  await jwks.forget(source.id)
  assert.equal(await store().read.remoteJwks.get(source.id), undefined)
  fail()
  await fails(kids('a'), 'jwks_unreachable')
  assert.equal(remote.seen.length, 2)
  clock.advance('5s')
  const asked = new Promise<() => void>((resolve) => {
    remote.answer((_, response) => resolve(() => response.end('{"keys":[]}')))
  })
  const under = kids('a')
  const end = await asked
  await jwks.forget(source.id)
  end()
  assert.equal(await under, '', 'who asked before is answered')
  assert.equal(await store().read.remoteJwks.get(source.id), undefined)
})

test('a set with a key of this server is refused, and good keys stay', async (t) => {
  const { clock, serve, kids, jwks } = await stage(t, {
    options: { isOurs: async (kid) => kid === 'ours' },
  })
  await serve('a', 'ours')
  await fails(kids('a'), 'jwks_unreachable')
  clock.advance('5s')
  await serve('a')
  assert.equal(await kids('a'), 'a')
  clock.advance('10m')
  await serve('ours')
  assert.equal(await kids('ours'), 'a')
  assert.match(jwks.status()[0]?.lastError ?? '', /of this server/)
})

test('a refused address is said as such, and a good set is used meanwhile', async (t) => {
  const { remote, source, serve, kids, clock } = await stage(t, {
    rules: { ...resolver(['127.0.0.1'], ['0.0.0.0']) },
  })
  const named = { ...source, url: `http://idp.example:${remote.port}/` }
  await serve('a')
  assert.equal(await kids('a', undefined, named), 'a')
  clock.advance('10m')
  assert.equal(await kids('a', undefined, named), 'a')
  await fails(kids('a', undefined, { ...named, id: 'other' }), 'url_refused')
  assert.equal(remote.seen.length, 1)
})

test('the check of a URL is that of the fetch', async (t) => {
  const { store, clock } = await stage(t)
  const context: Context = {
    ...{ ...clock, store: store(), log: pino({ level: 'silent' }), newId: countingIds() },
  }
  const { check } = createRemoteJwks(context, closed(resolver(['93.184.215.14'], ['10.0.0.1'])), {
    isOurs: async () => false,
  })
  await check('https://public.example/')
  await fails(check('https://internal.example/'), 'url_refused')
  await fails(check('https://u:p@public.example/'), 'url_refused')
})

test('the status says what happened, and neither a path nor a body', async (t) => {
  const { clock, remote, serve, fail, kids, jwks, source, lines } = await stage(t)
  const secret = { ...source, url: `${remote.url}?api-key=secret-query` }
  await serve('a', 'b', 'b')
  await kids('a', undefined, secret)
  const at = clock.now()
  const status = () => {
    const [only, ...more] = jwks.status()
    assert.equal(more.length, 0)
    return { ...only, nextAttemptAt: toIso(only?.nextAttemptAt ?? 0n) }
  }
  const common = {
    ...{ id: 'source-1', host: `127.0.0.1:${remote.port}`, fetchedAt: at, keys: 1, ignored: 2 },
  }
  const fresh = { ...common, lastError: undefined, nextAttemptAt: toIso(at + 600_000_000_000n) }
  assert.deepEqual(status(), fresh)
  clock.advance('10m')
  fail()
  await kids('a', undefined, secret)
  const failed = {
    ...common,
    lastError: 'The JWKS endpoint failed: status 503',
    nextAttemptAt: toIso(at + 605_000_000_000n),
  }
  assert.deepEqual(status(), failed)
  assert.match(lines.join(''), /"source":"source-1".*a remote key set failed/)
  assert.doesNotMatch(lines.join(''), /secret-body|secret-query/)
})

test('memory is bounded: the least recently used source goes, and starts anew', async (t) => {
  const { remote, serve, kids, jwks, source } = await stage(t, { options: { maxSources: 3 } })
  await serve('a')
  const of = (id: string) => kids('a', undefined, { ...source, id })
  for (const id of ['1', '2', '3', '1', '4']) await of(id)
  assert.deepEqual(
    jwks.status().map(({ id }) => id),
    ['3', '1', '4'],
  )
  assert.equal(remote.seen.length, 4)
  await of('1')
  assert.equal(remote.seen.length, 4)
  await of('2')
  assert.equal(remote.seen.length, 5)
})

test('memory is bounded by what the sets hold, too', async (t) => {
  const { serve, kids, jwks, source } = await stage(t, { options: { maxWeight: 1000 } })
  await serve('a', 'b', 'c')
  for (const id of ['1', '2', '3', '4']) await kids('a', undefined, { ...source, id })
  assert.ok(jwks.status().length < 4, `${jwks.status().length}`)
  assert.equal(jwks.status().at(-1)?.id, '4')
})

test('what is too old to be used is pruned', async (t) => {
  const { clock, serve, kids, jwks, source, store } = await stage(t)
  await serve('a')
  await kids('a', undefined, { ...source, id: 'old' })
  clock.advance('12h')
  await kids('a', undefined, { ...source, id: 'young' })
  await jwks.prune()
  assert.ok(await store().read.remoteJwks.get('old'))
  clock.advance('12h1ms')
  await jwks.prune()
  assert.equal(await store().read.remoteJwks.get('old'), undefined)
  assert.ok(await store().read.remoteJwks.get('young'))
  assert.deepEqual(
    jwks.status().map(({ keys }) => keys),
    [0, 1],
  )
})

test('a store that fails does not fail a login', async (t) => {
  const { serve, kids, store, lines, clock, fail } = await stage(t)
  await serve('a')
  await store().close()
  assert.equal(await kids('a'), 'a')
  assert.match(lines.join(''), /could not be kept/)
  fail()
  clock.advance('10m')
  assert.equal(await kids('a'), 'a')
  clock.advance('24h')
  await fails(kids('a'), 'jwks_unreachable')
  assert.match(lines.join(''), /could not be read/)
})
