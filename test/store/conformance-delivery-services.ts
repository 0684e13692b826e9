import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { randomId } from '../../src/context.ts'
import type { DocumentRow, ServiceRow } from '../../src/store/delivery-services.ts'
import type { Store } from '../../src/store/store.ts'
import type { PromiseRow, RotationRow } from '../../src/store/uri-signing.ts'
import type { Check } from './conformance.ts'
import { seed } from './fixtures.ts'

/** The root keys, and tenants root ▸ a, b. */
async function prepare(store: Store): Promise<{ rootKid: string }> {
  const { root } = await seed(store)
  await store.transaction(async (tx) => {
    await tx.tenants.insert('t0', 'root', null, 1)
    for (const name of ['a', 'b']) await tx.tenants.insert(`t-${name}`, name, 't0', 1)
  })
  return { rootKid: root.kid }
}

const aService = (over: Partial<ServiceRow> = {}): ServiceRow => ({
  ...{ id: randomId(), xmlId: `s-${randomId()}`, tenantId: 't-a', tenant: 'a' },
  ...{ cdn: undefined, createdAt: 1_700_000_000_000 },
  ...over,
})

const aDocument = (service: ServiceRow, version: number, rootKid?: string): DocumentRow => ({
  ...{ id: randomId(), serviceId: service.id, version, xmlId: service.xmlId },
  ...{ tenantId: service.tenantId, sealed: rootKid ? randomBytes(80) : undefined, rootKid },
  ...{ origin: rootKid ? 'stored' : 'removed', createdAt: 5, createdBy: 'token:t' },
})

const aRotation = (service: ServiceRow, over: Partial<RotationRow> = {}): RotationRow => ({
  ...{ id: randomId(), serviceId: service.id, issuer: 'i', oldKid: 'old', newKid: 'new' },
  ...{ state: 'announced', automatic: true, announceTtl: 60, startedBy: 'token:t', addedAt: 1 },
  ...{ signingAt: undefined, retiringAt: undefined, endedAt: undefined, reloadedAt: undefined },
  ...{ othersUntil: undefined, othersRenewalTtl: undefined, attestedAt: undefined },
  attestedBy: undefined,
  ...over,
})

async function insertService(store: Store, over: Partial<ServiceRow> = {}): Promise<ServiceRow> {
  const service = aService(over)
  await store.transaction((tx) => tx.deliveryServices.insert(service))
  return service
}

export function deliveryServiceConformance(check: Check): void {
  check('a delivery service comes back as it was written, and its name is taken', async (store) => {
    await prepare(store)
    const service = await insertService(store, { xmlId: 'demo', cdn: 'cdn-1' })
    const { deliveryServices } = store.read
    assert.deepEqual(await deliveryServices.byXmlId('demo'), service)
    assert.deepEqual(await deliveryServices.byId(service.id), service)
    assert.deepEqual(await deliveryServices.listed('demo'), { ...service, keys: undefined })
    assert.equal(await deliveryServices.byXmlId('Demo'), undefined)
    await assert.rejects(insertService(store, { xmlId: 'demo' }))
    await store.transaction((tx) =>
      tx.deliveryServices.update(service.id, { tenantId: 't-b', cdn: undefined }),
    )
    const moved = { ...service, tenantId: 't-b', tenant: 'b', cdn: undefined }
    assert.deepEqual(await deliveryServices.byXmlId('demo'), moved)
  })

  check(
    'pages of delivery services follow one another by name, of all tenants or of some',
    async (store) => {
      await prepare(store)
      for (const [n, xmlId] of ['e', 'B', 'a', 'd', 'c', '_'].entries()) {
        await insertService(store, { xmlId, tenantId: n % 2 === 0 ? 't-a' : 't-b' })
      }
      const names = async (limit: number, after?: string, tenantIds?: string[]) =>
        (await store.read.deliveryServices.list({ limit, after, tenantIds })).map(
          ({ xmlId }) => xmlId,
        )
      assert.deepEqual(await names(10), ['B', '_', 'a', 'c', 'd', 'e'])
      assert.deepEqual(await names(2, '_'), ['a', 'c'])
      assert.deepEqual(await names(10, undefined, ['t-a']), ['a', 'c', 'e'])
      assert.deepEqual(await names(4, 'B', ['t-b', 't-a']), ['_', 'a', 'c', 'd'])
      assert.deepEqual(await names(10, undefined, []), [])
    },
  )

  check(
    'the latest version of a key document is the one that counts, with keys or without',
    async (store) => {
      const { rootKid } = await prepare(store)
      const service = await insertService(store)
      const rows = [
        aDocument(service, 1, rootKid),
        aDocument(service, 2),
        aDocument(service, 3, rootKid),
      ]
      for (const row of rows) {
        await store.transaction((tx) => tx.uriDocuments.insert(row))
        assert.deepEqual(await store.read.uriDocuments.current(service.id), row)
        const listed = await store.read.deliveryServices.listed(service.xmlId)
        assert.equal(listed?.keys?.id, row.rootKid && row.id)
      }
      assert.deepEqual(await store.read.uriDocuments.list(service.id), rows.toReversed())
      assert.deepEqual(await store.read.uriDocuments.get(service.id, 2), rows[1])
      await assert.rejects(store.transaction((tx) => tx.uriDocuments.insert(aDocument(service, 3))))
      await store.transaction((tx) => tx.uriDocuments.deleteThrough(service.id, 2))
      assert.deepEqual(await store.read.uriDocuments.list(service.id), [rows[2]])
    },
  )

  check('what is sealed under a root key lists its documents with their owner', async (store) => {
    const { rootKid } = await prepare(store)
    const service = await insertService(store, { xmlId: 'demo' })
    const row = aDocument(service, 7, rootKid)
    await store.transaction((tx) => tx.uriDocuments.insert(row))
    const found = await store.read.sealed.under(rootKid, 10)
    const [document] = found.filter(({ table }) => table === 'uri_signing_documents')
    assert.equal(document?.owner, JSON.stringify([service.id, '7', 'demo', 't-a']))
    const sealed = randomBytes(90)
    await store.transaction((tx) => tx.uriDocuments.reseal({ ...row, tenantId: 't-b', sealed }))
    const after = await store.read.uriDocuments.current(service.id)
    assert.deepEqual([after?.tenantId, Buffer.from(after?.sealed ?? [])], ['t-b', sealed])
  })

  check(
    'a promise for URIs is raised, never lowered, and only for the latest version',
    async (store) => {
      const { rootKid } = await prepare(store)
      const service = await insertService(store)
      const [first, second] = [aDocument(service, 1, rootKid), aDocument(service, 2, rootKid)]
      const raise = (id: string, until: number, renewalTtl: number) =>
        store.grouped((tx) =>
          tx.uriPromises.raise(service.id, id, { issuer: 'i', kid: 'k', until, renewalTtl }),
        )
      assert.equal(await raise(first.id, 5, 0), false)
      await store.transaction((tx) => tx.uriDocuments.insert(first))
      assert.equal(await raise(first.id, 100, 0), true)
      assert.equal(await raise(first.id, 50, 60), true)
      const expected = [{ issuer: 'i', kid: 'k', until: 100, renewalTtl: 60 }]
      assert.deepEqual(await store.read.uriPromises.list(service.id), expected)
      await store.transaction((tx) => tx.uriDocuments.insert(second))
      assert.equal(await raise(first.id, 200, 0), false)
      assert.deepEqual(await store.read.uriPromises.list(service.id), expected)
      assert.equal(await raise(second.id, 200, 0), true)
    },
  )

  check('promises that are over are forgotten, but for the longest renewal', async (store) => {
    const { rootKid } = await prepare(store)
    const [service, other] = [await insertService(store), await insertService(store)]
    const promises: PromiseRow[] = [
      { issuer: 'i', kid: 'a', until: 10, renewalTtl: 60 },
      { issuer: 'i', kid: 'b', until: 10, renewalTtl: 60 },
      { issuer: 'i', kid: 'c', until: 99, renewalTtl: 0 },
      { issuer: 'j', kid: 'a', until: 98, renewalTtl: 0 },
    ]
    for (const owner of [service, other]) {
      const row = aDocument(owner, 1, rootKid)
      await store.transaction(async (tx) => {
        await tx.uriDocuments.insert(row)
        for (const one of promises) await tx.uriPromises.raise(owner.id, row.id, one)
      })
    }
    const { uriPromises } = store.read
    assert.equal(await uriPromises.longestRenewal(service.id), 60)
    assert.equal(await uriPromises.longestRenewal('none'), 0)
    assert.deepEqual(await uriPromises.get(service.id, 'j', 'a'), promises[3])
    assert.equal(await uriPromises.get(service.id, 'j', 'b'), undefined)
    await store.transaction((tx) => tx.uriPromises.prune(service.id, 99))
    assert.deepEqual(await uriPromises.list(service.id), [promises[0], promises[2]])
    assert.deepEqual(await uriPromises.list(other.id), promises)
  })

  check('an issuer has one open rotation, and one that has ended stays as it is', async (store) => {
    await prepare(store)
    const service = await insertService(store)
    const write = (row: RotationRow) => store.transaction((tx) => tx.uriRotations.insert(row))
    const update = (row: RotationRow) => store.transaction((tx) => tx.uriRotations.update(row))
    const one = aRotation(service)
    await write(one)
    assert.deepEqual(await store.read.uriRotations.ofService(service.id), [one])
    await assert.rejects(write(aRotation(service)))
    await write(aRotation(service, { issuer: 'other', addedAt: 2 }))
    assert.equal((await store.read.uriRotations.open(10)).length, 2)
    await assert.rejects(update({ ...one, state: 'done', signingAt: 1, retiringAt: 1, endedAt: 2 }))
    const ended: RotationRow = { ...one, state: 'cancelled', endedAt: 3 }
    await update(ended)
    assert.deepEqual(await store.read.uriRotations.get(one.id), ended)
    await assert.rejects(update({ ...one, state: 'announced' }))
    await write(aRotation(service, { addedAt: 3 }))
    await store.transaction((tx) => tx.uriRotations.delete(one.id))
    assert.equal((await store.read.uriRotations.ofService(service.id)).length, 2)
  })

  check('a delivery service takes its keys, promises and rotations with it', async (store) => {
    const { rootKid } = await prepare(store)
    const service = await insertService(store)
    const row = aDocument(service, 1, rootKid)
    await store.transaction(async (tx) => {
      await tx.uriDocuments.insert(row)
      await tx.uriPromises.raise(service.id, row.id, {
        issuer: 'i',
        kid: 'k',
        until: 1,
        renewalTtl: 0,
      })
      await tx.uriRotations.insert(aRotation(service))
    })
    const remove = () => store.transaction((tx) => tx.deliveryServices.delete(service.id))
    assert.equal(await remove(), true)
    assert.equal(await remove(), false)
    assert.deepEqual(await store.read.uriDocuments.list(service.id), [])
    assert.deepEqual(await store.read.uriPromises.list(service.id), [])
    assert.deepEqual(await store.read.uriRotations.ofService(service.id), [])
  })
}
