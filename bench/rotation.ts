import { Agent, request } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import type { ServerProcess } from '../scripts/server-process.ts'
import { requestText } from './load.ts'
import { type Bench, type Line, limitLine, median, portOf, quantile } from './measure.ts'

const BLOCKS = 5
const ROTATIONS_PER_BLOCK = 10
/** Far more often than anybody rotates, and far enough apart for the next key pair to be made ahead. */
const APART_MILLIS = 1000
const BLOCK_MILLIS = ROTATIONS_PER_BLOCK * APART_MILLIS

/** Rotates as a Nomad client does, on a connection that stays; milliseconds to the end of the answer. */
function rotate({ url, token }: ServerProcess, agent: Agent): Promise<number> {
  const start = performance.now()
  const headers = { 'X-Nomad-Token': token }
  return new Promise((resolve, reject) => {
    const asked = request(`${url}/v1/operator/keyring/rotate`, { method: 'PUT', headers, agent })
    asked.on('response', (response) => {
      const { statusCode } = response
      if (statusCode !== 200) reject(new Error(`Rotating failed with ${statusCode}`))
      response.resume().on('end', () => resolve(performance.now() - start))
    })
    asked.on('error', reject).end()
  })
}

async function rotateSteadily(server: ServerProcess, agent: Agent): Promise<number[]> {
  const times: number[] = []
  const start = performance.now()
  for (let at = 0; at < ROTATIONS_PER_BLOCK; at++) {
    await delay(Math.max(0, start + (at + 0.5) * APART_MILLIS - performance.now()))
    times.push(await rotate(server, agent))
  }
  return times
}

/** How long a rotation takes, and what relying parties feel of it: the default ring with its default algorithm. */
export async function rotation({ client, start }: Bench): Promise<Line[]> {
  const server = await start()
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  try {
    const load = {
      ...{ port: portOf(server.url), status: 200, connections: 8, pauseMillis: 5 },
      ...{ request: requestText('GET', '/.well-known/jwks.json'), millis: BLOCK_MILLIS },
      eachTime: true,
    }
    await client.run(load)
    await rotateSteadily(server, agent)
    const times: number[] = []
    const quietTimes: number[][] = []
    const rotatingTimes: number[][] = []
    for (let at = 0; at < BLOCKS; at++) {
      const calm = await client.run(load)
      const [busy, took] = await Promise.all([client.run(load), rotateSteadily(server, agent)])
      times.push(...took)
      quietTimes.push(calm.times ?? [])
      rotatingTimes.push(busy.times ?? [])
    }
    // Of all requests together: no bad block is left out.
    const quiet = quantile(quietTimes.flat(), 0.99)
    const rotating = quantile(rotatingTimes.flat(), 0.99)
    const ratio = rotating / quiet
    return [
      limitLine(`Rotate, median of ${times.length}`, median(times), 10, 'ms'),
      {
        what: `p99 of JWKS GETs during ${times.length} rotations over the quiet p99`,
        measured: `${ratio.toFixed(2)} × (${rotating.toFixed(2)} ms : ${quiet.toFixed(2)} ms)`,
        target: '≤ 2.00 ×',
        holds: ratio <= 2,
      },
    ]
  } finally {
    agent.destroy()
    await server.stop()
  }
}
