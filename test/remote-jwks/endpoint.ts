import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import type { TestContext } from 'node:test'
import { createGuardedFetch, DEFAULT_LIMITS, type FetchRules } from '../../src/remote-jwks/fetch.ts'
import { listenOn } from '../loopback.ts'

// A real endpoint on loopback, and a guarded fetch that may reach it.

export interface Endpoint {
  url: string
  port: number
  /** Every request it got. */
  seen: IncomingMessage[]
  /** Closed connections, of all there were. */
  connections: { open: number; all: number; closed(): Promise<void> }
  answer(listener: RequestListener): void
}

export async function endpoint(t: TestContext, listener?: RequestListener): Promise<Endpoint> {
  let current: RequestListener = listener ?? ((_, response) => response.end('{"keys":[]}'))
  const seen: IncomingMessage[] = []
  const connections = { open: 0, all: 0, closed: async () => {} }
  const server = createServer((request, response) => {
    seen.push(request)
    current(request, response)
  })
  server.on('connection', (socket) => {
    connections.open += 1
    connections.all += 1
    socket.on('close', () => {
      connections.open -= 1
      server.emit('gone')
    })
  })
  connections.closed = async () => {
    while (connections.open > 0) await once(server, 'gone')
  }
  const port = await listenOn(t, server)
  return {
    ...{ url: `http://127.0.0.1:${port}/jwks.json`, port, seen, connections },
    answer(next) {
      current = next
    },
  }
}

/** Rules under which loopback is fair game. */
export const open = (rules: Partial<FetchRules> = {}) =>
  createGuardedFetch({ allowInternalIpConnections: true, allowInternalHosts: [], ...rules })

/** Rules as they are in production, but for the resolver. */
export const closed = (rules: Partial<FetchRules> = {}) =>
  createGuardedFetch({ allowInternalIpConnections: false, allowInternalHosts: [], ...rules })

export const limits = (over: Partial<typeof DEFAULT_LIMITS>) => ({ ...DEFAULT_LIMITS, ...over })

/** A resolver of one name after another; the last answer stays. */
export function resolver(...answers: string[][]) {
  const asked: string[] = []
  const lookup = async (name: string) => {
    const addresses = answers[Math.min(asked.length, answers.length - 1)] ?? []
    asked.push(name)
    return addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))
  }
  return { asked, lookup }
}
