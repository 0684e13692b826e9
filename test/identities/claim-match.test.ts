import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { splitList } from '../../src/core/index.ts'
import { simulate } from '../../src/core/pattern.ts'
import { allows, claimAt, isMissing, parseEntry } from '../../src/identities/claim-match.ts'

// Identity contract, section 6: the table of claim values, and claim paths.

const allowed = (list: string, value: unknown) => allows(splitList(list).map(parseEntry), value)

const VALUES: [list: string, yes: unknown[], no: unknown[]][] = [
  // string: entry equals it, or glob
  ['prod', ['prod'], ['Prod', 'prod ', 'production', '']],
  ['pro*, dev', ['prod', 'pro/d', 'dev'], ['de', 'xprod']],
  ['team-{x,y}', ['team-x', 'team-y', 'team-{x,y}'], ['team-z', 'team-']],
  ['42', ['42', 42], ['42x', '042', '42.0', 420, 4.2]],
  ['*', ['x', 'true', '1'], ['', true, 1, 0, null, {}]],
  // boolean: the text true / false, and no glob
  ['true', [true, 'true'], [false, 1, 'TRUE']],
  ['false', [false, 'false'], [true, 0, null, '']],
  ['t*, {true,x}, ?rue', ['true'], [true, false]],
  // number: the same decimal number, nothing of a prefix
  ['42x', ['42x'], [42]],
  ['0', [0, -0, '0'], [false, '', null, 0.1]],
  ['-0', [0, -0], [1]],
  ['42.0', [42, '42.0'], ['42', 42.1]],
  ['4.2e1', [42], [4.2]],
  ['420E-1', [42], [420]],
  ['0.10', [0.1], [0.01, 10]],
  ['0.0000001', [1e-7], [1e-6, 1e-8]],
  ['1e-7', [1e-7], [0]],
  ['-1.5', [-1.5], [1.5]],
  ['100', [100, 1e2], [10, 1000]],
  ['042', [], [42]],
  ['0x2a', [], [42]],
  ['+42', [], [42]],
  ['4_2', [], [42]],
  ['42.', [], [42]],
  ['.5', [], [0.5]],
  ['Infinity', [], [Number.POSITIVE_INFINITY]],
  ['NaN', [], [Number.NaN]],
  ['1e999', [], [Number.POSITIVE_INFINITY, Number.MAX_VALUE]],
  ['1e99999999999999999999', [], [1]],
  // Not to be rounded: of two neighbours beyond 2^53 nobody can say which was meant.
  ['9007199254740991', [9007199254740991], [9007199254740990]],
  ['9007199254740992', [], [JSON.parse('9007199254740992'), JSON.parse('9007199254740993')]],
  ['9007199254740993', [], [JSON.parse('9007199254740993')]],
  ['-9007199254740993', [], [JSON.parse('-9007199254740993')]],
  ['1e21', [], [1e21]],
  ['42.00000000000000001', [], [42]],
  ['0.1000000000000000055511151231257827', [], [0.1]],
  // array: any element, any entry
  ['a, b', [['x', 'b'], ['a']], [['x', 'y'], ['a, b']]],
  ['7', [[1, 7], ['7']], [[70], [[7]]]],
  ['true', [[false, true]], [[false], [[true]]]],
  ['*', [['x'], [null, 'x']], [[''], [null], [{}], [['x']]]],
  // object, null: no match
  ['*, [object Object], null', ['null', '[object Object]'], [null, {}, { a: 1 }]],
]

for (const [list, yes, no] of VALUES) {
  test(`section 6, claim values: ${list}`, () => {
    for (const value of yes) assert.equal(allowed(list, value), true, JSON.stringify(value))
    for (const value of no) assert.equal(allowed(list, value), false, JSON.stringify(value))
  })
}

test('section 6, claim values: absent, "" and [] are missing, and nothing else is', () => {
  for (const value of [undefined, '', []]) assert.equal(isMissing(value), true)
  for (const value of [0, false, null, {}, ' ', [''], [null]]) assert.equal(isMissing(value), false)
})

test('section 6, claim values: a number is an entry when its digits are the same', () => {
  const digits = fc.integer({ min: -99_999, max: 99_999 })
  fc.assert(
    fc.property(digits, fc.nat(6), digits, (number, places, other) => {
      const text = (number / 10 ** places).toFixed(places)
      assert.equal(allowed(text, Number(text)), true)
      assert.equal(allowed(text, other), other === Number(text))
    }),
  )
})

const PATHS: [path: string, claims: string, value: unknown][] = [
  ['a', '{"a":1}', 1],
  ['a.b', '{"a":{"b":2}}', 2],
  ['a.b.c', '{"a":{"b":{"c":3}}}', 3],
  ['kubernetes.io.namespace', '{"kubernetes.io":{"namespace":"n"}}', 'n'],
  ['https://x.example/role', '{"https://x.example/role":"r"}', 'r'],
  ['https://x.example/role.name', '{"https://x.example/role":{"name":"r"}}', 'r'],
  // The longest key wins at each level, also where it leads nowhere.
  ['a.b', '{"a":{"b":1},"a.b":2}', 2],
  ['a.b', '{"a.b":2,"a":{"b":1}}', 2],
  ['a.b.c', '{"a":{"b":{"c":1}},"a.b":{}}', undefined],
  ['a.b.c', '{"a":{"b.c":1},"a.b":{"c":2}}', 2],
  ['a.b.c.d', '{"a":{"b":{"c.d":1},"b.c":{"d":2}}}', 2],
  // A key ends at a dot or at the end.
  ['ab', '{"a":{"b":1}}', undefined],
  ['a.bc', '{"a":{"b":1}}', undefined],
  ['a', '{"a.b":1}', undefined],
  ['a.', '{"a":{"":1}}', 1],
  ['.a', '{"":{"a":1}}', 1],
  ['', '{"":1}', 1],
  ['a..b', '{"a":{"":{"b":1}}}', 1],
  ['..', '{"":{"":{"":1}}}', 1],
  ['', '{}', undefined],
  // Arrays are not indexed, and texts have no members.
  ['a.0', '{"a":[1]}', undefined],
  ['a.length', '{"a":[1]}', undefined],
  ['a.length', '{"a":"xyz"}', undefined],
  ['a.b', '{"a":null}', undefined],
  ['a.b', '{"a":5}', undefined],
  ['a', '{"a":null}', null],
  // Nothing is inherited, and nothing leads through __proto__.
  ['toString', '{}', undefined],
  ['constructor.name', '{}', undefined],
  ['a.hasOwnProperty', '{"a":{}}', undefined],
  ['constructor', '{"constructor":"own"}', 'own'],
  ['__proto__', '{"__proto__":1}', undefined],
  ['__proto__.a', '{"__proto__":{"a":1}}', undefined],
  ['a.__proto__', '{"a":{"__proto__":1}}', undefined],
  ['a.__proto__.b', '{"a":{"__proto__":{"b":1}}}', undefined],
  ['a.__proto__', '{"a.__proto__":1}', undefined],
  ['a__proto__', '{"a__proto__":1}', 1],
]

for (const [path, text, value] of PATHS) {
  test(`section 6, claim paths: ${JSON.stringify(path)} in ${text}`, () => {
    assert.deepEqual(claimAt(JSON.parse(text), path), value)
  })
}

const NAMES = ['a', 'b', 'a.b', '', '__proto__', 'constructor', 'toString', 'length', '0']
const { tree } = fc.letrec<{ tree: Record<string, unknown> }>((tie) => ({
  tree: fc
    .array(
      fc.tuple(
        fc.constantFrom(...NAMES),
        fc.oneof({ maxDepth: 3 }, fc.constant('leaf'), fc.constant(['leaf']), tie('tree')),
      ),
      { minLength: 2, maxLength: 6 },
    )
    // As JSON.parse would: an own member, whatever its name.
    .map((members) => {
      const object: Record<string, unknown> = {}
      for (const [name, value] of members) {
        Object.defineProperty(object, name, {
          ...{ value, enumerable: true, configurable: true, writable: true },
        })
      }
      return object
    }),
}))
const anyPath = fc
  .array(
    fc.constantFrom('a', 'a', 'b', 'b', '', '__proto__', 'constructor', 'toString', 'length', '0'),
    {
      minLength: 1,
      maxLength: 4,
    },
  )
  .map((parts) => parts.join('.'))

/** A copy of which no object inherits anything. */
function bare(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  const copy = Object.create(null) as Record<string, unknown>
  for (const [name, member] of Object.entries(value)) copy[name] = bare(member)
  return copy
}

/** The rule by its words: of the own keys that the path begins with, the longest, and so on below it. */
function naive(value: unknown, parts: readonly string[]): unknown {
  if (parts.length === 0) return value
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  for (let count = parts.length; count > 0; count -= 1) {
    const key = parts.slice(0, count).join('.')
    const own = Object.getOwnPropertyDescriptor(value, key)
    if (own) return naive(own.value, parts.slice(count))
  }
  return undefined
}

test('section 6, claim paths: what is found is an own member, as the rule says', () => {
  let found = 0
  fc.assert(
    fc.property(tree, anyPath, (claims, path) => {
      const value = claimAt(claims, path)
      const parts = path.split('.')
      assert.deepEqual(value, parts.includes('__proto__') ? undefined : naive(claims, parts))
      assert.deepEqual(bare(value), bare(claimAt(bare(claims) as Record<string, unknown>, path)))
      if (value !== undefined) found += 1
    }),
    { numRuns: 3000 },
  )
  assert.ok(found > 100, `${found}`)
})

test('section 6, claim paths: a level is read once, however many dots a path has', () => {
  const readsFor = (dots: number) => {
    let reads = 0
    const count = {
      ownKeys(target: object) {
        reads += 1
        return Reflect.ownKeys(target)
      },
    }
    const claims = new Proxy<Record<string, unknown>>(
      { x: 1, 'a.a': new Proxy({ a: 1 }, count) },
      count,
    )
    claimAt(claims, `a.a${'.a'.repeat(dots)}`)
    return reads
  }
  assert.equal(readsFor(1), 2)
  assert.equal(readsFor(5000), 2)
})

/** Backtracking, for short texts: `*`, `?` and letters. */
function globs(pattern: string, value: string): boolean {
  const [first, rest] = [pattern[0], pattern.slice(1)]
  if (first === undefined) return value === ''
  if (first === '*') return globs(rest, value) || (value !== '' && globs(pattern, value.slice(1)))
  return value !== '' && (first === '?' || first === value[0]) && globs(rest, value.slice(1))
}

const textOf = (alphabet: string, maxLength: number) =>
  fc.array(fc.constantFrom(...alphabet), { maxLength }).map((chars) => chars.join(''))

test('section 6, entry match: any entry, any element, as a naive matcher says', () => {
  const met = { yes: 0, no: 0 }
  fc.assert(
    fc.property(textOf('ab*?,', 9), fc.array(textOf('ab', 4), { maxLength: 3 }), (list, values) => {
      const entries = list.split(',').filter((entry) => entry !== '')
      const expected = values.some(
        (value) => value !== '' && entries.some((entry) => globs(entry, value)),
      )
      met[expected ? 'yes' : 'no'] += 1
      assert.equal(allowed(list, values), expected)
    }),
    { numRuns: 2000 },
  )
  assert.ok(met.yes > 100 && met.no > 100, JSON.stringify(met))
})

test('section 6: hostile entries cost at most a fixed multiple of entry × value', () => {
  const piece = fc.constantFrom('a*', '*a', '{a,a*}', '{,a}', '*[!b]', '?*', '{{a,*},{*,a}}')
  const hostile = fc
    .array(piece, { minLength: 1, maxLength: 60 })
    .map((pieces) => `${pieces.join('')}b`)
  fc.assert(
    fc.property(hostile, fc.integer({ min: 1, max: 1000 }), (text, length) => {
      const { pattern } = parseEntry(text)
      const { matched, steps } = simulate(pattern, 'a'.repeat(length))
      assert.equal(matched, false)
      assert.ok(steps <= 2 * (text.length + 1) * (length + 1), `${text}: ${steps}`)
    }),
    { numRuns: 200 },
  )
})
