/** Work that is done so many at a time. */
export type Turns = <T>(whose: string, work: () => Promise<T>) => Promise<T>

/**
 * Node has four threads for keys and passwords of the whole server: nobody may have all of them for long. The work of
 * one owner is done in the order in which it was asked for, and owners take turns: who brings a thousand pieces waits
 * for them, and keeps nobody else waiting for more than one.
 */
export function createTurns(most: number): Turns {
  let free = most
  /** The owner who is first has the next turn. */
  const waiting = new Map<string, (() => void)[]>()

  function wait(whose: string): Promise<void> {
    return new Promise((resolve) => {
      const line = waiting.get(whose)
      if (line) line.push(resolve)
      else waiting.set(whose, [resolve])
    })
  }

  function passOn(): void {
    const first = waiting.entries().next().value
    if (!first) {
      free++
      return
    }
    const [whose, line] = first
    const next = line.shift()
    waiting.delete(whose)
    if (line.length > 0) waiting.set(whose, line)
    next?.()
  }

  return async (whose, work) => {
    if (free > 0) free--
    else await wait(whose)
    try {
      return await work()
    } finally {
      passOn()
    }
  }
}
