import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { ALGORITHMS, type SigningKey, signInPool } from '../core/index.ts'
import { Problem } from '../errors.ts'
import type { Batch, Signatures } from './signer-thread.ts'

// Where signatures are made. One alone goes to Node's thread pool. To wake a thread of the pool costs about half as much
// as an ES256 or EdDSA signature, so where many are wanted at once, a thread of our own takes them by the batch.

export interface Signer {
  /** Signs an ASCII signing input (RFC 7515 section 5.1). Resolves to base64url. */
  sign(key: SigningKey, input: string): Promise<string>
  close(): Promise<void>
}

/** So many quick signatures at once are worth a thread; it stays once it is there. */
const CROWD = 8
/** The thread has enough to do with these; what comes meanwhile makes the next batch. */
const AHEAD = 16

const FILE = new URL(`./signer-thread${extname(import.meta.filename)}`, import.meta.url)

interface Waiting {
  key: SigningKey
  input: string
  resolve(signature: string): void
  reject(error: unknown): void
}

/** `onError` hears of a thread that ended; who waited for it is refused, and the next crowd gets a new one. */
export function createSigner(onError: (error: unknown) => void): Signer {
  let thread: Worker | undefined
  let isOnline = false
  let inPool = 0
  let isScheduled = false
  let queued: Waiting[] = []
  /** What the thread was sent and has not answered, in that order. */
  let sent: Waiting[] = []

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

  function receive(signatures: Signatures): void {
    const answered = sent.splice(0, signatures.length)
    if (queued.length > 0) flush()
    for (const [at, { resolve, reject }] of answered.entries()) {
      const signature = signatures[at]
      if (typeof signature === 'string') resolve(signature)
      else reject(signature)
    }
  }

  function flush(): void {
    isScheduled = false
    if (sent.length > AHEAD || queued.length === 0) return
    const batch = queued
    queued = []
    const keys = [...new Set(batch.map(({ key }) => key))]
    const places = new Map(keys.map((key, at) => [key, at]))
    const message: Batch = {
      keys: keys.map(({ key, alg }) => ({ key, alg })),
      which: batch.map(({ key }) => places.get(key) ?? -1),
      inputs: batch.map(({ input }) => input),
    }
    sent.push(...batch)
    thread?.postMessage(message)
  }

  function signInThread(key: SigningKey, input: string): Promise<string> {
    return new Promise((resolve, reject) => {
      queued.push({ key, input, resolve, reject })
      if (isScheduled) return
      isScheduled = true
      // After all that has arrived by now was read.
      setImmediate(flush)
    })
  }

  /** Few at a time, or the thread is on its way. */
  async function signMeanwhile(key: SigningKey, input: string): Promise<string> {
    inPool++
    if (inPool >= CROWD && !thread) start()
    try {
      return await signInPool(key, input)
    } finally {
      inPool--
    }
  }

  return {
    sign(key, input) {
      if (!ALGORITHMS[key.alg].signsQuickly) return signInPool(key, input)
      return isOnline ? signInThread(key, input) : signMeanwhile(key, input)
    },
    async close() {
      await thread?.terminate()
    },
  }
}
