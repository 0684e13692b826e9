import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { randomId } from '../../src/context.ts'
import type { ExternalSecurityRow, JwtSecretRow } from '../../src/store/external-securities.ts'
import type { RoleGrantRow } from '../../src/store/role-grants.ts'
import type { Store } from '../../src/store/store.ts'
import type { Check } from './conformance.ts'
import { seed } from './fixtures.ts'

// Configurations with their secrets and role grants, Digest counters, settings, the active key set of the data API.

const aConfiguration = (over: Partial<ExternalSecurityRow> = {}): ExternalSecurityRow => ({
  ...{ id: String(randomBytes(8).readBigUInt64BE()), name: `c-${randomId()}` },
  ...{ properties: { description: 'd', n: 1 }, secrets: undefined, createdAt: 1, updatedAt: 2 },
  ...over,
})

const aSecret = (
  { id }: ExternalSecurityRow,
  rootKid: string,
  over: Partial<JwtSecretRow> = {},
): JwtSecretRow => ({
  ...{ id: randomId(), externalSecurityId: id, keyId: `k-${randomId()}` },
  ...{ value: { sealed: randomBytes(50), rootKid }, createdAt: 1, updatedAt: 1 },
  ...over,
})

const aGrant = ({ id }: ExternalSecurityRow, over: Partial<RoleGrantRow> = {}): RoleGrantRow => ({
  ...{ id: randomId(), externalSecurityId: id, externalName: 'ops', role: 'member' },
  ...{ tenantId: undefined, createdAt: 1 },
  ...over,
})

async function insert(store: Store, row: ExternalSecurityRow): Promise<ExternalSecurityRow> {
  await store.transaction((tx) => tx.externalSecurities.insert(row))
  return row
}

export function databasesConformance(check: Check): void {
  check('a configuration comes back as it was written, and its name is taken', async (store) => {
    const { root } = await seed(store)
    const secrets = { sealed: randomBytes(40), rootKid: root.kid }
    const one = await insert(store, aConfiguration({ name: 'b', secrets }))
    const other = await insert(store, aConfiguration({ name: 'a', id: '18446744073709551615' }))
    const { externalSecurities } = store.read
    assert.deepEqual(await externalSecurities.byName('b'), one)
    assert.deepEqual(await externalSecurities.byId('18446744073709551615'), other)
    assert.equal(await externalSecurities.byName('B'), undefined)
    assert.deepEqual(await externalSecurities.list(), [other, one])
    await assert.rejects(insert(store, aConfiguration({ name: 'a' })))
    const changed = { ...one, properties: {}, secrets: undefined, updatedAt: 9 }
    await store.transaction(async (tx) => {
      assert.equal(await tx.externalSecurities.update(changed), true)
      assert.equal(await tx.externalSecurities.update({ ...changed, id: '1' }), false)
    })
    assert.deepEqual(await externalSecurities.byId(one.id), changed)
  })

  check('a key id is unique in its configuration, and goes with it', async (store) => {
    const { root } = await seed(store)
    const [one, other] = [
      await insert(store, aConfiguration()),
      await insert(store, aConfiguration()),
    ]
    const first = aSecret(one, root.kid, { keyId: 'z', createdAt: 1 })
    const second = aSecret(one, root.kid, { keyId: 'a', createdAt: 2 })
    const twin = aSecret(other, root.kid, { keyId: 'z' })
    await store.transaction(async (tx) => {
      for (const secret of [second, first, twin]) await tx.jwtSecrets.insert(secret)
    })
    const { jwtSecrets } = store.read
    assert.deepEqual(await jwtSecrets.keyIds(one.id), ['z', 'a'])
    assert.deepEqual(await jwtSecrets.list(one.id), [first, second])
    assert.deepEqual(await jwtSecrets.byKeyId(other.id, 'z'), twin)
    await assert.rejects(
      store.transaction((tx) => tx.jwtSecrets.insert(aSecret(one, root.kid, { keyId: 'a' }))),
    )
    const value = { sealed: randomBytes(50), rootKid: root.kid }
    await store.transaction(async (tx) => {
      assert.equal(await tx.jwtSecrets.replace(first.id, value, 7), true)
      assert.equal(await tx.jwtSecrets.replace(randomId(), value, 7), false)
      assert.equal(await tx.jwtSecrets.delete(second.id), true)
      assert.equal(await tx.jwtSecrets.delete(second.id), false)
    })
    assert.deepEqual(await jwtSecrets.list(one.id), [{ ...first, value, updatedAt: 7 }])
    await store.transaction((tx) => tx.externalSecurities.delete(one.id))
    assert.deepEqual(await jwtSecrets.list(one.id), [])
    assert.deepEqual(await jwtSecrets.keyIds(other.id), ['z'])
  })

  check('role grants are found by configuration and name, each once', async (store) => {
    await seed(store)
    await store.transaction((tx) => tx.tenants.insert('t-0', 'root', null, 1))
    const one = await insert(store, aConfiguration())
    const first = aGrant(one, { createdAt: 1 })
    const second = aGrant(one, { role: 'operator', tenantId: 't-0', createdAt: 2 })
    await store.transaction(async (tx) => {
      for (const grant of [second, first]) await tx.roleGrants.insert(grant)
    })
    const { roleGrants } = store.read
    assert.deepEqual(await roleGrants.list(), [first, second])
    assert.deepEqual(await roleGrants.ofConfiguration(one.id), [first, second])
    assert.deepEqual(await roleGrants.ofConfiguration('1'), [])
    assert.deepEqual(await roleGrants.byId(second.id), second)
    const { id: _, createdAt: __, ...wanted } = second
    assert.deepEqual(await roleGrants.find(wanted), second)
    assert.equal(await roleGrants.find({ ...wanted, externalName: 'Ops' }), undefined)
    assert.equal(await roleGrants.find({ ...wanted, tenantId: undefined }), undefined)
    const again = (over: Partial<RoleGrantRow>) =>
      store.transaction((tx) => tx.roleGrants.insert(aGrant(one, { id: 'again', ...over })))
    await assert.rejects(again({}))
    await assert.rejects(again({ role: 'operator', tenantId: 't-0' }))
    await again({ tenantId: 't-0' })
    await store.transaction((tx) => tx.roleGrants.delete('again'))
    await store.transaction(async (tx) => {
      assert.equal(await tx.roleGrants.delete(second.id), true)
      assert.equal(await tx.roleGrants.delete(second.id), false)
      await tx.externalSecurities.delete(one.id)
    })
    assert.deepEqual(await roleGrants.list(), [])
  })

  check('a Digest counter is claimed once, by one of many', async (store) => {
    const use = { nonce: 'n', nc: 1, expiresAt: 100 }
    const claims = await Promise.all(
      Array.from({ length: 20 }, () => store.grouped((tx) => tx.digestUses.claim(use))),
    )
    assert.equal(claims.filter((claimed) => claimed).length, 1)
    const claim = (over: object) =>
      store.transaction((tx) => tx.digestUses.claim({ ...use, ...over }))
    assert.equal(await claim({ nc: 2 }), true)
    assert.equal(await claim({ nonce: 'm', expiresAt: 101 }), true)
    assert.equal(await store.transaction((tx) => tx.digestUses.pruneBefore(101)), 2)
    assert.deepEqual([await claim({}), await claim({ nonce: 'm' })], [true, false])
  })

  check('settings come all at once, and go back to nothing', async (store) => {
    await store.transaction(async (tx) => {
      await tx.settings.set('b', ['x'])
      await tx.settings.set('a', 1)
    })
    assert.deepEqual(Object.fromEntries(await store.read.settings.all()), { a: 1, b: ['x'] })
    await store.transaction(async (tx) => {
      assert.equal(await tx.settings.delete('b'), true)
      assert.equal(await tx.settings.delete('b'), false)
    })
    assert.deepEqual(Object.fromEntries(await store.read.settings.all()), { a: 1 })
  })

  check('the data API has one active key set', async (store) => {
    assert.equal(await store.read.dataApiKeys.get(), undefined)
    for (const url of ['https://a.test/', 'https://b.test/']) {
      const row = { url, body: '{"keys":[]}', fetchedAt: 5 }
      await store.transaction((tx) => tx.dataApiKeys.put(row))
      assert.deepEqual(await store.read.dataApiKeys.get(), row)
    }
  })
}
