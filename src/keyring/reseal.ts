import { type Context, system } from '../context.ts'
import type { SealedRow } from '../store/sealed.ts'
import type { Tx } from '../store/store.ts'
import type { Changes } from './changes.ts'
import { finishRekey } from './lifecycle.ts'
import { activeRoot } from './material.ts'
import type { Sealing } from './sealing.ts'
import type { RingState, View } from './view.ts'

// After every activation, what older root keys sealed is sealed anew under the active one, without being asked
// (product.md section 3). Small transactions: a reader never waits long, and a restart goes on where it was.

const BATCH = 100

const nextTurn = () => new Promise((resolve) => setImmediate(resolve))

export type Reseal = ReturnType<typeof createReseal>

export function createReseal(
  context: Context,
  parts: { sealing: Sealing; view: View; changes: Changes },
) {
  const { store, log } = context
  const { sealing, view, changes } = parts
  let running: Promise<void> | undefined
  let again = false
  let stopped = false
  /** Rows that do not open: reported once, and stepped over. */
  const damaged = new Set<string>()

  /** Seals up to `limit` rows of one root key anew; how many it moved, and the rings it touched. */
  async function move(
    tx: Tx,
    from: string,
    limit: number,
  ): Promise<{ moved: number; rings: Set<string> }> {
    const to = await activeRoot(tx)
    const rings = new Set<string>()
    let moved = 0
    if (from === to || !sealing.has(from)) return { moved, rings }
    for (const row of await tx.sealed.under(from, limit + damaged.size)) {
      const id = `${row.table}/${row.id}`
      if (damaged.has(id)) continue
      try {
        const ringId = await moveRow(tx, row, to)
        if (ringId) rings.add(ringId)
        moved++
      } catch (error) {
        damaged.add(id)
        log.error(
          { err: error, row: id, root: from },
          'a sealed value does not open; it is left as it is',
        )
      }
    }
    return { moved, rings }
  }

  async function moveRow(tx: Tx, row: SealedRow, to: string): Promise<string | undefined> {
    if (row.table !== 'keys') {
      await tx.sealed.replace(row, to, sealing.resealRow(row, to))
      return undefined
    }
    const key = await tx.keys.get(row.id)
    if (!key) return undefined
    sealing.assertAuthentic(key)
    await tx.keys.apply({ insert: [], update: [sealing.resealKey(key, to)], delete: [] })
    return key.ringId
  }

  async function statesOf(tx: Tx, ids: ReadonlySet<string>): Promise<RingState[]> {
    const rings = (await tx.rings.list()).filter(({ id }) => ids.has(id))
    const states: RingState[] = []
    for (const ring of rings) states.push(await changes.stateOf(tx, ring))
    return states
  }

  async function pass(): Promise<boolean> {
    const active = await store.read.keys.activeKid('default')
    const counts = await store.read.sealed.counts(active)
    for (const [kid, rows] of counts) {
      if (rows === 0) continue
      const { moved, states } = await store.transaction(async (tx) => {
        const { moved, rings } = await move(tx, kid, BATCH)
        return { moved, states: await statesOf(tx, rings) }
      })
      for (const state of states) view.put(state)
      if (moved > 0) return true
    }
    return false
  }

  /** A key stays `rekeying` until its last record is done (contract section 5.5). */
  async function finish(): Promise<void> {
    const rekeying = view.ring('default')?.keys.filter((key) => key.rekeying) ?? []
    for (const { kid } of rekeying) {
      const state = await store.transaction(async (tx) => {
        const ring = (await tx.rings.list()).find(({ id }) => id === 'default')
        if (!ring || (await tx.sealed.under(kid, 1)).length > 0) return undefined
        const change = finishRekey(await tx.keys.ofRing('default'), kid)
        return changes.write(tx, ring, change, { principal: system })
      })
      if (state) view.put(state)
    }
  }

  async function run(): Promise<void> {
    try {
      // The answer to the rotation goes out first, at the end of this turn, and shows `rekeying`.
      await nextTurn()
      await nextTurn()
      do {
        again = false
        while (!stopped && (await pass())) await nextTurn()
        if (!stopped) await finish()
      } while (again && !stopped)
    } catch (error) {
      log.error({ err: error }, 're-sealing failed; the next tick tries again')
    } finally {
      // In the same turn as the last look at `again`, or a start in between would be lost.
      running = undefined
    }
  }

  return {
    move,
    statesOf,

    /** Starts the job, or has the running one look once more. */
    start(): void {
      if (stopped) return
      again = true
      running ??= run()
    },

    /** Resolves when nothing is left to do. */
    async settled(): Promise<void> {
      while (running) await running
    },

    async close(): Promise<void> {
      stopped = true
      await running
    },

    damaged: () => [...damaged],
  }
}
