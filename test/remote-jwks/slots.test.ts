import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createSlots } from '../../src/remote-jwks/slots.ts'

const never = new AbortController().signal

test('turns are given in order, and giving one back twice gives only one', async () => {
  const { acquire } = createSlots(1, 10)
  const order: number[] = []
  const first = await acquire(never)
  const waiting = [1, 2, 3].map(async (n) => {
    const release = await acquire(never)
    order.push(n)
    return release
  })
  first()
  first()
  const second = await waiting[0]
  await Promise.resolve()
  assert.deepEqual(order, [1])
  second?.()
  ;(await waiting[1])?.()
  ;(await waiting[2])?.()
  assert.deepEqual(order, [1, 2, 3])
  ;(await acquire(never))()
})

test('who gives up leaves the line and is not given a turn', async () => {
  const { acquire } = createSlots(1, 10)
  const release = await acquire(never)
  const stop = new AbortController()
  const gone = acquire(stop.signal)
  const next = acquire(never)
  stop.abort(new Error('no patience'))
  await assert.rejects(gone, /no patience/)
  await assert.rejects(acquire(stop.signal), /no patience/)
  release()
  ;(await next)()
})

test('the line is bounded', async () => {
  const { acquire } = createSlots(1, 2)
  const release = await acquire(never)
  const waiting = [acquire(never), acquire(never)]
  await assert.rejects(acquire(never), /too many/)
  release()
  for (const turn of waiting) (await turn)()
})
