import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { readPlainRing, readPlainSign } from '../../src/keyring/plain-sign.ts'
import { RingParams, SignRequestBody } from '../../src/keyring/schema.ts'

const ttl = fc.oneof(
  fc.constantFrom(
    '1h',
    '15m',
    '1h30m',
    '90s',
    '1.5s',
    '999ms',
    '0',
    '-1h',
    '',
    '1',
    'soon',
    '2540400h',
  ),
  fc.string(),
  fc.nat(),
  fc.constant(null),
)
const claims = fc.oneof(
  fc.dictionary(fc.oneof(fc.string(), fc.constant('x'.repeat(257))), fc.jsonValue()),
  fc.jsonValue(),
)
const plain = fc.record({
  claims: fc.dictionary(fc.string(), fc.jsonValue()),
  ttl: fc.constantFrom('1h', '90s'),
})
const body = fc.oneof(
  plain,
  fc.record({ claims, ttl }),
  fc.record({ claims, ttl, profile: fc.string(), extra: fc.jsonValue() }, { requiredKeys: [] }),
  fc.jsonValue(),
)

test('what is read without the schema is read as the schema reads it', () => {
  let count = 0
  fc.assert(
    fc.property(body, (value) => {
      // As it comes from a parser; such a name is refused there already.
      const parsed: unknown = JSON.parse(JSON.stringify(value))
      fc.pre(!JSON.stringify(value).includes('__proto__'))
      const read = readPlainSign(parsed)
      if (read === undefined) return
      count++
      assert.deepEqual(read, SignRequestBody.parse(parsed))
    }),
    { numRuns: 3000 },
  )
  assert.ok(count > 100, `${count} bodies were read`)
})

test('everyday bodies do not go to the schema', () => {
  const everyday = { claims: { sub: 'job-1', aud: ['a', 'b'], nested: { a: [1] } }, ttl: '15m' }
  assert.deepEqual(readPlainSign(everyday), { claims: everyday.claims, ttl: 900 })
  for (const unusual of [{ ...everyday, typ: 'at+jwt' }, { batch: [everyday] }, [1, 2], null]) {
    assert.equal(readPlainSign(unusual), undefined)
  }
})

test('the plain reader of a path takes what the schema takes', () => {
  const name = fc.oneof(fc.string(), fc.stringMatching(/^[A-Za-z0-9._-]{1,70}$/), fc.constant(7))
  const params = fc.oneof(
    fc.record({ ring: name }),
    fc.record({ ring: name, other: name }, { requiredKeys: [] }),
    fc.jsonValue(),
  )
  fc.assert(
    fc.property(params, (given) => {
      const outcome = RingParams.safeParse(given)
      assert.deepEqual(readPlainRing(given), outcome.success ? outcome.data : undefined)
    }),
    { numRuns: 2000 },
  )
  assert.deepEqual(readPlainRing({ ring: 'default' }), { ring: 'default' })
})
