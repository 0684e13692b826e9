import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { createRecent } from '../../src/core/index.ts'

const recent = (maxWeight: number) =>
  createRecent<{ weight: number }>({ maxWeight, weightOf: ({ weight }) => weight })
const of = (weight: number) => ({ weight })

test('what was used longest ago goes first, as far as the weight asks', () => {
  const memory = recent(10)
  for (const key of ['a', 'b', 'c']) memory.set(key, of(3))
  memory.get('a')
  memory.peek('b')
  memory.set('d', of(4))
  assert.deepEqual(
    ['a', 'b', 'c', 'd'].map((key) => memory.peek(key)?.weight),
    [3, undefined, 3, 4],
  )
})

test('what weighs more than all may is not kept, and leaves nothing else', () => {
  const memory = recent(10)
  memory.set('a', of(3))
  memory.set('b', of(11))
  assert.deepEqual([memory.peek('a'), memory.peek('b')], [undefined, undefined])
  memory.set('c', of(10))
  assert.deepEqual(memory.peek('c'), of(10))
})

test('whatever is done, all that is remembered weighs no more than it may, and is what was set last', () => {
  const key = fc.constantFrom('a', 'b', 'c', 'd', 'e')
  const step = fc.oneof(
    fc.record({ is: fc.constant('set' as const), key, weight: fc.nat(12) }),
    fc.record({ is: fc.constantFrom('get' as const, 'delete' as const), key }),
    fc.record({ is: fc.constant('clear' as const) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const memory = recent(20)
      const model = new Map<string, { weight: number }>()
      for (const one of steps) {
        if (one.is === 'set') {
          const value = of(one.weight)
          memory.set(one.key, value)
          model.set(one.key, value)
        } else if (one.is === 'clear') {
          memory.clear()
          model.clear()
        } else {
          memory[one.is](one.key)
          if (one.is === 'delete') model.delete(one.key)
        }
        const kept = ['a', 'b', 'c', 'd', 'e'].filter((name) => memory.peek(name))
        const weight = kept.reduce((sum, name) => sum + (memory.peek(name)?.weight ?? 0), 0)
        assert.ok(weight <= 20)
        for (const name of kept) assert.equal(memory.peek(name), model.get(name))
      }
    }),
  )
})
