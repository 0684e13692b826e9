import type { Context, Principal } from '../context.ts'
import type { VerificationKey } from '../core/index.ts'
import type { GrantRow } from '../store/access.ts'
import type { IdentityRow, JwtAuthRow } from '../store/identities.ts'
import type { Tx } from '../store/store.ts'
import { type Bounds, parseBounds } from './bounds.ts'
import { parseStaticKeys } from './static-keys.ts'
import { compileTrusted } from './trusted-ips.ts'

// Identities as logins and their tokens see them, in memory: everything compiled and unsealed once. A committed event
// drops what it may have changed.

/** An attached configuration, ready for use. */
export interface Attached {
  row: JwtAuthRow
  bounds: Bounds
  caCert: string
  /** The texts as they were written. */
  publicKeys: readonly string[]
  staticKeys: readonly VerificationKey[]
  /** Whether its tokens may be used from this address. */
  trusts(address: string): boolean
}

export interface Account {
  identity: IdentityRow
  principal: Principal
  jwtAuth: Attached | undefined
}

export interface DirectoryParts {
  context: Context
  /** Opens a sealed column of a configuration. @throws Problem `seal_broken`, `key_unusable` */
  unseal(row: JwtAuthRow, column: 'jwks_ca_cert_sealed' | 'public_keys_sealed'): Uint8Array
  /** Who the identity is as a caller: its role and grants, by name. */
  principalOf(tx: Tx, identity: IdentityRow, grants: readonly GrantRow[]): Promise<Principal>
}

const CACHE_SIZE = 10_000
/** Events after which every remembered principal may be wrong; those of one identity name it. */
const STALE = /^(?:ring|profile|tenant)\./
/** To read a configuration changes nothing. */
const OF_ONE = /^identity\.(?!jwt-auth-read$)/

export type Directory = ReturnType<typeof createDirectory>

export function createDirectory({ context, unseal, principalOf }: DirectoryParts) {
  const { store } = context
  const remembered = new Map<string, Account>()
  let generation = 0

  const stop = store.onCommit((events) => {
    for (const { type, subject } of events) {
      if (OF_ONE.test(type)) {
        generation++
        remembered.delete(subject)
      } else if (STALE.test(type)) {
        generation++
        remembered.clear()
      }
    }
  })

  /** What a row says, compiled. @throws Problem `seal_broken`, `key_unusable` */
  function attach(row: JwtAuthRow): Attached {
    const publicKeys = row.publicKeysSealed
      ? (JSON.parse(Buffer.from(unseal(row, 'public_keys_sealed')).toString()) as string[])
      : []
    return {
      row,
      publicKeys,
      bounds: parseBounds(row),
      caCert: row.jwksCaCertSealed
        ? Buffer.from(unseal(row, 'jwks_ca_cert_sealed')).toString()
        : '',
      staticKeys: row.configurationType === 'static' ? parseStaticKeys(publicKeys) : [],
      trusts: compileTrusted(row.accessTokenTrustedIps),
    }
  }

  async function load(id: string): Promise<Account | undefined> {
    // One transaction: grants, tenant and configuration belong to this very row.
    return store.transaction(async (tx) => {
      const identity = await tx.identities.byId(id)
      if (!identity) return undefined
      const principal = await principalOf(tx, identity, await tx.identities.grantsOf(id))
      const row = await tx.jwtAuth.byIdentity(id)
      return { identity, principal, jwtAuth: row && attach(row) }
    })
  }

  return {
    attach,

    /** The identity and its configuration as they are now; undefined when there is none. */
    async get(id: string): Promise<Account | undefined> {
      const known = remembered.get(id)
      if (known) {
        remembered.delete(id)
        remembered.set(id, known)
        return known
      }
      const before = generation
      const found = await load(id)
      // What an event overtook may be old: answer with it, but do not keep it.
      if (!found || before !== generation) return found
      const [oldest] = remembered.keys()
      if (oldest !== undefined && remembered.size >= CACHE_SIZE) remembered.delete(oldest)
      remembered.set(id, found)
      return found
    },

    /** What `get` would answer with at once; undefined: ask it. */
    recall: (id: string): Account | undefined => remembered.get(id),

    /** Whether `account` is what `get` would answer with now. */
    isCurrent: (account: Account): boolean => remembered.get(account.identity.id) === account,

    /** Stops listening to the store. */
    close: stop,
  }
}
