import { Problem } from '../errors.ts'
import { type Duration, SECOND } from '../time.ts'

// Failed verifications, counted by address and by account (`RATE_LIMIT_LOGIN`), so that nobody guesses for long. What
// succeeds counts nowhere. An account that others fail for is not locked: only who failed for it himself is refused.

export interface FailureLimit {
  count: number
  /** Nanoseconds. */
  per: Duration
}

/** Counters, the oldest of which goes: a flood from many addresses must not fill the memory. */
const MAX_COUNTERS = 50_000

interface Window {
  /** Monotonic. */
  since: bigint
  failures: number
}

/** `addressKey` makes one caller of addresses that one caller can make up. */
export function createFailures(
  limit: FailureLimit,
  monotonic: () => bigint,
  addressKey: (address: string) => string,
) {
  const windows = new Map<string, Window>()

  function current(key: string): Window | undefined {
    const window = windows.get(key)
    if (window && monotonic() - window.since < limit.per) return window
    windows.delete(key)
    return undefined
  }

  function count(key: string): void {
    const window = current(key) ?? { since: monotonic(), failures: 0 }
    window.failures++
    const [oldest] = windows.keys()
    if (oldest !== undefined && windows.size >= MAX_COUNTERS && !windows.has(key)) {
      windows.delete(oldest)
    }
    windows.set(key, window)
  }

  function refuseIfOver(window: Window | undefined): void {
    if (!window || window.failures < limit.count) return
    const left = window.since + limit.per - monotonic()
    const seconds = Number((left + SECOND - 1n) / SECOND)
    const detail = `Rate limit exceeded. Please try again in ${seconds} seconds`
    throw new Problem('rate_limited', detail, { extra: { retryAfter: seconds } })
  }

  const names = (account: string, address: string) => {
    const from = addressKey(address)
    return { from: `address ${from}`, of: `account ${account}`, both: `both ${from} ${account}` }
  }

  return {
    /** @throws Problem `rate_limited`, with `retryAfter` in seconds */
    check(account: string, address: string): void {
      if (windows.size === 0) return
      const { from, of, both } = names(account, address)
      refuseIfOver(current(from))
      if (current(both)) refuseIfOver(current(of))
    },

    /**
     * Undefined: of an account that there is not, so that only the address counts. Of many that were checked at once,
     * those over the limit are refused here and leave no more than a count.
     * @throws Problem `rate_limited`
     */
    failed(account: string | undefined, address: string): void {
      const { from, of, both } = names(account ?? '', address)
      refuseIfOver(current(from))
      for (const key of account === undefined ? [from] : [from, of, both]) count(key)
    },
  }
}
