import type { Store } from '../store/store.ts'

// Promises run ahead of signing: before a token with `exp` E is answered, a durable promise of at least E exists
// (product.md 5.3). They are raised in steps, so a million signatures cost a handful of writes.

/** Seconds. */
const LONGEST_STEP = 600

export type Promises = ReturnType<typeof createPromises>

export function createPromises(store: Store, onWrite: () => void) {
  /** What this process knows to be on disk: the latest `exp` per kid, in seconds. */
  const durable = new Map<string, number>()
  const raising = new Map<string, { until: number; done: Promise<boolean> }>()

  async function write(kid: string, until: number): Promise<boolean> {
    const raised = await store.grouped((tx) => tx.promises.raise(kid, BigInt(until)))
    onWrite()
    if (raised) durable.set(kid, Math.max(until, durable.get(kid) ?? 0))
    return raised
  }

  /** Shares the write that runs if it reaches far enough; else one more, a step ahead of what is asked. */
  async function raise(kid: string, exp: number, ttl: number): Promise<boolean> {
    const running = raising.get(kid)
    if (running && running.until >= exp) return running.done
    const until = exp + Math.min(LONGEST_STEP, Math.max(1, ttl))
    const done = write(kid, until).finally(() => {
      if (raising.get(kid)?.until === until) raising.delete(kid)
    })
    raising.set(kid, { until, done })
    return done
  }

  return {
    /** True when a durable promise covers `exp` (seconds); false when the key does not sign any more. */
    cover(kid: string, exp: number, ttl: number): true | Promise<boolean> {
      return (durable.get(kid) ?? 0) >= exp || raise(kid, exp, ttl)
    },

    /** Drops what is remembered of a key that is gone. */
    forget(kid: string): void {
      durable.delete(kid)
    },
  }
}
