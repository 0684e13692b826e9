import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Milliseconds after which what a start needed is not needed any more. */
const AFTER = 1000

/**
 * A start makes garbage as a busy hour does, and V8 keeps the room for it: a quarter of what the process has. Once, and
 * a moment after it is ready, it gives that back, which takes some tens of milliseconds.
 */
export function giveBack(): void {
  setTimeout(() => {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as (options: object) => void
    setFlagsFromString('--no-expose-gc')
    // The one kind that shrinks the room for young objects, too.
    collect({ type: 'major', execution: 'sync', flavor: 'last-resort' })
  }, AFTER).unref()
}
