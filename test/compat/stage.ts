import { once } from 'node:events'
import type { Socket } from 'node:net'
import type { TestContext } from 'node:test'
import { pino } from 'pino'
import { createApp, type Server } from '../../src/app.ts'
import { issuerOf, parseConfig } from '../../src/config.ts'
import type { Context } from '../../src/context.ts'
import { Problem } from '../../src/errors.ts'
import { createAeadProvider } from '../../src/kek/aead.ts'
import type { KekProvider } from '../../src/kek/provider.ts'
import { MANAGEMENT_TOKEN, memoryStore, testClock } from '../server.ts'

// The running server of one transcript: it listens on a real port, and can be stopped and started on the same store.

export interface Stage {
  port(): number
  server(): Server
  /** Resolves when the server has noticed that this client is gone. */
  noticed(clientPort: number): Promise<unknown>
  clock: ReturnType<typeof testClock>
  /** Starts it, or starts it again. `open`: false leaves it publishing only. */
  start(settings: Record<string, string>, keks: string[], open: boolean): Promise<void>
  open(): Promise<void>
  /** Leaves a row under this root key that no re-seal can move, because its MAC is wrong. */
  strand(kid: string): Promise<void>
}

/** Ids in descending order, so that a list by KeyID is not one by creation. */
function descendingIds(): () => string {
  let next = 0xffff_ffff
  return () => `${(next--).toString(16).padStart(8, '0')}-1f2e-3d4c-5b6a-798807162534`
}

/** The KEK `down` cannot be reached; every other name is a KEK of its own. */
function provider(name: string): KekProvider {
  const aead = createAeadProvider(Buffer.alloc(32, name))
  if (name !== 'down') return { ...aead, id: `aead.${name}` }
  const fail = () => Promise.reject(new Problem('kek_unreachable', 'the KMS is out of reach'))
  return { id: 'aead.down', kekId: 'down', wrap: fail, unwrap: fail }
}

export async function openStage(t: TestContext): Promise<Stage> {
  const clock = testClock()
  const newId = descendingIds()
  const store = await memoryStore(clock, newId)
  const log = pino({ level: 'silent' })
  const context: Context = { store, log, now: clock.now, monotonic: clock.monotonic, newId }
  const stopping = new AbortController()
  const sockets = new Map<number | undefined, Socket>()
  let server: Server | undefined
  let port = 0
  let providers: KekProvider[] = []

  const running = () => {
    if (!server) throw new Error('no server was started')
    return server
  }

  async function open(): Promise<void> {
    await running().open(providers, stopping.signal)
    await running().keyring.reseal.settled()
  }

  async function stop(): Promise<void> {
    server?.drain()
    await server?.close()
  }

  t.after(async () => {
    stopping.abort()
    await stop()
    await store.close()
  })

  return {
    clock,
    open,
    port: () => port,
    server: running,
    noticed: async (clientPort) => {
      const socket = sockets.get(clientPort)
      if (socket && !socket.destroyed) await once(socket, 'close')
    },

    async start(settings, keks, wantsOpen) {
      await stop()
      const names = Object.entries({ MANAGEMENT_TOKEN, ...settings })
      const env = Object.fromEntries(names.map(([name, value]) => [`KEYRINGD_${name}`, value]))
      const config = parseConfig({ HOME: '/nonexistent', ...env })
      providers = keks.map(provider)
      server = await createApp({
        ...{ config, context, version: '0.0.0-test' },
        installation: (await store.read.installation.get()) ?? newId(),
        issuer: () => issuerOf(config, port),
        managementToken: () => MANAGEMENT_TOKEN,
      })
      server.app.server.on('connection', (socket: Socket) => sockets.set(socket.remotePort, socket))
      await server.publish()
      port = Number(new URL(await server.app.listen({ host: '127.0.0.1', port: 0 })).port)
      if (wantsOpen) await open()
    },

    async strand(kid) {
      await store.transaction(async (tx) => {
        const keys = await tx.keys.ofRing('audit')
        const key = keys.find(({ state }) => state === 'next')
        if (!key) throw new Error('the audit ring has no standby')
        const update = [{ ...key, rootKid: kid, mac: new Uint8Array(32) }]
        await tx.keys.apply({ insert: [], update, delete: [] })
      })
    },
  }
}
