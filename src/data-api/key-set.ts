import {
  importPublicJwk,
  parseJsonStrict,
  thumbprint,
  type VerificationKey,
} from '../core/index.ts'
import { isProblem, Problem } from '../errors.ts'

// What may become the active set (contract section 6.3). Pure but for the question whether a key is ours.

/** Of a body; what we keep of it may be written a little longer. */
export const MAX_BODY = 1024 * 1024
const MAX_DEPTH = 16
const MAX_KEYS = 500
const PRIVATE = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'priv']
/** Key types whose private half makes a whole set suspect; a symmetric key is merely none of ours. */
const PAIRS: ReadonlySet<unknown> = new Set(['RSA', 'EC', 'OKP', 'AKP'])

/** Whether a key of this server, past or present, has this kid or this RFC 7638 thumbprint. */
export type IsOurs = (kid: string | undefined, thumbprint: string) => Promise<boolean>

export interface DataApiKey extends VerificationKey {
  /** Where the entry has it, a token must be from it. */
  issuer?: string
}

export interface DataApiKeys {
  keys: readonly DataApiKey[]
  /** How many entries were left out. */
  ignored: number
  /** The same keys as a JWK Set, public members only; reading it again gives them again. */
  text: string
}

type Entry = Record<string, unknown> & { kty: string }

const refused = (reason: string) => new Problem('jwks_update_failed', reason)

/**
 * Reads a JWK Set. Entries that cannot be used are left out; private members, two keys of one name, and keys of ours
 * make the whole set unacceptable. @throws Problem `jwks_update_failed` with a short reason
 */
export async function readKeys(body: Uint8Array, isOurs: IsOurs): Promise<DataApiKeys> {
  const entries = entriesOf(body)
  for (const entry of entries) {
    if (PAIRS.has(entry.kty) && PRIVATE.some((member) => Object.hasOwn(entry, member))) {
      throw refused('a key has private members')
    }
    const kid = typeof entry['kid'] === 'string' ? entry['kid'] : undefined
    const print = thumbprintOf(entry)
    if (kid === undefined && print === undefined) continue
    // An empty thumbprint is nobody's.
    if (await isOurs(kid, print ?? '')) throw refused('a key or kid of this server')
  }
  const usable = entries.flatMap((entry) => usableOf(entry) ?? [])
  const keys = distinct(usable)
  if (keys.length === 0) throw refused('no usable key')
  return {
    keys,
    ignored: entries.length - usable.length,
    text: JSON.stringify({ keys: keys.map(toJwk) }),
  }
}

function entriesOf(body: Uint8Array): Entry[] {
  const set = parsed(body)
  const keys = typeof set === 'object' && set !== null && 'keys' in set ? set.keys : undefined
  if (!Array.isArray(keys)) throw refused('no JWK Set')
  if (keys.length > MAX_KEYS) throw refused(`more than ${MAX_KEYS} keys`)
  if (!keys.every(isEntry)) throw refused('an entry that is no key')
  return keys
}

const isEntry = (entry: unknown): entry is Entry =>
  typeof entry === 'object' &&
  entry !== null &&
  !Array.isArray(entry) &&
  'kty' in entry &&
  typeof entry.kty === 'string'

function parsed(body: Uint8Array): unknown {
  try {
    return parseJsonStrict(body, { maxBytes: 2 * MAX_BODY, maxDepth: MAX_DEPTH })
  } catch (error) {
    if (isProblem(error)) throw refused('not JSON')
    throw error
  }
}

function usableOf(entry: Entry): DataApiKey | undefined {
  try {
    const { issuer } = entry
    return { ...importPublicJwk(entry), ...(typeof issuer === 'string' && { issuer }) }
  } catch (error) {
    if (isProblem(error, 'key_rejected')) return undefined
    throw error
  }
}

/** One of each; @throws Problem `jwks_update_failed` for two keys that a token cannot tell apart. */
function distinct(keys: readonly DataApiKey[]): DataApiKey[] {
  const kept: DataApiKey[] = []
  const named = new Map<string, DataApiKey>()
  for (const key of keys) {
    const name =
      key.kid === undefined ? undefined : JSON.stringify([key.kid, key.key.asymmetricKeyType])
    const before = name === undefined ? undefined : named.get(name)
    if (before && !before.key.equals(key.key)) throw refused('two keys with one kid')
    if (before && before.alg === key.alg && before.issuer === key.issuer) continue
    if (name !== undefined) named.set(name, key)
    kept.push(key)
  }
  return kept
}

function thumbprintOf(entry: Entry): string | undefined {
  try {
    return thumbprint(entry)
  } catch (error) {
    if (isProblem(error, 'key_rejected')) return undefined
    throw error
  }
}

const toJwk = ({ key, kid, alg, issuer }: DataApiKey) => ({
  ...key.export({ format: 'jwk' }),
  kid,
  alg,
  issuer,
})
