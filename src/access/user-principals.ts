import type { Context, Principal } from '../context.ts'
import type { Tx } from '../store/store.ts'
import type { HeldById } from './rights.ts'

/** Entries; the oldest goes. */
const CACHE_SIZE = 10_000
/** Characters of a name that is looked up. */
const MAX_NAME = 64
/** Committed events after which a remembered principal may be wrong. */
const STALE = /^(?:(?:user|ring|profile|tenant|access)\.(?!denied$)|delivery-service\.deleted$)/

interface Rights {
  principalOf(tx: Tx, id: string, held: HeldById): Promise<Principal>
}

/** User → principal, remembered in memory until an event says otherwise. */
export function createUserPrincipals({ store }: Pick<Context, 'store'>, rights: Rights) {
  const remembered = new Map<string, Principal>()
  /** By name: the ids of users whom JWTs may be of. */
  const withJwt = new Map<string, string>()
  let generation = 0

  const stop = store.onCommit((events) => {
    if (!events.some(({ type }) => STALE.test(type))) return
    generation++
    remembered.clear()
    withJwt.clear()
  })

  /** Undefined: there is no such user any more. The principal's tenant is named as it is now. */
  async function principalOf(userId: string): Promise<Principal | undefined> {
    const known = remembered.get(userId)
    if (known) return known
    const before = generation
    const { read } = store
    const row = await read.users.byId(userId)
    if (!row) return undefined
    const { name, role, tenantId } = row
    const grants = await read.users.grantsOf(userId)
    const principal = await rights.principalOf(read, `user:${name}`, { role, grants, tenantId })
    // What an event overtook may be old: answer with it, but do not keep it.
    if (before === generation) {
      const [oldest] = remembered.keys()
      if (oldest !== undefined && remembered.size >= CACHE_SIZE) remembered.delete(oldest)
      remembered.set(userId, principal)
    }
    return principal
  }

  return {
    principalOf,

    /** The user of this very name, if JWTs may be theirs. */
    async jwtUser(name: string): Promise<Principal | undefined> {
      const known = withJwt.get(name)
      if (known !== undefined) return principalOf(known)
      if (name.length > MAX_NAME) return undefined
      const before = generation
      const row = await store.read.users.byName(name)
      if (row?.name !== name || !row.jwt) return undefined
      if (before === generation && withJwt.size < CACHE_SIZE) withJwt.set(name, row.id)
      return principalOf(row.id)
    },

    /** Stops listening to the store. */
    close: stop,
  }
}
