// A memory that is bounded by what it weighs: a bound on the number of entries would be one on the ordinary ones only.

export interface RecentOptions<T> {
  /** In the unit of `weightOf`, of all entries together. */
  maxWeight: number
  /** What an entry weighs; must not change while it is remembered. */
  weightOf(value: T): number
}

export interface Recent<T> {
  get(key: string): T | undefined
  /** As `get`, but it does not count as a use. */
  peek(key: string): T | undefined
  set(key: string, value: T): void
  delete(key: string): void
  clear(): void
}

/** Remembers what was used last; when all weighs too much, what was used longest ago goes first. */
export function createRecent<T>({ maxWeight, weightOf }: RecentOptions<T>): Recent<T> {
  /** The least recently used first. */
  const entries = new Map<string, T>()
  let weight = 0

  function forget(key: string): void {
    const value = entries.get(key)
    if (value === undefined) return
    weight -= weightOf(value)
    entries.delete(key)
  }

  return {
    get(key) {
      const value = entries.get(key)
      if (value === undefined) return undefined
      entries.delete(key)
      entries.set(key, value)
      return value
    },

    peek: (key) => entries.get(key),

    set(key, value) {
      forget(key)
      weight += weightOf(value)
      entries.set(key, value)
      for (const oldest of entries.keys()) {
        if (weight <= maxWeight) break
        forget(oldest)
      }
    },

    delete: forget,

    clear() {
      entries.clear()
      weight = 0
    },
  }
}
