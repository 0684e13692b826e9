import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { type TestContext, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { createLedger, type Ledger } from './ledger.ts'
import { type Answer, bounded, filesOf, makeHome, request, type Server, start } from './process.ts'

// `kill -9` at 200 random moments of bootstrap, rotation, full rotation, deletion and signing. Whatever the server
// had answered before is true afterwards.

const SEED = Number(process.env['KILL_SEED'] ?? randomInt(2 ** 31))
/** Milliseconds from the beginning of the load within which the kill falls. */
const LOAD = 800

type Work = 'rotate' | 'full' | 'delete' | 'sign'
const WORKS: readonly Work[] = ['rotate', 'full', 'delete', 'sign']

/** Mulberry32: the same moments for the same seed, as far as a scheduler allows. */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

interface Client {
  server: Server
  ledger: Ledger
  random: () => number
  /** Keys that no client deletes, so that their tokens stay to be verified. */
  kept: Set<string>
}

/** The answer, or undefined when the server was killed before it came. */
async function ask(server: Server, method: string, path: string, body?: unknown) {
  try {
    return await server.call(method, path, body)
  } catch (error) {
    // fetch tells a connection that broke so; anything else is a fault of the test.
    assert.ok(error instanceof TypeError || error instanceof SyntaxError, String(error))
    return undefined
  }
}

const shown = ({ status, text }: Answer) => `${status} ${text}`

/** Rotates the default ring on the Nomad wire, again and again until the server is gone. */
async function rotateNomad({ server, ledger, random }: Client, full: boolean, times: number) {
  for (let time = 0; time < times; time++) {
    const scheduled = !full && random() < 0.1
    const later = BigInt(Date.now() + 3_600_000) * 1_000_000n
    if (!scheduled) ledger.active.set('default', undefined)
    const query = scheduled ? `?publish_time=${later}` : full ? '?full=true' : ''
    const answer = await ask(server, 'PUT', `/v1/operator/keyring/rotate${query}`)
    if (!answer) return
    assert.equal(answer.status, 200, shown(answer))
    const kid = answer.json.Key.KeyID as string
    ledger.keys.add(kid)
    ledger.sawIndex(answer.headers.get('x-nomad-index'))
    if (!scheduled) ledger.active.set('default', kid)
  }
}

/** Rotates both lanes of a ring on our own route. */
async function rotateOwn({ server, ledger }: Client, ring: string, times: number) {
  for (let time = 0; time < times; time++) {
    const lanes = [...ledger.active.keys()].filter((lane) => lane.startsWith(`${ring}/`))
    for (const lane of lanes) ledger.active.set(lane, undefined)
    const body = { force: true, reason: 'a test' }
    const answer = await ask(server, 'POST', `/v1/rings/${ring}/rotate`, body)
    if (!answer) return
    assert.equal(answer.status, 200, shown(answer))
    for (const { kid, alg } of answer.json.keys as { kid: string; alg: string }[]) {
      ledger.keys.add(kid)
      ledger.active.set(`${ring}/${alg}`, kid)
    }
  }
}

/** Deletes what may be deleted, by force. */
async function deleteKeys({ server, ledger, random, kept }: Client, ring: string, keep: number) {
  const list = await ask(server, 'GET', `/v1/rings/${ring}/keys`)
  const keys = (list?.json.keys ?? []) as { kid: string; state: string; standby: boolean }[]
  const chosen = keys.filter((key) => {
    if (key.state === 'active' || kept.has(key.kid)) return false
    return key.state === 'retired' || random() < 0.2
  })
  for (const { kid } of chosen.slice(0, Math.max(0, chosen.length - keep))) {
    ledger.doomed.add(kid)
    const path =
      ring === 'default'
        ? `/v1/operator/keyring/key/${kid}?force=true`
        : `/v1/rings/${ring}/keys/${kid}`
    const answer = await ask(server, 'DELETE', path)
    if (!answer) return
    if (answer.status === 200 || answer.status === 204) ledger.deleted.add(kid)
    else assert.match(shown(answer), /in use|active|in_use/)
    ledger.sawIndex(answer.headers.get('x-nomad-index'))
  }
}

/** Signs alone and in batches until the server is gone. */
async function sign({ server, ledger }: Client, ring: string, times: number) {
  for (let time = 0; time < times; time++) {
    const one = { claims: { sub: `job-${time}` }, ttl: '2h' }
    const body = time % 2 === 1 ? { batch: Array(20).fill(one) } : one
    const answer = await ask(server, 'POST', `/v1/rings/${ring}/sign`, body)
    if (!answer) return
    assert.equal(answer.status, 200, shown(answer))
    const signed = (answer.json.batch ?? [answer.json]) as { token: string; kid: string }[]
    ledger.addTokens(signed.map(({ token, kid }) => ({ token, kid, ring })))
  }
}

/** Reads the set all the time: it is never empty, and the index never goes back. */
async function read({ server, ledger }: Client) {
  for (;;) {
    const answer = await ask(server, 'GET', '/.well-known/jwks.json')
    if (!answer) return
    assert.ok(answer.status === 200 && answer.json.keys.length > 0, shown(answer))
    ledger.sawIndex(answer.headers.get('x-nomad-index'))
  }
}

/** The load of one round: much of one kind of work, a little of the others. */
function load(client: Client, work: Work): Promise<unknown> {
  const much = (kind: Work, times: number) => (kind === work ? times : 1)
  return Promise.all([
    rotateNomad(client, work === 'full', work === 'full' ? 12 : much('rotate', 12)),
    rotateOwn(client, 'team', much('rotate', 6)),
    deleteKeys(client, 'default', work === 'delete' ? 2 : 25),
    deleteKeys(client, 'team', work === 'delete' ? 2 : 40),
    ...['default', 'team', 'default'].map((ring) => sign(client, ring, much('sign', 400) + 3)),
    read(client),
  ])
}

/** Kills one data folder's server again and again under load. Answers what was counted. */
async function campaign(
  t: TestContext,
  seed: number,
  rounds: number,
  settings: Record<string, string>,
) {
  const random = seeded(seed)
  const home = makeHome(t, 'kill')
  const ledger = createLedger(random)
  const kept = new Set<string>()
  const safe = settings['ROTATION_MODE'] !== 'nomad'
  let server = start(t, home, { settings })
  await server.ready()
  const secrets = readSecrets(home)
  const made = await server.call('POST', '/v1/rings', {
    name: 'team',
    algorithms: ['ES256', 'EdDSA'],
  })
  assert.equal(made.status, 201, made.text)

  for (let round = 0; round < rounds; round++) {
    const client = { server, ledger, random, kept }
    if (round % 10 === 0) {
      // Their tokens are verified to the end.
      const { json } = await server.call('GET', '/v1/rings/default/keys')
      for (const { kid, state } of json.keys) if (state === 'active') kept.add(kid)
      const name = `ring-${round}`
      const ring = await server.call('POST', '/v1/rings', { name, algorithms: ['EdDSA'] })
      assert.equal(ring.status, 201, ring.text)
      ledger.rings.add(name)
      await sign(client, name, 2)
    }
    const running = load(client, WORKS[round % WORKS.length] ?? 'sign')
    await pause(random() * LOAD)
    assert.deepEqual(await server.end('SIGKILL'), { code: null, signal: 'SIGKILL' })
    await bounded(running, 'the end of the load')
    server = start(t, home, { settings })
    await server.ready()
    await ledger.check(server, { safe, all: round === rounds - 1 })
  }
  await settle(server)
  assert.deepEqual(readSecrets(home), secrets)
  assert.deepEqual(await server.end(), { code: 0, signal: null })
  checkDatabase(home)
  return { kills: rounds, ...ledger.totals() }
}

const readSecrets = (home: string) => {
  const { kek, token } = filesOf(home)
  return [kek, token].map((file) => readFileSync(file, 'utf8'))
}

/** What a full rotation left is finished after the restart, without being asked. */
async function settle(server: Server): Promise<void> {
  const look = async () => {
    for (;;) {
      const { json } = await server.call('GET', '/v1/rings/default/keys')
      if ((json.keys as { rekeying: boolean }[]).every(({ rekeying }) => !rekeying)) return
    }
  }
  await bounded(look(), 'the end of re-sealing')
}

/** The file itself, and the audit chain in it. */
function checkDatabase(home: string): void {
  const database = new Database(filesOf(home).database, { readonly: true })
  try {
    assert.equal(database.pragma('integrity_check', { simple: true }), 'ok')
    assert.deepEqual(database.pragma('foreign_key_check'), [])
    const gaps = database
      .prepare(
        `SELECT count(*) FROM audit_events a WHERE seq > 1 AND NOT EXISTS (SELECT 1 FROM audit_events b
         WHERE b.writer = a.writer AND b.seq = a.seq - 1 AND b.hash = a.previous_hash)`,
      )
      .pluck()
    assert.equal(gaps.get(), 0, 'the audit chain is whole')
  } finally {
    database.close()
  }
}

/** Kills first starts, each in a folder of its own; the next start finds all or nothing. */
async function bootstraps(
  t: TestContext,
  seed: number,
  rounds: number,
  settings: Record<string, string>,
) {
  const random = seeded(seed)
  let published = 0
  // A first start that is let be says how long they take here.
  const began = performance.now()
  const whole = start(t, makeHome(t, 'bootstrap'), { settings })
  await whole.ready()
  const length = (performance.now() - began) * 1.2
  await whole.end()
  for (let round = 0; round < rounds; round++) {
    const home = makeHome(t, 'bootstrap')
    const ledger = createLedger(random)
    const first = start(t, home, { settings })
    const looking = lookForKeys(first, ledger)
    await pause(random() * length)
    await first.end('SIGKILL')
    await bounded(looking, 'the end of the look')
    published += ledger.keys.size > 0 ? 1 : 0
    const { kek, token } = filesOf(home)
    const left = [kek, token].map((file) => existsSync(file) && readFileSync(file, 'utf8'))

    const second = start(t, home, { settings })
    await second.ready()
    for (const [at, file] of [kek, token].entries()) {
      if (left[at] !== false) assert.equal(readFileSync(file, 'utf8'), left[at], file)
    }
    await sign({ server: second, ledger, random, kept: new Set() }, 'default', 4)
    await ledger.check(second, { safe: true })
    await second.end('SIGKILL')
    const third = round % 8 === 0 ? start(t, home, { settings }) : undefined
    await third?.ready()
    if (third) await ledger.check(third, { safe: true, all: true })
    await third?.end()
    if (third) checkDatabase(home)
  }
  return { kills: rounds, published }
}

/** Remembers every key that a server published before it was killed. */
async function lookForKeys(server: Server, ledger: Ledger): Promise<void> {
  try {
    await server.listening()
    for (;;) {
      const { json, headers } = await request(`${server.url}/.well-known/jwks.json`)
      for (const { kid } of json.keys) ledger.keys.add(kid)
      ledger.sawIndex(headers.get('x-nomad-index'))
    }
  } catch {
    // Killed, as it should be.
  }
}

test('kill -9 loses nothing that was answered', { concurrency: 2 }, async (t) => {
  t.diagnostic(`KILL_SEED=${SEED}`)
  const tally = (name: string, counted: object) =>
    t.diagnostic(`${name}: ${JSON.stringify(counted)}`)
  const quick = { ROOT_KEY_ALGORITHM: 'EdDSA', ROOT_KEY_GC_INTERVAL: '100ms' }
  const nomad = { ROOT_KEY_ALGORITHM: 'ES256', ROTATION_MODE: 'nomad' }
  const slow = { ROOT_KEY_ALGORITHM: 'RS256' }

  await Promise.all([
    t.test('60 kills under load, safe mode', async (t) => {
      tally('safe', await campaign(t, SEED, 60, quick))
    }),
    t.test('40 kills under load, nomad mode', async (t) => {
      tally('nomad', await campaign(t, SEED + 1, 40, nomad))
    }),
    t.test('40 kills under load, RSA', async (t) => {
      tally('RSA', await campaign(t, SEED + 2, 40, slow))
    }),
    t.test('45 kills of first starts', async (t) => {
      tally('bootstrap', await bootstraps(t, SEED + 3, 45, { ROOT_KEY_ALGORITHM: 'EdDSA' }))
    }),
    t.test('15 kills of first starts, RSA', async (t) => {
      tally('bootstrap, RSA', await bootstraps(t, SEED + 4, 15, slow))
    }),
  ])
})
