// The thread of `signer.ts`. It keeps no key: each batch brings those it needs, by reference, not as bytes.
import { type KeyObject, sign, verify } from 'node:crypto'
import { parentPort } from 'node:worker_threads'
import { ALGORITHMS, type Algorithm } from '../core/algorithms.ts'

export interface Batch {
  keys: readonly { key: KeyObject; alg: Algorithm }[]
  /** For each input, the place of its key. */
  which: readonly number[]
  /** Signing inputs (RFC 7515 section 5.1), ASCII. */
  inputs: readonly string[]
  /** For each input, the signature to check, as base64url; undefined: make one. */
  signatures: readonly (string | undefined)[]
}

/** In the order of the inputs: base64url, or whether the signature verifies, or why neither can be said. */
export type Outcomes = readonly (string | boolean | Error)[]

/** Those who wait are told in such portions: each takes the other thread a moment to wake up for. */
const PORTION = 32

function outcomeOf(batch: Batch, at: number): string | boolean | Error {
  const { key, alg } = batch.keys[batch.which[at] as number] as Batch['keys'][0]
  const { hash, options } = ALGORITHMS[alg]
  const input = Buffer.from(batch.inputs[at] as string, 'ascii')
  const signature = batch.signatures[at]
  try {
    return signature === undefined
      ? sign(hash, input, { key, ...options }).toString('base64url')
      : verify(hash, input, { key, ...options }, Buffer.from(signature, 'base64url'))
  } catch (error) {
    // As with jose, a key or a signature that cannot even be tried verifies nothing.
    if (signature !== undefined) return false
    return error instanceof Error ? error : new Error(String(error))
  }
}

parentPort?.on('message', (batch: Batch) => {
  for (let from = 0; from < batch.inputs.length; from += PORTION) {
    const length = Math.min(PORTION, batch.inputs.length - from)
    parentPort?.postMessage(Array.from({ length }, (_, more) => outcomeOf(batch, from + more)))
  }
})
