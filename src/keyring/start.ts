import { type Context, system } from '../context.ts'
import type { Algorithm } from '../core/index.ts'
import { isProblem, Problem } from '../errors.ts'
import { RESERVED_RINGS, type Ring } from '../store/rings.ts'
import type { Tx } from '../store/store.ts'
import { toMillis } from '../time.ts'
import type { Changes } from './changes.ts'
import type { Policy } from './lifecycle.ts'
import * as lifecycle from './lifecycle.ts'
import type { Material, Prepared } from './material.ts'
import type { Sealing, Wrapper } from './sealing.ts'
import type { RingState, View } from './view.ts'

// From an opened store to signing keys. The server listens and publishes before any of it is unsealed.

export interface StartParts {
  context: Context
  installation: string
  sealing: Sealing
  view: View
  changes: Changes
  material: Material
  policy(ring: Ring): Policy
  rootKeyAlgorithm: Algorithm
  /** What else the first transaction of an installation writes. */
  alsoAtBootstrap(tx: Tx): Promise<void>
}

/** Backoff between attempts to reach a KEK provider, in milliseconds (contract section 6). */
const RETRY = { first: 1000, most: 5000 }

export function createStart(parts: StartParts) {
  const { context, installation, sealing, view, changes, material, policy } = parts
  const { store, now, log, newId } = context
  let waitingFor: string | undefined = 'the KEK'
  let unreachable = false
  const quarantined: string[] = []

  /** Reads what is public; relying parties are served from here on. */
  async function publish(): Promise<void> {
    const states = await store.transaction(async (tx) => {
      const found: RingState[] = []
      for (const ring of await tx.rings.list()) found.push(await changes.stateOf(tx, ring))
      return found
    })
    for (const state of states) view.put(state)
  }

  /**
   * Opens every root key. @throws Problem `kek_wrong` when the active one does not open; an older one that does not
   * is quarantined and the rest goes on.
   */
  async function openRoots(signal: AbortSignal): Promise<void> {
    const active = view.ring('default')?.keys.find((key) => key.state === 'active')?.kid
    let left = await store.read.rootKeys.list()
    for (let pause = RETRY.first; ; pause = Math.min(pause * 2, RETRY.most)) {
      const asked: typeof left = []
      for (const root of left) {
        try {
          await sealing.openRoot(root)
        } catch (error) {
          if (isProblem(error, 'kek_unreachable')) asked.push(root)
          else if (root.kid === active || !isProblem(error)) throw error
          else quarantined.push(root.kid)
        }
      }
      unreachable = asked.length > 0
      if (!unreachable) break
      left = asked
      waitingFor = `the KEK provider, for ${asked.map(({ kid }) => kid).join(', ')}`
      log.warn({ keys: asked.length }, 'a KEK provider cannot be reached; trying again')
      await pauseFor(pause, signal)
    }
    if (quarantined.length > 0) {
      log.error({ keys: quarantined }, 'root keys that no KEK opens are quarantined')
    }
  }

  /** The first transaction of an installation: everything or nothing. */
  async function bootstrap(): Promise<void> {
    waitingFor = 'the first keys'
    const rings = RESERVED_RINGS.map(
      (name): Ring => ({
        id: name,
        name,
        reserved: true,
        algorithms: [name === 'default' ? parts.rootKeyAlgorithm : 'ES256'],
        rotationThreshold: undefined,
        maxTokenTtl: undefined,
        jwksMaxAge: undefined,
        issuer: undefined,
        exportable: false,
        createdAt: toMillis(now()),
      }),
    )
    const prepared = await Promise.all(
      rings.map(async (ring) => {
        const [alg] = ring.algorithms
        const first = await material.prepare(ring, alg)
        const second = policy(ring).mode === 'safe' ? await material.prepare(ring, alg) : undefined
        return { ring, first, second }
      }),
    )
    const states = await store.transaction(async (tx) => {
      const at = toMillis(now())
      await tx.installation.create(installation)
      await tx.organisations.insert(newId(), 'Default', 'default', at)
      await tx.tenants.insert(newId(), 'root', null, at)
      await tx.audit.append({
        type: 'installation.created',
        subject: installation,
        principal: system.id,
      })
      await parts.alsoAtBootstrap(tx)
      const found: RingState[] = []
      for (const { ring, first, second } of prepared) {
        await tx.rings.insert(ring)
        found.push(await firstKeys(tx, ring, first, second))
      }
      return found
    })
    for (const state of states) view.put(state)
    log.info({ installation }, 'first start: rings and keys were made')
  }

  async function firstKeys(tx: Tx, ring: Ring, first: Prepared, second: Prepared | undefined) {
    const pair = [first, ...(second ? [second] : [])]
    const rows: lifecycle.NewKey[] = []
    for (const one of pair) rows.push(await material.toRow(tx, one, now()))
    const [active, standby] = rows
    if (!active) throw new Problem('internal')
    const change = lifecycle.bootstrap([active, standby], policy(ring), now())
    const wraps = new Map(pair.flatMap(({ kid, wraps }) => (wraps ? [[kid, wraps]] : [])))
    return changes.write(tx, ring, change, { principal: system, wraps })
  }

  /** The setting names the algorithm of the next key; the keys there are stay as they are. */
  async function followSettings(): Promise<void> {
    const ring = view.ring('default')?.ring
    if (!ring || ring.algorithms[0] === parts.rootKeyAlgorithm) return
    const state = await store.transaction(async (tx) => {
      await tx.rings.setAlgorithms('default', [parts.rootKeyAlgorithm])
      await tx.audit.append({
        type: 'ring.changed',
        subject: 'default',
        principal: system.id,
        detail: { algorithm: parts.rootKeyAlgorithm },
      })
      return changes.stateOf(tx, { ...ring, algorithms: [parts.rootKeyAlgorithm] })
    })
    view.put(state)
  }

  return {
    publish,
    firstKeys,

    /**
     * Proves the KEK, opens the roots, makes the first keys.
     * @throws Problem `kek_wrong`, `kek_missing`: the process should say so in one sentence and end
     */
    async run(providers: readonly Wrapper[], signal: AbortSignal): Promise<void> {
      sealing.useProviders(providers)
      await openRoots(signal)
      if (view.ring('default') === undefined) await bootstrap()
      else await followSettings()
      view.unseal()
      waitingFor = undefined
    },

    /** What readiness waits for; undefined when nothing. */
    waitingFor: () => waitingFor,
    /** A KEK provider cannot be reached: the one thing that is waited for without end. */
    isUnreachable: () => unreachable,
    /** Root keys that no KEK opens. */
    quarantined: () => quarantined,
  }
}

async function pauseFor(millis: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(resolve, millis)
    signal.addEventListener('abort', () => {
      clearTimeout(timer)
      reject(new Problem('not_ready', 'stopped while waiting for a KEK provider'))
    })
  })
}
