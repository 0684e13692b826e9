import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  deriveMacKey,
  encodeFields,
  equalBytes,
  equalSecrets,
  macFields,
  type SealContext,
  seal,
  unseal,
} from '../../src/core/index.ts'
import { problemOf } from './fixtures.ts'

const key = randomBytes(32)
const context: SealContext = {
  installation: 'a1',
  table: 'keys',
  row: 'r1',
  column: 'private_key',
  rootKid: 'k1',
  owner: 'default',
}
const bytes = fc.uint8Array({ maxLength: 200 })
const contexts = fc.record({
  installation: fc.string(),
  table: fc.string(),
  row: fc.string(),
  column: fc.string(),
  rootKid: fc.string(),
  owner: fc.string(),
})
const broken = (work: () => unknown) => problemOf(work).code === 'seal_broken'

test('what was sealed opens in its place, and the box shows nothing of it', () => {
  fc.assert(
    fc.property(bytes, contexts, (plaintext, place) => {
      const sealed = seal(key, plaintext, place)
      assert.equal(sealed.length, plaintext.length + 29)
      assert.deepEqual(new Uint8Array(unseal(key, sealed, place)), new Uint8Array(plaintext))
    }),
  )
  const sealed = Buffer.from(seal(key, Buffer.from('a long enough secret'), context))
  assert.equal(sealed.includes('enough'), false)
})

test('two boxes of the same secret differ', () => {
  const boxes = Array.from({ length: 100 }, () => seal(key, Buffer.from('secret'), context))
  assert.equal(new Set(boxes.map((box) => Buffer.from(box).toString('hex'))).size, 100)
})

test('a box opens nowhere else: every field of the context counts', () => {
  const sealed = seal(key, Buffer.from('secret'), context)
  for (const field of Object.keys(context)) {
    assert.ok(
      broken(() => unseal(key, sealed, { ...context, [field]: 'other' })),
      field,
    )
  }
})

test('two boxes cannot change places', () => {
  const first = seal(key, Buffer.from('one'), context)
  const second = seal(key, Buffer.from('two'), { ...context, row: 'r2' })
  assert.ok(broken(() => unseal(key, first, { ...context, row: 'r2' })))
  assert.ok(broken(() => unseal(key, second, context)))
})

test('moving text from one field of the context to the next breaks the seal', () => {
  const sealed = seal(key, Buffer.from('secret'), { ...context, table: 'ab', row: 'c' })
  assert.ok(broken(() => unseal(key, sealed, { ...context, table: 'a', row: 'bc' })))
})

test('one flipped bit anywhere breaks the seal', () => {
  const sealed = seal(key, Buffer.from('secret'), context)
  for (let bit = 0; bit < sealed.length * 8; bit += 1) {
    const changed = Buffer.from(sealed)
    changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    assert.ok(
      broken(() => unseal(key, changed, context)),
      `bit ${bit}`,
    )
  }
})

test('a box cut short or made longer does not open', () => {
  const sealed = seal(key, Buffer.from('secret'), context)
  for (let length = 0; length < sealed.length; length += 1) {
    assert.ok(
      broken(() => unseal(key, sealed.subarray(0, length), context)),
      `length ${length}`,
    )
  }
  assert.ok(broken(() => unseal(key, Buffer.concat([sealed, Buffer.of(0)]), context)))
})

test('another key does not open it, nor does one of another size', () => {
  const sealed = seal(key, Buffer.from('secret'), context)
  assert.ok(broken(() => unseal(randomBytes(32), sealed, context)))
  assert.ok(broken(() => unseal(randomBytes(16), sealed, context)))
})

test('fields are encoded injectively', () => {
  assert.equal(
    Buffer.from(encodeFields(['é', Buffer.of(7)])).toString('hex'),
    '00000002c3a90000000107',
  )
  const lists = fc.array(bytes, { maxLength: 5 })
  const hexOf = (list: readonly Uint8Array[]) => Buffer.from(encodeFields(list)).toString('hex')
  const same = (a: readonly Uint8Array[], b: readonly Uint8Array[]) =>
    a.length === b.length && a.every((part, i) => equalBytes(part, b[i] ?? Buffer.of()))
  fc.assert(fc.property(lists, lists, (a, b) => (hexOf(a) === hexOf(b)) === same(a, b)))
  assert.notEqual(
    hexOf([Buffer.from('ab'), Buffer.of()]),
    hexOf([Buffer.from('a'), Buffer.from('b')]),
  )
  assert.notEqual(hexOf([]), hexOf([Buffer.of()]))
})

test('a MAC depends on the key and on where one part ends and the next begins', () => {
  const macKey = deriveMacKey(key)
  assert.equal(macKey.length, 32)
  assert.equal(equalBytes(macKey, key), false)
  assert.ok(equalBytes(macKey, deriveMacKey(key)))
  const mac = macFields(macKey, ['ab', 'c'])
  assert.equal(mac.length, 32)
  assert.ok(equalBytes(mac, macFields(macKey, ['ab', 'c'])))
  assert.equal(equalBytes(mac, macFields(macKey, ['a', 'bc'])), false)
  assert.equal(equalBytes(mac, macFields(deriveMacKey(randomBytes(32)), ['ab', 'c'])), false)
})

test('comparison is right for equal, unequal and differently long values', () => {
  assert.ok(equalBytes(Buffer.from('ab'), Buffer.from('ab')))
  assert.equal(equalBytes(Buffer.from('ab'), Buffer.from('ac')), false)
  assert.equal(equalBytes(Buffer.from('ab'), Buffer.from('abc')), false)
  fc.assert(fc.property(fc.string(), fc.string(), (a, b) => equalSecrets(a, b) === (a === b)))
  assert.ok(equalSecrets('secret', 'secret'))
  assert.equal(equalSecrets('secret', 'secret2'), false)
})
