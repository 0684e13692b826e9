import type { Context } from '../context.ts'
import type { VerificationKey } from '../core/index.ts'
import { isProblem } from '../errors.ts'
import type { ExternalSecurityRow } from '../store/external-securities.ts'
import { type OAuthServer, oauthServerOf, textOf } from './configuration.ts'
import type { Tree } from './payload.ts'
import { importRsaKey, isPem, isShortSecret, secretCandidates } from './secret-value.ts'
import type { Vault } from './vault.ts'

// Configurations and their keys as the verification of tokens sees them, in memory. A committed event drops what it may
// have changed; the clock never does. Keys are read one by one, so that ten thousand of them cost no more than ten.

export interface Entry {
  id: string
  name: string
  /** Changes with every change of the configuration. */
  version: string
  properties: Tree
  authentication: string
  authorization: string
  oauth: OAuthServer | undefined
}

/** A key, ready for use. */
export interface SecretKey {
  /** For RS256. */
  rsa: VerificationKey | undefined
  /** For HS256, in the order in which they are tried. */
  shared: readonly Buffer[]
  /** Too short to authenticate with. */
  isShort: boolean
}

const MAX_ENTRIES = 1000
/** Of all configurations together; over it, all are forgotten. */
const MAX_SECRETS = 20_000
const CHANGES = /^(?:external-security|jwt-secret)\./

interface Known {
  entry: Entry
  /** By key id. */
  secrets: Map<string, SecretKey>
}

export type Directory = ReturnType<typeof createDirectory>

export function createDirectory({ store }: Pick<Context, 'store'>, vault: Vault) {
  const remembered = new Map<string, Known>()
  let secretCount = 0
  let generation = 0

  function forget(name: string): void {
    secretCount -= remembered.get(name)?.secrets.size ?? 0
    remembered.delete(name)
  }

  const stop = store.onCommit((events) => {
    for (const { type, subject } of events) {
      if (!CHANGES.test(type)) continue
      generation++
      forget(subject)
    }
  })

  function remember(name: string, entry: Entry): void {
    const [oldest] = remembered.keys()
    if (oldest !== undefined && remembered.size >= MAX_ENTRIES) forget(oldest)
    remembered.set(name, { entry, secrets: new Map() })
  }

  function rememberSecret(entry: Entry, keyId: string, secret: SecretKey): void {
    if (secretCount >= MAX_SECRETS) {
      for (const { secrets } of remembered.values()) secrets.clear()
      secretCount = 0
    }
    const known = remembered.get(entry.name)
    if (known?.entry !== entry || known.secrets.has(keyId)) return
    known.secrets.set(keyId, secret)
    secretCount++
  }

  return {
    /** By its name; undefined: there is none. */
    async find(name: string): Promise<Entry | undefined> {
      const known = remembered.get(name)
      if (known) return known.entry
      const asOf = generation
      const row = await store.read.externalSecurities.byName(name)
      if (!row) return undefined
      const entry = toEntry(row)
      // What an event overtook may be old: answer with it, but do not keep it.
      if (asOf === generation) {
        forget(name)
        remember(name, entry)
      }
      return entry
    },

    /** @throws Problem `seal_broken`, `key_unusable` */
    async secret(entry: Entry, keyId: string): Promise<SecretKey | undefined> {
      const known = remembered.get(entry.name)
      const found = known?.entry === entry ? known.secrets.get(keyId) : undefined
      if (found) return found
      const asOf = generation
      const row = await store.read.jwtSecrets.byKeyId(entry.id, keyId)
      if (!row) return undefined
      const secret = toSecretKey(entry.oauth?.alg ?? '', vault.openSecret(row))
      if (asOf === generation) rememberSecret(entry, keyId, secret)
      return secret
    },

    /** Stops listening to the store. */
    close: stop,
  }
}

export function toEntry({ id, name, properties, updatedAt }: ExternalSecurityRow): Entry {
  const tree = properties as Tree
  return {
    ...{ id, name, version: String(updatedAt), properties: tree },
    authentication: textOf(tree, 'authentication'),
    authorization: textOf(tree, 'authorization'),
    oauth: oauthServerOf(tree),
  }
}

function toSecretKey(alg: string, value: string): SecretKey {
  // The algorithm may be that of a moment ago, and the value a public key of now.
  const isShared = alg === 'HS256' && !isPem(value)
  return {
    rsa: alg === 'RS256' ? importOrNone(value) : undefined,
    shared: isShared ? secretCandidates(value) : [],
    isShort: isShortSecret(alg, value),
  }
}

/** A key that was taken once and is refused by later rules verifies nothing. */
function importOrNone(value: string): VerificationKey | undefined {
  try {
    return importRsaKey(value)
  } catch (error) {
    if (isProblem(error, 'external_security_invalid')) return undefined
    throw error
  }
}
