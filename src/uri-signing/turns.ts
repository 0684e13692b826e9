/** Work that is done so many at a time, in the order in which it was asked for. */
export type Turns = <T>(work: () => Promise<T>) => Promise<T>

/**
 * Node has four threads for keys and passwords of the whole server: nobody may have all of them for long. Who waits here
 * waits for others of his kind only.
 */
export function createTurns(most: number): Turns {
  let free = most
  const waiting: (() => void)[] = []
  return async (work) => {
    if (free > 0) free--
    else await new Promise<void>((resolve) => waiting.push(resolve))
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next) next()
      else free++
    }
  }
}
