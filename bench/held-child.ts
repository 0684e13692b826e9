// Many clients that wait for the keyring to move on: `node held-child.ts PORT COUNT INDEX`. Says when all requests are
// sent, and when the last answer has arrived.
import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { requestText } from './load.ts'

export interface Woken {
  /** Answers of status 200. */
  answered: number
  /** Unix milliseconds. */
  lastAt: number
  failure?: string
}

const [port = 0, count = 0, index = 0] = process.argv.slice(2).map(Number)
/** At a time, or the queue of connections to accept overflows. */
const BATCH = 200
/** A client address has too few ports for everybody at home; Linux has all of 127.0.0.0/8. */
const ADDRESSES = process.platform === 'linux' ? 8 : 1

const request = requestText('GET', `/.well-known/jwks.json?index=${index}&wait=5m`)
let answered = 0
let lastAt = 0

function tell(failure?: string): void {
  process.send?.({ answered, lastAt, ...(failure && { failure }) } satisfies Woken)
}

/** Resolves when the request is on its way. */
function ask(at: number): Promise<void> {
  return new Promise((resolve) => {
    const localAddress = `127.0.0.${1 + (at % ADDRESSES)}`
    const socket = connect({ port, host: '127.0.0.1', localAddress })
    socket.on('connect', () => socket.write(request, () => resolve()))
    socket.once('data', (bytes) => {
      if (bytes.toString('latin1', 9, 12) === '200') answered++
      lastAt = performance.timeOrigin + performance.now()
      if (answered === count) tell()
    })
    socket.on('error', (error) => tell(error.message))
  })
}

process.on('disconnect', () => process.exit(0))
for (let at = 0; at < count; at += BATCH) {
  const size = Math.min(BATCH, count - at)
  await Promise.all(Array.from({ length: size }, (_, more) => ask(at + more)))
  await delay(1)
}
tell()
