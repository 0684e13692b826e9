import type { Context, Principal } from '../context.ts'
import { createRecent, type VerificationKey } from '../core/index.ts'
import type { GrantRow } from '../store/access.ts'
import type { IdentityRow, JwtAuthRow } from '../store/identities.ts'
import type { Tx } from '../store/store.ts'
import { type Bounds, boundsWeight, parseBounds } from './bounds.ts'
import { parseStaticKeys } from './static-keys.ts'
import { compileTrusted } from './trusted-ips.ts'

// Identities as logins and their tokens see them, in memory: compiled and unsealed when first asked for. A committed event
// drops what it may have changed.

/** An attached configuration, ready for use. */
export interface Attached {
  row: JwtAuthRow
  bounds(): Bounds
  /** Empty: none. @throws Problem `seal_broken`, `key_unusable`, as do the next two */
  caCert(): string
  /** The texts as they were written. */
  publicKeys(): readonly string[]
  staticKeys(): readonly VerificationKey[]
  /** Whether its tokens may be used from this address. */
  trusts(address: string): boolean
}

export interface Account {
  identity: IdentityRow
  principal: Principal
  jwtAuth: Attached | undefined
}

export type SealedColumn = 'jwks_ca_cert_sealed' | 'public_keys_sealed'

export interface DirectoryParts {
  context: Context
  /** Opens a sealed column of a configuration. @throws Problem `seal_broken`, `key_unusable` */
  unseal(row: JwtAuthRow, column: SealedColumn): Uint8Array
  /** Who the identity is as a caller: its role and grants, by name. */
  principalOf(tx: Tx, identity: IdentityRow, grants: readonly GrantRow[]): Promise<Principal>
}

/** Bytes: a few thousand ordinary identities, or a handful of the largest. To read one anew takes little. */
const MAX_WEIGHT = 16 * 1024 * 1024
/** Events after which every remembered principal may be wrong; those of one identity name it. */
const STALE = /^(?:ring|profile|tenant)\./
/** To read a configuration changes nothing. */
const OF_ONE = /^identity\.(?!jwt-auth-read$)/

export type Directory = ReturnType<typeof createDirectory>

export function createDirectory({ context, unseal, principalOf }: DirectoryParts) {
  const { store } = context
  const remembered = createRecent<Account>({ maxWeight: MAX_WEIGHT, weightOf })
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

  /**
   * What a row says; compiled or unsealed when it is first asked for, since the use of a token asks for hardly any of it.
   */
  function attach(row: JwtAuthRow): Attached {
    const open = (column: SealedColumn, sealed: Uint8Array | undefined) =>
      sealed ? Buffer.from(unseal(row, column)).toString() : ''
    const publicKeys = once(
      () => JSON.parse(open('public_keys_sealed', row.publicKeysSealed) || '[]') as string[],
    )
    return {
      ...{ row, publicKeys },
      bounds: once(() => parseBounds(row)),
      caCert: once(() => open('jwks_ca_cert_sealed', row.jwksCaCertSealed)),
      staticKeys: once(() =>
        row.configurationType === 'static' ? parseStaticKeys(publicKeys()) : [],
      ),
      trusts: trustsOf(row),
    }
  }

  async function read(tx: Tx, id: string): Promise<Account | undefined> {
    const identity = await tx.identities.byId(id)
    if (!identity) return undefined
    const principal = await principalOf(tx, identity, await tx.identities.grantsOf(id))
    const row = await tx.jwtAuth.byIdentity(id)
    return { identity, principal, jwtAuth: row && attach(row) }
  }

  async function load(id: string): Promise<Account | undefined> {
    const before = generation
    const found = await read(store.read, id)
    // Each commit is told before anything else is read, so that without one all of this is of one moment: grants, tenant
    // and configuration belong to this very row.
    return before === generation ? found : store.transaction((tx) => read(tx, id))
  }

  return {
    attach,

    /** The identity and its configuration as they are now; undefined when there is none. */
    async get(id: string): Promise<Account | undefined> {
      const known = remembered.get(id)
      if (known) return known
      const before = generation
      const found = await load(id)
      // What an event overtook may be old: answer with it, but do not keep it.
      if (!found || before !== generation) return found
      remembered.set(id, found)
      return found
    },

    /** What `get` would answer with at once; undefined: ask it. */
    recall: (id: string): Account | undefined => remembered.peek(id),

    /** Whether `account` is what `get` would answer with now. */
    isCurrent: (account: Account): boolean => remembered.peek(account.identity.id) === account,

    /** Stops listening to the store. */
    close: stop,
  }
}

function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined
  return () => {
    made ??= { value: make() }
    return made.value
  }
}

function trustsOf({ accessTokenTrustedIps }: JwtAuthRow): Attached['trusts'] {
  const compiled = once(() => compileTrusted(accessTokenTrustedIps))
  return (address) => compiled()(address)
}

/** Bytes of an account beside what is counted; measured, rounded up, as are the factors. */
const ACCOUNT_WEIGHT = 4096
const RANGE_WEIGHT = 512
const BYTE_WEIGHT = 8

/** With all that may yet be made of it. */
function weightOf({ identity, jwtAuth }: Account): number {
  const metadata = identity.metadata.reduce(
    (sum, { key, value }) => sum + key.length + value.length,
    0,
  )
  const own = ACCOUNT_WEIGHT + 2 * (identity.name.length + metadata)
  if (!jwtAuth) return own
  const { row } = jwtAuth
  const sealed = (row.publicKeysSealed?.length ?? 0) + (row.jwksCaCertSealed?.length ?? 0)
  const ranges = RANGE_WEIGHT * row.accessTokenTrustedIps.length
  return own + boundsWeight(row) + BYTE_WEIGHT * (sealed + row.jwksUrl.length) + ranges
}
