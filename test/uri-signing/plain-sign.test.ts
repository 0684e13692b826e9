import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { readPlainService, readPlainUris } from '../../src/uri-signing/plain-sign.ts'
import { ServiceParams, SignUriRequestBody } from '../../src/uri-signing/schema.ts'

// product.md 6: the quick reader takes nothing that the schema would refuse, and makes the same of what it takes.

const uri = fc.oneof(
  fc.constantFrom('http://cdn.example/a', '', 'x'.repeat(8192), 'x'.repeat(8193)),
  fc.webUrl(),
)
const ttl = fc.oneof(
  fc.constantFrom('1h', '15m', '90s', '0s', '1ms', '-1h', '', '1h30m', 'x', '1s', '999999999h'),
  fc.integer(),
)
const item = fc.oneof(
  fc.record({ uri, ttl }, { noNullPrototype: true }),
  fc.record(
    {
      ...{
        uri,
        ttl,
        container: fc.constantFrom('exact', 'any-query', 'below', 'hash', 'other', 7),
      },
      ...{ issuer: fc.string(), more: fc.anything() },
    },
    { requiredKeys: ['uri', 'ttl'], noNullPrototype: true },
  ),
)
const body = fc.oneof(
  { weight: 4, arbitrary: item },
  { weight: 2, arbitrary: fc.array(item, { maxLength: 4 }).map((batch) => ({ batch })) },
  fc.array(item, { maxLength: 2 }).map((batch) => ({ batch, uri: 'http://a/' })),
  fc.anything(),
)

test('what is read quickly is what the schema reads', () => {
  let read = 0
  fc.assert(
    fc.property(body, (given) => {
      const quick = readPlainUris(given)
      if (quick === undefined) return
      read++
      assert.deepEqual(quick, SignUriRequestBody.parse(given))
    }),
    { numRuns: 3000 },
  )
  assert.ok(read > 100, String(read))
  const batch = (length: number) => ({ batch: Array(length).fill({ uri: 'http://a/', ttl: '1h' }) })
  assert.deepEqual(readPlainUris(batch(1000)), SignUriRequestBody.parse(batch(1000)))
  for (const length of [0, 1001]) assert.equal(readPlainUris(batch(length)), undefined)
})

test('the same of the name in the path', () => {
  const params = fc.oneof(fc.record({ xml_id: fc.string({ maxLength: 300 }) }), fc.anything())
  fc.assert(
    fc.property(params, (given) => {
      const quick = readPlainService(given)
      if (quick) assert.deepEqual(quick, ServiceParams.parse(given))
    }),
  )
  assert.deepEqual(readPlainService({ xml_id: 'demo' }), { xml_id: 'demo' })
  for (const xml_id of ['', 'x'.repeat(257), 7])
    assert.equal(readPlainService({ xml_id }), undefined)
})
