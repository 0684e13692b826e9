import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { chainHash } from '../../src/store/audit.ts'

const field = fc.oneof(fc.string({ unit: 'grapheme' }), fc.bigInt(), fc.integer())
const bytes = fc.uint8Array({ minLength: 32, maxLength: 32 })
const hex = (previous: Uint8Array, fields: readonly (string | bigint | number)[]) =>
  Buffer.from(chainHash(previous, fields)).toString('hex')

test('a link of the chain is SHA-256 over the previous hash and each field behind its length', () => {
  // Computed in Python: sha256(bytes(32) + b'\0\0\0\1w' + b'\0\0\0\x0212' + b'\0\0\0\2\xc3\x9f').
  assert.equal(
    hex(new Uint8Array(32), ['w', 12n, 'ß']),
    '50359e15835a1db0e68824cf41db8d1d31da08782e7d7b49192759b35c63acf2',
  )
})

test('fields do not run together', () => {
  fc.assert(
    fc.property(bytes, fc.array(field), fc.array(field), (previous, a, b) => {
      const same = JSON.stringify(a.map(String)) === JSON.stringify(b.map(String))
      assert.equal(hex(previous, a) === hex(previous, b), same)
    }),
  )
  const zero = new Uint8Array(32)
  assert.notEqual(hex(zero, ['ab', 'c']), hex(zero, ['a', 'bc']))
  assert.notEqual(hex(zero, ['a', '']), hex(zero, ['a']))
})

test('a link depends on the one before', () => {
  fc.assert(
    fc.property(bytes, fc.nat(255), fc.array(field), (previous, bit, fields) => {
      const other = Uint8Array.from(previous)
      other[bit >> 3] = (other[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      assert.notEqual(hex(previous, fields), hex(other, fields))
    }),
  )
})
