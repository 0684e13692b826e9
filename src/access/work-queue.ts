import { Problem } from '../errors.ts'

// A few at once, some that wait, the rest refused: work that costs memory and time, and that anybody may ask for.

export interface QueueLimits {
  atOnce: number
  /** Of all callers. */
  waiting: number
  /** Of one caller: nobody alone fills the queue. */
  perCaller: number
}

/** Runs `work` when its turn has come. @throws Problem `overloaded`, at once, where too many wait */
export type WorkQueue = <T>(caller: string, work: () => Promise<T>) => Promise<T>

export function createWorkQueue(limits: QueueLimits): WorkQueue {
  const waiting: (() => void)[] = []
  const callers = new Map<string, number>()
  let running = 0

  function leave(caller: string): void {
    const left = (callers.get(caller) ?? 1) - 1
    if (left > 0) callers.set(caller, left)
    else callers.delete(caller)
  }

  return async (caller, work) => {
    const own = callers.get(caller) ?? 0
    const isFull = running >= limits.atOnce && waiting.length >= limits.waiting
    if (isFull || own >= limits.perCaller) {
      throw new Problem('overloaded', 'Too many passwords are being checked; try again shortly')
    }
    callers.set(caller, own + 1)
    // Whoever ends hands the turn on, so that nobody who comes meanwhile takes it.
    if (running >= limits.atOnce) await new Promise<void>((resolve) => waiting.push(resolve))
    else running++
    try {
      return await work()
    } finally {
      leave(caller)
      const next = waiting.shift()
      if (next) next()
      else running--
    }
  }
}
