import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { compileEre } from '../../src/uri-signing/ere.ts'

// POSIX extended regular expressions (IEEE Std 1003.1 section 9.4), in linear time (contract section 10).

const matches = (pattern: string, text: string): boolean => {
  const compiled = compileEre(pattern)
  assert.ok(!('fault' in compiled), 'fault' in compiled ? compiled.fault : '')
  return compiled.matchesStart(text)
}

const WHOLE: [pattern: string, yes: string[], no: string[]][] = [
  ['a.c', ['abc', 'a\nc'], ['ac', 'abbc']],
  ['a\\.c', ['a.c'], ['abc']],
  ['a*', ['', 'aaa'], ['b']],
  ['a+b?', ['a', 'aab'], ['b', 'abb']],
  ['a+?', ['', 'aa'], ['b']],
  ['a**', ['', 'aa'], ['b']],
  ['a{2}{2}', ['aaaa'], ['aa', 'aaaaa']],
  ['a{0,2}', ['', 'a', 'aa'], ['aaa']],
  ['a{2,}', ['aa', 'aaaaa'], ['a']],
  ['(ab|cd)*', ['', 'abcd'], ['ac']],
  ['(a|b(c|d))e', ['ae', 'bce'], ['be']],
  ['[abc]', ['b'], ['d']],
  ['[^abc]', ['d', '\n'], ['a']],
  ['[a-cx]', ['b', 'x'], ['d', '-']],
  ['[-a]', ['-', 'a'], ['b']],
  ['[a-]', ['-', 'a'], ['b']],
  ['[]a]', [']', 'a'], ['[']],
  ['[^]a]', ['b'], [']', 'a']],
  ['[\\d]', ['\\', 'd'], ['1']],
  ['[[:digit:]a]', ['1', 'a'], ['b', ':']],
  ['[^[:alpha:]]', ['1'], ['a']],
  ['[[]', ['['], ['a']],
  ['[&&^~]', ['&', '^', '~'], ['a']],
  ['\\$\\^\\\\', ['$^\\'], ['a']],
  ['\\/\\:', ['/:'], ['a']],
  ['a]', ['a]'], ['a']],
  ['a}', ['a}'], ['a']],
  ['()', [''], ['a']],
  ['é', ['é'], ['e']],
]

for (const [pattern, yes, no] of WHOLE) {
  test(`section 9.4: ${pattern}`, () => {
    for (const text of yes) assert.equal(matches(`^(${pattern})$`, text), true, text)
    for (const text of no) assert.equal(matches(`^(${pattern})$`, text), false, text)
  })
}

test('section 9.4.9: anchors are anchors wherever they stand', () => {
  assert.equal(matches('a^b', 'a^b'), false)
  assert.equal(matches('a$b', 'a$b'), false)
  assert.equal(matches('(^a)(b$)', 'ab'), true)
  assert.equal(matches('a$', 'a\nb'), false)
})

const REFUSED = [
  ...['\\d', '\\w', '\\b', '\\1', '\\<', '\\`', 'a\\', '(?:a)', '(?=a)', '*a', '+a', '?a', '{2}a'],
  ...['^*', '$*', '(*a)', 'a|*b', '(', 'a)', '(a', '[', '[a', '[]', '[^]', '[z-a]', '[[:word:]]'],
  ...['[[.a.]]', '[[=a=]]', '[a-[:digit:]]', 'a{', 'a{x}', 'a{,2}', 'a{2,1}', 'a{256}', 'a{2'],
  ...[
    '(((((a{100}){100}){100}){100}){100})',
    `${'('.repeat(100)}a${')'.repeat(100)}`,
    'a'.repeat(1025),
  ],
  '(.{255}){255}',
]

for (const pattern of REFUSED) {
  test(`refused: ${pattern.slice(0, 40)}`, () => {
    assert.ok('fault' in compileEre(pattern))
  })
}

test('the same as JavaScript says, where both mean the same', () => {
  const atoms = ['a', 'b', '.', '[ab]', '[^a]', '(a|b)', '(ab)', '\\.', 'a*', 'b+', 'a?', 'b{1,2}']
  const pattern = fc.array(fc.constantFrom(...atoms), { maxLength: 6 }).map((all) => all.join(''))
  const text = fc
    .array(fc.constantFrom('a', 'b', 'c', '.'), { maxLength: 8 })
    .map((all) => all.join(''))
  fc.assert(
    fc.property(pattern, text, (source, subject) => {
      assert.equal(matches(source, subject), new RegExp(`^(?:${source})`, 's').test(subject))
    }),
    { numRuns: 1000 },
  )
})

test('any text compiles or is refused, and nothing else happens', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (pattern) => {
      const compiled = compileEre(pattern)
      if ('fault' in compiled) assert.equal(typeof compiled.fault, 'string')
      else assert.equal(typeof compiled.matchesStart('http://h/a'), 'boolean')
    }),
    { numRuns: 3000 },
  )
})

// Exponential in a matcher that backtracks.
for (const bomb of [
  '(a+)+$',
  '(a|a)*$',
  '(a*)*b',
  '(.*a){20}b',
  '((a?){20}){10}a{200}b',
  '(.*.*.*)*x',
]) {
  test(`section 10: a bomb is harmless: ${bomb}`, { timeout: 5000 }, () => {
    assert.equal(matches(bomb, `${'a'.repeat(8000)}!`), false)
  })
}
