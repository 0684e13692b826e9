import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { randomId } from '../../src/context.ts'
import type { Algorithm } from '../../src/core/algorithms.ts'
import type { Key, KeyState, RingChange } from '../../src/store/keys.ts'
import type { Check } from './conformance.ts'
import { plain } from './conformance-keys.ts'
import { aKey, aRing, change, seed } from './fixtures.ts'

// Random changes against a map. The map says what the rows must be, and which changes must be refused whole.

const ORDER: readonly KeyState[] = ['next', 'active', 'retired', 'revoked']
const RESERVED = 'audit'

const NO_REUSE = Array.from({ length: 12 }, () => 'no' as const)

type Model = { keys: Map<string, Key>; used: Set<string> }

interface Step {
  kind: 'insert' | 'update' | 'delete'
  /** Which of the kids seen so far; an insert that takes one must be refused. */
  which: number
  reuse: 'no' | 'kid' | 'thumbprint'
  ring: number
  alg: Algorithm
  state: KeyState
  standby: boolean
}

const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom('insert', 'insert', 'insert', 'update', 'update', 'update', 'delete'),
  which: fc.nat(40),
  reuse: fc.constantFrom(...NO_REUSE, 'kid', 'thumbprint'),
  ring: fc.nat(1),
  alg: fc.constantFrom('ES256', 'ES256', 'RS256'),
  state: fc.constantFrom(...ORDER),
  standby: fc.boolean(),
})

const ofState = (state: KeyState, standby: boolean) => ({
  state,
  standby: standby && state === 'next',
  published: state !== 'revoked',
  privateSealed: state === 'revoked' ? undefined : randomBytes(40),
})

/** What a change makes of the model; undefined where the database has to refuse it. */
function applyToModel(model: Model, { insert, update, delete: deleted }: RingChange) {
  const keys = new Map(model.keys)
  const used = new Set(model.used)
  for (const kid of deleted) keys.delete(kid)
  for (const key of update) if (keys.has(key.kid)) keys.set(key.kid, key)
  for (const key of insert) {
    if (used.has(key.kid) || used.has(key.thumbprint)) return undefined
    used.add(key.kid).add(key.thumbprint)
    keys.set(key.kid, key)
  }
  const lanes = [...keys.values()].flatMap((key) => [
    ...(key.state === 'active' ? [`active ${key.ringId} ${key.alg}`] : []),
    ...(key.state === 'active' && key.ringId === RESERVED ? [`active ${key.ringId}`] : []),
    ...(key.standby ? [`standby ${key.ringId} ${key.alg}`] : []),
  ])
  return new Set(lanes).size === lanes.length ? { keys, used } : undefined
}

/** Turns random steps into a change: every key at most once, and states that only move forward, as in life. */
function toChange(steps: readonly Step[], model: Model, rings: string[], rootKid: string) {
  const known = [...model.keys.values()]
  const history = [...model.used]
  const touched = new Set<string>()
  const made = { insert: [] as Key[], update: [] as Key[], delete: [] as string[] }
  for (const { kind, which, reuse, ring, alg, state, standby } of steps) {
    if (kind === 'insert') {
      const kid = randomId()
      // The set holds kid and thumbprint in turn.
      const past = which - (which % 2)
      const again = reuse === 'kid' ? { kid: history[past] ?? kid } : {}
      const print = reuse === 'thumbprint' ? history[past + 1] : undefined
      made.insert.push(
        aKey({
          kid,
          ringId: rings[ring] ?? RESERVED,
          alg,
          rootKid,
          ...ofState(state, standby),
          ...again,
          ...(print && { thumbprint: print }),
        }),
      )
      continue
    }
    const key = known[which % Math.max(known.length, 1)]
    if (!key || touched.has(key.kid)) continue
    touched.add(key.kid)
    if (kind === 'delete') made.delete.push(key.kid)
    else {
      const forward = ORDER[Math.max(ORDER.indexOf(state), ORDER.indexOf(key.state))] ?? key.state
      made.update.push({ ...key, ...ofState(forward, standby), mac: randomBytes(32) })
    }
  }
  return change(made)
}

export function keyModelConformance(check: Check): void {
  check('changes of keys do what a map says, or nothing', async (store) => {
    const { root } = await seed(store)
    const outcomes = { taken: 0, refused: 0 }
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(step, { minLength: 1, maxLength: 4, size: 'max' }), {
          minLength: 12,
          maxLength: 24,
          size: 'max',
        }),
        async (plan) => {
          const ring = aRing()
          const rings = [ring.id, RESERVED]
          const left = await store.read.keys.ofRing(RESERVED)
          await store.transaction(async (tx) => {
            await tx.rings.insert(ring)
            await tx.keys.apply(change({ delete: left.map(({ kid }) => kid) }))
          })
          let model: Model = { keys: new Map(), used: new Set() }
          for (const steps of plan) {
            const wanted = toChange(steps, model, rings, root.kid)
            const result = applyToModel(model, wanted)
            const work = store.transaction((tx) => tx.keys.apply(wanted))
            if (result) await work
            else await assert.rejects(work)
            outcomes[result ? 'taken' : 'refused']++
            model = result ?? model
            for (const ringId of rings) {
              const expected = [...model.keys.values()]
                .filter((key) => key.ringId === ringId)
                .sort((a, b) => (a.kid < b.kid ? -1 : 1))
              assert.deepEqual(
                (await store.read.keys.ofRing(ringId)).map(plain),
                expected.map(plain),
              )
            }
          }
        },
      ),
      { numRuns: 25 },
    )
    // A model that refuses everything, or nothing, would say little.
    assert.ok(outcomes.taken > 20 && outcomes.refused > 20, JSON.stringify(outcomes))
  })
}
