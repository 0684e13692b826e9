import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  hkdfSync,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto'
import { Problem } from '../errors.ts'

// Sealing: the one way a secret goes to disk. A sealed value is
//   format version (1 byte) | nonce (12) | AES-256-GCM ciphertext | tag (16)
// Nonces are random, so one data key must seal far fewer than 2³² values; rotation sees to that.

const VERSION = 1
const NONCE_BYTES = 12
const TAG_BYTES = 16

/** Where a sealed value lives and to whom it belongs: it opens nowhere else. */
export interface SealContext {
  installation: string
  table: string
  row: string
  column: string
  rootKid: string
  owner: string
}

/**
 * Joins parts so that no two lists give the same bytes: each behind its length, 4 bytes, big-
 * endian.
 */
export function encodeFields(parts: readonly (string | Uint8Array)[]): Uint8Array {
  const size = parts.reduce((sum, part) => sum + 4 + Buffer.byteLength(part), 0)
  // One buffer, every byte of which is written: a row has two dozen parts, and a rotation many rows.
  const all = Buffer.allocUnsafe(size)
  let at = 0
  for (const part of parts) {
    const length =
      typeof part === 'string' ? all.write(part, at + 4) : Buffer.from(part).copy(all, at + 4)
    at = all.writeUInt32BE(length, at) + length
  }
  return all
}

/**
 * Seals under a 32-byte key, bound to `aad`; `seal` is for rows, this for what has another context.
 */
export function sealBytes(key: Uint8Array, plaintext: Uint8Array, aad: Uint8Array): Uint8Array {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES })
  cipher.setAAD(aad)
  const ciphertext = [cipher.update(plaintext), cipher.final()]
  return Buffer.concat([Buffer.of(VERSION), nonce, ...ciphertext, cipher.getAuthTag()])
}

/** Opens what `sealBytes` made. Anything else, down to one bit, is a Problem `seal_broken`. */
export function openBytes(key: Uint8Array, sealed: Uint8Array, aad: Uint8Array): Uint8Array {
  if (sealed.length < 1 + NONCE_BYTES + TAG_BYTES) throw new Problem('seal_broken')
  if (sealed[0] !== VERSION) throw new Problem('seal_broken')
  const tagAt = sealed.length - TAG_BYTES
  try {
    const nonce = sealed.subarray(1, 1 + NONCE_BYTES)
    const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES })
    decipher.setAAD(aad)
    decipher.setAuthTag(sealed.subarray(tagAt))
    const opened = decipher.update(sealed.subarray(1 + NONCE_BYTES, tagAt))
    return Buffer.concat([opened, decipher.final()])
  } catch (cause) {
    throw new Problem('seal_broken', undefined, { cause })
  }
}

/** Seals a value for one place in the database, under a 32-byte data key. */
export const seal = (dataKey: Uint8Array, plaintext: Uint8Array, context: SealContext) =>
  sealBytes(dataKey, plaintext, additionalData(context))

/** Opens a value that was sealed for this very place; Problem `seal_broken` otherwise. */
export const unseal = (dataKey: Uint8Array, sealed: Uint8Array, context: SealContext) =>
  openBytes(dataKey, sealed, additionalData(context))

function additionalData(context: SealContext): Uint8Array {
  const { installation, table, row, column, rootKid, owner } = context
  return encodeFields([Buffer.of(VERSION), installation, table, row, column, rootKid, owner])
}

/**
 * The key that authenticates rows, derived so that it never doubles as an encryption key (HKDF, RFC
 * 5869).
 */
export const deriveMacKey = (dataKey: Uint8Array): Uint8Array =>
  new Uint8Array(hkdfSync('sha256', dataKey, new Uint8Array(), 'keyringd/row-mac/1', 32))

/** HMAC-SHA-256 over length-prefixed parts. */
export const macFields = (
  macKey: Uint8Array,
  parts: readonly (string | Uint8Array)[],
): Uint8Array => createHmac('sha256', macKey).update(encodeFields(parts)).digest()

/** Constant-time for equal lengths; the length is no secret. */
export const equalBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && timingSafeEqual(a, b)

/** Constant-time whatever the lengths: compares hashes. */
export const equalSecrets = (a: string, b: string): boolean => timingSafeEqual(sha256(a), sha256(b))

const sha256 = (text: string) => createHash('sha256').update(text, 'utf8').digest()
