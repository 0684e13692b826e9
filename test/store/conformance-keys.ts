import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { randomId } from '../../src/context.ts'
import type { Algorithm } from '../../src/core/algorithms.ts'
import type { Key } from '../../src/store/keys.ts'
import { FOREVER } from '../../src/store/promises.ts'
import { RESERVED_RINGS } from '../../src/store/rings.ts'
import { sealOwner } from '../../src/store/sealed.ts'
import type { Store } from '../../src/store/store.ts'
import type { Check } from './conformance.ts'
import { keyModelConformance } from './conformance-model.ts'
import { addRoot, aKey, aRing, change, seed } from './fixtures.ts'

const INT64_MAX = 2n ** 63n - 1n

/** Rows come back with whatever kind of byte array the driver has; what they hold is what counts. */
export function plain(key: Key | undefined): unknown {
  const bytes = (value: Uint8Array | undefined) => value && Buffer.from(value).toString('hex')
  return key && { ...key, privateSealed: bytes(key.privateSealed), mac: bytes(key.mac) }
}

const insert = (store: Store, ...keys: Key[]) =>
  store.transaction((tx) => tx.keys.apply(change({ insert: keys })))
const update = (store: Store, ...keys: Key[]) =>
  store.transaction((tx) => tx.keys.apply(change({ update: keys })))
const remove = (store: Store, ...kids: string[]) =>
  store.transaction((tx) => tx.keys.apply(change({ delete: kids })))
const insertRoot = (store: Store, key: Key) => store.transaction((tx) => addRoot(tx, key))

const retired = (key: Key): Key => ({ ...key, state: 'retired', retiredAt: 1n })

export function keyConformance(check: Check): void {
  check('a key comes back as it was written', async (store) => {
    const { root, ring } = await seed(store)
    const bare = aKey({ ringId: ring.id, rootKid: root.kid })
    const full = aKey({
      ringId: ring.id,
      rootKid: root.kid,
      alg: 'ML-DSA-65',
      state: 'retired',
      rekeying: true,
      published: false,
      origin: 'imported',
      privateSealed: Uint8Array.from({ length: 256 }, (_, i) => i),
      mac: new Uint8Array(32),
      handedOutAt: 1n,
      attestedAt: 2n,
      createdAt: INT64_MAX,
      absentUntil: 2n ** 53n + 1n,
      plannedAt: INT64_MAX - 1n,
      publishedAt: 1_700_000_000_123_456_789n,
      activatedAt: 0n,
      retiredAt: INT64_MAX,
      withdrawnAt: 2n ** 62n + 1n,
      revokedAt: INT64_MAX,
      createIndex: INT64_MAX,
      modifyIndex: 2n ** 53n + 1n,
    })
    await insert(store, bare, full)
    assert.deepEqual(plain(await store.read.keys.get(bare.kid)), plain(bare))
    assert.deepEqual(plain(await store.read.keys.get(full.kid)), plain(full))
    assert.equal(await store.read.keys.get(randomId()), undefined)

    const swapped: Key = { ...full, kid: bare.kid, thumbprint: bare.thumbprint }
    await update(store, swapped)
    assert.deepEqual(plain(await store.read.keys.get(bare.kid)), plain(swapped))
  })

  check('keys are listed by kid, of all rings or of one', async (store) => {
    const { root, ring } = await seed(store)
    const keys = Array.from({ length: 9 }, () => aKey({ ringId: ring.id, rootKid: root.kid }))
    await insert(store, ...keys)
    const kids = keys.map(({ kid }) => kid).sort()
    assert.deepEqual(
      (await store.read.keys.ofRing(ring.id)).map(({ kid }) => kid),
      kids,
    )
    assert.deepEqual(
      (await store.read.keys.list()).map(({ kid }) => kid),
      [...kids, root.kid].sort(),
    )
  })

  check(
    'a kid or a thumbprint is never used again, not even after its key is gone',
    async (store) => {
      const { root, ring } = await seed(store)
      const of = { ringId: ring.id, rootKid: root.kid }
      const key = aKey(of)
      assert.equal(await store.read.keys.wasUsed(key.kid, key.thumbprint), false)
      await insert(store, key)
      await remove(store, key.kid)
      assert.equal(await store.read.keys.get(key.kid), undefined)
      assert.equal(await store.read.keys.wasUsed(key.kid, 'other'), true)
      assert.equal(await store.read.keys.wasUsed('other', key.thumbprint), true)
      await assert.rejects(insert(store, aKey({ ...of, kid: key.kid })))
      await assert.rejects(insert(store, aKey({ ...of, thumbprint: key.thumbprint })))
      assert.deepEqual(await store.read.keys.ofRing(ring.id), [])
      await insert(store, aKey(of))
    },
  )

  check('a key is changed only while it is there', async (store) => {
    const { root, ring } = await seed(store)
    const key = aKey({ ringId: ring.id, rootKid: root.kid })
    await update(store, key)
    await remove(store, key.kid)
    assert.equal(await store.read.keys.get(key.kid), undefined)
    assert.equal(await store.read.keys.wasUsed(key.kid, key.thumbprint), false)
  })

  // One active, one standby --------------------------------------------------------------------------

  check('a ring has one active key per algorithm', async (store) => {
    const { root, ring } = await seed(store)
    const other = aRing()
    await store.transaction((tx) => tx.rings.insert(other))
    const active = (ringId: string, alg: Algorithm) =>
      aKey({ ringId, alg, rootKid: root.kid, state: 'active' })
    await insert(store, active(ring.id, 'ES256'), active(ring.id, 'RS256'))
    await insert(store, active(other.id, 'ES256'))
    await assert.rejects(insert(store, active(ring.id, 'ES256')))
    const next = aKey({ ringId: ring.id, rootKid: root.kid })
    await insert(store, next)
    await assert.rejects(update(store, { ...next, state: 'active' }))
  })

  check('a reserved ring has one active key in all', async (store) => {
    const { root } = await seed(store)
    for (const ringId of RESERVED_RINGS) {
      const active = (alg: Algorithm) => aKey({ ringId, alg, rootKid: root.kid, state: 'active' })
      if (ringId === 'default') {
        await assert.rejects(insertRoot(store, aKey({ alg: 'RS256', state: 'active' })))
        continue
      }
      await insert(store, active('ES256'))
      await assert.rejects(insert(store, active('RS256')))
    }
  })

  check('a ring has one standby per algorithm', async (store) => {
    const { root, ring } = await seed(store)
    const standby = (alg: Algorithm) =>
      aKey({ ringId: ring.id, rootKid: root.kid, alg, standby: true })
    await insert(store, standby('ES256'), standby('RS256'))
    await assert.rejects(insert(store, standby('ES256')))
  })

  check('of twenty rivals that activate a key one wins', async (store) => {
    const { root, ring } = await seed(store)
    const answers = await Promise.allSettled(
      Array.from({ length: 20 }, () =>
        insert(store, aKey({ ringId: ring.id, rootKid: root.kid, state: 'active' })),
      ),
    )
    assert.equal(answers.filter(({ status }) => status === 'fulfilled').length, 1)
    assert.equal((await store.read.keys.ofRing(ring.id)).length, 1)
  })

  check('twenty rotations at once follow each other', async (store) => {
    const { root, ring } = await seed(store)
    await Promise.all(
      Array.from({ length: 20 }, () => {
        const fresh = aKey({ ringId: ring.id, rootKid: root.kid, state: 'active' })
        return store.transaction(async (tx) => {
          const active = (await tx.keys.ofRing(ring.id)).filter(({ state }) => state === 'active')
          await tx.keys.apply(change({ insert: [fresh], update: active.map(retired) }))
        })
      }),
    )
    const states = (await store.read.keys.ofRing(ring.id)).map(({ state }) => state)
    assert.equal(states.filter((state) => state === 'active').length, 1)
    assert.equal(states.filter((state) => state === 'retired').length, 19)
  })

  check('a whole rotation is one change, in whatever order it is listed', async (store) => {
    const { root } = await seed(store)
    const order = fc.shuffledSubarray([0, 1, 2, 3], { minLength: 4, maxLength: 4 })
    await fc.assert(
      fc.asyncProperty(order, async (order) => {
        const ring = aRing()
        const of = { ringId: ring.id, rootKid: root.kid }
        const active = aKey({ ...of, state: 'active' })
        const standby = aKey({ ...of, standby: true })
        const [next, dropped] = [aKey(of), aKey(of)]
        await store.transaction((tx) => tx.rings.insert(ring))
        await insert(store, active, standby, next, dropped)
        const updates: Key[] = [
          retired(active),
          { ...standby, standby: false, state: 'active' },
          { ...next, standby: true },
          { ...dropped, state: 'revoked', published: false, privateSealed: undefined },
        ]
        await update(store, ...order.flatMap((at) => updates[at] ?? []))
        const states = new Map((await store.read.keys.ofRing(ring.id)).map((key) => [key.kid, key]))
        assert.equal(states.get(active.kid)?.state, 'retired')
        assert.equal(states.get(standby.kid)?.state, 'active')
        assert.equal(states.get(next.kid)?.standby, true)
        assert.equal(states.get(dropped.kid)?.state, 'revoked')
      }),
      { numRuns: 24 },
    )
  })

  check('a key that contradicts itself is refused', async (store) => {
    const { root, ring } = await seed(store)
    const contradictions: Partial<Key>[] = [
      { state: 'active', standby: true },
      { state: 'retired', standby: true },
      { state: 'active', rekeying: true },
      { state: 'next', rekeying: true },
      { state: 'active', published: false },
      { state: 'next', published: false },
      { state: 'active', privateSealed: undefined },
      { state: 'next', privateSealed: undefined },
      { state: 'revoked', published: true },
      { ringId: 'no-such-ring' },
      { rootKid: randomId() },
    ]
    for (const wrong of contradictions) {
      const key = aKey({ ringId: ring.id, rootKid: root.kid, ...wrong })
      await assert.rejects(insert(store, key), JSON.stringify(wrong))
      assert.equal(await store.read.keys.wasUsed(key.kid, key.thumbprint), false)
    }
  })

  // Root keys ----------------------------------------------------------------------------------------

  check('a key of default is sealed under itself and nothing else', async (store) => {
    const { root } = await seed(store)
    await assert.rejects(insert(store, aKey({ rootKid: root.kid })))
    await assert.rejects(insert(store, aKey()), 'without its root key')
    await insertRoot(store, aKey())
  })

  check('root keys come back with their wraps', async (store) => {
    const { root } = await seed(store)
    const key = aKey()
    const wrap = (providerId: string) => ({ providerId, kekId: 'k', wrapped: randomBytes(60) })
    const wraps = [wrap('aead'), wrap('vault')]
    await store.transaction(async (tx) => {
      await tx.rootKeys.insert(key.kid, wraps, 1)
      await tx.keys.apply(change({ insert: [key] }))
    })
    const rootKeys = await store.read.rootKeys.list()
    assert.deepEqual(
      rootKeys.map(({ kid }) => kid),
      [root.kid, key.kid].sort(),
    )
    const found = rootKeys.find(({ kid }) => kid === key.kid)?.wraps ?? []
    assert.deepEqual(
      found.map((each) => ({ ...each, wrapped: Buffer.from(each.wrapped) })),
      wraps,
    )
  })

  check(
    'a root key that seals something stays, and nothing of it is half deleted',
    async (store) => {
      const { root } = await seed(store)
      const sealed = aKey({ ringId: 'access', rootKid: root.kid, state: 'active' })
      await insert(store, sealed)
      const before = [await store.read.keys.list(), await store.read.rootKeys.list()]
      await assert.rejects(remove(store, root.kid))
      await assert.rejects(store.grouped((tx) => tx.keys.apply(change({ delete: [root.kid] }))))
      assert.deepEqual([await store.read.keys.list(), await store.read.rootKeys.list()], before)
      await remove(store, sealed.kid)
      await remove(store, root.kid)
      assert.deepEqual([await store.read.keys.list(), await store.read.rootKeys.list()], [[], []])
    },
  )

  check('its own seal does not keep a root key', async (store) => {
    const { root } = await seed(store)
    assert.deepEqual(await store.read.sealed.counts(undefined), new Map([[root.kid, 0]]))
    const { state } = (await store.read.keys.get(root.kid)) ?? {}
    const active = state === 'active' ? root.kid : undefined
    assert.equal(await store.read.keys.activeKid('default'), active)
    assert.deepEqual(await store.read.sealed.under(root.kid, 10), [])
    await remove(store, root.kid)
    assert.deepEqual(await store.read.rootKeys.list(), [])
  })

  check('what a root key seals is found, and sealed anew only as it was read', async (store) => {
    const { root } = await seed(store)
    const newer = aKey()
    await insertRoot(store, newer)
    const keys = ['access', 'audit'].map((ringId) => aKey({ ringId, rootKid: root.kid }))
    await insert(store, ...keys)
    const counts = async () => {
      const found = await store.read.sealed.counts(undefined)
      return [found.get(root.kid), found.get(newer.kid)]
    }
    assert.deepEqual(await counts(), [2, 0])
    assert.deepEqual(await store.read.sealed.counts(root.kid), new Map([[newer.kid, 0]]))
    assert.equal((await store.read.sealed.under(root.kid, 1)).length, 1)
    const rows = await store.read.sealed.under(root.kid, 10)
    const [row] = rows
    const [first] = [...keys].sort((a, b) => (a.kid < b.kid ? -1 : 1))
    assert.ok(row && first?.privateSealed && rows.length === 2)
    const { values, ...rest } = row
    assert.deepEqual(rest, {
      table: 'keys',
      id: first.kid,
      owner: sealOwner(first.ringId),
      rootKid: root.kid,
    })
    assert.deepEqual(Buffer.from(values.private_sealed ?? []), Buffer.from(first.privateSealed))

    const anew = { private_sealed: randomBytes(80) }
    const replace = (as: typeof row) =>
      store.transaction((tx) => tx.sealed.replace(as, newer.kid, anew))
    const changed = { ...row, values: { private_sealed: randomBytes(80) } }
    assert.equal(await replace(changed), false)
    assert.equal(await replace({ ...row, rootKid: newer.kid }), false)
    assert.equal(await replace({ ...row, values: {} }), false)
    assert.equal(await replace(row), true)
    assert.equal(await replace(row), false)
    const now = await store.read.keys.get(first.kid)
    assert.equal(now?.rootKid, newer.kid)
    assert.deepEqual(Buffer.from(now.privateSealed ?? []), anew.private_sealed)
    assert.deepEqual(await counts(), [1, 1])
  })

  // Promises -----------------------------------------------------------------------------------------

  check('a promise rises and never falls', async (store) => {
    const { root } = await seed(store)
    const raise = (until: bigint) => store.transaction((tx) => tx.promises.raise(root.kid, until))
    assert.equal(await store.read.promises.get(root.kid), undefined)
    for (const [until, expected] of [
      [100n, 100n],
      [50n, 100n],
      [100n, 100n],
      [101n, 101n],
      [FOREVER, FOREVER],
      [1n, FOREVER],
    ] as const) {
      assert.equal(await raise(until), true)
      assert.equal(await store.read.promises.get(root.kid), expected)
    }
    assert.deepEqual(await store.read.promises.list(), new Map([[root.kid, FOREVER]]))
  })

  check('only an active key promises', async (store) => {
    const { root, ring } = await seed(store)
    const of = { ringId: ring.id, rootKid: root.kid }
    const keys = (['next', 'retired', 'revoked'] as const).map((state) => aKey({ ...of, state }))
    const active = aKey({ ...of, state: 'active' })
    await insert(store, ...keys, active)
    const raise = (kid: string, until: bigint) =>
      store.grouped((tx) => tx.promises.raise(kid, until))
    for (const { kid } of keys) assert.equal(await raise(kid, 1n), false)
    assert.equal(await raise(randomId(), 1n), false)
    assert.equal(await raise(active.kid, 1n), true)
    await update(store, retired(active))
    assert.equal(await raise(active.kid, 2n), false)
    assert.deepEqual(await store.read.promises.list(), new Map([[active.kid, 1n]]))
    await remove(store, active.kid)
    assert.deepEqual(await store.read.promises.list(), new Map())
  })

  check('a promise races a retirement and is either kept or refused', async (store) => {
    const { root, ring } = await seed(store)
    const active = aKey({ ringId: ring.id, rootKid: root.kid, state: 'active' })
    await insert(store, active)
    const untils = Array.from({ length: 40 }, (_, i) => BigInt((i * 17) % 41))
    const raised: bigint[] = []
    await Promise.all(
      untils.map(async (until, i) => {
        const work = i % 2 ? store.grouped.bind(store) : store.transaction.bind(store)
        if (i === 25) await update(store, retired(active))
        if (await work((tx) => tx.promises.raise(active.kid, until))) raised.push(until)
      }),
    )
    const highest = raised.toSorted((a, b) => Number(b - a))[0]
    assert.equal(await store.read.promises.get(active.kid), highest)
    assert.ok(raised.length < untils.length)
  })

  keyModelConformance(check)
}
