import assert from 'node:assert/strict'
import type { RemoteJwksRow } from '../../src/store/remote-jwks.ts'
import type { Store } from '../../src/store/store.ts'
import type { Check } from './conformance.ts'

const aRow = (over: Partial<RemoteJwksRow> = {}): RemoteJwksRow => ({
  source: 'source-1',
  url: 'https://issuer.example/jwks.json',
  body: '{"keys":[]}',
  fetchedAt: 1_700_000_000_000,
  ...over,
})

const put = (store: Store, row: RemoteJwksRow) => store.transaction((tx) => tx.remoteJwks.put(row))

export function remoteJwksConformance(check: Check): void {
  check('the last good set of a source comes back as it was written', async (store) => {
    const [one, two] = [aRow(), aRow({ source: 'source-2', body: '{"keys":[{"kid":"ü"}]}' })]
    await put(store, one)
    await put(store, two)
    assert.deepEqual(await store.read.remoteJwks.get('source-1'), one)
    assert.deepEqual(await store.read.remoteJwks.get('source-2'), two)
    assert.equal(await store.read.remoteJwks.get('source'), undefined)
  })

  check('a source has one set: the next one replaces all of it', async (store) => {
    await put(store, aRow())
    const next = aRow({ url: 'https://other.example/', body: '{}', fetchedAt: 1 })
    await put(store, next)
    assert.deepEqual(await store.read.remoteJwks.get('source-1'), next)
  })

  check('a set can be deleted, and the others stay', async (store) => {
    await put(store, aRow())
    await put(store, aRow({ source: 'source-2' }))
    const remove = () => store.transaction((tx) => tx.remoteJwks.delete('source-1'))
    assert.equal(await remove(), true)
    assert.equal(await remove(), false)
    assert.equal(await store.read.remoteJwks.get('source-1'), undefined)
    assert.ok(await store.read.remoteJwks.get('source-2'))
  })

  check('sets from before a time are pruned, one from that time is not', async (store) => {
    for (const fetchedAt of [1, 2, 3, 4]) {
      await put(store, aRow({ source: `source-${fetchedAt}`, fetchedAt }))
    }
    const prune = () => store.transaction((tx) => tx.remoteJwks.pruneBefore(3))
    assert.equal(await prune(), 2)
    assert.equal(await prune(), 0)
    assert.equal(await store.read.remoteJwks.get('source-2'), undefined)
    assert.ok(await store.read.remoteJwks.get('source-3'))
  })
}
