import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { TestContext } from 'node:test'
import { BOUND, bounded } from './process.ts'

// Connections below HTTP, for clients that do not keep to it.

export interface Raw {
  socket: Socket
  /** Writes, and minds no reset: a server may have had enough. */
  send(bytes: string | Buffer): void
  /** All that was received until the server closed the connection. */
  closed(millis?: number): Promise<string>
  /** All that was received so far, once it has `pattern`. */
  received(pattern: RegExp): Promise<string>
}

/** A connection to 127.0.0.1, gone after the test. */
export async function dial(t: TestContext, port: number): Promise<Raw> {
  const socket = connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  await once(socket, 'connect')
  let text = ''
  let look = () => {}
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    text += chunk
    look()
  })
  // A reset is an end like any other.
  socket.on('error', () => {})
  const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  return {
    socket,
    send: (bytes) => void socket.write(bytes),
    async closed(millis = BOUND) {
      await bounded(ended, 'the end of a connection', millis)
      return text
    },
    async received(pattern) {
      const found = new Promise<void>((resolve) => {
        look = () => void (pattern.test(text) && resolve())
        look()
      })
      await bounded(found, `${pattern} on a connection`)
      return text
    },
  }
}
