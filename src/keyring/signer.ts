import type { KeyObject } from 'node:crypto'
import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import {
  ALGORITHMS,
  type Algorithm,
  type Screened,
  type SigningKey,
  signInPool,
  verifyWithJose,
} from '../core/index.ts'
import { Problem } from '../errors.ts'
import type { Batch, Outcomes } from './signer-thread.ts'

// Where signatures are made and checked. One alone goes to Node's thread pool. To wake a thread of the pool costs about
// half as much as an ES256 or EdDSA signature, so where many are wanted at once, a thread of our own takes them by the
// batch.

export interface Signer {
  /** Signs an ASCII signing input (RFC 7515 section 5.1). Resolves to base64url. */
  sign(key: SigningKey, input: string): Promise<string>
  /** Whether the signature of a screened token verifies; the key must be fit for its algorithm. */
  verify(token: Screened, key: KeyObject): Promise<boolean>
  close(): Promise<void>
}

/** So many at once are worth a thread; it stays once it is there. */
const CROWD = 8
/** The thread has enough to do with these; what comes meanwhile makes the next batch. */
const AHEAD = 16
const MOST_IN_BATCH = 1024
/** What waits is memory: half a second's work, then callers are told to come again. */
const MOST_WAITING = 20_000

const FILE = new URL(`./signer-thread${extname(import.meta.filename)}`, import.meta.url)

interface Job {
  key: KeyObject
  alg: Algorithm
  input: string
  /** base64url: bytes would cross with the whole pool that they are a part of. */
  signature?: string
  resolve(outcome: string | boolean): void
  reject(error: unknown): void
}

/** `onError` hears of a thread that ended; who waited for it is refused, and the next crowd gets a new one. */
export function createSigner(onError: (error: unknown) => void): Signer {
  let thread: Worker | undefined
  let isOnline = false
  let inPool = 0
  let isScheduled = false
  let queued: Job[] = []
  /** What the thread was sent and has not answered, in that order. */
  let sent: Job[] = []

  function start(): void {
    // Nothing of the environment: it may hold secrets, and the thread needs none of it.
    const started = new Worker(FILE, { env: {}, name: 'signer' })
    started.unref()
    started.on('online', () => {
      isOnline = true
    })
    started.on('message', receive)
    started.on('error', onError)
    started.on('exit', () => {
      thread = undefined
      isOnline = false
      const lost = [...sent, ...queued]
      sent = []
      queued = []
      for (const { reject } of lost) reject(new Problem('internal'))
    })
    thread = started
  }

  function receive(outcomes: Outcomes): void {
    const answered = sent.splice(0, outcomes.length)
    if (queued.length > 0) flush()
    for (const [at, { resolve, reject }] of answered.entries()) {
      const outcome = outcomes[at]
      if (typeof outcome === 'string' || typeof outcome === 'boolean') resolve(outcome)
      else reject(outcome)
    }
  }

  function flush(): void {
    isScheduled = false
    if (sent.length > AHEAD || queued.length === 0) return
    const jobs = queued.splice(0, MOST_IN_BATCH)
    const places = new Map<KeyObject, Map<Algorithm, number>>()
    const keys: { key: KeyObject; alg: Algorithm }[] = []
    const placeOf = ({ key, alg }: Job): number => {
      const known = places.get(key) ?? new Map<Algorithm, number>()
      places.set(key, known)
      const place = known.get(alg) ?? keys.push({ key, alg }) - 1
      known.set(alg, place)
      return place
    }
    const batch: Batch = {
      which: jobs.map(placeOf),
      keys,
      inputs: jobs.map(({ input }) => input),
      signatures: jobs.map(({ signature }) => signature),
    }
    sent.push(...jobs)
    thread?.postMessage(batch)
  }

  function inThread(job: Omit<Job, 'resolve' | 'reject'>): Promise<string | boolean> {
    if (queued.length + sent.length >= MOST_WAITING) {
      return Promise.reject(new Problem('overloaded', 'Too many signatures are waited for'))
    }
    return new Promise((resolve, reject) => {
      queued.push({ ...job, resolve, reject })
      if (isScheduled) return
      isScheduled = true
      // After all that has arrived by now was read.
      setImmediate(flush)
    })
  }

  /** Few at a time, or the thread is on its way. */
  async function meanwhile<T>(work: Promise<T>): Promise<T> {
    inPool++
    if (inPool >= CROWD && !thread) start()
    try {
      return await work
    } finally {
      inPool--
    }
  }

  return {
    sign(signingKey, input) {
      const { key, alg } = signingKey
      if (!ALGORITHMS[alg].signsQuickly) return signInPool(signingKey, input)
      if (!isOnline) return meanwhile(signInPool(signingKey, input))
      return inThread({ key, alg, input }) as Promise<string>
    },
    verify(token, key) {
      const { signingInput: input } = token
      const signature = token.token.slice(input.length + 1)
      const { alg } = token.header
      if (!ALGORITHMS[alg].verifiesQuickly) return verifyWithJose(token, key)
      if (!isOnline) return meanwhile(verifyWithJose(token, key))
      return inThread({ key, alg, input, signature }) as Promise<boolean>
    },
    async close() {
      await thread?.terminate()
    },
  }
}
