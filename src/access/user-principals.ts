import type { Context, Principal } from '../context.ts'
import type { Tx } from '../store/store.ts'
import type { HeldById } from './rights.ts'

/** Entries; the oldest goes. */
const CACHE_SIZE = 10_000
/** Committed events after which a remembered principal may be wrong. */
const STALE = /^(?:(?:user|ring|profile|tenant|access)\.(?!denied$)|delivery-service\.deleted$)/

interface Rights {
  principalOf(tx: Tx, id: string, held: HeldById): Promise<Principal>
}

/** User → principal, remembered in memory until an event says otherwise. */
export function createUserPrincipals({ store }: Pick<Context, 'store'>, rights: Rights) {
  const remembered = new Map<string, Principal>()
  let generation = 0

  const stop = store.onCommit((events) => {
    if (!events.some(({ type }) => STALE.test(type))) return
    generation++
    remembered.clear()
  })

  return {
    /** Undefined: there is no such user any more. The principal's tenant is named as it is now. */
    async principalOf(userId: string): Promise<Principal | undefined> {
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
    },

    /** Stops listening to the store. */
    close: stop,
  }
}
