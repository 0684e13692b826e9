// The thread of `signer.ts`. It keeps no key: each batch brings those it is signed with, by reference, not as bytes.
import { sign } from 'node:crypto'
import { parentPort } from 'node:worker_threads'
import { ALGORITHMS } from '../core/algorithms.ts'
import type { SigningKey } from '../core/index.ts'

export interface Batch {
  keys: readonly Pick<SigningKey, 'key' | 'alg'>[]
  /** For each input, the place of its key. */
  which: readonly number[]
  /** Signing inputs (RFC 7515 section 5.1), ASCII. */
  inputs: readonly string[]
}

/** In the order of the inputs: base64url, or why there is none. */
export type Signatures = readonly (string | Error)[]

/** Those who wait are told in such portions: each takes the other thread a moment to wake up for. */
const PORTION = 16

function signatureOf({ keys, which, inputs }: Batch, at: number): string | Error {
  try {
    const { key, alg } = keys[which[at] ?? -1] as SigningKey
    const { hash, options } = ALGORITHMS[alg]
    const bytes = Buffer.from(inputs[at] as string, 'ascii')
    return sign(hash, bytes, { key, ...options }).toString('base64url')
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}

parentPort?.on('message', (batch: Batch) => {
  for (let from = 0; from < batch.inputs.length; from += PORTION) {
    const length = Math.min(PORTION, batch.inputs.length - from)
    parentPort?.postMessage(Array.from({ length }, (_, more) => signatureOf(batch, from + more)))
  }
})
