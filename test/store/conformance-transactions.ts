import assert from 'node:assert/strict'
import type { AuditEvent } from '../../src/store/audit.ts'
import type { Store, Tx } from '../../src/store/store.ts'
import type { Check } from './conformance.ts'
import { aKey, change, seed } from './fixtures.ts'

const times = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => make(index))

const note = (tx: Tx, subject: string) =>
  tx.audit.append({ type: 'thing.changed', subject, principal: 'token:ci' })

const subjects = (events: readonly AuditEvent[]) => events.map(({ subject }) => subject)

/** Everything that is told, one entry per call. */
function listen(store: Store): string[][] {
  const told: string[][] = []
  store.onCommit((events) => void told.push(subjects(events)))
  return told
}

const turnOfTheLoop = () => new Promise((resolve) => setImmediate(resolve))

/** Fails at once, with calls under way that would write later: several, and one of several statements. */
function failWithLeftovers(ringId: string, rootKid: string) {
  return async (tx: Tx): Promise<never> => {
    const insert = times(5, () => aKey({ ringId, rootKid }))
    tx.keys.apply(change({ insert })).catch(() => {})
    const leftover = async () => {
      for (let step = 0; step < 200; step++) await tx.counters.next('leftover')
    }
    for (let i = 0; i < 3; i++) leftover().catch(() => {})
    await tx.installation.get()
    throw new Error('failed early')
  }
}

/** Fails where a deferred constraint is checked: a root key without its key. */
const failAtCommit = (tx: Tx) => tx.rootKeys.insert('key-that-never-comes', [], 0)

export function transactionConformance(check: Check): void {
  check('a transaction gives what its work gave, and keeps all of it', async (store) => {
    const answer = await store.transaction(async (tx) => {
      await tx.settings.set('a', 1)
      await tx.settings.set('b', 2)
      return tx.settings.get('a')
    })
    assert.equal(answer, 1)
    assert.equal(await store.read.settings.get('b'), 2)
  })

  check('a transaction that fails changes nothing and fails with the same error', async (store) => {
    const failure = new Error('on purpose')
    const work = store.transaction(async (tx) => {
      await tx.settings.set('a', 1)
      await tx.counters.next('n')
      throw failure
    })
    await assert.rejects(work, (error) => error === failure)
    assert.equal(await store.read.settings.get('a'), undefined)
    assert.equal(await store.read.counters.get('n'), 0n)
  })

  check('a refused statement undoes what came before it', async (store) => {
    const { root } = await seed(store)
    const work = store.transaction(async (tx) => {
      await tx.settings.set('a', 1)
      await tx.keys.apply(change({ insert: [aKey({ kid: root.kid })] }))
    })
    await assert.rejects(work)
    assert.equal(await store.read.settings.get('a'), undefined)
  })

  check('a commit that is refused changes nothing, and the next one works', async (store) => {
    const told = listen(store)
    const work = store.transaction(async (tx) => {
      await tx.settings.set('a', 1)
      await note(tx, 'never')
      await failAtCommit(tx)
    })
    await assert.rejects(work)
    assert.deepEqual(await store.read.rootKeys.list(), [])
    assert.equal(await store.read.settings.get('a'), undefined)
    await store.transaction((tx) => tx.settings.set('a', 2))
    assert.equal(await store.read.settings.get('a'), 2)
    assert.deepEqual(told, [])
  })

  check('fifty transactions that add one each add fifty', async (store) => {
    await Promise.all(
      times(50, () =>
        store.transaction(async (tx) => {
          const before = Number((await tx.settings.get('n')) ?? 0)
          await tx.settings.set('n', before + 1)
        }),
      ),
    )
    assert.equal(await store.read.settings.get('n'), 50)
  })

  check('a read beside a transaction sees all of it or nothing', async (store) => {
    const [half, rest] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const seen = async () => [
      await store.read.counters.get('first'),
      await store.read.counters.get('second'),
    ]
    const work = store.transaction(async (tx) => {
      await tx.counters.next('first')
      half.resolve()
      await rest.promise
      await tx.counters.next('second')
    })
    await half.promise
    const early = store.read.counters.get('first')
    setImmediate(rest.resolve)
    const first = await early
    const second = await store.read.counters.get('second')
    await work
    // Read in this order, the second can be newer than the first and never older.
    assert.ok(first <= second, `${first} and ${second}`)
    assert.deepEqual(await seen(), [1n, 1n])
  })

  check('a read never sees what was rolled back', async (store) => {
    const half = Promise.withResolvers<void>()
    const work = store.transaction(async (tx) => {
      await tx.counters.next('n')
      half.resolve()
      await turnOfTheLoop()
      throw new Error('on purpose')
    })
    const refused = assert.rejects(work)
    await half.promise
    assert.equal(await store.read.counters.get('n'), 0n)
    await refused
  })

  check('what is written outside a transaction is refused', async (store) => {
    const { root } = await seed(store)
    await assert.rejects(store.read.settings.set('a', 1))
    await assert.rejects(store.read.counters.next('n'))
    await assert.rejects(store.read.promises.raise(root.kid, 1n))
    await assert.rejects(store.read.keys.apply(change({ delete: [root.kid] })))
    // What is compiled once is no way around it, whoever ran it first.
    const event = { type: 'test.made', subject: 's', principal: 'p' }
    await store.transaction(async (tx) => {
      await tx.audit.append(event)
      await tx.accessTokens.consumeUse('nobody')
    })
    await assert.rejects(store.read.audit.append(event), /outside a transaction/)
    await assert.rejects(store.read.accessTokens.consumeUse('nobody'), /outside a transaction/)
    assert.equal(await store.read.jwtAuth.versionOf('nobody'), undefined)
    assert.equal(await store.read.settings.get('a'), undefined)
    assert.equal(await store.read.counters.get('n'), 0n)
    assert.equal(await store.read.promises.get(root.kid), undefined)
    assert.equal((await store.read.keys.list()).length, 1)
  })

  check('calls that failed work left behind write nothing', async (store) => {
    const { root, ring } = await seed(store)
    await assert.rejects(store.transaction(failWithLeftovers(ring.id, root.kid)), /failed early/)
    await store.transaction((tx) => tx.settings.set('a', 1))
    assert.equal(await store.read.counters.get('leftover'), 0n)
    assert.deepEqual(await store.read.keys.ofRing(ring.id), [])
  })

  check('a transaction is over when its work is', async (store) => {
    const [kept] = await store.transaction(async (tx) => [tx])
    assert.ok(kept)
    await assert.rejects(kept.counters.next('n'))
    const [grouped] = await store.grouped(async (tx) => [tx])
    assert.ok(grouped)
    await assert.rejects(grouped.counters.next('n'))
    assert.equal(await store.read.counters.get('n'), 0n)
  })

  check(
    'close waits for what was begun, refuses what comes later, may be repeated',
    async (store) => {
      const begun = [
        store.transaction((tx) => tx.counters.next('n')),
        store.grouped((tx) => tx.counters.next('n')),
        store.read.counters.get('m'),
      ]
      const closed = store.close()
      assert.deepEqual(await Promise.all(begun), [1n, 2n, 0n])
      await closed
      await store.close()
      await assert.rejects(store.transaction((tx) => tx.counters.next('n')))
      await assert.rejects(store.grouped((tx) => tx.counters.next('n')))
      await assert.rejects(store.read.counters.get('n'))
    },
  )

  for (const first of [true, false]) {
    check(
      `close waits for slow work, ${first ? 'the first' : 'not the first'} of all`,
      async (store) => {
        if (!first) await store.read.counters.get('n')
        const slow = store.transaction(async (tx) => {
          for (let i = 0; i < 5; i++) await turnOfTheLoop()
          return tx.counters.next('n')
        })
        const read = store.read.counters.get('n')
        const closed = store.close()
        assert.equal(await slow, 1n)
        assert.equal(await read, 1n)
        await closed
      },
    )
  }

  // Events -------------------------------------------------------------------------------------------

  check('events are told once, together, after the commit', async (store) => {
    const told = listen(store)
    await store.transaction(async (tx) => {
      await note(tx, 'one')
      await note(tx, 'two')
      assert.deepEqual(told, [])
    })
    assert.deepEqual(told, [['one', 'two']])
  })

  check('a listener is told what was recorded and can read it', async (store) => {
    const heard = Promise.withResolvers<[readonly AuditEvent[], Promise<unknown>]>()
    store.onCommit((events) => heard.resolve([events, store.read.settings.get('a')]))
    const recorded = await store.transaction(async (tx) => {
      await tx.settings.set('a', 1)
      return tx.audit.append({
        type: 'key.rotated',
        subject: 'ring:default',
        principal: 'token:ci',
        detail: { kid: 'k' },
      })
    })
    const [events, read] = await heard.promise
    assert.deepEqual(events, [recorded])
    assert.equal(await read, 1)
  })

  check('rolled back work tells nothing, and neither does work without events', async (store) => {
    const told = listen(store)
    const work = store.transaction(async (tx) => {
      await note(tx, 'never')
      throw new Error('on purpose')
    })
    await assert.rejects(work)
    await store.transaction((tx) => tx.settings.set('a', 1))
    await store.transaction((tx) => note(tx, 'after'))
    assert.deepEqual(told, [['after']])
  })

  check('events are told in the order of the chain', async (store) => {
    const seqs: bigint[] = []
    store.onCommit((events) => void seqs.push(...events.map(({ seq }) => seq)))
    await Promise.all(
      times(60, (i) => {
        const work = async (tx: Tx) => {
          for (let n = 0; n <= i % 3; n++) await note(tx, `${i}`)
        }
        return i % 4 === 0 ? store.grouped(work) : store.transaction(work)
      }),
    )
    assert.deepEqual(
      seqs,
      times(120, (i) => BigInt(i + 1)),
    )
  })

  check('a listener that fails harms neither the caller nor the others', async (store, world) => {
    const failure = new Error('listener')
    store.onCommit(() => {
      throw failure
    })
    const told = listen(store)
    await store.transaction((tx) => note(tx, 'one'))
    await store.grouped((tx) => note(tx, 'two'))
    assert.deepEqual(told, [['one'], ['two']])
    assert.deepEqual(world.listenerErrors, [failure, failure])
  })

  check('a listener may write, and is told of that too', async (store) => {
    const told = listen(store)
    const done = Promise.withResolvers<unknown>()
    store.onCommit(([event]) => {
      if (event?.subject === 'one') done.resolve(store.transaction((tx) => note(tx, 'two')))
    })
    await store.transaction((tx) => note(tx, 'one'))
    await done.promise
    assert.deepEqual(told, [['one'], ['two']])
  })

  check('a listener that was taken away hears nothing more', async (store) => {
    const told: string[] = []
    const stop = store.onCommit((events) => void told.push(...subjects(events)))
    await store.transaction((tx) => note(tx, 'one'))
    stop()
    await store.transaction((tx) => note(tx, 'two'))
    assert.deepEqual(told, ['one'])
  })

  // Grouped ------------------------------------------------------------------------------------------

  check('grouped callers that arrive together share one commit, in their order', async (store) => {
    const told = listen(store)
    const answers = await Promise.all(
      times(100, (i) =>
        store.grouped(async (tx) => {
          await note(tx, `${i}`)
          return tx.counters.next('n')
        }),
      ),
    )
    assert.deepEqual(
      answers,
      times(100, (i) => BigInt(i + 1)),
    )
    assert.deepEqual(told, [times(100, String)])
  })

  check('a grouped caller is answered after its events were told', async (store) => {
    const order: string[] = []
    store.onCommit(() => void order.push('told'))
    await store.grouped((tx) => note(tx, 'one')).then(() => order.push('answered'))
    assert.deepEqual(order, ['told', 'answered'])
  })

  check('a grouped caller that fails takes back its own work only', async (store) => {
    const told = listen(store)
    const answers = await Promise.allSettled(
      times(30, (i) =>
        store.grouped(async (tx) => {
          await tx.settings.set(`caller-${i}`, i)
          await note(tx, `${i}`)
          await tx.counters.next('n')
          if (i % 3 === 0) throw new Error(`caller ${i}`)
          return i
        }),
      ),
    )
    for (const [i, answer] of answers.entries()) {
      const failed = i % 3 === 0
      assert.equal(answer.status, failed ? 'rejected' : 'fulfilled')
      if (answer.status === 'rejected') assert.match(String(answer.reason), RegExp(`caller ${i}$`))
      else assert.equal(answer.value, i)
      assert.equal(await store.read.settings.get(`caller-${i}`), failed ? undefined : i)
    }
    assert.equal(await store.read.counters.get('n'), 20n)
    assert.deepEqual(
      told.flat(),
      times(30, (i) => i)
        .filter((i) => i % 3 !== 0)
        .map(String),
    )
  })

  check('a grouped caller that a constraint refuses fails alone', async (store) => {
    const { root, ring } = await seed(store)
    const key = aKey({ ringId: ring.id, rootKid: root.kid })
    const insert = (tx: Tx) => tx.keys.apply(change({ insert: [key] }))
    const answers = await Promise.allSettled([
      store.grouped((tx) => tx.counters.next('n')),
      store.grouped(insert),
      store.grouped(insert),
      store.grouped((tx) => tx.counters.next('n')),
    ])
    const statuses = answers.map(({ status }) => status)
    assert.deepEqual(statuses, ['fulfilled', 'fulfilled', 'rejected', 'fulfilled'])
    assert.equal(await store.read.counters.get('n'), 2n)
  })

  check('a grouped caller that would fail the commit fails alone', async (store) => {
    const told = listen(store)
    const answers = await Promise.allSettled([
      store.grouped((tx) => tx.counters.next('n')),
      store.grouped(async (tx) => {
        await note(tx, 'never')
        await failAtCommit(tx)
      }),
      store.grouped(async (tx) => {
        await note(tx, 'kept')
        return tx.counters.next('n')
      }),
    ])
    const statuses = answers.map(({ status }) => status)
    assert.deepEqual(statuses, ['fulfilled', 'rejected', 'fulfilled'])
    assert.equal(await store.read.counters.get('n'), 2n)
    assert.deepEqual(await store.read.rootKeys.list(), [])
    assert.deepEqual(told, [['kept']])
  })

  check('calls that a failed grouped caller left behind write nothing', async (store) => {
    const { root, ring } = await seed(store)
    const answers = await Promise.allSettled([
      store.grouped(failWithLeftovers(ring.id, root.kid)),
      ...times(40, () => store.grouped((tx) => tx.counters.next('n'))),
    ])
    assert.equal(answers.filter(({ status }) => status === 'rejected').length, 1)
    assert.equal(await store.read.counters.get('leftover'), 0n)
    assert.deepEqual(await store.read.keys.ofRing(ring.id), [])
    assert.equal(await store.read.counters.get('n'), 40n)
  })

  check('grouped work waits for a running transaction', async (store) => {
    const [begun, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const slow = store.transaction(async (tx) => {
      const before = Number((await tx.settings.get('n')) ?? 0)
      begun.resolve()
      await go.promise
      await tx.settings.set('n', before + 1)
    })
    await begun.promise
    const grouped = times(10, () =>
      store.grouped(async (tx) =>
        tx.settings.set('n', Number((await tx.settings.get('n')) ?? 0) + 1),
      ),
    )
    setImmediate(go.resolve)
    await Promise.all([slow, ...grouped])
    assert.equal(await store.read.settings.get('n'), 11)
  })

  check('grouped work goes on after a group that failed as a whole', async (store) => {
    await assert.rejects(store.grouped(failAtCommit))
    assert.equal(await store.grouped((tx) => tx.counters.next('n')), 1n)
    const later = store.grouped((tx) => tx.counters.next('n'))
    assert.equal(await later, 2n)
  })

  check('more grouped callers than fit one commit are all answered', async (store) => {
    const answers = await Promise.all(
      times(1300, () => store.grouped((tx) => tx.counters.next('n'))),
    )
    assert.deepEqual(
      answers,
      times(1300, (i) => BigInt(i + 1)),
    )
  })
}
