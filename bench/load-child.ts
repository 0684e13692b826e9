// The client of the measurements, in a process of its own: raw keep-alive connections, one request at a time on each,
// as little parsing as possible, so that the server is what is measured.
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import type { Load, LoadResult } from './load.ts'

/** Into one buffer for each connection: an allocation for every answer would cost as much as to count it. */
const READ_BYTES = 65_536
const LENGTH = /\r\ncontent-length: (\d+)/i

/** The last answer that came in one piece: the next one mostly has the same size, and its body begins where this did. */
interface Shape {
  size: number
  body: number
  status: number
}

const CR = 13
const LF = 10

const hasShape = (bytes: Buffer, { size, body, status }: Shape): boolean =>
  bytes.length === size &&
  bytes[body - 4] === CR &&
  bytes[body - 2] === CR &&
  bytes[body - 1] === LF &&
  ((bytes[9] ?? 0) - 48) * 100 + ((bytes[10] ?? 0) - 48) * 10 + (bytes[11] ?? 0) - 48 === status

/** Calls `onAnswer(status)` for every whole answer on a connection. Throws on what it cannot read. */
function createReader(onAnswer: (status: number) => void): (chunk: Buffer) => void {
  let rest: Buffer | undefined
  let missing = 0
  let status = 0
  let usual: Shape | undefined
  return (chunk) => {
    if (missing > 0) {
      missing -= chunk.length
      if (missing <= 0) onAnswer(status)
      return
    }
    if (!rest && usual && hasShape(chunk, usual)) return onAnswer(usual.status)
    const bytes = rest ? Buffer.concat([rest, chunk]) : chunk
    const end = bytes.indexOf('\r\n\r\n')
    if (end === -1) {
      rest = Buffer.from(bytes)
      return
    }
    const head = bytes.toString('latin1', 0, end)
    status = Number(head.slice(9, 12))
    const length = status === 304 || status === 204 ? 0 : Number(LENGTH.exec(head)?.[1])
    if (Number.isNaN(length)) throw new Error(`No content-length in: ${head}`)
    missing = end + 4 + length - bytes.length
    usual = !rest && missing === 0 ? { size: bytes.length, body: end + 4, status } : undefined
    rest = undefined
    if (missing <= 0) onAnswer(status)
  }
}

interface Counts {
  answers: number
  /** Milliseconds, one for each answer. */
  times: number[]
}

/** Requests of files that were read. */
const known = new Map<string, readonly Buffer[]>()

function requestsOf({ request }: Load): readonly Buffer[] {
  if (typeof request === 'string') return [Buffer.from(request)]
  const found = known.get(request.file)
  if (found) return found
  const texts = JSON.parse(readFileSync(request.file, 'utf8')) as string[]
  const read = texts.map((text) => Buffer.from(text))
  known.set(request.file, read)
  return read
}

/**
 * Asks as often as it can on one connection, or every `pauseMillis`, until `stop` says so. Of many requests it begins
 * anywhere: short rounds that began at the same ones would never get to the others.
 */
function drive(
  load: Load,
  requests: readonly Buffer[],
  stop: () => boolean,
  counts: Counts,
): Promise<void> {
  let at = Math.floor(Math.random() * requests.length)
  return new Promise((resolve, reject) => {
    const onread = { buffer: Buffer.alloc(READ_BYTES), callback: received }
    const socket: Socket = connect({ port: load.port, host: '127.0.0.1', noDelay: true, onread })
    let sentAt = 0
    const send = () => {
      if (stop()) {
        socket.end()
        resolve()
        return
      }
      const request = requests[at++ % requests.length] ?? ''
      sentAt = performance.now()
      socket.write(request)
    }
    const read = createReader((status) => {
      if (status !== load.status) return reject(new Error(`Answered with ${status}`))
      const at = performance.now()
      counts.answers++
      counts.times.push(at - sentAt)
      if (load.pauseMillis === undefined) send()
      else setTimeout(send, load.pauseMillis)
    })
    function received(size: number): boolean {
      read(onread.buffer.subarray(0, size))
      return true
    }
    socket.on('connect', send)
    socket.on('error', reject)
    socket.on('close', () => reject(new Error('The server closed the connection')))
  })
}

function spinUntil(stop: () => boolean): void {
  if (!stop()) setImmediate(spinUntil, stop)
}

async function run(load: Load): Promise<LoadResult> {
  const counts: Counts = { answers: 0, times: [] }
  const requests = requestsOf(load)
  const start = performance.now()
  const before = process.cpuUsage()
  const end = start + load.millis
  const stop = () => performance.now() >= end
  if (load.awake) spinUntil(stop)
  const each = Array.from({ length: load.connections }, () => drive(load, requests, stop, counts))
  await Promise.all(each)
  const millis = performance.now() - start
  const { user, system } = process.cpuUsage(before)
  counts.times.sort((a, b) => a - b)
  const at = (share: number) => counts.times[Math.floor(counts.times.length * share)] ?? 0
  return {
    ...{ perSecond: (counts.answers * 1000) / millis, answers: counts.answers },
    ...{ p50: at(0.5), p99: at(0.99), worst: counts.times.at(-1) ?? 0 },
    busy: (user + system) / 1000 / millis,
    ...(load.eachTime && { times: counts.times }),
  }
}

process.on('disconnect', () => process.exit(0))
process.on('message', (load: Load) => {
  run(load).then(
    (result) => process.send?.({ result }),
    (error: unknown) => process.send?.({ failure: String(error) }),
  )
})
