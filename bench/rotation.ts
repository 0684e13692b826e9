import { Agent, request } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import type { ServerProcess } from '../scripts/server-process.ts'
import { requestText } from './load.ts'
import { type Bench, type Line, limitLine, median, portOf } from './measure.ts'

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
    }
    await client.run(load)
    await rotateSteadily(server, agent)
    const times: number[] = []
    const blocks: { quiet: number; rotating: number }[] = []
    for (let at = 0; at < BLOCKS; at++) {
      const quiet = await client.run(load)
      const [rotating, took] = await Promise.all([client.run(load), rotateSteadily(server, agent)])
      times.push(...took)
      blocks.push({ quiet: quiet.p99, rotating: rotating.p99 })
    }
    const ratio = median(blocks.map(({ quiet, rotating }) => rotating / quiet))
    const [quiet, rotating] = (['quiet', 'rotating'] as const).map((name) =>
      median(blocks.map((block) => block[name])).toFixed(2),
    )
    return [
      limitLine(`Rotate, median of ${times.length}`, median(times), 10, 'ms'),
      {
        what: `p99 of JWKS GETs during ${times.length} rotations over the quiet p99`,
        measured: `${ratio.toFixed(2)} × (${rotating} ms : ${quiet} ms)`,
        target: '≤ 2.00 ×',
        holds: ratio <= 2,
      },
    ]
  } finally {
    agent.destroy()
    await server.stop()
  }
}
