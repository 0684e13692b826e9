import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { ServerProcess } from '../scripts/server-process.ts'
import { type Bench, type Line, limitLine, median, residentBytes } from './measure.ts'

const KEYS = 100
const PAIRS = 11
const REST_MILLIS = 3000
const TOKEN = 'management-token-of-the-benchmark-0123456789'

/** RSA keys of the default ring, which are root keys too: the most that a key can ask of a start. */
async function fill(server: ServerProcess): Promise<void> {
  const count = async () => {
    const { json } = await server.call('GET', '/v1/status')
    return (json as { rings: { keys: number }[] }).rings.reduce((sum, { keys }) => sum + keys, 0)
  }
  for (let missing = KEYS - (await count()); missing > 0; missing--) {
    const { status, json } = await server.call('PUT', '/v1/operator/keyring/rotate')
    if (status !== 200) throw new Error(`No key: ${JSON.stringify(json)}`)
  }
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return performance.now() - start
}

const bareNode = () => once(spawn(process.execPath, ['-e', '0'], { stdio: 'ignore' }), 'exit')

/** From the command to "ready", with a hundred keys, over what Node alone takes; and what it then has in memory. */
export async function startup({ start }: Bench): Promise<Line[]> {
  const folder = await mkdtemp(join(tmpdir(), 'keyringd-bench-'))
  const again = () => start({ folder, settings: { MANAGEMENT_TOKEN: TOKEN } })
  try {
    const first = await again()
    await fill(first).finally(() => first.stop())
    const differences: number[] = []
    for (let pair = 0; pair < PAIRS; pair++) {
      const bare = await timed(bareNode)
      let server: ServerProcess | undefined
      const ours = await timed(async () => {
        server = await again()
      })
      await server?.stop()
      differences.push(ours - bare)
    }
    const server = await again()
    await delay(REST_MILLIS)
    const bytes = await residentBytes(server).finally(() => server.stop())
    return [
      limitLine(`Start to ready with ${KEYS} keys, over bare Node`, median(differences), 500, 'ms'),
      limitLine('Resident memory at rest', bytes / 1024 / 1024, 150, 'MB'),
    ]
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
