import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type JsonNode, readJson, removal, splice } from '../../src/uri-signing/json-tree.ts'
import { problemOf } from '../core/fixtures.ts'

const bytes = (text: string) => Buffer.from(text)

/** As JSON.parse would, for documents whose names are no integers. */
function plain(node: JsonNode): unknown {
  if (node.is === 'array') return node.items.map(plain)
  if (node.is !== 'object') return node.value
  return Object.fromEntries(node.members.map(({ name, value }) => [name, plain(value)]))
}

test('reads what JSON.parse reads', () => {
  fc.assert(
    fc.property(
      fc.jsonValue({ maxDepth: 6 }),
      fc.constantFrom(undefined, 2, '\t'),
      (value, space) => {
        const text = JSON.stringify(value, null, space)
        assert.deepEqual(plain(readJson(bytes(text)).root), JSON.parse(text))
      },
    ),
    { numRuns: 1000 },
  )
})

test('every node and member knows where it stands', () => {
  const check = (text: string, node: JsonNode) => {
    assert.deepEqual(JSON.parse(text.slice(node.start, node.end)), plain(node))
    for (const item of node.is === 'array' ? node.items : []) check(text, item)
    for (const member of node.is === 'object' ? node.members : []) {
      assert.deepEqual(JSON.parse(`{${text.slice(member.start, member.end)}}`), {
        [member.name]: plain(member.value),
      })
      check(text, member.value)
    }
  }
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
      const text = ` ${JSON.stringify(value, null, 1)}\n`
      check(text, readJson(bytes(text)).root)
    }),
  )
})

test('names keep their order, and are only names', () => {
  const { root } = readJson(bytes('{"b":1,"2":2,"__proto__":3,"1":4,"constructor":5}'))
  assert.ok(root.is === 'object')
  assert.deepEqual(
    root.members.map(({ name }) => name),
    ['b', '2', '__proto__', '1', 'constructor'],
  )
})

test('64 levels are read, 65 are not', () => {
  const nested = (depth: number) => bytes(`${'['.repeat(depth)}${']'.repeat(depth)}`)
  assert.equal(readJson(nested(64)).root.is, 'array')
  assert.equal(problemOf(() => readJson(nested(65))).code, 'malformed_body')
  assert.equal(problemOf(() => readJson(nested(500_000))).code, 'malformed_body')
})

test('no message quotes the text', () => {
  const problem = problemOf(() => readJson(bytes('{"k":"secret" oops')))
  assert.equal(problem.cause, undefined)
  assert.doesNotMatch(problem.detail, /secret|oops/)
})

test('taking elements away leaves the others, and valid JSON', () => {
  const items = fc.array(fc.tuple(fc.integer(), fc.boolean()), { maxLength: 8 })
  fc.assert(
    fc.property(items, fc.constantFrom('', ' '), (all, space) => {
      const text = `[${space}${all.map(([value]) => value).join(`${space},${space}`)}${space}]`
      const { root } = readJson(bytes(text))
      assert.ok(root.is === 'array')
      const gone = new Set(root.items.filter((_, at) => all[at]?.[1]))
      const left = splice(
        text,
        removal(root.items, (item) => gone.has(item)),
      )
      const kept = all.filter(([, isGone]) => !isGone).map(([value]) => value)
      assert.deepEqual(JSON.parse(Buffer.from(left).toString()), kept)
    }),
    { numRuns: 1000 },
  )
})
