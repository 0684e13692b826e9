import type { Context, Principal } from '../context.ts'
import type { Algorithm } from '../core/index.ts'
import { Problem } from '../errors.ts'
import type { Ring } from '../store/rings.ts'
import type { Tx } from '../store/store.ts'
import { type Duration, formatDuration, HOUR, toMillis } from '../time.ts'
import type { Changes } from './changes.ts'
import type { Policy } from './lifecycle.ts'
import * as lifecycle from './lifecycle.ts'
import type { Material, Prepared } from './material.ts'
import type { RingState, View } from './view.ts'

/** A century: later moments do not fit 64-bit nanoseconds for long. */
const LONGEST_THRESHOLD: Duration = 876_000n * HOUR

export interface NewRing {
  name: string
  algorithms: readonly [Algorithm, ...Algorithm[]]
  rotationThreshold?: Duration | undefined
  /** Seconds. */
  maxTokenTtl?: number | undefined
  /** Seconds. */
  jwksMaxAge?: number | undefined
  issuer?: string | undefined
  exportable?: boolean | undefined
}

/** One issuer in two spellings, or two issuers of one path: documents are served by path, whatever the host. */
function areConfused(one: string, other: string): boolean {
  const trimmed = (text: string | undefined) => text?.replace(/\/+$/, '')
  const [a, b] = [URL.parse(one), URL.parse(other)]
  const path = trimmed(a?.pathname)
  return (
    trimmed(a?.href ?? one) === trimmed(b?.href ?? other) ||
    (!!path && path === trimmed(b?.pathname))
  )
}

export function createRings(parts: {
  context: Context
  view: View
  changes: Changes
  material: Material
  policy(ring: Ring): Policy
  issuerOf(ring: Ring): string | undefined
}) {
  const { context, view, changes, material, policy, issuerOf } = parts
  const { store, now, newId } = context

  /** Relations are checked when configured, not at rotation. */
  function check(ring: Ring): void {
    const { threshold, window, staleIfError } = policy(ring)
    if (threshold <= window + staleIfError) {
      throw new Problem(
        'invalid_request',
        `rotationThreshold must exceed ${formatDuration(window + staleIfError)}: no key could become active safely in less`,
      )
    }
    if (threshold > LONGEST_THRESHOLD) {
      throw new Problem(
        'invalid_request',
        `rotationThreshold must not exceed ${formatDuration(LONGEST_THRESHOLD)}`,
      )
    }
  }

  /** Asked in the transaction, where nobody can come in between. */
  async function checkIsFree(tx: Tx, ring: Ring): Promise<void> {
    const issuer = issuerOf(ring)
    for (const other of await tx.rings.list()) {
      if (other.name === ring.name) throw new Problem('name_taken', `A ring ${ring.name} exists`)
      const theirs = issuerOf(other)
      if (issuer === undefined || theirs === undefined || !areConfused(issuer, theirs)) continue
      throw new Problem('name_taken', `Ring ${other.name} is issuer ${theirs} already`)
    }
  }

  return {
    /**
     * Makes a ring with its first keys: for each algorithm one that signs and one that will.
     * @throws Problem `name_taken`, `invalid_request`, `not_ready`
     */
    async create(wanted: NewRing, principal: Principal): Promise<Ring> {
      if (!view.isUnsealed()) throw new Problem('not_ready', 'The KEK is not proven yet')
      const ring: Ring = {
        id: newId(),
        name: wanted.name,
        reserved: false,
        algorithms: wanted.algorithms,
        rotationThreshold: wanted.rotationThreshold,
        maxTokenTtl: wanted.maxTokenTtl,
        jwksMaxAge: wanted.jwksMaxAge,
        issuer: wanted.issuer,
        exportable: wanted.exportable ?? false,
        createdAt: toMillis(now()),
      }
      check(ring)
      const pairs = await Promise.all(
        ring.algorithms.map(
          async (alg): Promise<[Prepared, Prepared]> => [
            await material.prepare(ring, alg),
            await material.prepare(ring, alg),
          ],
        ),
      )
      const state = await store.transaction(async (tx) => {
        await checkIsFree(tx, ring)
        await tx.rings.insert(ring)
        await tx.audit.append({
          type: 'ring.created',
          subject: ring.name,
          principal: principal.id,
          detail: { algorithms: ring.algorithms },
        })
        let state: RingState | undefined
        for (const [first, second] of pairs) {
          const rows = [
            await material.toRow(tx, first, now()),
            await material.toRow(tx, second, now()),
          ] as const
          const change = lifecycle.bootstrap(rows, policy(ring), now())
          state = await changes.write(tx, ring, change, { principal })
        }
        return state
      })
      if (state) view.put(state)
      return ring
    },
  }
}
