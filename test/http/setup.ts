import net from 'node:net'
import type { TestContext } from 'node:test'
import { anonymous, type Principal } from '../../src/context.ts'
import { installAuth } from '../../src/http/auth.ts'
import { createLogger } from '../../src/http/log.ts'
import { type App, createServer, type ServerOptions } from '../../src/http/server.ts'

export interface TestApp {
  app: App
  /** Every finished log line, parsed. */
  lines(): Record<string, unknown>[]
  /** The log as it was written. */
  text(): string
}

/** A server with a captured log. Callers with `Authorization: Bearer NAME` are `token:NAME` and may what `rights` says. */
export function testApp(
  t: TestContext,
  options: Partial<ServerOptions> & { rights?: Record<string, string[]>; auth?: boolean } = {},
): TestApp {
  const { rights = {}, auth = true, ...server } = options
  const written: string[] = []
  const log = createLogger({
    level: 'debug',
    destination: { write: (line: string) => void written.push(line) },
  })
  const app = createServer({ log, newId: () => '0a1b2c3d-0000-0000-0000-000000000000', ...server })
  t.after(() => app.close())
  if (auth) {
    installAuth(app, {
      known: new Set(['keyring-read', 'sign', 'access-manage']),
      async authenticate(request) {
        const name = /^Bearer (\w+)$/.exec(request.headers.authorization ?? '')?.[1]
        const held = rights[name ?? '']
        const principal = held && name ? withRights(name, held) : anonymous
        return { principal, presented: name !== undefined }
      },
    })
  }
  return {
    app,
    lines: () => written.map((line) => JSON.parse(line) as Record<string, unknown>),
    text: () => written.join(''),
  }
}

const withRights = (name: string, held: string[]): Principal => ({
  id: `token:${name}`,
  tenant: undefined,
  may: (capability, resource) =>
    held.includes(capability) ||
    (resource !== undefined &&
      'ring' in resource &&
      held.includes(`${capability}@${resource.ring}`)),
  maySome: (capability, ring) =>
    held.some((text) => {
      const [name, on] = text.split('@')
      return name === capability && (ring === undefined || on === undefined || on === ring)
    }),
})

/** Listens on a free port. */
export async function listen(app: App): Promise<{ port: number; url: string }> {
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  return { port: Number(new URL(url).port), url }
}

/** Writes bytes to a socket and reads until the server closes it. */
export function exchange(port: number, ...writes: (string | Buffer)[]): Promise<string> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = []
    const socket = net.connect(port, '127.0.0.1', () => {
      for (const bytes of writes) socket.write(bytes)
    })
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    // A reset after the answer is no failure: what counts is what arrived.
    socket.on('error', () => {})
    socket.on('end', () => socket.end())
    socket.on('close', () => resolve(Buffer.concat(chunks).toString()))
  })
}
