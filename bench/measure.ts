import { readFileSync } from 'node:fs'
import type { ServerProcess, StartOptions } from '../scripts/server-process.ts'
import type { Client, Load } from './load.ts'

/** A row of the table. */
export interface Line {
  what: string
  measured: string
  target: string
  holds: boolean
}

export interface Bench {
  client: Client
  /** Starts a server as it ships. */
  start(options?: StartOptions): Promise<ServerProcess>
  /** The program as it ships. */
  bin: string
  /** Says what is being done. */
  say(text: string): void
}

/** The middle one. */
export const median = (values: readonly number[]): number => quantile(values, 0.5)

/** The value that so many (a share) of them are below. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length * share)] ?? Number.NaN
}

export const portOf = (url: string): number => Number(new URL(url).port)

export interface Compared {
  /** The median over the rounds of ours divided by theirs. */
  ratio: number
  ours: number
  theirs: number
}

/** A server that is loaded; how long, who compares says. `pid` is the server. */
export type Side = Omit<Load, 'millis'> & { pid: number }

const ROUNDS = 40
const ROUND_MILLIS = 300

/** What one side does in so many milliseconds, and the share of a processor that it got. */
export type Round = (millis: number) => Promise<{ rate: number; share: number }>

/** Loads two servers in turns. */
export function compare(
  { client }: Bench,
  [ours, theirs]: readonly [Side, Side],
): Promise<Compared> {
  return compareRounds(loadRound(client, ours), loadRound(client, theirs))
}

/** Loads a server for a while; the rate is `each` times that of its answers. */
export function loadRound(client: Client, { pid, ...load }: Side, each = 1): Round {
  return async (millis) => {
    const before = cpuSeconds(pid)
    const start = performance.now()
    const { perSecond } = await client.run({ ...load, millis })
    const seconds = (performance.now() - start) / 1000
    return { rate: perSecond * each, share: (cpuSeconds(pid) - before) / seconds }
  }
}

/**
 * Has two sides work in turns, in many short rounds, and compares each round with its neighbour. The half of the pairs
 * in which they got least of the processor is left out: there a busy neighbour was measured.
 */
export async function compareRounds(ours: Round, theirs: Round): Promise<Compared> {
  for (const side of [ours, theirs]) await side(2000)
  const pairs: { our: number; their: number; share: number }[] = []
  for (let at = 0; at < ROUNDS; at++) {
    // Who comes first changes: the second of a pair may find a warmer machine.
    const first = await (at % 2 ? theirs : ours)(ROUND_MILLIS)
    const second = await (at % 2 ? ours : theirs)(ROUND_MILLIS)
    const [our, their] = at % 2 ? [second, first] : [first, second]
    pairs.push({ our: our.rate, their: their.rate, share: Math.min(our.share, their.share) })
  }
  const calm = pairs.sort((a, b) => b.share - a.share).slice(0, ROUNDS / 2)
  return {
    ratio: median(calm.map(({ our, their }) => our / their)),
    ours: median(calm.map(({ our }) => our)),
    theirs: median(calm.map(({ their }) => their)),
  }
}

/** Linux counts in hundredths (proc(5), stat, fields 14 and 15); elsewhere all rounds are equally good. */
export function cpuSeconds(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? []
    return (Number(fields[11]) + Number(fields[12])) / 100
  } catch {
    return 0
  }
}

const rate = (value: number) => `${Math.round(value).toLocaleString('en')}/s`

export function ratioLine(what: string, { ratio, ours, theirs }: Compared, least: number): Line {
  return {
    what,
    measured: `${ratio.toFixed(2)} × (${rate(ours)} : ${rate(theirs)})`,
    target: `≥ ${least.toFixed(2)} ×`,
    holds: ratio >= least,
  }
}

export function limitLine(what: string, value: number, most: number, unit: string): Line {
  const digits = value < 10 ? 1 : 0
  return {
    what,
    measured: `${value.toFixed(digits)} ${unit}`,
    target: `≤ ${most} ${unit}`,
    holds: value <= most,
  }
}

/** Bytes of memory that a server has in use. */
export async function residentBytes({ url }: ServerProcess): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text()
  return Number(/^process_resident_memory_bytes (\d+)/m.exec(text)?.[1])
}
