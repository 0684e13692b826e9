import { existsSync, readFileSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { createSecureContext } from 'node:tls'
import { fileURLToPath } from 'node:url'
import type { Logger } from 'pino'
import { newApiToken } from './access/credential.ts'
import { createApp, type Server } from './app.ts'
import { type Config, issuerOf, parseConfig } from './config.ts'
import { type Context, randomId, systemClock } from './context.ts'
import { isProblem, Problem } from './errors.ts'
import { createLogger } from './http/log.ts'
import { type App, replaceTls, type TlsFiles } from './http/server.ts'
import { createAeadProvider } from './kek/aead.ts'
import { writeSecretFile } from './kek/files.ts'
import { loadOrCreateKek } from './kek/kek-file.ts'
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
export async function serve(args: readonly string[]): Promise<void> {
  if (args.length > 0) {
    throw new Problem(
      'config_invalid',
      'serve takes no arguments; settings are KEYRINGD_… variables (README.md has the list).',
    )
  }
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
    const token = managementToken(config, recorded === undefined)
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

    await prepareToken(config, token, server, store, recorded !== undefined)
    const { open, keyring } = server
    const opening = openKek(config, log, recorded === undefined).then((provider) =>
      open([provider], stopping.signal),
    )
    await withDeadline(opening, config, keyring)
    banner(config, port, token, recorded === undefined)
    log.info({ port, dataDir: config.dataDir, rotationMode: config.rotationMode }, 'ready')
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
  await mkdir(config.dataDir, { recursive: true, mode: 0o700 }).catch((cause: unknown) => {
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

function readTls(config: Config): TlsFiles | undefined {
  const { tlsCertFile, tlsKeyFile } = config
  if (tlsCertFile === undefined || tlsKeyFile === undefined) return undefined
  try {
    const files = { cert: readFileSync(tlsCertFile), key: readFileSync(tlsKeyFile) }
    createSecureContext(files)
    return files
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    const detail = `The certificate ${tlsCertFile} and its key ${tlsKeyFile} cannot be used: ${why}.`
    throw new Problem('config_invalid', detail, { cause })
  }
}

/** Answers the port: for 0 the system chooses one. */
async function listen(app: App, host: string, port: number): Promise<number> {
  try {
    await app.listen({ host, port, backlog: 4096 })
    const address = app.server.address()
    return address !== null && typeof address === 'object' ? address.port : port
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
    const why =
      code === 'EADDRINUSE'
        ? 'something else listens there already; stop it, or set KEYRINGD_PORT'
        : code === 'EACCES'
          ? 'the system does not allow it'
          : cause instanceof Error
            ? cause.message
            : String(cause)
    throw new Problem('config_invalid', `Cannot listen on ${host}:${port}: ${why}.`, { cause })
  }
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
  return createAeadProvider(kek)
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

interface ManagementToken {
  value: string | undefined
  file: string
  /** The token comes from the settings; no file is written. */
  given: boolean
  isNew: boolean
}

/** The token that the settings give, else the one of the file, else, in an empty database, a new one. */
function managementToken(config: Config, databaseEmpty: boolean): ManagementToken {
  const file = join(dirname(config.kekFile), 'management-token')
  const given = config.managementToken?.reveal()
  if (given !== undefined) return { value: given, file, given: true, isNew: false }
  if (!databaseEmpty) return { value: undefined, file, given: false, isNew: false }
  return { value: newApiToken(), file, given: false, isNew: true }
}

/** Before the database knows it: a start that is killed in between finds the file again and takes what it holds. */
async function prepareToken(
  config: Config,
  token: ManagementToken,
  server: Server,
  store: Store,
  bootstrapped: boolean,
): Promise<void> {
  const { value } = token
  if (value === undefined) return
  if (token.given) {
    if (bootstrapped)
      await store.transaction((tx) => server.access.ensureManagementToken(tx, value))
    return
  }
  try {
    await writeSecretFile(token.file, `${value}\n`, { ifExists: 'keep' })
    token.value = (await readFile(token.file, 'utf8')).trim()
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new Problem(
      'config_invalid',
      `The management token cannot be written to ${token.file} (${why}); set KEYRINGD_MANAGEMENT_TOKEN, or make ${dirname(config.kekFile)} writable for the first start.`,
      { cause },
    )
  }
}

/** For a person: where it is, and the first commands. The token itself goes to a terminal only, and once. */
function banner(config: Config, port: number, token: ManagementToken, isFirst: boolean): void {
  const scheme = config.tlsCertFile ? 'https' : 'http'
  const host = config.host === '0.0.0.0' || config.host === '::' ? '127.0.0.1' : config.host
  const url = `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`
  const { where, secret } = describeToken(config, token)
  const lines = [
    `keyringd serves ${url}`,
    `  data   ${databaseFile(config)}`,
    `  KEK    ${config.kek ? 'from KEYRINGD_KEK' : config.kekFile}`,
    `  token  ${where}`,
    '',
    'Try:',
    `  curl ${url}/.well-known/jwks.json`,
    `  curl -H "X-Nomad-Token: ${secret}" ${url}/v1/operator/keyring/keys`,
    // A later rotation may be refused as too early; the plan says from when it is not.
    isFirst
      ? `  curl -X POST -H "Authorization: Bearer ${secret}" ${url}/v1/rings/default/rotate`
      : `  curl -H "Authorization: Bearer ${secret}" ${url}/v1/rings/default/plan`,
    `  curl -H "Authorization: Bearer ${secret}" --json '{"claims":{"sub":"me"},"ttl":"15m"}' ${url}/v1/rings/default/sign`,
    '',
  ]
  process.stderr.write(`${lines.join('\n')}\n`)
}

/** Where the management token is, and what a shell puts in its place. */
function describeToken(config: Config, token: ManagementToken): { where: string; secret: string } {
  const { managementTokenFile } = config
  const fromFile = (file: string) => ({ where: `in ${file}`, secret: `$(cat ${shellWord(file)})` })
  if (managementTokenFile !== undefined) return fromFile(managementTokenFile)
  const secret = '$KEYRINGD_MANAGEMENT_TOKEN'
  if (token.given) return { where: 'from KEYRINGD_MANAGEMENT_TOKEN', secret }
  if (token.isNew && process.stderr.isTTY) {
    return { ...fromFile(token.file), where: `${token.value} (kept in ${token.file})` }
  }
  return existsSync(token.file)
    ? fromFile(token.file)
    : { where: 'the one that an earlier start was given', secret }
}

const shellWord = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`

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
      () => process.exit(0),
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
