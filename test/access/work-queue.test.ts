import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createWorkQueue } from '../../src/access/work-queue.ts'
import { isProblem } from '../../src/errors.ts'

/** Work that a test ends. */
function work() {
  const begun: (() => void)[] = []
  return {
    begun,
    one: () => new Promise<void>((resolve) => begun.push(resolve)),
  }
}

const settled = () => new Promise((resolve) => setImmediate(resolve))
const isOverloaded = (error: unknown) => isProblem(error, 'overloaded')

test('so many run, so many wait in their order, and the next is refused at once', async () => {
  const queue = createWorkQueue({ atOnce: 2, waiting: 2, perCaller: 9 })
  const { begun, one } = work()
  const order: number[] = []
  const all = [0, 1, 2, 3].map((n) => queue('a', one).then(() => order.push(n)))
  await settled()
  assert.equal(begun.length, 2)
  await assert.rejects(queue('b', one), isOverloaded)
  begun[0]?.()
  await settled()
  assert.equal(begun.length, 3, 'the first that waited')
  const late = queue('b', one)
  for (let n = 1; n < 5; n++) {
    await settled()
    begun[n]?.()
  }
  await Promise.all([...all, late])
  assert.deepEqual(order, [0, 1, 2, 3])
})

test('one caller cannot fill the queue of all', async () => {
  const queue = createWorkQueue({ atOnce: 1, waiting: 10, perCaller: 2 })
  const { begun, one } = work()
  const first = [queue('a', one), queue('a', one)]
  await assert.rejects(queue('a', one), isOverloaded)
  const other = queue('b', one)
  for (let n = 0; n < 3; n++) {
    await settled()
    begun[n]?.()
  }
  await Promise.all([...first, other])
  await assert.doesNotReject(
    queue('a', async () => 1),
    'who has left may come again',
  )
})

test('work that fails gives its turn back', async () => {
  const queue = createWorkQueue({ atOnce: 1, waiting: 1, perCaller: 9 })
  const fail = () => queue('a', () => Promise.reject(new Error('on purpose')))
  const throwing = () =>
    queue('a', () => {
      throw new Error('at once')
    })
  for (let n = 0; n < 3; n++) {
    await assert.rejects(fail(), /on purpose/)
    await assert.rejects(throwing(), /at once/)
  }
  assert.equal(await queue('a', async () => 'done'), 'done')
})
