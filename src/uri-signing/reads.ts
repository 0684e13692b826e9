import type { Context, Principal } from '../context.ts'
import type { ServiceRow } from '../store/delivery-services.ts'
import { MINUTE } from '../time.ts'

// Who was given which keys is on record before the answer goes out (contract section 5). A cache that asks every minute
// is not recorded every minute: the same caller and the same version are, once in a while.

/** By monotonic clock. */
const AGAIN = 10n * MINUTE
/** Pairs of a caller and a version that are remembered; one that is forgotten is recorded once more. */
const MAX_KNOWN = 20_000

export type Reads = ReturnType<typeof createReads>

export function createReads({ store, monotonic }: Pick<Context, 'store' | 'monotonic'>) {
  const recorded = new Map<string, bigint>()

  return {
    /** At once when it is on record already. */
    record(
      principal: Principal,
      { xmlId }: ServiceRow,
      { id, version }: { id: string; version: number },
    ): void | Promise<void> {
      const key = `${id} ${principal.id}`
      const last = recorded.get(key)
      const at = monotonic()
      if (last !== undefined && at - last < AGAIN) return
      const event = {
        ...{ type: 'uri-keys.read', subject: xmlId, principal: principal.id, detail: { version } },
      }
      return store
        .grouped((tx) => tx.audit.append(event))
        .then(() => {
          const [oldest] = recorded.keys()
          if (oldest !== undefined && recorded.size >= MAX_KNOWN) recorded.delete(oldest)
          recorded.delete(key)
          recorded.set(key, at)
        })
    },
  }
}
