import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

// A real server process in a temporary folder, for the demo and the benchmarks.

const BIN = join(import.meta.dirname, '..', 'bin', 'keyringd.js')
const START_MILLIS = 60_000

export interface ServerProcess {
  url: string
  token: string
  pid: number
  /** An answer of the API as JSON, asked with the management token. */
  call(method: string, path: string, body?: unknown): Promise<{ status: number; json: unknown }>
  /** Ends the process; the folder goes too unless it was given. */
  stop(): Promise<void>
}

export interface StartOptions {
  /** Names without `KEYRINGD_`. */
  settings?: Record<string, string>
  /** A folder that outlives the process; else a temporary one. */
  folder?: string
  /** The program; default is the one of this clone. */
  bin?: string
}

/** A port of 127.0.0.1 that was free a moment ago. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const address = probe.address()
  probe.close()
  await once(probe, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

/** Nothing of the caller's own settings reaches the server. */
export const bareEnvironment = (folder: string) => ({ PATH: process.env['PATH'], HOME: folder })

/** Starts a server and waits until it says that it is ready. Throws with its own words when it ends before. */
export async function startServer(options: StartOptions = {}): Promise<ServerProcess> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'keyringd-')))
  const token = options.settings?.['MANAGEMENT_TOKEN'] ?? randomBytes(32).toString('base64url')
  const settings = {
    ...{ DATA_DIR: join(folder, 'data'), KEK_FILE: join(folder, 'kek', 'kek') },
    ...{ MANAGEMENT_TOKEN: token, PORT: '0', ...options.settings },
  }
  const named = Object.entries(settings).map(([name, value]) => [`KEYRINGD_${name}`, value])
  const child = spawn(process.execPath, [options.bin ?? BIN, 'serve'], {
    env: { ...bareEnvironment(folder), ...Object.fromEntries(named) },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const clean = async () => {
    await endProcess(child)
    if (options.folder === undefined) await rm(folder, { recursive: true, force: true })
  }
  try {
    const port = await readyPort(child)
    const url = `http://127.0.0.1:${port}`
    return { url, token, pid: child.pid ?? 0, call: caller(url, token), stop: clean }
  } catch (error) {
    await clean()
    throw error
  }
}

/** The banner comes last, whatever the log level. */
async function readyPort(child: ChildProcess): Promise<number> {
  if (!child.stderr) throw new Error('no pipe')
  const said: string[] = []
  const ready = Promise.withResolvers<number>()
  const timer = setTimeout(() => ready.reject(new Error('The server is not ready')), START_MILLIS)
  const lines = createInterface(child.stderr).on('line', (line) => {
    const [, port] = /^keyringd serves .*:(\d+)$/.exec(line) ?? []
    if (port) ready.resolve(Number(port))
    else if (said.length < 20) said.push(line)
  })
  lines.once('close', () => ready.reject(new Error(`The server ended: ${said.join(' ')}`)))
  child.once('error', ready.reject)
  return ready.promise.finally(() => clearTimeout(timer))
}

function caller(url: string, token: string): ServerProcess['call'] {
  return async (method, path, body) => {
    const answer = await fetch(`${url}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      signal: AbortSignal.timeout(30_000),
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    const words = await answer.text()
    return { status: answer.status, json: words === '' ? undefined : JSON.parse(words) }
  }
}

const GRACE_MILLIS = 12_000

/** Asks a child to end, insists after a while, and waits until it is gone. */
export async function endProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
  const gone = once(child, 'exit')
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), GRACE_MILLIS)
  await gone.finally(() => clearTimeout(timer))
}
