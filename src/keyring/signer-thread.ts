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

/**
 * Those who wait are told in portions of so many signatures: each takes the other thread a moment to wake up for. To
 * check one takes about as long as to make four.
 */
const PORTION = 32
const CHECK = 4

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
  let portion: (string | boolean | Error)[] = []
  let work = 0
  for (const at of batch.inputs.keys()) {
    portion.push(outcomeOf(batch, at))
    work += batch.signatures[at] === undefined ? 1 : CHECK
    if (work < PORTION) continue
    parentPort?.postMessage(portion)
    portion = []
    work = 0
  }
  if (portion.length > 0) parentPort?.postMessage(portion)
})
