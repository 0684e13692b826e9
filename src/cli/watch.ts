import { setTimeout as pause } from 'node:timers/promises'
import type { Client } from './client.ts'
import { failure } from './io.ts'
import { unexpected } from './refusal.ts'

/** Short enough for a proxy that gives up after a minute; the server adds up to a sixteenth. */
const WAIT = '50s'
/** After an answer that brought nothing: a server that holds no more queries answers at once. */
const PAUSE_MILLIS = 1000

/** The index of the keyring once it passed `index`, or when the wait is over (contract section 3). */
async function indexAfter(client: Client, index: bigint, signal: AbortSignal): Promise<bigint> {
  const path = `/.well-known/jwks.json?index=${index}&wait=${WAIT}`
  const answer = await client.send('GET', path, { anonymous: true, signal })
  if (answer.status !== 200) throw failure(unexpected(answer))
  const header = answer.headers['x-nomad-index']
  if (typeof header !== 'string' || !/^\d{1,20}$/.test(header)) {
    throw failure(`error: ${client.address} tells no index; -watch needs its surface "nomad"`)
  }
  return BigInt(header)
}

/** Shows once, and again at every change of the index, up or down, until `stopped`. */
export async function watch(
  client: Client,
  stopped: AbortSignal,
  show: () => Promise<void>,
): Promise<void> {
  try {
    // Before the first look: a change in between only shows the same again.
    let index = await indexAfter(client, 0n, stopped)
    await show()
    for (;;) {
      const next = await indexAfter(client, index, stopped)
      if (next === index) await pause(PAUSE_MILLIS, undefined, { signal: stopped })
      else {
        index = next
        await show()
      }
    }
  } catch (error) {
    if (!stopped.aborted) throw error
  }
}
