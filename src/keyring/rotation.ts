import { type Context, type Principal, system } from '../context.ts'
import type { Algorithm } from '../core/index.ts'
import { Problem } from '../errors.ts'
import type { Key, RingChange } from '../store/keys.ts'
import type { Ring } from '../store/rings.ts'
import type { Tx } from '../store/store.ts'
import { type Instant, toIso } from '../time.ts'
import type { Changes } from './changes.ts'
import type { Plan, Policy } from './lifecycle.ts'
import * as lifecycle from './lifecycle.ts'
import type { Material, Prepared } from './material.ts'
import type { Reseal } from './reseal.ts'
import type { View } from './view.ts'

export interface RotateRequest {
  ring: string
  algorithm?: Algorithm | undefined
  /** Publishes a key for this moment instead of activating one. */
  activateAt?: Instant | undefined
  full?: boolean | undefined
  /** Promotes a key before it is safe. Our route wants a reason with it; the Nomad route always has it. */
  force?: boolean | undefined
  reason?: string | undefined
  dryRun?: boolean | undefined
}

export interface Rotated {
  /** The keys that became active, or were scheduled, one for each lane. */
  keys: Key[]
  plan: Plan[]
  index: bigint
  /** Until when verifiers may not know the new key; undefined when all of them do. */
  unsafeUntil: Instant | undefined
}

/** What rotate, delete and the timer share. */
export interface RotationParts {
  context: Context
  view: View
  changes: Changes
  material: Material
  reseal: Reseal
  policy(ring: Ring): Policy
}

/** The keys that succeed one another: all of a reserved ring, those of one algorithm elsewhere. */
export function laneOf(ring: Ring, keys: readonly Key[], alg: Algorithm): Key[] {
  return ring.reserved ? [...keys] : keys.filter((key) => key.alg === alg)
}

/** The algorithm of each lane of a ring. */
export const lanesOf = (ring: Ring): Algorithm[] =>
  ring.reserved ? [ring.algorithms[0]] : [...ring.algorithms]

export async function ringNamed(tx: Tx, name: string): Promise<Ring> {
  const ring = await tx.rings.byName(name)
  if (!ring) throw new Problem('ring_not_found', `No ring ${name}`)
  return ring
}

/** Scheduled keys are all published: more of them would make a set that verifiers refuse to read. */
const MOST_WAITING = 32

export function createRotation(parts: RotationParts) {
  const { context, view, changes, material, reseal, policy } = parts
  const { store, now } = context

  /** Publishes the standby of a lane that has none, or has one of another algorithm (product.md 5.1). */
  async function ensureStandby(ring: Ring, alg: Algorithm, principal: Principal): Promise<void> {
    const stepOf = (keys: readonly Key[]) =>
      lifecycle.standbyStep(laneOf(ring, keys, alg), alg, policy(ring), now())
    if (policy(ring).mode === 'nomad' || !stepOf(view.ring(ring.name)?.keys ?? [])) return
    const prepared = await material.prepare(ring, alg)
    const transaction = store.transaction(async (tx) => {
      const step = stepOf(await tx.keys.ofRing(ring.id))
      if (!step) return undefined
      const replaced = step.do === 'replace-standby' ? step.kid : undefined
      const row = await material.toRow(tx, prepared, now())
      const change = lifecycle.addStandby(row, step.plannedAt, now(), replaced)
      return changes.write(tx, ring, change, writing(principal, [prepared]))
    })
    const state = await material.taking([prepared], transaction, (state) => state?.keys)
    if (state) view.put(state)
  }

  function writing(principal: Principal, prepared: readonly Prepared[], reason?: string) {
    const wraps = new Map(prepared.flatMap(({ kid, wraps }) => (wraps ? [[kid, wraps]] : [])))
    return { principal, wraps, reason }
  }

  /** What a rotation does to one lane, decided on the rows of this transaction. */
  async function decide(
    tx: Tx,
    keys: readonly Key[],
    prepared: Prepared,
    request: RotateRequest,
  ): Promise<{ change: RingChange; kid: string; unsafeUntil: Instant | undefined }> {
    const { ring } = prepared
    const { activateAt, full = false, force } = request
    const rules = policy(ring)
    const at = now()
    // One damaged key of the past does not stand in the way of a new one.
    const usable = keys.filter((key) => key.state !== 'retired' || changes.isWritable(key))
    const row = await material.toRow(tx, prepared, at)
    if (activateAt !== undefined) {
      if (keys.filter(({ state }) => state === 'next').length >= MOST_WAITING) {
        throw new Problem('key_conflict', `${MOST_WAITING} keys wait already; delete one first`)
      }
      const change = lifecycle.schedule(row, activateAt, at)
      return { change, kid: row.kid, unsafeUntil: undefined }
    }
    if (rules.mode === 'nomad') {
      const change = lifecycle.activateFresh(usable, row, full, at)
      return { change, kid: row.kid, unsafeUntil: undefined }
    }
    const standby = lifecycle.standbyOf(keys)
    if (!standby) throw new Problem('not_ready', `Ring ${ring.name} has no standby key yet`)
    const safeAt = lifecycle.safeToActivateAt(standby, await changes.facts(tx, keys), rules)
    if (safeAt > at && !force) {
      throw new Problem(
        'activation_unsafe',
        `Verifiers may hold a set without key ${standby.kid} until ${toIso(safeAt)}`,
        { extra: { safeAt: toIso(safeAt), kid: standby.kid } },
      )
    }
    const change = lifecycle.promote(usable, standby.kid, row, { full, policy: rules, now: at })
    return { change, kid: standby.kid, unsafeUntil: safeAt > at ? safeAt : undefined }
  }

  async function planOf(tx: Tx, ring: Ring, keys: readonly Key[]): Promise<Plan[]> {
    return lifecycle.plan(keys, await changes.facts(tx, keys), policy(ring), now())
  }

  function check(ring: Ring, request: RotateRequest): Algorithm[] {
    if (request.full && request.activateAt !== undefined) {
      throw new Problem(
        'key_conflict',
        'keyring cannot be prepublished and full rotated at the same time',
      )
    }
    if (request.full && ring.id !== 'default') {
      throw new Problem(
        'invalid_request',
        'full is for the default ring: only its keys seal others',
      )
    }
    const lanes = lanesOf(ring)
    if (request.algorithm === undefined) return lanes
    if (!lanes.includes(request.algorithm)) {
      throw new Problem(
        'algorithm_unavailable',
        `Ring ${ring.name} has ${lanes.join(', ')}, not ${request.algorithm}`,
      )
    }
    return [request.algorithm]
  }

  return {
    ensureStandby,
    writing,

    /**
     * A lane without an active key gets one (contract section 5.1): in `safe` mode its standby, which verifiers know,
     * unless that cannot sign; else a new key, whatever they know.
     */
    async ensureActive(): Promise<void> {
      for (const { ring, keys, broken } of view.rings()) {
        for (const alg of lanesOf(ring)) {
          if (lifecycle.activeOf(laneOf(ring, keys, alg))) continue
          context.log.warn({ ring: ring.name, alg }, 'no active key; making one')
          const prepared = await material.prepare(ring, alg)
          const transaction = store.transaction(async (tx) => {
            const lane = laneOf(ring, await tx.keys.ofRing(ring.id), alg)
            if (lifecycle.activeOf(lane)) return undefined
            const row = await material.toRow(tx, prepared, now())
            const rules = policy(ring)
            const standby = rules.mode === 'safe' ? lifecycle.standbyOf(lane) : undefined
            const isFit = standby && changes.isWritable(standby) && !broken.has(standby.kid)
            const change = isFit
              ? lifecycle.promote(lane, standby.kid, row, {
                  full: false,
                  policy: rules,
                  now: now(),
                })
              : lifecycle.activateFresh(lane, row, false, now())
            return changes.write(tx, ring, change, writing(system, [prepared]))
          })
          const state = await material.taking([prepared], transaction, (state) => state?.keys)
          if (state) view.put(state)
        }
      }
    },

    /** Everything that will happen to the keys of a ring by itself, soonest first. @throws Problem `ring_not_found` */
    async plan(name: string): Promise<Plan[]> {
      return store.transaction(async (tx) => {
        const ring = await ringNamed(tx, name)
        return planOf(tx, ring, await tx.keys.ofRing(ring.id))
      })
    },

    /**
     * Rotates every lane of a ring, or one. In `safe` mode the standby is promoted and a new one published.
     * @throws Problem `ring_not_found`, `key_conflict`, `algorithm_unavailable`, `activation_unsafe`, `wrap_failed`,
     * `not_ready` before anything is unsealed, `key_unusable` when the standby cannot sign
     */
    async rotate(request: RotateRequest, principal: Principal): Promise<Rotated> {
      if (!view.isUnsealed()) {
        throw new Problem('not_ready', 'keyring has not been initialized yet')
      }
      const ring = view.ring(request.ring)?.ring
      if (!ring) throw new Problem('ring_not_found', `No ring ${request.ring}`)
      const lanes = check(ring, request)
      if (request.activateAt === undefined) {
        for (const alg of lanes) await ensureStandby(ring, alg, principal)
      }
      const prepared = await Promise.all(lanes.map((alg) => material.prepare(ring, alg)))
      const transaction = store.transaction(async (tx) => {
        const before = await tx.keys.ofRing(ring.id)
        const decisions = await Promise.all(
          prepared.map((one) => decide(tx, laneOf(ring, before, one.material.alg), one, request)),
        )
        const change: RingChange = {
          insert: decisions.flatMap(({ change }) => change.insert),
          update: decisions.flatMap(({ change }) => change.update),
          delete: decisions.flatMap(({ change }) => change.delete),
        }
        const kids = decisions.map(({ kid }) => kid)
        const unsafeUntil = latest(decisions.flatMap(({ unsafeUntil }) => unsafeUntil ?? []))
        if (request.dryRun) {
          const after = applied(before, change)
          return {
            state: undefined,
            keys: after.filter(({ kid }) => kids.includes(kid)),
            plan: await planOf(tx, ring, after),
            index: view.index(),
            unsafeUntil,
          }
        }
        const writes = writing(principal, prepared, request.reason)
        const state = await changes.write(tx, ring, change, writes)
        return {
          state,
          keys: state.keys.filter(({ kid }) => kids.includes(kid)),
          plan: await planOf(tx, ring, state.keys),
          index: state.index ?? 0n,
          unsafeUntil,
        }
      })
      const rotated = await material.taking(prepared, transaction, ({ state }) => state?.keys)
      const { state, ...result } = rotated
      if (state) view.put(state)
      if (state && ring.id === 'default') reseal.start()
      return result
    },
  }
}

const latest = (times: readonly Instant[]): Instant | undefined =>
  times.reduce<Instant | undefined>(
    (max, at) => (max === undefined || at > max ? at : max),
    undefined,
  )

/** The rows as a change would leave them. */
function applied(keys: readonly Key[], change: RingChange): Key[] {
  const updated = new Map(change.update.map((key) => [key.kid, key]))
  return [
    ...keys
      .filter(({ kid }) => !change.delete.includes(kid))
      .map((key) => updated.get(key.kid) ?? key),
    ...change.insert,
  ]
}

export type Rotation = ReturnType<typeof createRotation>
