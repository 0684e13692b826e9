import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { publicOnly } from '../../src/uri-signing/edge.ts'
import { addKey, newDocument, removeKey, setRenewalKid } from '../../src/uri-signing/edit.ts'
import { problemOf } from '../core/fixtures.ts'
import {
  bytesOf,
  documentWith,
  type Jwk,
  KEYS,
  keyOf,
  oct,
  opened,
  PRIVATE_MEMBERS,
  publicHalf,
  STUDIO_A,
} from './key-documents.ts'

// Contract sections 5 to 7: changes keep what they do not speak of, byte for byte.

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString()

/** Odd spacing, odd names, unknown members: all of it must stay. */
const ODD = `
{ "42" : {"keys":[ ${JSON.stringify(oct('x'))} ],"note":  "\\u00e9 stays" },
  "__proto__":{ "renewal_kid" :"r", "keys":[
    ${JSON.stringify(oct('r'))} , {"extra":[1.50, -0e1],"kty":"oct","alg":"HS256","kid":"o","k":"${oct('o', 'HS256', 64, 5)['k']}"}
  ] }
}
`

for (const [alg, jwk] of Object.entries(KEYS)) {
  test(`a new document with ${alg}`, () => {
    const { issuers, renewal } = opened(text(newDocument('studio "a"', jwk)))
    assert.deepEqual([...issuers.keys()], ['studio "a"'])
    assert.deepEqual([renewal.issuer, renewal.key.kid], ['studio "a"', jwk['kid']])
  })
}

test('a new document keeps the order of the contract’s members', () => {
  assert.equal(
    text(newDocument('i', { kty: 'oct', alg: 'HS256', kid: 'a', k: oct('a')['k'] ?? '' })),
    `{\n  "i": {\n    "renewal_kid": "a",\n    "keys": [\n      {\n        "kty": "oct",\n        "alg": "HS256",\n        "kid": "a",\n        "k": "${oct('a')['k']}"\n      }\n    ]\n  }\n}\n`,
  )
})

test('a new document takes no key that a cache could not use', () => {
  for (const jwk of [oct('a', 'HS256', 8), publicHalf(keyOf('ES256')), { ...oct('a'), kid: '' }]) {
    assert.equal(problemOf(() => newDocument('i', jwk)).code, 'keyset_invalid')
  }
})

test('adding a key adds nothing else', () => {
  const added = JSON.stringify(oct('new'))
  const before = `"k":"${oct('o', 'HS256', 64, 5)['k']}"}`
  assert.equal(
    text(addKey(bytesOf(ODD), '__proto__', oct('new'))),
    ODD.replace(before, `${before},${added}`),
  )
  const empty = '{"j":{"keys":[ ]},"i":{"renewal_kid":"a","keys":[{}]}}'.replace(
    '{}',
    JSON.stringify(oct('a')),
  )
  assert.equal(text(addKey(bytesOf(empty), 'j', oct('new'))), empty.replace('[ ]', `[${added} ]`))
})

test('adding a key of a new issuer', () => {
  const { issuers } = opened(text(addKey(bytesOf(ODD), 'alerts', keyOf('ES256'))))
  assert.deepEqual([...issuers.keys()], ['42', '__proto__', 'alerts'])
})

test('a kid is taken once in each issuer', () => {
  assert.equal(problemOf(() => addKey(bytesOf(ODD), '42', oct('x'))).code, 'key_conflict')
  assert.equal(opened(text(addKey(bytesOf(ODD), '42', oct('r')))).issuers.get('42')?.keys.length, 2)
})

test('moving the renewal key', () => {
  assert.equal(text(setRenewalKid(bytesOf(ODD), '__proto__', 'o')), ODD.replace('"r",', '"o",'))
  assert.equal(text(setRenewalKid(bytesOf(ODD), '__proto__', 'r')), ODD)
  const other = text(setRenewalKid(bytesOf(ODD), '42', 'x'))
  assert.equal(
    other,
    ODD.replace(' "renewal_kid" :"r", ', ' ').replace('stays"', 'stays","renewal_kid":"x"'),
  )
})

test('only a key that can sign renews, and only one that is there', () => {
  const document = bytesOf(documentWith([oct('a'), publicHalf(keyOf('ES256'))]))
  assert.equal(problemOf(() => setRenewalKid(document, 'i', 'es256')).code, 'keyset_invalid')
  assert.equal(problemOf(() => setRenewalKid(document, 'i', 'b')).code, 'key_not_found')
  assert.equal(problemOf(() => setRenewalKid(document, 'j', 'a')).code, 'key_not_found')
})

test('removing a key removes nothing else', () => {
  const gone = ODD.replace(/ , \{"extra".*\}/, '')
  assert.equal(text(removeKey(bytesOf(ODD), '__proto__', 'o')), gone)
  assert.equal(text(removeKey(bytesOf(ODD), '42', 'x')), ODD.replace(JSON.stringify(oct('x')), ''))
  const three = bytesOf(documentWith([oct('a'), oct('b'), oct('c')]))
  const left = opened(text(removeKey(three, 'i', 'b')))
    .issuers.get('i')
    ?.keys.map(({ kid }) => kid)
  assert.deepEqual(left, ['a', 'c'])
})

test('the renewal key is moved before it is removed', () => {
  assert.equal(problemOf(() => removeKey(bytesOf(ODD), '__proto__', 'r')).code, 'key_in_use')
  assert.equal(problemOf(() => removeKey(bytesOf(ODD), '42', 'r')).code, 'key_not_found')
  const moved = setRenewalKid(bytesOf(ODD), '__proto__', 'o')
  assert.equal(opened(text(removeKey(moved, '__proto__', 'r'))).renewal.key.kid, 'o')
})

test('a document that a cache would not load is not edited further', () => {
  const bad = bytesOf(documentWith([oct('a'), oct('b', 'HS256', 8)]))
  assert.equal(problemOf(() => addKey(bad, 'i', oct('c'))).code, 'keyset_invalid')
  assert.equal(problemOf(() => publicOnly(bad)).code, 'keyset_invalid')
})

test('a whole rotation, and back, is the document that there was', () => {
  const start = bytesOf(STUDIO_A)
  const added = addKey(start, 'studio-a', oct('2026-c'))
  const moved = setRenewalKid(added, 'studio-a', '2026-c')
  assert.equal(opened(text(moved)).renewal.key.kid, '2026-c')
  const back = removeKey(setRenewalKid(moved, 'studio-a', '2026-b'), 'studio-a', '2026-c')
  assert.equal(text(back), text(start))
})

test('any sequence of changes leaves a document that passes', () => {
  const step = fc.record({
    verb: fc.constantFrom('add', 'renew', 'remove'),
    issuer: fc.constantFrom('studio-a', '7', '__proto__'),
    kid: fc.constantFrom('2026-a', '2026-b', 'n', 'é"\\'),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      let bytes: Uint8Array = bytesOf(STUDIO_A)
      const kids = new Map([['studio-a', new Set(['2026-a', '2026-b'])]])
      for (const { verb, issuer, kid } of steps) {
        try {
          if (verb === 'add') bytes = addKey(bytes, issuer, oct(kid))
          else if (verb === 'renew') bytes = setRenewalKid(bytes, issuer, kid)
          else bytes = removeKey(bytes, issuer, kid)
        } catch (error) {
          problemOf(() => {
            throw error
          })
          continue
        }
        if (verb === 'add') kids.set(issuer, new Set([...(kids.get(issuer) ?? []), kid]))
        if (verb === 'remove') kids.get(issuer)?.delete(kid)
      }
      const found = [...opened(text(bytes)).issuers.values()].map(
        ({ issuer, keys }) => [issuer, keys.map(({ kid }) => kid)] as const,
      )
      assert.deepEqual(
        found,
        [...kids].map(([issuer, set]) => [issuer, [...set]]),
      )
    }),
    { numRuns: 300 },
  )
})

test('section 6.2, edges: private halves go, but for the renewal key’s', () => {
  const jwks: Jwk[] = [keyOf('ES384'), oct('s'), ...['RS256', 'PS512', 'ES256', 'ES512'].map(keyOf)]
  const document = {
    i: { note: 1, renewal_kid: 'es384', keys: jwks },
    j: { keys: [keyOf('RS384')] },
  }
  const edge: Record<string, { keys: Jwk[] }> = JSON.parse(text(publicOnly(bytesOf(document))))
  assert.deepEqual(edge, {
    i: {
      note: 1,
      renewal_kid: 'es384',
      keys: [keyOf('ES384'), oct('s'), ...jwks.slice(2).map(publicHalf)],
    },
    j: { keys: [publicHalf(keyOf('RS384'))] },
  })
  for (const { keys } of opened(edge).issuers.values()) {
    for (const key of keys) assert.notEqual(key.usable(), undefined)
  }
  for (const name of PRIVATE_MEMBERS) assert.equal(name in (edge['j']?.keys[0] ?? {}), false)
})

test('section 5, edges: a document without private halves stays byte for byte', () => {
  assert.equal(text(publicOnly(bytesOf(ODD))), ODD)
})
