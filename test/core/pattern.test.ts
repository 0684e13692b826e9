import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { literalOf, matches, parsePattern, splitList } from '../../src/core/index.ts'
import { simulate } from '../../src/core/pattern.ts'
import { isProblem } from '../../src/errors.ts'

// Identity contract, section 6.

const isMatch = (pattern: string, value: string) => matches(parsePattern(pattern), value)
const refused = (text: string) =>
  assert.throws(
    () => parsePattern(text),
    (error) => isProblem(error, 'invalid_request'),
    text,
  )

const NORMALISED: [input: string, normalised: string][] = [
  ['red,green ,, blue', 'red, green, blue'],
  ['team-{x,y},ops', 'team-{x,y}, ops'],
  ['{p,{q,r}}', '{p,{q,r}}'],
  ['a, {b, c', 'a, {b, c'],
  [' , ,', ''],
  ['', ''],
  ['\\{a,b}', '\\{a, b}'],
  ['\\\\{a,b}', '\\\\{a,b}'],
  ['{a,b\\},c', '{a, b\\}, c'],
  ['a},{b', 'a}, {b'],
  ['{a,{b,c},d', '{a, {b,c}, d'],
  ['a\\,b', 'a\\, b'],
  ['{a\\,b},c', '{a\\,b}, c'],
  ['\ta\n,\u00a0b ', 'a, b'],
  ['a\\', 'a\\'],
]

for (const [input, normalised] of NORMALISED) {
  test(`the list ${JSON.stringify(input)} is normalised as the contract says`, () => {
    assert.equal(splitList(input).join(', '), normalised)
  })
}

test('a brace without a partner keeps no comma', () => {
  assert.deepEqual(splitList('a, {b, c'), ['a', '{b', 'c'])
})

const rawText = (alphabet: string, maxLength = 24) =>
  fc.array(fc.constantFrom(...alphabet), { maxLength }).map((chars) => chars.join(''))

test('normalising a list twice changes nothing more', () => {
  fc.assert(
    fc.property(rawText('a{},\\ '), (text) => {
      const entries = splitList(text)
      assert.deepEqual(splitList(entries.join(', ')), entries)
      for (const entry of entries) assert.ok(entry !== '' && entry.trim() === entry)
    }),
    { numRuns: 2000 },
  )
})

const MATCHES: [pattern: string, yes: string[], no: string[]][] = [
  ['svc', ['svc'], ['', 'SVC', 'svc ', 'svcs', 'asvc']],
  ['', [''], ['a']],
  ['*', ['', 'a', 'a/b', 'a\nb', '.a', '💶'], []],
  ['**', ['', 'a/b'], []],
  ['svc:*', ['svc:', 'svc:a', 'svc:a/b'], ['svc', 'xsvc:a']],
  ['a/*/c', ['a/b/c', 'a//c', 'a/b/b/c'], ['a/c', 'a/b/c/d']],
  ['a**c', ['ac', 'a/b/c'], ['acd']],
  ['a?c', ['abc', 'a/c', 'a?c', 'a💶c'], ['ac', 'abbc']],
  ['[a-c]x', ['ax', 'bx', 'cx', '[a-c]x'], ['dx', 'x', 'Ax']],
  ['[!a-c]x', ['dx', '-x', '/x'], ['ax', 'x']],
  ['[^a-c]x', ['dx', '!x'], ['ax', 'x']],
  ['[a\\]b]', ['a', ']', 'b'], ['\\', 'c']],
  ['[]a]', [']', 'a'], ['b']],
  ['[!]a]', ['b'], [']', 'a']],
  ['[a-]', ['a', '-'], ['b']],
  ['[a\\-c]', ['a', '-', 'c'], ['b']],
  ['[*?{(,!]', ['*', '?', '{', '(', ',', '!'], ['a']],
  ['[α-ω]', ['λ'], ['l']],
  ['[😀-😂]', ['😁'], ['\ud83d', '😃']],
  ['[a', ['[a'], ['a']],
  ['[]', ['[]'], ['']],
  ['[z-a', ['[z-a'], ['z']],
  ['[a\\', ['[a\\'], ['a']],
  ['[a\\]', ['[a]'], ['a']],
  ['{x,y}', ['x', 'y', '{x,y}'], ['', 'xy', 'x,y']],
  ['a{,b}c', ['ac', 'abc'], ['a,bc']],
  ['{p,{q,r}}', ['p', 'q', 'r'], ['{q,r}', 'q,r']],
  ['{a*,b?}-{x,yy}', ['a-x', 'aaa-yy', 'bc-x'], ['b-x', 'a-xx']],
  ['{x}', ['{x}'], ['x']],
  ['{{a,b}}', ['{a}', '{b}'], ['a', '{a,b}']],
  ['{a..c}', ['{a..c}'], ['a', 'b']],
  ['{a,b', ['{a,b'], ['a', 'b']],
  ['{a,{b,c}', ['{a,b', '{a,c'], ['a', 'b']],
  ['a}b', ['a}b'], ['ab']],
  ['a,b', ['a,b'], ['a', 'b']],
  ['\\{a,b}', ['{a,b}'], ['a', 'b']],
  ['\\\\{a,b}', ['\\a', '\\b'], ['{a,b}', 'a']],
  ['{a\\,b,c}', ['a,b', 'c'], ['a', 'b']],
  ['a\\*', ['a*', 'a\\*'], ['ab', 'a']],
  ['\\!a', ['!a'], ['b']],
  ['a!', ['a!'], ['a']],
  ['\\(a\\)', ['(a)'], ['a']],
  ['a)', ['a)'], ['a']],
  ['a|b', ['a|b'], ['a', 'b']],
  ['a.b+$', ['a.b+$'], ['axb', 'a.bb']],
  ['a\\', ['a\\'], ['a']],
]

for (const [pattern, yes, no] of MATCHES) {
  test(`the pattern ${JSON.stringify(pattern)} matches what it should`, () => {
    for (const value of yes) assert.equal(isMatch(pattern, value), true, JSON.stringify(value))
    for (const value of no) assert.equal(isMatch(pattern, value), false, JSON.stringify(value))
  })
}

const REFUSED = [
  '!a',
  '!',
  '!(a)',
  'x!(a)',
  '+(a)',
  '?(a)',
  '*(a)',
  '@(a|b)',
  '(a+)+b',
  '(a)',
  'a(',
  '\\+(a)',
  '\\\\(a)',
  '{a,(b)}',
  '[a(',
  '[z-a]',
  '[!z-a]',
  'a'.repeat(1025),
  '{a,'.repeat(17) + '}'.repeat(17),
]

for (const text of REFUSED) {
  test(`the pattern ${text.slice(0, 12)} (${text.length} characters) is refused`, () => {
    refused(text)
  })
}

test('the limits count code points, and are themselves allowed', () => {
  assert.equal(isMatch('💶'.repeat(1024), '💶'.repeat(1024)), true)
  refused('💶'.repeat(1025))
  assert.equal(isMatch('*', '💶'.repeat(4096)), true)
  assert.equal(isMatch('*', '💶'.repeat(4097)), false)
  assert.equal(isMatch('*', 'a'.repeat(4097)), false)
  assert.equal(isMatch('{a,'.repeat(16) + '}'.repeat(16), 'a'), true)
})

test('what a pattern without wildcards stands for', () => {
  assert.equal(literalOf(parsePattern('api://a')), 'api://a')
  assert.equal(literalOf(parsePattern('a\\*\\{b')), 'a*{b')
  assert.equal(literalOf(parsePattern('{x}💶')), '{x}💶')
  for (const text of ['a*', 'a?', '[ab]', '[!a]', '[a-b]', '{a,b}']) {
    assert.equal(literalOf(parsePattern(text)), undefined, text)
  }
})

/** A piece of a pattern, beside a regular expression for the same thing. */
interface Piece {
  text: string
  regexp: string
}

const concat = (pieces: Piece[]): Piece => ({
  text: pieces.map(({ text }) => text).join(''),
  regexp: pieces.map(({ regexp }) => regexp).join(''),
})
const hex = (char: string) => `\\u{${char.codePointAt(0)?.toString(16)}}`
const LETTERS = ['a', 'b', '/', '*', '{', '}', ',', '\\', '[', ']', '(', '!', '-', '💶']
const PLAIN = ['a', 'b', '/', '💶']

const letter = fc.constantFrom(...LETTERS).map((char) => ({
  text: PLAIN.includes(char) ? char : `\\${char}`,
  regexp: hex(char),
}))
const wildcard = fc.constantFrom<Piece>(
  { text: '*', regexp: '[^]*' },
  { text: '**', regexp: '[^]*' },
  { text: '?', regexp: '[^]' },
  { text: '[a-b]', regexp: '[a-b]' },
  { text: '[!a-b]', regexp: '[^a-b]' },
  { text: '[/\\-💶]', regexp: '[\\/\\-💶]' },
)
const { pattern: anyPattern } = fc.letrec<{ pattern: Piece; group: Piece }>((tie) => ({
  pattern: fc
    .array(fc.oneof({ maxDepth: 3 }, letter, wildcard, tie('group')), { maxLength: 4 })
    .map(concat),
  group: fc.array(tie('pattern'), { minLength: 2, maxLength: 3 }).map((alternatives) => ({
    text: `{${alternatives.map(({ text }) => text).join(',')}}`,
    regexp: `(?:${alternatives.map(({ regexp }) => regexp).join('|')})`,
  })),
}))
const anyValue = rawText('ab/', 6).chain((text) =>
  fc.constantFrom(...LETTERS, '').map((char) => text + char),
)

test('a match is what a regular expression engine says of the same pattern', () => {
  const met = { yes: 0, no: 0 }
  fc.assert(
    fc.property(anyPattern, fc.array(anyValue, { minLength: 8 }), ({ text, regexp }, values) => {
      const pattern = parsePattern(text)
      const reference = new RegExp(`^(?:${regexp})$`, 'u')
      for (const value of values) {
        const expected = reference.test(value)
        met[expected ? 'yes' : 'no'] += 1
        assert.equal(simulate(pattern, value).matched, expected, JSON.stringify([text, value]))
      }
    }),
    { numRuns: 500 },
  )
  assert.ok(met.yes > 50 && met.no > 50, 'both answers were seen')
})

test('any text is a pattern no larger than itself that it matches, or a Problem', () => {
  fc.assert(
    fc.property(rawText('ab*?{},[]!^-\\()'), (text) => {
      try {
        assert.ok(parsePattern(text).states.length <= text.length)
        assert.equal(isMatch(text, text), true)
      } catch (error) {
        if (!isProblem(error, 'invalid_request')) throw error
        assert.match(text, /^!|\(|\[/)
      }
    }),
    { numRuns: 2000 },
  )
})

test('the work is at most a fixed multiple of pattern × value', () => {
  fc.assert(
    fc.property(rawText('ab*?{},[]-', 60), rawText('ab', 200), (text, value) => {
      const pattern = parsePatternOrSkip(text)
      const { steps } = simulate(pattern, value)
      assert.ok(steps <= 2 * (text.length + 1) * (value.length + 1), `${text}: ${steps}`)
    }),
    { numRuns: 500 },
  )
})

function parsePatternOrSkip(text: string) {
  try {
    return parsePattern(text)
  } catch (error) {
    fc.pre(!isProblem(error, 'invalid_request'))
    throw error
  }
}

const HOSTILE = [
  `${'a*'.repeat(511)}b`,
  `${'*a'.repeat(511)}b`,
  `${'{a,a*}'.repeat(170)}b`,
  `${'{,a}'.repeat(255)}b`,
  `${'{{a,*},{*,a}}'.repeat(78)}b`,
  `${'*[!b]'.repeat(204)}b`,
]

for (const text of HOSTILE) {
  test(`work grows linearly with the value for ${text.slice(0, 14)}…`, () => {
    const pattern = parsePattern(text)
    const stepsFor = (length: number) => {
      const { matched, steps } = simulate(pattern, 'a'.repeat(length))
      assert.equal(matched, false)
      return steps
    }
    const [half, whole] = [stepsFor(2048), stepsFor(4096)]
    assert.ok(whole <= 2 * text.length * 4097, `${whole} steps`)
    // Not exactly twice: the first characters of a value reach fewer states than the later ones.
    assert.ok(whole <= 2.25 * half, `${half}, then ${whole} steps`)
  })
}

test('the same machine accepts when the last character is there', () => {
  assert.equal(isMatch(`${'a*'.repeat(511)}b`, `${'a'.repeat(4095)}b`), true)
})

test('a budget ends many matches together, and none that is within it', () => {
  const slow = parsePattern(`*{${'a,'.repeat(400)}b}c`)
  const value = 'a'.repeat(2000)
  const { steps } = simulate(slow, value)
  const budget = { steps: Math.ceil(steps / 2) }
  assert.equal(matches(slow, `${value}c`, budget), false)
  assert.ok(budget.steps < 0 && budget.steps > -5000, 'it ends where it is used up')
  assert.equal(matches(parsePattern('a*'), 'abc', budget), false, 'nothing is left for others')
  assert.equal(matches(parsePattern('abc'), 'abc', budget), true, 'the same text costs nothing')
  assert.equal(matches(parsePattern('a*'), 'abc', { steps: 100 }), true)
})
