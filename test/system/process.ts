import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'

// The server as people run it: a process of its own with a home folder, driven over HTTP, ended by its id.

export const BIN = fileURLToPath(new URL('../../bin/keyringd.js', import.meta.url))
/** Milliseconds after which a wait counts as failed: far beyond what anything here takes. */
export const BOUND = 30_000

export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
}

export interface Answer {
  status: number
  headers: Headers
  text: string
  // biome-ignore lint/suspicious/noExplicitAny: the tests say what they expect
  json: any
}

export interface StartOptions {
  /** `KEYRINGD_` names without the prefix; PORT is 0 unless given. */
  settings?: Record<string, string>
  /** Runs the command line through another program, such as `script`. */
  wrap?: (command: readonly string[]) => readonly string[]
}

export type Server = ReturnType<typeof start>

/** An empty home folder, gone after the test. */
export function makeHome(t: TestContext, name = 'home'): string {
  const home = mkdtempSync(join(tmpdir(), `keyringd-system-${name}-`))
  t.after(() => rmSync(home, { recursive: true, force: true }))
  return home
}

/** Where a server keeps what it needs, without settings. */
export const filesOf = (home: string) => ({
  data: join(home, '.keyringd/data'),
  database: join(home, '.keyringd/data/keyringd.db'),
  kek: join(home, '.keyringd/kek'),
  token: join(home, '.keyringd/management-token'),
})

/** Rejects when `promise` takes longer than any machine could need. */
export async function bounded<T>(promise: Promise<T>, what: string, millis = BOUND): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error(`${what}: not within ${millis} ms`)), millis)
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** Starts a server in `home`; whatever happens, it is gone after the test. */
export function start(t: TestContext, home: string, { settings = {}, wrap }: StartOptions = {}) {
  const env = Object.entries({ PORT: '0', ...settings })
  const command = [process.execPath, BIN, 'serve']
  const [program = '', ...args] = wrap?.(command) ?? command
  const child = spawn(program, args, {
    env: {
      ...{ PATH: process.env.PATH, HOME: home, NODE_NO_WARNINGS: '1' },
      ...Object.fromEntries(env.map(([name, value]) => [`KEYRINGD_${name}`, value])),
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const server = watch(child, home)
  t.after(async () => {
    server.kill('SIGKILL')
    await server.exited
  })
  return server
}

function watch(child: ChildProcess, home: string) {
  let stdout = ''
  let stderr = ''
  const watchers = new Set<() => void>()
  const tell = () => {
    for (const watcher of watchers) watcher()
  }
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
    tell()
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
    tell()
  })
  // `close` comes after the last byte of output.
  const exited = new Promise<Exit>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve({ code, signal }))
  })

  /** The first match in what the process has written or will write, on either stream. */
  function says(pattern: RegExp): Promise<RegExpExecArray> {
    const found = new Promise<RegExpExecArray>((resolve, reject) => {
      const look = () => {
        const match = pattern.exec(stdout) ?? pattern.exec(stderr)
        if (!match) return false
        watchers.delete(look)
        resolve(match)
        return true
      }
      if (look()) return
      watchers.add(look)
      exited.then(({ code, signal }) => {
        if (!look()) reject(new Error(`ended (${code ?? signal}) without ${pattern}: ${stderr}`))
      }, reject)
    })
    return bounded(found, `${pattern} in the output`)
  }

  let known: { url: string; port: number } | undefined
  async function listening(): Promise<{ url: string; port: number }> {
    const [, port = ''] = await says(/"port":(\d+),[^\n]*"msg":"listening"/)
    const scheme = /"scheme":"(https?)"/.exec(stdout)?.[1] ?? 'http'
    known = { url: `${scheme}://127.0.0.1:${port}`, port: Number(port) }
    return known
  }
  const place = () => {
    if (!known) throw new Error('the server does not listen yet')
    return known
  }

  const token = () => readFileSync(filesOf(home).token, 'utf8').trim()

  return {
    home,
    pid: child.pid ?? 0,
    exited,
    says,
    listening,
    get url() {
      return place().url
    },
    get port() {
      return place().port
    },
    get stdout() {
      return stdout
    },
    get stderr() {
      return stderr
    },

    /** Resolves when the server says that it is ready. */
    async ready(): Promise<void> {
      await listening()
      await says(/"msg":"ready"/)
    },

    /** False when the process has ended already. */
    kill: (signal: NodeJS.Signals) => child.kill(signal),

    /** Signals the process and waits for its end. */
    async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<Exit> {
      child.kill(signal)
      return bounded(exited, `the end after ${signal}`)
    },

    /** The log so far, as records; a line that is no JSON is a failure of its own. */
    log: (): Record<string, unknown>[] =>
      stdout
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line) as Record<string, unknown>),

    /** The management token that the first start wrote. */
    token,

    /** One request with the management token, JSON in and out. */
    async call(method: string, path: string, body?: unknown, credential = token()) {
      return request(`${place().url}${path}`, {
        method,
        headers: {
          'x-nomad-token': credential,
          ...(body !== undefined && { 'content-type': 'application/json' }),
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      })
    },
  }
}

/** One request, bounded. */
export async function request(url: string, init: RequestInit = {}): Promise<Answer> {
  const answer = await fetch(url, { signal: AbortSignal.timeout(BOUND), ...init })
  const text = await answer.text()
  const isJson = answer.headers.get('content-type')?.includes('json') ?? false
  const json: unknown = isJson ? JSON.parse(text) : undefined
  return { status: answer.status, headers: answer.headers, text, json }
}

/** Log records that say that something is our fault. */
export const faultsIn = (log: readonly Record<string, unknown>[]): Record<string, unknown>[] =>
  log.filter(({ level }) => level === 'error' || level === 'fatal')

/** Waits until a server holds so many queries. */
export async function heldQueries({ url }: Pick<Server, 'url'>, count: number): Promise<void> {
  const pattern = new RegExp(`^keyringd_held_queries ${count}$`, 'm')
  const look = async () => {
    while (!pattern.test((await request(`${url}/metrics`)).text));
  }
  await bounded(look(), `${count} held queries`)
}
