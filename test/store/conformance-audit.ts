import assert from 'node:assert/strict'
import { chainHash } from '../../src/store/audit.ts'
import type { Store, Tx } from '../../src/store/store.ts'
import type { Check } from './conformance.ts'
import { START } from './fixtures.ts'

const GENESIS = Buffer.alloc(32)

const note = (tx: Tx, subject: string, detail?: Record<string, unknown>) =>
  tx.audit.append({
    type: 'key.rotated',
    subject,
    principal: 'token:ci',
    ...(detail && { detail }),
  })

/** Reads a writer's whole chain, asserts that every link holds, and gives its subjects. */
async function verifiedChain(store: Store): Promise<string[]> {
  const rows = await store.read.audit.list(0n, 1000)
  let previous: Uint8Array = GENESIS
  for (const [index, row] of rows.entries()) {
    assert.equal(row.seq, BigInt(index + 1))
    assert.deepEqual(Buffer.from(row.previous_hash), Buffer.from(previous))
    const { writer, seq, at, type, subject, principal, detail } = row
    const fields = [writer, seq, at, type, subject, principal, detail]
    assert.deepEqual(Buffer.from(row.hash), Buffer.from(chainHash(previous, fields)))
    previous = row.hash
  }
  const head = await store.read.audit.head()
  assert.deepEqual(head && Buffer.from(head.hash), rows.length ? Buffer.from(previous) : undefined)
  return rows.map(({ subject }) => subject)
}

export function auditConformance(check: Check): void {
  check('an audit record keeps what happened, when, and by whom', async (store) => {
    const detail = {
      kid: 'k',
      odd: ['"', '\\', '\n', 'ß', '鍵', '🔑', ''],
      deep: { n: 1.5, no: null },
    }
    const event = await store.transaction((tx) => note(tx, 'ring:default', detail))
    const [row] = await store.read.audit.list(0n, 10)
    assert.ok(row)
    assert.equal(row.writer, 'writer-1')
    assert.equal(row.at, START / 1_000_000n)
    assert.equal(row.type, 'key.rotated')
    assert.equal(row.subject, 'ring:default')
    assert.equal(row.principal, 'token:ci')
    assert.deepEqual(JSON.parse(row.detail), detail)
    assert.deepEqual(event, {
      writer: 'writer-1',
      seq: 1n,
      at: Number(START / 1_000_000n),
      type: 'key.rotated',
      subject: 'ring:default',
      principal: 'token:ci',
      detail,
      hash: row.hash,
    })
  })

  check(
    'audit records are links of one chain, and failed work leaves no gap',
    async (store, world) => {
      assert.deepEqual(await verifiedChain(store), [])
      const work = Array.from({ length: 30 }, (_, i) => async (tx: Tx) => {
        await note(tx, `${i}`, { i })
        world.advance(1_000_000n)
        if (i % 5 === 0) throw new Error('on purpose')
      })
      await Promise.allSettled(
        work.map((each, i) => (i % 2 ? store.grouped(each) : store.transaction(each))),
      )
      const kept = Array.from({ length: 30 }, (_, i) => i).filter((i) => i % 5 !== 0)
      const chain = await verifiedChain(store)
      assert.deepEqual(
        chain.map(Number).sort((a, b) => a - b),
        kept,
      )
    },
  )

  check('audit records can be read page by page', async (store) => {
    await store.transaction(async (tx) => {
      for (let i = 1; i <= 7; i++) await note(tx, `${i}`)
    })
    const page = await store.read.audit.list(2n, 3)
    assert.deepEqual(
      page.map(({ seq }) => seq),
      [3n, 4n, 5n],
    )
    assert.equal((await store.read.audit.head())?.seq, 7n)
  })

  check(
    'the audit chain goes on after the store was closed',
    async (store, _world, reopen) => {
      await store.transaction((tx) => note(tx, 'before'))
      await store.close()
      const again = await reopen()
      await again.transaction((tx) => note(tx, 'after'))
      assert.deepEqual(await verifiedChain(again), ['before', 'after'])
    },
    { keepsData: true },
  )

  check(
    'every writer has an audit chain of its own',
    async (store, _world, reopen) => {
      await store.transaction((tx) => note(tx, 'mine'))
      await store.close()
      const other = await reopen({ writer: 'writer-2' })
      await other.transaction((tx) => note(tx, 'theirs'))
      assert.deepEqual(await verifiedChain(other), ['theirs'])
      await other.close()
      assert.deepEqual(await verifiedChain(await reopen()), ['mine'])
    },
    { keepsData: true },
  )
}
