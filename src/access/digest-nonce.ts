import { createHmac, randomBytes } from 'node:crypto'
import { equalBytes } from '../core/index.ts'

// Nonces that we can tell again without having kept them: a time, something random, and our signature. Pure but for the
// randomness.

/** Milliseconds that a nonce is good for. */
export const NONCE_TTL = 5 * 60_000
const TIME_BYTES = 8
const RANDOM_BYTES = 8
const TAG_BYTES = 16
const BODY_BYTES = TIME_BYTES + RANDOM_BYTES

export type Nonces = ReturnType<typeof createNonces>

export function createNonces(secret: Uint8Array) {
  const tag = (body: Uint8Array) =>
    createHmac('sha256', secret).update('digest-nonce').update(body).digest().subarray(0, TAG_BYTES)

  return {
    /** `now` in Unix milliseconds. */
    make(now: number): string {
      const body = Buffer.alloc(BODY_BYTES)
      body.writeBigUInt64BE(BigInt(now))
      randomBytes(RANDOM_BYTES).copy(body, TIME_BYTES)
      return Buffer.concat([body, tag(body)]).toString('base64url')
    },

    /** When it ends, in Unix milliseconds; undefined: it is none of ours, has ended, or is of the future. */
    endOf(nonce: string, now: number): number | undefined {
      const bytes = Buffer.from(nonce, 'base64url')
      if (bytes.length !== BODY_BYTES + TAG_BYTES || bytes.toString('base64url') !== nonce) {
        return undefined
      }
      const body = bytes.subarray(0, BODY_BYTES)
      if (!equalBytes(tag(body), bytes.subarray(BODY_BYTES))) return undefined
      const made = Number(body.readBigUInt64BE())
      return made <= now && now < made + NONCE_TTL ? made + NONCE_TTL : undefined
    },

    /** The same for as long as the secret is. */
    opaque: createHmac('sha256', secret).update('digest-opaque').digest('hex').slice(0, 16),
  }
}
