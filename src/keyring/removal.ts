import type { Principal } from '../context.ts'
import { isProblem, Problem } from '../errors.ts'
import type { Key } from '../store/keys.ts'
import type { Ring } from '../store/rings.ts'
import type { Tx } from '../store/store.ts'
import { type Instant, toIso } from '../time.ts'
import { addStandby, inUseUntil } from './lifecycle.ts'
import type { Prepared } from './material.ts'
import { type Rotation, type RotationParts, ringNamed } from './rotation.ts'
import type { Sealing } from './sealing.ts'
import type { RingState } from './view.ts'

export interface RemoveRequest {
  ring: string
  kid: string
  /** Overrides open promises; what the key seals is sealed anew first, up to a thousand rows (product.md section 6). */
  force?: boolean | undefined
  reason?: string | undefined
}

const FORCE_LIMIT = 1000

export function createRemoval(
  parts: RotationParts & {
    sealing: Sealing
    rotation: Rotation
    leeway: bigint
    clockInDoubt(): boolean
  },
) {
  const { context, view, changes, material, reseal, policy, rotation, sealing } = parts
  const { leeway, clockInDoubt } = parts
  const { store, now } = context

  /** What keeps the key, in the words of product.md section 6; undefined when nothing does. */
  async function blockers(tx: Tx, ring: Ring, key: Key, force: boolean) {
    const facts = await changes.facts(tx, [key])
    const skew = later(policy(ring).skew, leeway)
    const until: Instant = inUseUntil(key, facts, { ...policy(ring), skew })
    // While the wall clock is in doubt, no promise counts as over.
    const open = until > now() || (until > 0n && clockInDoubt())
    const promisesUntil = !force && open ? toIso(until) : undefined
    const sealedRows = facts.sealedRows(key.kid)
    if (!promisesUntil && sealedRows === 0) return undefined
    return { ...(promisesUntil && { promisesUntil }), ...(sealedRows > 0 && { sealedRows }) }
  }

  /** Order of checks: existence, active, in use (contract section 1.5). */
  async function decide(
    tx: Tx,
    request: RemoveRequest,
    prepared: Prepared | undefined,
    principal: Principal,
  ) {
    const { kid, force = false } = request
    const ring = await ringNamed(tx, request.ring)
    const key = await tx.keys.get(kid)
    if (!key || key.ringId !== ring.id) throw new Problem('key_not_found', `No key ${kid}`)
    if (key.state === 'active') throw new Problem('key_active')
    const states: RingState[] = []
    if (force && key.rootKid === kid) {
      const { rings } = await reseal.move(tx, kid, FORCE_LIMIT)
      rings.delete(ring.id)
      states.push(...(await reseal.statesOf(tx, rings)))
    }
    const blockedBy = await blockers(tx, ring, key, force)
    if (blockedBy) {
      const { promisesUntil } = blockedBy
      const detail = promisesUntil
        ? `Tokens under key ${kid} may be valid until ${promisesUntil}; it goes by itself after that`
        : `What key ${kid} sealed is being sealed anew; it goes by itself after that`
      throw new Problem('key_in_use', detail, { extra: { blockedBy } })
    }
    const plannedAt = key.plannedAt
    const standby =
      prepared && key.standby
        ? addStandby(await material.toRow(tx, prepared, now()), plannedAt, now()).insert
        : []
    const change = { insert: standby, update: [], delete: [kid] }
    const used = prepared && key.standby ? [prepared] : []
    const writes = rotation.writing(principal, used, request.reason)
    states.push(await changes.write(tx, ring, change, writes))
    return { states, index: states.at(-1)?.index ?? 0n }
  }

  return {
    /**
     * Deletes a key that is not needed any more. In `safe` mode a standby is replaced in the same write.
     * @throws Problem `ring_not_found`, `key_not_found`, `key_active`, `key_in_use` with `blockedBy`, `not_ready`
     */
    async remove(request: RemoveRequest, principal: Principal): Promise<{ index: bigint }> {
      if (!view.isUnsealed()) {
        throw new Problem('not_ready', 'keyring has not been initialized yet')
      }
      const seen = view.ring(request.ring)
      const key = seen?.keys.find(({ kid }) => kid === request.kid)
      const replace = seen && key?.standby && policy(seen.ring).mode === 'safe'
      const prepared = replace ? await material.prepare(seen.ring, key.alg) : undefined
      const transaction = store.transaction((tx) => decide(tx, request, prepared, principal))
      const { states, index } = await material
        .taking(prepared ? [prepared] : [], transaction, ({ states }) => states.at(-1)?.keys)
        .catch((error: unknown) => {
          if (isProblem(error, 'key_in_use')) reseal.start()
          throw error
        })
      for (const state of states) view.put(state)
      sealing.forget(request.kid)
      return { index }
    },
  }
}

export type Removal = ReturnType<typeof createRemoval>

const later = (a: bigint, b: bigint) => (a > b ? a : b)
