import { randomInt } from 'node:crypto'
import { type Duration, MINUTE, toMillis } from '../time.ts'

// Blocking queries (contract section 3): a read that waits until the keyring moves on.

const LONGEST: Duration = 5n * MINUTE

/** Milliseconds to hold, the random extra of less than a sixteenth included. */
export function holdMillis(wait: Duration | undefined): number {
  const asked = wait === undefined || wait <= 0n || wait > LONGEST ? LONGEST : wait
  const millis = Math.max(1, toMillis(asked))
  return millis + (millis >= 16 ? randomInt(Math.floor(millis / 16)) : 0)
}

export interface Limits {
  /** Held queries in all. */
  max: number
  /** Held queries of one anonymous address. */
  perAddress: number
}

export interface Held {
  /** Resolves when the index passed `after`, the time is over, the client left or the server stops. */
  done: Promise<void>
  cancel(): void
}

interface Waiter {
  after: bigint
  finish(): void
}

export type Blocking = ReturnType<typeof createBlocking>

export function createBlocking(index: () => bigint, limits: Limits) {
  const waiters = new Set<Waiter>()
  const byAddress = new Map<string, number>()
  let closed = false

  function admit(address: string | undefined): boolean {
    if (closed || waiters.size >= limits.max) return false
    if (address === undefined) return true
    const held = byAddress.get(address) ?? 0
    if (held >= limits.perAddress) return false
    byAddress.set(address, held + 1)
    return true
  }

  function leave(address: string | undefined): void {
    if (address === undefined) return
    const held = (byAddress.get(address) ?? 1) - 1
    if (held === 0) byAddress.delete(address)
    else byAddress.set(address, held)
  }

  return {
    held: () => waiters.size,

    /**
     * Holds until the index is past `after`. The waiter is registered before the index is read, so no write between
     * the two is missed. Undefined: answer at once, because the index is past or the limits are reached.
     * `address` is given for anonymous callers only.
     */
    hold(after: bigint, millis: number, address: string | undefined): Held | undefined {
      if (!admit(address)) return undefined
      let finish = () => {}
      const done = new Promise<void>((resolve) => {
        const timer = setTimeout(() => finish(), millis)
        const waiter: Waiter = { after, finish: () => finish() }
        finish = () => {
          if (!waiters.delete(waiter)) return
          clearTimeout(timer)
          leave(address)
          resolve()
        }
        waiters.add(waiter)
      })
      if (index() > after) {
        finish()
        return undefined
      }
      return { done, cancel: () => finish() }
    },

    /** Answers everybody whose index is passed. */
    wake(): void {
      const now = index()
      for (const waiter of waiters) if (now > waiter.after) waiter.finish()
    },

    /** Answers everybody; nobody is held from here on. */
    close(): void {
      closed = true
      for (const waiter of waiters) waiter.finish()
    },
  }
}
