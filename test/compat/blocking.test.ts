import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import fc from 'fast-check'
import { isFault, parseReadQuery, queryOf } from '../../src/http/blocking-query.ts'
import { createBlocking, holdMillis } from '../../src/keyring/blocking.ts'
import { MINUTE, parseDuration } from '../../src/time.ts'

// Keyring contract, section 3: what the transcripts cannot show without waiting for it.

const MS = 1_000_000n

/** Milliseconds that `?wait=…` holds, or the text of the fault. */
function holdOf(wait: string): number | string {
  const read = parseReadQuery(queryOf(`/?wait=${encodeURIComponent(wait)}`), 'global')
  return isFault(read) ? read.text : holdMillis(read.wait)
}

test('wait reads a sign and decimals with units, or a plain 0, and nothing else', () => {
  const faults = ['10', '1d', '5 m', '1m ', ' 1m', '-', '+', '.', '.s', '1', '00', 's', '1e3s']
  for (const text of [...faults, '1_0s', '1S', '1M', '1m-1s', '0x1s', '1,5s', '١s', '1ss']) {
    assert.equal(holdOf(text), 'Invalid wait time', text)
  }
  const good = ['0', '+0', '-0', '1ns', '1us', '1µs', '1μs', '1ms', '1s', '1m', '1h', '1.5h']
  for (const text of [...good, '1h2m3s4ms5us6ns', '.5s', '5.s', '-1m', '+1m', '1s1s', '0s']) {
    assert.equal(typeof holdOf(text), 'number', text)
  }
})

test('a wait is held for itself and less than a sixteenth more', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 300_000 }), (millis) => {
      const held = holdMillis(BigInt(millis) * MS)
      assert.ok(held >= millis, `${held} ≥ ${millis}`)
      assert.ok(held < millis + millis / 16, `${held} < ${millis} × 17/16`)
    }),
  )
})

test('the extra is random', () => {
  const seen = new Set(Array.from({ length: 50 }, () => holdMillis(5n * MINUTE)))
  assert.ok(seen.size > 10)
})

test('none, zero, negative and too long waits are five minutes', () => {
  for (const text of ['0', '-1ns', '-5m', '0s', '5m', '300000ms', '5m0.001s', '24h', '2000000h']) {
    for (let draw = 0; draw < 20; draw++) {
      const held = holdOf(text)
      assert.ok(typeof held === 'number' && held >= 300_000 && held < 318_750, `${text}: ${held}`)
    }
  }
  assert.ok(holdMillis(undefined) >= 300_000)
})

test('a wait below a millisecond is one, for a timer knows no less', () => {
  for (const text of ['1ns', '999us', '1ms', '1.9ms']) assert.equal(holdOf(text), 1, text)
})

test('every wait that parses is held for at least a millisecond and at most 318.75 s', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (wait) => {
      const held = holdMillis(wait)
      assert.ok(Number.isInteger(held) && held >= 1 && held < 318_750)
    }),
  )
  assert.equal(parseDuration('9223372036854775808ns'), undefined)
})

/** Limits are small; what is still held when a test ends, or fails, is let go. */
function blockingOf(t: TestContext, index: () => bigint) {
  const blocking = createBlocking(index, { max: 10, perAddress: 2 })
  t.after(() => blocking.close())
  return blocking
}

test('a write between the reading of the index and the waiting is not missed', async (t) => {
  let current = 1n
  let write = () => {}
  const blocking = blockingOf(t, () => {
    const read = current
    write()
    return read
  })
  write = () => {
    write = () => {}
    current = 2n
    blocking.wake()
  }
  const held = blocking.hold(1n, 300_000, 'a')
  await held?.done
  assert.equal(blocking.held(), 0)
})

test('only who waits for less than the index is woken', async (t) => {
  let current = 5n
  const blocking = blockingOf(t, () => current)
  const first = blocking.hold(5n, 300_000, undefined)
  const later = blocking.hold(6n, 300_000, undefined)
  assert.ok(first && later)
  current = 6n
  blocking.wake()
  await first.done
  assert.equal(blocking.held(), 1)
  later.cancel()
  await later.done
  assert.equal(blocking.held(), 0)
})

test('a passed index is answered at once and leaves nothing behind', (t) => {
  const blocking = blockingOf(t, () => 5n)
  for (let asked = 0; asked < 5; asked++) assert.equal(blocking.hold(4n, 300_000, 'a'), undefined)
  assert.equal(blocking.held(), 0)
  const held = [blocking.hold(5n, 300_000, 'a'), blocking.hold(5n, 300_000, 'a')]
  assert.ok(held.every(Boolean), 'the limit of the address was not used up')
})

test('an address over its limit is answered at once, another is not, and leaving twice counts once', (t) => {
  const blocking = blockingOf(t, () => 1n)
  const first = blocking.hold(1n, 300_000, 'a')
  assert.ok(first && blocking.hold(1n, 300_000, 'a'))
  assert.equal(blocking.hold(1n, 300_000, 'a'), undefined)
  assert.ok(blocking.hold(1n, 300_000, 'b'))
  first.cancel()
  first.cancel()
  assert.ok(blocking.hold(1n, 300_000, 'a'))
  assert.equal(blocking.hold(1n, 300_000, 'a'), undefined)
})

test('close answers all, and then nobody is held', async (t) => {
  const blocking = blockingOf(t, () => 1n)
  const held = Array.from({ length: 10 }, () => blocking.hold(1n, 300_000, undefined))
  assert.equal(blocking.held(), 10)
  assert.equal(blocking.hold(1n, 300_000, undefined), undefined, 'the limit of all')
  blocking.close()
  for (const one of held) await one?.done
  assert.equal(blocking.held(), 0)
  assert.equal(blocking.hold(1n, 300_000, undefined), undefined)
})
