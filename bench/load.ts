import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { endProcess } from '../scripts/server-process.ts'

export interface Load {
  port: number
  /** A whole HTTP/1.1 request as it goes over the wire; or a file with many, in turn. */
  request: string | { file: string }
  /** What every answer must have. */
  status: number
  connections: number
  millis: number
  /** Never sleeps: to wake a client costs a small server more than to answer it, and that is nobody's merit. */
  awake?: boolean
  /** Answers with the time of each request. */
  eachTime?: boolean
  /** Between an answer and the next request of a connection; undefined: none. */
  pauseMillis?: number
}

export interface LoadResult {
  perSecond: number
  answers: number
  /** Milliseconds. */
  p50: number
  p99: number
  worst: number
  /** Milliseconds of each answer, where it was asked for. */
  times?: number[]
  /** Share of a core that the client itself took: near 1, it measures itself. */
  busy: number
}

export interface Client {
  run(load: Load): Promise<LoadResult>
  stop(): Promise<void>
}

/** Starts a program of this folder with a channel to it. */
export function startChild(file: string, args: readonly string[] = []): ChildProcess {
  return fork(join(import.meta.dirname, file), [...args], {
    env: { PATH: process.env['PATH'], NODE_ENV: 'production' },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
}

/** The next message of a child. Throws when it ends instead. */
export async function messageFrom(child: ChildProcess): Promise<unknown> {
  const over = new AbortController()
  const { signal } = over
  const ended = once(child, 'exit', { signal }).then(([code]) => {
    throw new Error(`A helper process ended with ${code}`)
  })
  try {
    const [message] = await Promise.race([once(child, 'message', { signal }), ended])
    return message
  } finally {
    over.abort()
    ended.catch(() => {})
  }
}

/** A process that asks. Throws when an answer is not what it should be. */
export function startClient(): Client {
  const child = startChild('load-child.ts')
  return {
    async run(load) {
      const answer = messageFrom(child)
      child.send(load)
      const { result, failure } = (await answer) as { result?: LoadResult; failure?: string }
      if (!result) throw new Error(`The load failed: ${failure}`)
      return result
    },
    stop: () => endProcess(child),
  }
}

/** Writes down many requests, as a client reads them. */
export async function requestFile(file: string, requests: readonly string[]) {
  await writeFile(file, JSON.stringify(requests))
  return { file }
}

/** A request as text; a body is JSON unless a header says otherwise. */
export function requestText(
  method: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  body = '',
): string {
  const length = body === '' ? {} : { 'Content-Length': String(Buffer.byteLength(body)) }
  const all = { Host: '127.0.0.1', ...headers, ...length }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}`)
  return `${[`${method} ${path} HTTP/1.1`, ...lines].join('\r\n')}\r\n\r\n${body}`
}
