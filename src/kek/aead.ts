import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { Problem } from '../errors.ts'
import type { KekProvider, WrapContext } from './provider.ts'

const CIPHER = 'aes-256-gcm'
const FORMAT = 1
const NONCE_BYTES = 12
const TAG_BYTES = 16
export const KEK_BYTES = 32

/**
 * The default provider: AES-256-GCM (SP 800-38D) under a key derived from the KEK (RFC 5869).
 * A wrap is one byte of format, the nonce, the ciphertext and the tag. `kek` is copied; `source`
 * is where it came from, for who must find out that it is another one.
 */
export function createAeadProvider(kek: Uint8Array, source?: string): KekProvider {
  if (kek.length !== KEK_BYTES) {
    throw new Problem('kek_wrong', `The KEK must be exactly ${KEK_BYTES} bytes`)
  }
  const id = 'aead'
  // Two derivations, so that what is public (the id) shares nothing with what is secret (the key).
  const key = derive(kek, 'keyringd kek wrap v1', 32)
  const kekId = derive(kek, 'keyringd kek id v1', 8).toString('hex')
  const bound = (context: WrapContext) =>
    lengthPrefixed(`${FORMAT}`, 'wrap', context.installation, context.rootKid, id, kekId)

  return {
    id,
    kekId,

    async wrap(dataKey, context) {
      const nonce = randomBytes(NONCE_BYTES)
      const cipher = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES })
      cipher.setAAD(bound(context))
      const sealed = Buffer.concat([cipher.update(dataKey), cipher.final()])
      return Buffer.concat([Buffer.of(FORMAT), nonce, sealed, cipher.getAuthTag()])
    },

    async unwrap(wrapped, context) {
      try {
        return open(key, wrapped, bound(context))
      } catch (cause) {
        const from = source === undefined ? '' : ` (from ${source})`
        const detail = `KEK ${kekId}${from} does not open the wrap of root key ${context.rootKid}: it is another KEK, or the wrap was damaged or swapped. Give the KEK that this database was made with`
        throw new Problem('kek_wrong', detail, { cause })
      }
    },
  }
}

function open(key: Buffer, wrapped: Uint8Array, bound: Buffer): Uint8Array {
  const text = NONCE_BYTES + 1
  const tag = wrapped.length - TAG_BYTES
  if (wrapped[0] !== FORMAT || tag < text) throw new RangeError('no wrap of this format')
  const options = { authTagLength: TAG_BYTES }
  const decipher = createDecipheriv(CIPHER, key, wrapped.subarray(1, text), options)
  decipher.setAAD(bound)
  decipher.setAuthTag(wrapped.subarray(tag))
  return Buffer.concat([decipher.update(wrapped.subarray(text, tag)), decipher.final()])
}

const derive = (kek: Uint8Array, info: string, bytes: number) =>
  Buffer.from(hkdfSync('sha256', kek, new Uint8Array(), info, bytes))

/** Each part behind its length in four bytes, so that no two lists of parts read the same. */
function lengthPrefixed(...parts: string[]): Buffer {
  const pieces = parts.flatMap((part) => {
    const bytes = Buffer.from(part)
    const length = Buffer.alloc(4)
    length.writeUInt32BE(bytes.length)
    return [length, bytes]
  })
  return Buffer.concat(pieces)
}
