import assert from 'node:assert/strict'
import test from 'node:test'
import { anonymous } from '../../src/context.ts'
import { createDirectory } from '../../src/identities/directory.ts'
import type { JwtAuthRow } from '../../src/store/identities.ts'
import { countingIds, memoryStore, testClock } from '../server.ts'

// Identities in memory: how much of them is kept.

async function directoryOf(t: test.TestContext, count: number, boundSubject: string) {
  const clock = testClock()
  const store = await memoryStore(clock, countingIds())
  const context = { store, ...clock } as never
  const directory = createDirectory({
    context,
    unseal: () => new Uint8Array(),
    principalOf: async () => anonymous,
  })
  t.after(async () => {
    directory.close()
    await store.close()
  })
  const ids = Array.from({ length: count }, (_, at) => `identity-${at}`)
  await store.transaction(async (tx) => {
    await tx.organisations.insert('o', 'Acme', 'acme', 1)
    for (const id of ids) {
      await tx.identities.insert({
        ...{ id, organisationId: 'o', tenantId: undefined, name: id, role: 'no-access' },
        ...{ deleteProtection: false, metadata: [], createdAt: 1, updatedAt: 1 },
        ...{ lastLoginMethod: undefined, lastLoginAt: undefined },
      })
      await tx.jwtAuth.insert(configuration(id, boundSubject))
    }
  })
  return { directory, ids, store }
}

const configuration = (identityId: string, boundSubject: string): JwtAuthRow => ({
  ...{ id: `of-${identityId}`, identityId, configurationType: 'jwks', jwksUrl: 'ring:ci' },
  ...{ jwksCaCertSealed: undefined, publicKeysSealed: undefined, rootKid: undefined },
  ...{ boundIssuer: '', boundAudiences: '', boundClaims: {}, boundSubject },
  ...{ accessTokenTtl: 900, accessTokenMaxTtl: 0, accessTokenNumUsesLimit: 0 },
  ...{ accessTokenTrustedIps: [], createdAt: 1, updatedAt: 1 },
})

test('ordinary identities are kept by the thousand, those with the largest bounds by the dozen', async (t) => {
  const kept = async (count: number, boundSubject: string) => {
    const { directory, ids } = await directoryOf(t, count, boundSubject)
    for (const id of ids) await directory.get(id)
    assert.ok(directory.recall(ids.at(-1) ?? ''), 'the last one is')
    return ids.filter((id) => directory.recall(id) !== undefined).length
  }
  assert.equal(await kept(2000, 'repo:owner/repo:ref:refs/heads/main'), 2000)
  const largest = await kept(1000, '[a-z]'.repeat(204))
  assert.ok(largest > 50 && largest < 500, `${largest}`)
})

test('what is committed while an identity is read is not overtaken by what was read', async (t) => {
  const { directory, ids, store } = await directoryOf(t, 1, 'a')
  const [id = ''] = ids
  const reading = directory.get(id)
  await store.transaction(async (tx) => {
    await tx.jwtAuth.delete(`of-${id}`)
    const type = 'identity.jwt-auth-detached'
    await tx.audit.append({ type, subject: id, principal: 'test', detail: {} })
  })
  await reading
  assert.equal((await directory.get(id))?.jwtAuth, undefined)
})
