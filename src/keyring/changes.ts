import type { Principal } from '../context.ts'
import { importPrivateKey } from '../core/index.ts'
import { Problem } from '../errors.ts'
import type { Key, RingChange } from '../store/keys.ts'
import type { Ring } from '../store/rings.ts'
import type { Wrap } from '../store/root-keys.ts'
import type { Tx } from '../store/store.ts'
import type { Facts } from './lifecycle.ts'
import type { Sealing } from './sealing.ts'
import type { RingState, View } from './view.ts'

/** The counter behind X-Nomad-Index: moves with every write to the `default` ring and with no other. */
export const INDEX = 'keyring'

export type WireState = 'prepublished' | 'active' | 'inactive' | 'rekeying' | 'deprecated'

/** The state as the Nomad wire calls it (product.md section 1, contract section 4). */
export function wireState(key: Key): WireState {
  if (key.state === 'next') return 'prepublished'
  if (key.state === 'active') return 'active'
  if (key.state === 'revoked' || !key.published) return 'deprecated'
  return key.rekeying ? 'rekeying' : 'inactive'
}

/** What the audit record calls the transition of one row; undefined when nothing that has a name happened. */
function eventOf(before: Key | undefined, after: Key): string | undefined {
  if (!before) return after.state === 'active' ? 'key.created' : 'key.published'
  if (before.state !== after.state) {
    return {
      next: 'key.published',
      active: 'key.activated',
      retired: 'key.retired',
      revoked: 'key.revoked',
    }[after.state]
  }
  if (before.published && !after.published) return 'key.withdrawn'
  if (before.rekeying !== after.rekeying) return 'key.rekeyed'
  if (before.plannedAt !== after.plannedAt) return 'key.planned'
  return undefined
}

export interface Writing {
  principal: Principal
  /** Wraps of new root keys, by kid. */
  wraps?: ReadonlyMap<string, readonly Wrap[]>
  reason?: string | undefined
}

export function createChanges(sealing: Sealing, view: View, millis: () => number) {
  function assertSigns(key: Key): void {
    try {
      importPrivateKey(sealing.unsealPrivate(key))
    } catch (cause) {
      const detail = `Key ${key.kid} cannot sign: its private half does not open`
      throw new Problem('key_unusable', detail, { cause })
    }
  }

  /** The ring as this transaction leaves it, for `view.put` after the commit. */
  async function stateOf(tx: Tx, ring: Ring): Promise<RingState> {
    const keys = await tx.keys.ofRing(ring.id)
    const index = ring.id === 'default' ? { index: await tx.counters.get(INDEX) } : {}
    return { version: view.nextVersion(), ring, keys, ...index }
  }

  return {
    stateOf,

    /** False for a row that was edited outside, or whose root key does not open: nothing is written to it. */
    isWritable: (key: Key): boolean => sealing.integrityOf(key) === 'good',

    /** A row that was edited outside is evidence: no timer deletes it. */
    isTampered: (key: Key): boolean => sealing.integrityOf(key) === 'bad',

    /** Writes a decision: MACs, indexes, root keys and audit records with it. Nothing to write moves no index. */
    async write(tx: Tx, ring: Ring, change: RingChange, writing: Writing): Promise<RingState> {
      const { principal, wraps, reason } = writing
      if (change.insert.length + change.update.length + change.delete.length === 0) {
        return stateOf(tx, ring)
      }
      const before = new Map((await tx.keys.ofRing(ring.id)).map((key) => [key.kid, key]))
      const index = ring.id === 'default' ? await tx.counters.next(INDEX) : 0n

      const insert = change.insert.map((key) =>
        sealing.authenticate({ ...key, createIndex: index, modifyIndex: index }),
      )
      const update = change.update.map((key) => {
        const old = before.get(key.kid)
        // Nobody vouches for this row: it may leave, and its MAC stays as wrong as it is.
        const leaves = old?.state === 'active' && key.state === 'retired'
        if (old && leaves && sealing.integrityOf(old) !== 'good')
          return { ...key, modifyIndex: index }
        if (old) sealing.assertAuthentic(old)
        // The key before loses its private half in this very write, so this one must be able to sign.
        if (key.state === 'active' && old?.state !== 'active') assertSigns(key)
        const moved = !old || wireState(old) !== wireState(key)
        return sealing.authenticate(moved ? { ...key, modifyIndex: index } : key)
      })
      for (const { kid } of insert) {
        const rootWraps = wraps?.get(kid)
        if (rootWraps) await tx.rootKeys.insert(kid, rootWraps, millis())
      }
      await tx.keys.apply({ insert, update, delete: change.delete })

      const detail = { ring: ring.name, ...(reason !== undefined && { reason }) }
      for (const kid of change.delete) {
        await tx.audit.append({
          type: 'key.deleted',
          subject: kid,
          principal: principal.id,
          detail,
        })
      }
      for (const key of [...update, ...insert]) {
        const type = eventOf(before.get(key.kid), key)
        if (!type) continue
        await tx.audit.append({
          type,
          subject: key.kid,
          principal: principal.id,
          detail: { ...detail, alg: key.alg },
        })
      }
      return stateOf(tx, ring)
    },

    /** What the decisions need to know, read in the same transaction. */
    async facts(tx: Tx, keys: readonly Key[]): Promise<Facts> {
      const promises = await tx.promises.list()
      // Only keys of the `default` ring are root keys; asked for all of them at once.
      const isRoot = keys.some(({ kid, rootKid }) => kid === rootKid)
      const active = keys.find(({ kid, rootKid, state }) => state === 'active' && kid === rootKid)
      const sealed = isRoot ? await tx.sealed.counts(active?.kid) : new Map<string, number>()
      return {
        promisedUntil: (kid) => promises.get(kid),
        sealedRows: (kid) => sealed.get(kid) ?? 0,
        shownAt: view.shownAt,
      }
    },
  }
}

export type Changes = ReturnType<typeof createChanges>
