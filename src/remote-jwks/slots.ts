// How many outgoing requests there are at once, whoever asks and whomever they ask.

export interface Slots {
  /**
   * Waits for a turn, in order; answers how to give it back. Rejects with the signal's reason when
   * it aborts first, and at once when too many wait already.
   */
  acquire(signal: AbortSignal): Promise<() => void>
}

export function createSlots(limit: number, maxWaiting: number): Slots {
  let taken = 0
  const waiting = new Set<() => void>()

  function release(): void {
    taken -= 1
    const [next] = waiting
    next?.()
  }

  function take(): () => void {
    taken += 1
    let given = false
    return () => {
      if (!given) release()
      given = true
    }
  }

  return {
    async acquire(signal) {
      signal.throwIfAborted()
      if (taken < limit) return take()
      if (waiting.size >= maxWaiting) throw new Error('too many requests wait for their turn')
      return new Promise((resolve, reject) => {
        const settle = () => {
          waiting.delete(go)
          signal.removeEventListener('abort', giveUp)
        }
        const go = () => {
          settle()
          resolve(take())
        }
        const giveUp = () => {
          settle()
          reject(signal.reason)
        }
        waiting.add(go)
        signal.addEventListener('abort', giveUp)
      })
    },
  }
}
