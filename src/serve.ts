import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Logger } from 'pino'
import { createApp, type Server } from './app.ts'
import { type Config, issuerOf, parseConfig } from './config.ts'
import { type Context, randomId, systemClock } from './context.ts'
import { isProblem, Problem } from './errors.ts'
import { createLogger } from './http/log.ts'
import { replaceTls } from './http/server.ts'
import { createAeadProvider } from './kek/aead.ts'
import { makeFolder } from './kek/files.ts'
import { loadOrCreateKek } from './kek/kek-file.ts'
import { printBanner } from './serve/banner.ts'
import { listen, readTls } from './serve/listen.ts'
import {
  adoptGiven,
  chooseManagementToken,
  isFileCurrent,
  keepInFile,
} from './serve/management-token.ts'
import { growYoungRoom } from './serve/young-room.ts'
import { readMigrations } from './store/migrations.ts'
import { openSqliteStore } from './store/sqlite.ts'
import type { Store } from './store/store.ts'
import { formatDuration, toMillis } from './time.ts'

// Configuration → store → migrations → app → listen and publish → KEK → first keys → ready. And back, in reverse.

const DRAIN_MILLIS = 10_000
const ROOT = new URL('../', import.meta.url)

interface PackageFile {
  version: string
}

/** Serves until a signal ends it. @throws Problem with one plain sentence when it cannot start */
export async function serve(): Promise<void> {
  const config = parseConfig()
  const log = createLogger({ level: config.logLevel })
  for (const warning of config.warnings) log.warn(warning)
  endOnUnhandled(log)

  const store = await openStore(config, log)
  const stopping = new AbortController()
  let server: Server | undefined
  try {
    const context: Context = { store, log, ...systemClock, newId: randomId }
    const recorded = await store.read.installation.get()
    const isFirst = recorded === undefined
    const token = chooseManagementToken(config, isFirst)
    let port = config.port
    server = await createApp({
      ...{ config, context, version: packageVersion(), tls: readTls(config) },
      installation: recorded ?? randomId(),
      issuer: () => issuerOf(config, port),
      managementToken: () => token.value ?? '',
    })
    await server.publish()
    port = await listen(server.app, config.host, config.port)
    const { publicApp } = server
    const publicPort = publicApp && (await listen(publicApp, config.host, config.publicPort ?? 0))
    const scheme = config.tlsCertFile ? 'https' : 'http'
    log.info({ scheme, host: config.host, port, publicPort }, 'listening')
    stopOnSignals(server, store, log, stopping)
    reloadOnHangup(server, config, log)

    const { access, keyring, open } = server
    await (isFirst ? keepInFile(token) : adoptGiven(token, store, access))
    const opening = openKek(config, log, isFirst).then((provider) =>
      open([provider], stopping.signal),
    )
    await withDeadline(opening, config, keyring)
    const isCurrent = await isFileCurrent(token, access)
    const database = databaseFile(config)
    printBanner(config, { port, database, token, isFileCurrent: isCurrent, isFirst })
    log.info({ port, dataDir: config.dataDir, rotationMode: config.rotationMode }, 'ready')
    growYoungRoom()
  } catch (error) {
    if (stopping.signal.aborted) return
    // Whoever waits for the next key by now is answered, too; who does not leave is left.
    const ending = end(server, store).catch((cause: unknown) =>
      log.error({ err: cause }, 'closing failed'),
    )
    await Promise.race([ending, pause(DRAIN_MILLIS)])
    throw inOneSentence(error, config)
  }
}

/** Answers held queries, lets open requests finish, then closes the database. */
async function end(server: Server | undefined, store: Store): Promise<void> {
  server?.drain()
  await server?.close()
  await store.close()
}

/** A database that is damaged in its middle shows only when that is read. */
function inOneSentence(error: unknown, config: Config): unknown {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  if (isProblem(error) || !code.startsWith('SQLITE_')) return error
  const why = code.startsWith('SQLITE_CORRUPT')
    ? 'is damaged; restore it from a backup'
    : `cannot be used (${error instanceof Error ? error.message : code})`
  const detail = `The database ${databaseFile(config)} ${why}.`
  return new Problem('store_unusable', detail, { cause: error })
}

const databaseFile = (config: Config): string => join(config.dataDir, 'keyringd.db')

async function openStore(config: Config, log: Logger): Promise<Store> {
  const migrations = await readMigrations(fileURLToPath(new URL('migrations/sqlite', ROOT)))
  await makeFolder(config.dataDir).catch((cause: unknown) => {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new Problem('store_unusable', `The data folder cannot be made: ${why}.`, { cause })
  })
  return openSqliteStore({
    file: databaseFile(config),
    ...{ migrations, writer: 'main', now: systemClock.now, newId: randomId },
    onListenerError: (error) => log.error({ err: error }, 'an event listener failed'),
  })
}

function packageVersion(): string {
  const file = JSON.parse(readFileSync(new URL('package.json', ROOT), 'utf8')) as PackageFile
  return file.version
}

async function openKek(config: Config, log: Logger, databaseEmpty: boolean) {
  const { kek, source, created, warning } = await loadOrCreateKek({
    kek: config.kek?.reveal(),
    kekFile: config.kekFile,
    autocreate: config.kekAutocreate,
    databaseEmpty,
  })
  if (warning) log.warn(warning)
  log.info({ source, created }, created ? 'a new KEK was made; back it up' : 'KEK loaded')
  if (databaseEmpty && !created) {
    log.warn(
      { dataDir: config.dataDir },
      'the KEK was there and the database was not: keys are made anew; if there should be some, stop and see where the data folder is',
    )
  }
  return createAeadProvider(kek, source)
}

/**
 * All keys must be unwrapped by `START_TIMEOUT`, or the process ends (contract section 5.1); only for a provider that
 * cannot be reached it goes on waiting, and publishes meanwhile.
 */
async function withDeadline(
  opening: Promise<void>,
  { startTimeout }: Config,
  keyring: Server['keyring'],
): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      if (keyring.isKekUnreachable()) return
      const waits = keyring.waitingFor().join(', ')
      const text = `Not ready after ${formatDuration(startTimeout)}: still waiting for ${waits}.`
      reject(new Problem('not_ready', text))
    }, toMillis(startTimeout))
  })
  await Promise.race([opening, late]).finally(() => clearTimeout(timer))
}

/** SIGTERM or SIGINT: not ready, held queries answered, connections drained; a second one, or the deadline, ends it. */
function stopOnSignals(server: Server, store: Store, log: Logger, stopping: AbortController): void {
  const stop = (signal: NodeJS.Signals) => {
    if (stopping.signal.aborted) process.exit(1)
    log.info({ signal }, 'stopping')
    stopping.abort()
    const deadline = setTimeout(() => {
      log.error('connections did not end in time')
      process.exit(1)
    }, DRAIN_MILLIS)
    deadline.unref()
    end(server, store).then(
      () => {
        log.info('stopped')
        process.exit(0)
      },
      (error: unknown) => {
        log.error({ err: error }, 'stopping failed')
        process.exit(1)
      },
    )
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
}

/** SIGHUP reads the certificate again; one that does not load changes nothing. */
function reloadOnHangup(server: Server, config: Config, log: Logger): void {
  process.on('SIGHUP', () => {
    try {
      const tls = readTls(config)
      if (!tls) return
      replaceTls(server.app, tls)
      if (server.publicApp) replaceTls(server.publicApp, tls)
      log.info('the TLS certificate was read again')
    } catch (error) {
      log.error({ err: error }, 'the TLS certificate was not replaced')
    }
  })
}

/** What nobody handled leaves the process in a state that nobody knows. */
function endOnUnhandled(log: Logger): void {
  const end = (error: unknown) => {
    if (isProblem(error)) log.fatal(error.detail)
    else log.fatal({ err: error }, 'unhandled error')
    process.exit(1)
  }
  process.on('unhandledRejection', end)
  process.on('uncaughtException', end)
}
