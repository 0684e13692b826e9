import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { endProcess, freePort, type ServerProcess, startServer } from '../server-process.ts'
import { AUDIENCE, NONCE, VERIFIERS } from './verifiers.ts'

// One run: a server, the relying parties, a workload that carries tokens from one to the others, and rotations.

/** As short as the relations between settings allow: the next key is safe to use 1.1 s after it was published. */
const SETTINGS = {
  ...{ ASSUMED_RP_CACHE: '1s', JWKS_MAX_AGE: '1s', CLOCK_SKEW: '0s', LOG_LEVEL: 'info' },
  ...{ JWKS_STALE_WHILE_REVALIDATE: '0s', JWKS_STALE_IF_ERROR: '0s' },
  ...{ ROOT_KEY_ROTATION_THRESHOLD: '1h', ROOT_KEY_GC_INTERVAL: '100ms' },
  ROOT_KEY_GC_THRESHOLD: '100ms',
}
/**
 * Between two rotations. In safe mode less than it takes until the next key is safe, so that the server has to say no,
 * and when. In the control less than a relying party waits between two fetches, so that every second key at the least
 * signs while nobody may ask for it yet.
 */
const PERIOD_MILLIS = { safe: 1000, nomad: 300 }
const TTL_SECONDS = 4
/** A token is shown when it is new and once more when it is this old, by when its key may be retired. */
const LATE_MILLIS = 2000
/** A token this near its end could expire on the way; that would say nothing about keys. */
const MARGIN_MILLIS = 500
const PAUSE_MILLIS = 5
const LONGEST_RUN_MILLIS = 75_000

export interface RunOptions {
  mode: 'safe' | 'nomad'
  seconds: number
  /** The run goes on until there were this many. */
  rotations: number
  /** Ends the run early, everything put away. */
  signal: AbortSignal
}

export interface ClientResult {
  client: string
  verified: number
  kids: Set<string>
  failures: number
  /** How often for each reason. */
  reasons: Map<string, number>
}

export interface RunResult {
  rotations: number
  /** How often the server said that it is too early. */
  refused: number
  seconds: number
  clients: ClientResult[]
}

interface RelyingParty {
  result: ClientResult
  url: string
  child: ChildProcess
}

async function startRelyingParty(client: string, issuer: string): Promise<RelyingParty> {
  const child = fork(join(import.meta.dirname, 'relying-party.ts'), [client, issuer], {
    env: { PATH: process.env['PATH'] },
  })
  const signal = AbortSignal.timeout(30_000)
  const [port] = await once(child, 'message', { signal }).catch(async (error: unknown) => {
    await endProcess(child)
    throw error
  })
  const result = { client, verified: 0, kids: new Set<string>(), failures: 0, reasons: new Map() }
  return { result, child, url: `http://127.0.0.1:${port}` }
}

/** Shows a token to a relying party and counts what it says. */
async function show({ url, result }: RelyingParty, { token, kid }: Token): Promise<void> {
  const headers = { authorization: `Bearer ${token}` }
  const answer = await fetch(url, { headers, signal: AbortSignal.timeout(10_000) })
  const reason = await answer.text()
  if (answer.status === 204) {
    result.verified++
    result.kids.add(kid)
  } else {
    result.failures++
    result.reasons.set(reason, (result.reasons.get(reason) ?? 0) + 1)
  }
}

interface Token {
  token: string
  kid: string
  /** Unix seconds. */
  exp: number
}

/** Signs a token, shows it to all, and shows them all an old one again; over and over. */
async function work(
  server: ServerProcess,
  parties: RelyingParty[],
  shown: Set<string>,
  signal: AbortSignal,
): Promise<void> {
  const kept: { at: number; token: Token }[] = []
  while (!signal.aborted) {
    const body = { claims: { sub: 'demo', aud: AUDIENCE, nonce: NONCE }, ttl: `${TTL_SECONDS}s` }
    const { status, json } = await server.call('POST', '/v1/rings/default/sign', body)
    if (status !== 200) throw new Error(`Signing failed with ${status}: ${JSON.stringify(json)}`)
    const fresh = json as Token
    kept.push({ at: performance.now(), token: fresh })
    await Promise.all(parties.map((party) => show(party, fresh)))
    // Whoever rotates waits for this: a key of which nobody was shown a token proves nothing.
    shown.add(fresh.kid)
    const [oldest] = kept
    if (oldest && performance.now() - oldest.at >= LATE_MILLIS) {
      kept.shift()
      if (oldest.token.exp * 1000 - Date.now() > MARGIN_MILLIS) {
        await Promise.all(parties.map((party) => show(party, oldest.token)))
      }
    }
    await delay(PAUSE_MILLIS)
  }
}

/** Rotates by our own route, never by force; where it says that it is too early, it says until when. */
async function rotateSteadily(
  server: ServerProcess,
  { mode, seconds, rotations, signal }: RunOptions,
  shown: Set<string>,
) {
  const untilShown = async (count: number) => {
    while (shown.size < count && !signal.aborted) await delay(PAUSE_MILLIS)
  }
  await untilShown(1)
  const start = performance.now()
  let done = 0
  let refused = 0
  while (done < rotations || performance.now() - start < seconds * 1000) {
    if (signal.aborted) break
    const { status, json } = await server.call('POST', '/v1/rings/default/rotate', {})
    const { code, safeAt } = json as { code?: string; safeAt?: string }
    if (status === 200) {
      done++
      await Promise.all([delay(PERIOD_MILLIS[mode]), untilShown(done + 1)])
    } else if (code === 'activation_unsafe' && safeAt !== undefined) {
      refused++
      await delay(Math.max(1, Date.parse(safeAt) - Date.now() + 1))
    } else {
      throw new Error(`Rotating failed with ${status}: ${JSON.stringify(json)}`)
    }
  }
  return { rotations: done, refused, seconds: (performance.now() - start) / 1000 }
}

/** Starts everything, works and rotates side by side, and ends everything. */
export async function runDemo(options: RunOptions): Promise<RunResult> {
  const port = await freePort()
  const issuer = `http://127.0.0.1:${port}`
  const settings = {
    ...{ ...SETTINGS, ROTATION_MODE: options.mode },
    ...{ PORT: String(port), OIDC_ISSUER: issuer },
  }
  const server = await startServer({ settings })
  const parties: RelyingParty[] = []
  try {
    for (const client of Object.keys(VERIFIERS)) {
      parties.push(await startRelyingParty(client, issuer))
    }
    const over = new AbortController()
    const shown = new Set<string>()
    const working = work(server, parties, shown, over.signal).finally(() => over.abort())
    const signal = AbortSignal.any([
      ...[options.signal, over.signal, AbortSignal.timeout(LONGEST_RUN_MILLIS)],
    ])
    const rotating = rotateSteadily(server, { ...options, signal }, shown).finally(() =>
      over.abort(),
    )
    const [facts] = await Promise.all([rotating, working])
    return { ...facts, clients: parties.map(({ result }) => result) }
  } finally {
    await Promise.all(parties.map(({ child }) => endProcess(child)))
    await server.stop()
  }
}
