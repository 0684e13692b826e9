import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { randomId } from '../../src/context.ts'
import type { ApiTokenRow } from '../../src/store/access.ts'
import type { ProfileRow } from '../../src/store/profiles.ts'
import { RESERVED_RINGS, type Ring } from '../../src/store/rings.ts'
import type { Store } from '../../src/store/store.ts'
import { SECOND } from '../../src/time.ts'
import type { Check } from './conformance.ts'
import { aKey, anApiToken, aRing, change, seed } from './fixtures.ts'

const insertRing = (store: Store, ring: Ring) => store.transaction((tx) => tx.rings.insert(ring))
const insertToken = (store: Store, token: ApiTokenRow) =>
  store.transaction((tx) => tx.apiTokens.insert(token))

const aProfile = (ringId: string, over: Partial<ProfileRow> = {}): ProfileRow => ({
  id: randomId(),
  ringId,
  name: 'ci',
  policy: { maxTtl: 3600 },
  createdAt: 1,
  updatedAt: 1,
  ...over,
})

/** Grants in an order of our own: a backend may give them in any. */
const comparable = (token: ApiTokenRow | undefined) =>
  token && {
    ...token,
    tokenHash: Buffer.from(token.tokenHash).toString('hex'),
    grants: token.grants.map((grant) => JSON.stringify(grant)).sort(),
  }

export function rowConformance(check: Check): void {
  check('an installation has one id, for good', async (store) => {
    assert.equal(await store.read.installation.get(), undefined)
    await store.transaction((tx) => tx.installation.create('first'))
    await assert.rejects(store.transaction((tx) => tx.installation.create('second')))
    assert.equal(await store.read.installation.get(), 'first')
  })

  check('a setting keeps any JSON value', async (store) => {
    assert.equal(await store.read.settings.get('a'), undefined)
    await fc.assert(
      fc.asyncProperty(fc.string(), fc.jsonValue(), async (name, value) => {
        await store.transaction((tx) => tx.settings.set('a', { name, value }))
        const expected: unknown = JSON.parse(JSON.stringify({ name, value }))
        assert.deepEqual(await store.read.settings.get('a'), expected)
      }),
      { numRuns: 50 },
    )
  })

  check('a counter moves by one, for everybody, and not for failed work', async (store) => {
    const next = () => store.transaction((tx) => tx.counters.next('n'))
    const values = await Promise.all(Array.from({ length: 50 }, next))
    assert.deepEqual(
      values.sort((a, b) => Number(a - b)),
      Array.from({ length: 50 }, (_, i) => BigInt(i + 1)),
    )
    const failing = store.transaction(async (tx) => {
      await tx.counters.next('n')
      throw new Error('on purpose')
    })
    await assert.rejects(failing)
    assert.equal(await store.read.counters.get('n'), 50n)
    assert.equal(await next(), 51n)
    assert.equal(await store.read.counters.get('other'), 0n)
  })

  check(
    'a lease has one holder until it ends, and its epoch tells holders apart',
    async (store, world) => {
      const acquire = (holder: string, name = 'timer') =>
        store.transaction((tx) => tx.leases.acquire(name, holder, 30_000))
      assert.equal(await acquire('a'), 1n)
      assert.equal(await acquire('b'), undefined)
      assert.equal(await acquire('b', 'another'), 1n)
      world.advance(20n * SECOND)
      assert.equal(await acquire('a'), 1n)
      world.advance(29n * SECOND)
      assert.equal(await acquire('b'), undefined)
      world.advance(1n * SECOND)
      assert.equal(await acquire('b'), 2n)
      assert.equal(await acquire('a'), undefined)
      world.advance(31n * SECOND)
      assert.equal(await acquire('a'), 3n)
    },
  )

  check('a lease can be given back by its holder only', async (store) => {
    const acquire = (holder: string) =>
      store.transaction((tx) => tx.leases.acquire('timer', holder, 30_000))
    const release = (holder: string) =>
      store.transaction((tx) => tx.leases.release('timer', holder))
    await acquire('a')
    await release('b')
    assert.equal(await acquire('b'), undefined)
    await release('a')
    assert.equal(await acquire('b'), 2n)
  })

  check('of ten that want a lease at once one gets it', async (store) => {
    const epochs = await Promise.all(
      Array.from({ length: 10 }, (_, i) =>
        store.transaction((tx) => tx.leases.acquire('timer', `holder-${i}`, 30_000)),
      ),
    )
    assert.deepEqual(
      epochs.filter((epoch) => epoch !== undefined),
      [1n],
    )
  })

  // Rings and profiles -------------------------------------------------------------------------------

  check('a ring comes back as it was written', async (store) => {
    const bare = aRing({ name: 'b' })
    const full = aRing({
      name: 'a',
      algorithms: ['RS256', 'ML-DSA-87'],
      rotationThreshold: 2n ** 62n + 1n,
      maxTokenTtl: 0,
      jwksMaxAge: 2 ** 40,
      issuer: 'https://issuer.example/a',
      exportable: true,
    })
    await insertRing(store, bare)
    await insertRing(store, full)
    assert.deepEqual(await store.read.rings.list(), [full, bare])
    assert.deepEqual(await store.read.rings.byName('b'), bare)
    assert.equal(await store.read.rings.byName('c'), undefined)
    await store.transaction((tx) => tx.rings.setAlgorithms(bare.id, ['EdDSA', 'ES512']))
    assert.deepEqual(await store.read.rings.byName('b'), {
      ...bare,
      algorithms: ['EdDSA', 'ES512'],
    })
    assert.deepEqual(await store.read.rings.byName('a'), full)
  })

  check('ids, names and issuers of rings are taken once', async (store) => {
    const issuer = 'https://issuer.example/'
    const ring = aRing({ issuer })
    await insertRing(store, ring)
    await assert.rejects(insertRing(store, aRing({ id: ring.id })))
    await assert.rejects(insertRing(store, aRing({ name: ring.name })))
    await assert.rejects(insertRing(store, aRing({ issuer })))
    await insertRing(store, aRing())
    await insertRing(store, aRing())
  })

  check(
    'the reserved rings are these three, without an issuer, not for export, for good',
    async (store) => {
      await assert.rejects(insertRing(store, aRing({ reserved: true })))
      for (const name of RESERVED_RINGS) {
        const ring = aRing({ id: name, name, reserved: true })
        await assert.rejects(insertRing(store, { ...ring, reserved: false }))
        await assert.rejects(insertRing(store, { ...ring, name: 'other' }))
        await assert.rejects(insertRing(store, { ...ring, issuer: 'https://issuer.example/' }))
        await assert.rejects(insertRing(store, { ...ring, exportable: true }))
        await insertRing(store, ring)
        await assert.rejects(store.transaction((tx) => tx.rings.delete(name)))
        assert.deepEqual(await store.read.rings.byName(name), ring)
      }
    },
  )

  check('a ring goes with its profiles, but not while it has keys', async (store) => {
    const { root, ring } = await seed(store)
    const key = aKey({ ringId: ring.id, rootKid: root.kid })
    await store.transaction(async (tx) => {
      await tx.profiles.put(aProfile(ring.id))
      await tx.keys.apply(change({ insert: [key] }))
    })
    const remove = () => store.transaction((tx) => tx.rings.delete(ring.id))
    await assert.rejects(remove())
    assert.equal((await store.read.profiles.ofRing(ring.id)).length, 1)
    await store.transaction((tx) => tx.keys.apply(change({ delete: [key.kid] })))
    assert.equal(await remove(), true)
    assert.equal(await remove(), false)
    assert.deepEqual(await store.read.profiles.ofRing(ring.id), [])
  })

  check('a profile put again keeps its id, its creation and its grants', async (store) => {
    const { ring } = await seed(store)
    const [first, second] = [aProfile(ring.id), aProfile(ring.id, { name: 'another' })]
    const put = (profile: ProfileRow) => store.transaction((tx) => tx.profiles.put(profile))
    await put(first)
    await put(second)
    const grants = [{ capability: 'sign', profileId: first.id }]
    const token = anApiToken({ grants })
    await insertToken(store, token)
    await put(aProfile(ring.id, { policy: ['other'], createdAt: 9, updatedAt: 9 }))
    const expected = { ...first, policy: ['other'], updatedAt: 9 }
    assert.deepEqual(await store.read.profiles.get(ring.id, 'ci'), expected)
    assert.deepEqual(await store.read.profiles.ofRing(ring.id), [second, expected])
    assert.deepEqual((await store.read.apiTokens.byName(token.name))?.grants, grants)
    assert.equal(await store.read.profiles.get('other-ring', 'ci'), undefined)
    const remove = () => store.transaction((tx) => tx.profiles.delete(ring.id, 'ci'))
    assert.equal(await remove(), true)
    assert.equal(await remove(), false)
    assert.deepEqual(await store.read.profiles.ofRing(ring.id), [second])
  })

  // Access -------------------------------------------------------------------------------------------

  check('an API token comes back as it was written', async (store) => {
    const { ring } = await seed(store)
    const profile = aProfile(ring.id)
    await store.transaction(async (tx) => {
      await tx.tenants.insert('t1', 'root', null, 1)
      await tx.profiles.put(profile)
    })
    const bare = anApiToken({ name: 'b' })
    const full = anApiToken({
      name: 'a',
      role: 'operator',
      tenantId: 't1',
      expiresAt: 1_800_000_000_000,
      grants: [
        { capability: 'keyring-list' },
        { capability: 'keyring-list', ringId: ring.id },
        { capability: 'sign', ringId: ring.id },
        { capability: 'sign', profileId: profile.id },
      ],
    })
    await insertToken(store, bare)
    await insertToken(store, full)
    const listed = (await store.read.apiTokens.list()).map(comparable)
    assert.deepEqual(listed, [full, bare].map(comparable))
    const byHash = await store.read.apiTokens.byHash(Uint8Array.from(full.tokenHash))
    assert.deepEqual(comparable(byHash), comparable(full))
    assert.deepEqual(comparable(await store.read.apiTokens.byName('b')), comparable(bare))
    assert.equal(await store.read.apiTokens.byName('c'), undefined)
    assert.equal(await store.read.apiTokens.byHash(randomBytes(32)), undefined)

    const tokenHash = randomBytes(32)
    await store.transaction((tx) => tx.apiTokens.setHash(full.id, tokenHash))
    assert.equal(await store.read.apiTokens.byHash(full.tokenHash), undefined)
    assert.equal((await store.read.apiTokens.byHash(tokenHash))?.id, full.id)
  })

  check('an API token is written with all of its grants or not at all', async (store) => {
    const token = anApiToken({
      grants: [{ capability: 'sign' }, { capability: 'x', ringId: 'none' }],
    })
    await assert.rejects(insertToken(store, token))
    const twice = anApiToken({ grants: [{ capability: 'sign' }, { capability: 'sign' }] })
    await assert.rejects(insertToken(store, twice))
    assert.deepEqual(await store.read.apiTokens.list(), [])
  })

  check('names and hashes of API tokens are taken once', async (store) => {
    const token = anApiToken()
    await insertToken(store, token)
    await assert.rejects(insertToken(store, anApiToken({ name: token.name })))
    await assert.rejects(insertToken(store, anApiToken({ tokenHash: token.tokenHash })))
    await assert.rejects(insertToken(store, anApiToken({ tokenHash: randomBytes(31) })))
    await insertToken(store, anApiToken())
  })

  check(
    'a grant goes with its token, its ring or its profile, and never grows wider',
    async (store) => {
      const ring = aRing()
      const profile = aProfile(ring.id)
      await insertRing(store, ring)
      await store.transaction((tx) => tx.profiles.put(profile))
      const grants = [
        { capability: 'keyring-list' },
        { capability: 'sign', ringId: ring.id },
        { capability: 'sign', profileId: profile.id },
      ]
      const token = anApiToken({ grants })
      await insertToken(store, token)
      const left = async () => comparable(await store.read.apiTokens.byName(token.name))?.grants
      await store.transaction((tx) => tx.profiles.delete(ring.id, profile.name))
      assert.deepEqual(await left(), comparable({ ...token, grants: grants.slice(0, 2) })?.grants)
      await store.transaction((tx) => tx.rings.delete(ring.id))
      assert.deepEqual(await left(), comparable({ ...token, grants: grants.slice(0, 1) })?.grants)
      const remove = () => store.transaction((tx) => tx.apiTokens.delete(token.id))
      assert.equal(await remove(), true)
      assert.equal(await remove(), false)
      // The id is free only if no grant still hangs on it.
      await insertToken(store, { ...token, grants: [] })
      assert.deepEqual(await left(), [])
    },
  )

  check('there is one root tenant, every other has a parent', async (store) => {
    const insert = (id: string, name: string, parent: string | null) =>
      store.transaction((tx) => tx.tenants.insert(id, name, parent, 1))
    await assert.rejects(insert('t0', 'root', 'nobody'))
    await insert('t1', 'root', null)
    await assert.rejects(insert('t2', 'root', null))
    await assert.rejects(insert('t2', 'a', null))
    await assert.rejects(insert('t2', 'a', 'nobody'))
    await insert('t2', 'a', 't1')
    assert.equal((await store.read.tenants.byName('a'))?.parent_id, 't1')
    assert.equal(await store.read.tenants.byName('b'), undefined)
    assert.deepEqual(
      (await store.read.tenants.list()).map(({ name }) => name),
      ['a', 'root'],
    )
  })

  check('the organisation is kept', async (store) => {
    assert.equal(await store.read.organisations.get(), undefined)
    await store.transaction((tx) => tx.organisations.insert('o1', 'Acme', 'acme', 1))
    const organisation = await store.read.organisations.get()
    assert.deepEqual({ ...organisation }, { id: 'o1', name: 'Acme', slug: 'acme', created_at: 1n })
  })
}
