import net from 'node:net'
import { gunzipSync } from 'node:zlib'

// A client that sees what is on the wire: header lines as they came, bodies as bytes, nothing interpreted or repaired.

export interface WireResponse {
  status: number
  /** Name as sent and value, in the order of the wire. */
  headers: [name: string, value: string][]
  /** Without its content coding. */
  body: string
}

export interface Connection {
  /** Sends bytes as they are; one exchange at a time. */
  exchange(bytes: string, method: string): Promise<WireResponse>
  /** Hangs up without a word. */
  destroy(): void
  /** Our own port, by which the server knows us. */
  port: number
  isOpen(): boolean
}

export async function connect(port: number): Promise<Connection> {
  const socket = net.connect(port, '127.0.0.1')
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  let buffer = Buffer.alloc(0)
  let ended = false
  let wake = () => {}
  socket.on('data', (chunk: Buffer) => {
    buffer = Buffer.concat([buffer, chunk])
    wake()
  })
  // What matters is what arrived; a reset is the end of it.
  socket.on('error', () => {})
  socket.on('close', () => {
    ended = true
    wake()
  })

  async function until<T>(read: () => T | undefined): Promise<T> {
    for (;;) {
      const found = read()
      if (found !== undefined) return found
      if (ended) throw new Error(`the connection ended after ${JSON.stringify(String(buffer))}`)
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  }

  function take(length: number): Buffer | undefined {
    if (buffer.length < length) return undefined
    const taken = buffer.subarray(0, length)
    buffer = buffer.subarray(length)
    return taken
  }

  function takeLine(): string | undefined {
    const at = buffer.indexOf('\r\n')
    return at === -1
      ? undefined
      : take(at + 2)
          ?.toString('latin1')
          .slice(0, -2)
  }

  async function readHead(): Promise<Pick<WireResponse, 'status' | 'headers'>> {
    const line = await until(takeLine)
    const status = /^HTTP\/1\.1 (\d{3}) /.exec(line)?.[1]
    if (status === undefined) throw new Error(`no status line: ${JSON.stringify(line)}`)
    const headers: WireResponse['headers'] = []
    for (;;) {
      const field = await until(takeLine)
      if (field === '') return { status: Number(status), headers }
      const at = field.indexOf(': ')
      headers.push([field.slice(0, at), field.slice(at + 2)])
    }
  }

  async function readChunks(): Promise<Buffer> {
    const chunks: Buffer[] = []
    for (;;) {
      const size = Number.parseInt(await until(takeLine), 16)
      chunks.push(await until(() => take(size)))
      await until(() => take(2))
      if (size === 0) return Buffer.concat(chunks)
    }
  }

  async function readBody(head: Pick<WireResponse, 'status' | 'headers'>, method: string) {
    if (method === 'HEAD' || head.status === 304 || head.status === 204) return Buffer.alloc(0)
    if (headerOf(head, 'transfer-encoding') === 'chunked') return readChunks()
    const length = Number(headerOf(head, 'content-length') ?? '0')
    return until(() => take(length))
  }

  return {
    async exchange(bytes, method) {
      if (buffer.length > 0) throw new Error(`unasked bytes: ${JSON.stringify(String(buffer))}`)
      socket.write(bytes, 'latin1')
      let head = await readHead()
      while (head.status < 200) head = await readHead()
      const raw = await readBody(head, method)
      const zipped = headerOf(head, 'content-encoding') === 'gzip' && raw.length > 0
      return { ...head, body: (zipped ? gunzipSync(raw) : raw).toString() }
    },
    destroy: () => socket.destroy(),
    port: socket.localPort ?? 0,
    isOpen: () => !ended,
  }
}

/** The value of a header that may come once only. */
export function headerOf({ headers }: Pick<WireResponse, 'headers'>, name: string) {
  const values = headers.filter(([one]) => one.toLowerCase() === name.toLowerCase())
  // The one field that comes once for each value (RFC 9110 section 5.3).
  if (name.toLowerCase() === 'set-cookie' && values.length > 0) {
    return values.map(([, value]) => value).join(', ')
  }
  if (values.length > 1) throw new Error(`${name} was sent ${values.length} times`)
  return values[0]?.[1]
}
