import assert from 'node:assert/strict'
import { test } from 'node:test'
import { needs } from './needs.ts'

function withRequireAll(value: string, work: () => void): void {
  const before = process.env.KEYRINGD_REQUIRE_ALL
  process.env.KEYRINGD_REQUIRE_ALL = value
  try {
    work()
  } finally {
    if (before === undefined) delete process.env.KEYRINGD_REQUIRE_ALL
    else process.env.KEYRINGD_REQUIRE_ALL = before
  }
}

test('a program that exists is no reason to skip', () => {
  withRequireAll('1', () => assert.deepEqual(needs('sh'), { skip: false }))
})

test('what is missing is named in the reason to skip', () => {
  withRequireAll('0', () => {
    assert.deepEqual(needs('sh', 'no-such-program'), { skip: 'needs no-such-program' })
  })
})

test('what is missing fails the test where everything is required', () => {
  withRequireAll('1', () => {
    assert.throws(() => needs('no-such-program'), { message: 'needs no-such-program' })
  })
})
