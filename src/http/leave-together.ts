/** A Fastify hook's `done`. */
type Go = (error?: Error) => void

/**
 * Lets answers wait for the end of the turn of the event loop in which they are made, so that they leave one after the
 * other. A client that handles answers faster than they are made falls asleep between two of them, and waking it takes
 * the system longer than all else that a write does. A lone answer waits for nothing.
 */
export function createLeaveTogether(): (go: Go) => void {
  let held: Go[] = []

  function release(): void {
    const all = held
    held = []
    for (const go of all) leave(go)
  }

  return (go) => {
    if (held.length === 0) setImmediate(release)
    held.push(go)
  }
}

/** One that cannot be sent as it is becomes an error, and is none of the others' business. */
function leave(go: Go): void {
  try {
    go()
  } catch (error) {
    go(error instanceof Error ? error : new Error('The answer cannot be sent', { cause: error }))
  }
}
