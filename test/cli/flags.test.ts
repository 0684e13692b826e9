import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { list, parseFlags, text, toggle } from '../../src/cli/flags.ts'
import { isProblem } from '../../src/errors.ts'

const FLAGS = { name: text('NAME', ''), grant: list('GRANT', ''), force: toggle('') }

const parse = (...argv: string[]) => {
  const { values, args } = parseFlags(argv, FLAGS)
  return { ...values, args }
}

test('flags work with one dash or two, with a sign or a space, before and after arguments', () => {
  const expected = { name: 'a', grant: [], force: true, args: ['id'] }
  assert.deepEqual(parse('-name=a', '-force', 'id'), expected)
  assert.deepEqual(parse('--name', 'a', '--force', 'id'), expected)
  assert.deepEqual(parse('id', '-name', 'a', '-force=true'), expected)
  assert.deepEqual(parse('-force=0', 'id', '-name=b', '--name=a', '-force=T'), expected)
})

test('a flag that may be repeated keeps all its values, any other the last one', () => {
  const { name, grant } = parse('-grant=a', '-name=x', '-grant', 'b', '-name', 'y')
  assert.deepEqual([name, grant], ['y', ['a', 'b']])
})

test('any value comes through, whatever it looks like', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (one, two) => {
      const read = parse('-name', one, `--grant=${two}`, '-grant', one)
      assert.deepEqual(read, { name: one, grant: [two, one], force: false, args: [] })
    }),
  )
})

test('after two dashes, and for one dash alone, words are arguments', () => {
  assert.deepEqual(parse('-', '--', '-force', '-x').args, ['-', '-force', '-x'])
})

const refusal = (...argv: string[]): string => {
  try {
    parse(...argv)
  } catch (error) {
    assert.ok(isProblem(error, 'wrong_usage'), String(error))
    return error.detail
  }
  return 'accepted'
}

test('what is no flag is refused, and repeated only when it cannot be a secret', () => {
  assert.equal(refusal('-nam=x'), 'Unknown flag: -nam')
  assert.equal(refusal('--krd_Abc123'), 'Unknown flag')
  assert.equal(refusal('-0a1b2c'), 'Unknown flag')
  assert.equal(refusal('-constructor'), 'Unknown flag: -constructor')
  assert.equal(refusal('---force'), 'Unknown flag')
  assert.equal(refusal('-name'), '-name needs a value: NAME')
  assert.equal(refusal('-force=maybe'), '-force is either there or not, or =true, or =false')
})

test('no words make it throw anything else than a sentence about usage', () => {
  const word = fc.oneof(
    fc.string(),
    fc.constantFrom('-', '--', '-force', '-force=f', '--no-force', '-name', '-name=', '-=', '--=x'),
  )
  fc.assert(
    fc.property(fc.array(word), (argv) => {
      assert.equal(typeof refusal(...argv), 'string')
    }),
  )
})
