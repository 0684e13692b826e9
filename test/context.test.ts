import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { randomId, timeOrderedId } from '../src/context.ts'

const UUID = /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/
const VERSION_7 = /^[\da-f]{8}-[\da-f]{4}-7[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/

test('an id is 128 random bits in the form of keyring contract section 2.1', () => {
  const ids = Array.from({ length: 1000 }, randomId)
  for (const id of ids) assert.match(id, UUID)
  assert.equal(new Set(ids).size, ids.length)
})

test('the example of RFC 9562 appendix A.6', () => {
  const id = timeOrderedId('aaaaaaaa-aaaa-acc3-18c4-dc0c0c07398f', 0x017f22e279b0)
  assert.equal(id, '017f22e2-79b0-7cc3-98c4-dc0c0c07398f')
})

test('RFC 9562 section 5.7: ids in the order of their milliseconds, with 74 bits of the random one', () => {
  const instant = fc.integer({ min: 0, max: 2 ** 48 - 1 })
  fc.assert(
    fc.property(fc.uuid(), fc.uuid(), instant, instant, (one, other, first, second) => {
      const [a, b] = [timeOrderedId(one, first), timeOrderedId(other, second)]
      assert.match(a, VERSION_7)
      assert.equal(Number.parseInt(a.replace('-', '').slice(0, 12), 16), first)
      assert.deepEqual([a.slice(15, 18), a.slice(20)], [one.slice(15, 18), one.slice(20)])
      if (first !== second) assert.equal(a < b, first < second)
    }),
  )
})
