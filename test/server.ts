import { randomBytes } from 'node:crypto'
import type { TestContext } from 'node:test'
import { pino } from 'pino'
import { createApp, type Server } from '../src/app.ts'
import { type Config, parseConfig } from '../src/config.ts'
import type { Context } from '../src/context.ts'
import { createAeadProvider } from '../src/kek/aead.ts'
import type { KekProvider } from '../src/kek/provider.ts'
import { readMigrations } from '../src/store/migrations.ts'
import { openSqliteStore } from '../src/store/sqlite.ts'
import type { Store } from '../src/store/store.ts'
import { type Duration, parseDuration } from '../src/time.ts'

// The whole application on a real in-memory store, with a clock that a test moves and ids that count.

export const MANAGEMENT_TOKEN = 'management-token-of-the-tests-0123456789'
export const START = 1_767_225_600_123_456_789n

export interface TestClock {
  now(): bigint
  monotonic(): bigint
  /** Moves both clocks, as time does. `15m`, `1h30m` … */
  advance(span: string): void
  /** Moves the wall clock alone, as an operator or NTP does. */
  jump(span: string): void
}

export interface TestServer extends Server {
  config: Config
  context: Context
  store: Store
  clock: TestClock
  /** Looks at everything that is due, twice and an interval apart, as the timer does; moves the clock by two intervals. */
  tick(): Promise<void>
  /** `inject` with the management token, JSON in and out. */
  call(
    method: string,
    url: string,
    body?: unknown,
  ): Promise<{
    status: number
    json: // biome-ignore lint/suspicious/noExplicitAny: the tests say what they expect
    any
    headers: Record<string, unknown>
  }>
  log: string[]
}

export interface TestServerOptions {
  /** `KEYRINGD_` names without the prefix. */
  settings?: Record<string, string>
  store?: Store
  kek?: Uint8Array
  providers?: KekProvider[]
  clock?: TestClock
  /** False: publish only, do not unseal. */
  open?: boolean
  issuer?: string
}

const span = (text: string): Duration => {
  const parsed = parseDuration(text)
  if (parsed === undefined) throw new Error(`no duration: ${text}`)
  return parsed
}

export function testClock(start = START): TestClock {
  let wall = start
  let steady = 1n
  return {
    now: () => wall,
    monotonic: () => steady,
    advance(text) {
      wall += span(text)
      steady += span(text)
    },
    jump(text) {
      wall += span(text)
    },
  }
}

export function countingIds(seed = 0): () => string {
  let next = seed
  return () => {
    const hex = (++next).toString(16).padStart(8, '0')
    return `${hex}-0000-4000-8000-0000${hex}`
  }
}

export async function memoryStore(clock: TestClock, newId: () => string, file = ':memory:') {
  return openSqliteStore({
    file,
    migrations: await readMigrations('migrations/sqlite'),
    ...{ writer: 'main', now: clock.now, newId },
    onListenerError(error) {
      throw error
    },
  })
}

export async function testServer(
  t: TestContext,
  options: TestServerOptions = {},
): Promise<TestServer> {
  const env = Object.fromEntries(
    Object.entries({ MANAGEMENT_TOKEN, ...options.settings }).map(([name, value]) => [
      `KEYRINGD_${name}`,
      value,
    ]),
  )
  const config = parseConfig({ HOME: '/nonexistent', ...env })
  const clock = options.clock ?? testClock()
  const newId = countingIds(Number.parseInt(randomBytes(3).toString('hex'), 16))
  const store = options.store ?? (await memoryStore(clock, newId))
  const lines: string[] = []
  const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(line) })
  const context: Context = { store, log, now: clock.now, monotonic: clock.monotonic, newId }
  const server = await createApp({
    ...{ config, context, version: '0.0.0-test' },
    installation: (await store.read.installation.get()) ?? newId(),
    issuer: () => options.issuer ?? config.oidcIssuer,
    managementToken: () => MANAGEMENT_TOKEN,
  })
  await server.publish()
  await server.app.ready()
  const stopping = new AbortController()
  const providers = options.providers ?? [createAeadProvider(options.kek ?? new Uint8Array(32))]
  t.after(async () => {
    stopping.abort()
    await server.close()
    if (!options.store) await store.close()
  })
  if (options.open !== false) {
    await server.open(providers, stopping.signal)
    await server.keyring.reseal.settled()
  }

  return Object.assign(server, {
    ...{ config, context, store, clock, log: lines },
    async tick() {
      const interval = `${config.rootKeyGcInterval}ns`
      for (let look = 0; look < 2; look++) {
        clock.advance(interval)
        await server.keyring.scheduler.tick()
        await server.keyring.reseal.settled()
      }
    },
    async call(method: string, url: string, body?: unknown) {
      const answer = await server.app.inject({
        method: method as 'GET',
        url,
        headers: { authorization: `Bearer ${MANAGEMENT_TOKEN}` },
        ...(body !== undefined && { payload: body as object }),
      })
      const text = answer.body
      return {
        status: answer.statusCode,
        json: text.startsWith('{') || text.startsWith('[') ? JSON.parse(text) : text,
        headers: answer.headers as Record<string, unknown>,
      }
    },
  })
}
