import { setTimeout as delay } from 'node:timers/promises'
import { endProcess, type ServerProcess } from '../scripts/server-process.ts'
import type { Woken } from './held-child.ts'
import { messageFrom, startChild } from './load.ts'
import { type Bench, type Line, limitLine, residentBytes } from './measure.ts'

const QUERIES = 10_000
const SETTLE_MILLIS = 2000

interface Status {
  heldQueries: number
  index: string
}

const statusOf = async (server: ServerProcess) =>
  (await server.call('GET', '/v1/status')).json as Status

/** Held queries: what one costs in memory, and how soon all of them know of a rotation. */
export async function held({ start }: Bench): Promise<Line[]> {
  const settings = { BLOCKING_QUERIES_PER_ADDRESS: String(QUERIES) }
  const server = await start({ settings })
  const { index } = await statusOf(server)
  await delay(SETTLE_MILLIS)
  const before = await residentBytes(server)
  const port = new URL(server.url).port
  const clients = startChild('held-child.ts', [port, String(QUERIES), index])
  try {
    await messageFrom(clients)
    for (let look = 0; look < 100; look++) {
      const { heldQueries } = await statusOf(server)
      if (heldQueries === QUERIES) break
      if (look === 99) throw new Error(`Only ${heldQueries} queries are held`)
      await delay(100)
    }
    await delay(SETTLE_MILLIS)
    const each = ((await residentBytes(server)) - before) / QUERIES / 1024
    const waking = messageFrom(clients) as Promise<Woken>
    const rotatedAt = performance.timeOrigin + performance.now()
    await server.call('PUT', '/v1/operator/keyring/rotate')
    const { answered, lastAt, failure } = await waking
    if (failure !== undefined || answered !== QUERIES) {
      throw new Error(`${answered} queries were answered: ${failure}`)
    }
    const many = QUERIES.toLocaleString('en')
    return [
      limitLine(`${many} held queries: all woken after a rotation`, lastAt - rotatedAt, 1000, 'ms'),
      limitLine(`${many} held queries: memory of each`, each, 20, 'KiB'),
    ]
  } finally {
    await endProcess(clients)
    await server.stop()
  }
}
