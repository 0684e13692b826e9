import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders, request as startRequest } from 'node:http'
import { join } from 'node:path'
import { text as textOf } from 'node:stream/consumers'
import type { TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { freePort } from '../../scripts/server-process.ts'
import { listenOn } from '../loopback.ts'
import { needs } from '../needs.ts'
import { BOUND, bounded, makeHome } from './process.ts'

// A real Apache Traffic Server with a run root of its own: started on loopback, without a disk, ended by its id. It keeps
// the user that it is started by, be it root or anybody else.

/** What a cache is run and told with. */
export const CACHE_PROGRAMS = ['traffic_manager', 'traffic_server', 'traffic_ctl', 'traffic_layout']
/** Options of a test that uses one. */
export const needsCache = needs(...CACHE_PROGRAMS)

/** Milliseconds between two looks at what a cache does in its own time: a reload takes it five seconds. */
const LOOK_MILLIS = 25

export interface CacheAnswer {
  status: number
  /** The values of Set-Cookie. */
  cookies: string[]
  text: string
}

/** A host that the cache answers for, guarded by the document of a delivery service. */
export interface Site {
  host: string
  xmlId: string
  document: string | Uint8Array
}

export const siteOf = (xmlId: string, document: unknown, host = `${xmlId}.test`): Site => {
  const text = typeof document === 'string' ? document : JSON.stringify(document)
  return { host, xmlId, document: text }
}

export type Cache = Awaited<ReturnType<typeof startCache>>

/** What the cache stands in front of: answers 200, and remembers what it was asked. */
async function startOrigin(t: TestContext) {
  const seen: { url: string; headers: IncomingHttpHeaders }[] = []
  const origin = createServer(({ url = '', headers }, answer) => {
    seen.push({ url, headers })
    answer.end('the film')
  })
  return { seen, port: await listenOn(t, origin) }
}

/** One request to a port of 127.0.0.1 for an absolute http URI, byte for byte as it is given. */
export async function fetchFrom(
  port: number,
  uri: string,
  headers: Record<string, string> = {},
): Promise<CacheAnswer> {
  const [, host = '', path = ''] = /^http:\/\/([^/?#]*)([^#]*)$/.exec(uri) ?? []
  const asked = startRequest({
    ...{ host: '127.0.0.1', port, path: path.startsWith('/') ? path : `/${path}`, agent: false },
    headers: { ...headers, host },
    signal: AbortSignal.timeout(BOUND),
  }).end()
  const [answer] = await once(asked, 'response')
  const text = await textOf(answer)
  return { status: answer.statusCode, cookies: answer.headers['set-cookie'] ?? [], text }
}

// `#-1` keeps the user. The intervals are those of its timers: nothing here may depend on them.
const records = (port: number) => `
CONFIG proxy.config.http.server_ports STRING ${port}:ip-in=127.0.0.1
CONFIG proxy.config.admin.user_id STRING #-1
CONFIG proxy.config.http.cache.http INT 0
CONFIG proxy.config.url_remap.remap_required INT 1
CONFIG proxy.config.exec_thread.autoconfig INT 0
CONFIG proxy.config.exec_thread.limit INT 1
CONFIG proxy.config.task_threads INT 1
CONFIG proxy.config.log.logging_enabled INT 0
CONFIG proxy.config.lm.pserver_timeout_secs INT 0
CONFIG proxy.config.lm.pserver_timeout_msecs INT 50
CONFIG proxy.config.config_update_interval_ms INT 100
CONFIG proxy.config.remote_sync_interval_ms INT 100
`

const IP_ALLOW = `
ip_allow:
  - apply: in
    ip_addrs: 127.0.0.1
    action: allow
    methods: ALL
`

/** Makes a run root: the programs and plugins of the machine, everything else in one folder. */
async function layOut(t: TestContext, port: number) {
  const root = makeHome(t, 'cache')
  const { stdout } = await promisify(execFile)('traffic_layout', ['info'], { timeout: BOUND })
  const installed = (name: string) => new RegExp(`^${name}: *(.+)$`, 'm').exec(stdout)?.[1] ?? ''
  const bin = installed('BINDIR')
  const own = ['etc', 'run', 'log', 'cache'].map((name) => join(root, name))
  for (const folder of own) mkdirSync(folder)
  const [etc = '', run, log, cache] = own
  const layout = {
    ...{ prefix: root, exec_prefix: root, datadir: root, localstatedir: root },
    ...{ bindir: bin, sbindir: bin, libexecdir: installed('PLUGINDIR') },
    ...{ sysconfdir: etc, runtimedir: run, logdir: log, cachedir: cache },
  }
  const lines = Object.entries(layout).map(([name, path]) => `${name}: ${path}\n`)
  writeFileSync(join(root, 'runroot.yaml'), lines.join(''))
  const files = { 'records.config': records(port), 'ip_allow.yaml': IP_ALLOW }
  const empty = { 'storage.config': '', 'plugin.config': '' }
  for (const [name, text] of Object.entries({ ...files, ...empty })) {
    writeFileSync(join(etc, name), text)
  }
  return { root, etc, environment: { PATH: process.env['PATH'], TS_RUNROOT: root } }
}

/** Writes documents as an exporter does, and the rules, of which the first shows that these are the ones that hold. */
function writeSites(etc: string, origin: number, sites: readonly Site[], mark: string): void {
  const target = `http://127.0.0.1:${origin}/`
  for (const { xmlId, document } of sites) {
    writeFileSync(join(etc, `uri_signing_${xmlId}.config`), document, { mode: 0o600 })
  }
  const lines = sites.map(({ host, xmlId }) => {
    const plugin = `@plugin=uri_signing.so @pparam=uri_signing_${xmlId}.config`
    return `map http://${host}/ ${target} ${plugin}\n`
  })
  writeFileSync(join(etc, 'remap.config'), `map http://${mark}/ ${target}\n${lines.join('')}`)
}

/** Starts a cache and what it stands in front of. Throws with its words where it does not come up. */
export async function startCache(t: TestContext, sites: readonly Site[]) {
  const { seen, port: origin } = await startOrigin(t)
  const port = await freePort()
  const { root, etc, environment } = await layOut(t, port)
  let generation = 0

  const markOf = () => `generation-${generation}.test`
  async function holds(): Promise<boolean> {
    const asked = fetchFrom(port, `http://${markOf()}/`)
    return asked.then(
      ({ status }) => status === 200,
      () => false,
    )
  }

  writeSites(etc, origin, sites, markOf())
  const manager = startManager(t, environment)
  await manager.until(holds, 'the first rules')

  return {
    ...{ port, etc, environment, origin: `http://127.0.0.1:${origin}` },
    /** What the origin was asked. */
    seen,

    /** What a client gets for an absolute URI. */
    get: (uri: string, headers?: Record<string, string>) => fetchFrom(port, uri, headers),

    /** The status for a URI with a token in its query. */
    async statusWith(uri: string, token: string): Promise<number> {
      const mark = uri.includes('?') ? '&' : '?'
      return (await fetchFrom(port, `${uri}${mark}URISigningPackage=${token}`)).status
    },

    /** Other documents and rules; `refused`: the old ones still hold. Throws when the cache ends over them. */
    async reload(next: readonly Site[]): Promise<'loaded' | 'refused'> {
      const before = refusalsIn(root)
      generation += 1
      writeSites(etc, origin, next, markOf())
      const args = ['config', 'reload']
      await promisify(execFile)('traffic_ctl', args, { env: environment, timeout: BOUND })
      const isRefused = () => refusalsIn(root) > before
      await manager.until(async () => isRefused() || (await holds()), 'the reload')
      return isRefused() ? 'refused' : 'loaded'
    },

    /** The process that serves. The manager starts another one when it dies. */
    serverPid: () => Number(readFileSync(join(root, 'run/server.lock'), 'utf8')),
  }
}

/** How often the rules did not load. */
function refusalsIn(root: string): number {
  const log = join(root, 'log/diags.log')
  if (!existsSync(log)) return 0
  return readFileSync(log, 'utf8').split('remap.config failed to load').length - 1
}

/** The manager starts the server and reloads its rules; both are gone after the test. */
function startManager(t: TestContext, environment: NodeJS.ProcessEnv) {
  const child = spawn('traffic_manager', [], {
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
  }
  const closed = once(child, 'close')
  t.after(async () => {
    // It ends the server first, which would otherwise outlive it by a little.
    child.kill('SIGTERM')
    await bounded(closed, 'the end of the cache').finally(() => child.kill('SIGKILL'))
  })
  return {
    /** Looks until it is so. Throws with the words of the cache when it died, or took too long. */
    async until(isSo: () => Promise<boolean>, what: string): Promise<void> {
      const deadline = performance.now() + BOUND
      while (!(await isSo())) {
        const died = child.exitCode !== null || /^Fatal: |received signal/m.test(said)
        if (died) throw new Error(`The cache died: ${said}`)
        if (performance.now() > deadline) throw new Error(`${what}: too late: ${said}`)
        await pause(LOOK_MILLIS)
      }
    },
  }
}

/**
 * Asks the real server, without starting it, whether it would load documents; many in one go. A crash counts as no: which
 * of the two it is depends on what its memory holds.
 */
export async function createLoader(t: TestContext) {
  const { etc, environment } = await layOut(t, 1)
  return async (...documents: (string | Uint8Array)[]): Promise<boolean> => {
    const sites = documents.map((document, at) => {
      return { host: `site-${at}.test`, xmlId: `site-${at}`, document }
    })
    writeSites(etc, 1, sites, 'mark.test')
    const args = ['-C', 'verify_config']
    const options = { env: environment, timeout: BOUND }
    const asked = promisify(execFile)('traffic_server', args, options)
    const { stdout, stderr } = await asked.catch(
      (error: { stdout: string; stderr: string }) => error,
    )
    const [loaded] = /Successfully loaded remap\.config/.exec(`${stdout}${stderr}`) ?? []
    return loaded !== undefined
  }
}
