import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { randomId } from '../../src/context.ts'
import type { AccessTokenRow } from '../../src/store/access-tokens.ts'
import type { IdentityRow, JwtAuthRow } from '../../src/store/identities.ts'
import { sealOwner } from '../../src/store/sealed.ts'
import type { Store } from '../../src/store/store.ts'
import type { Check } from './conformance.ts'
import { change, seed } from './fixtures.ts'

const NOW = 1_700_000_000
const ORGANISATION = 'organisation-1'

const anIdentity = (over: Partial<IdentityRow> = {}): IdentityRow => {
  const id = randomId()
  return {
    ...{ id, organisationId: ORGANISATION, tenantId: undefined, name: `identity-${id}` },
    ...{ role: 'no-access', deleteProtection: false, metadata: [] },
    ...{ lastLoginMethod: undefined, lastLoginAt: undefined, createdAt: 1, updatedAt: 1 },
    ...over,
  }
}

const aConfig = (identityId: string, over: Partial<JwtAuthRow> = {}): JwtAuthRow => ({
  ...{ id: randomId(), identityId, configurationType: 'jwks' },
  ...{ jwksUrl: 'https://issuer.example/jwks.json', boundIssuer: '', boundAudiences: '' },
  ...{ jwksCaCertSealed: undefined, publicKeysSealed: undefined, rootKid: undefined },
  ...{ boundClaims: {}, boundSubject: '', accessTokenTtl: 3600, accessTokenMaxTtl: 86400 },
  ...{ accessTokenNumUsesLimit: 0, accessTokenTrustedIps: [], createdAt: 1, updatedAt: 1 },
  ...over,
})

const aToken = (identityId: string, over: Partial<AccessTokenRow> = {}): AccessTokenRow => ({
  ...{ id: randomId(), identityId, configId: randomId(), creationEpoch: NOW },
  ...{ usesLeft: undefined, revokedAt: undefined, keepUntil: NOW + 3900 },
  ...over,
})

/** Drivers have their own kinds of byte arrays; what they hold is what counts. */
const plain = (config: JwtAuthRow | undefined) => {
  const hex = (bytes: Uint8Array | undefined) => bytes && Buffer.from(bytes).toString('hex')
  const { jwksCaCertSealed: ca, publicKeysSealed: keys } = config ?? {}
  return config && { ...config, jwksCaCertSealed: hex(ca), publicKeysSealed: hex(keys) }
}

/** The organisation, and in it one identity. */
async function withIdentity(store: Store, over: Partial<IdentityRow> = {}): Promise<IdentityRow> {
  const identity = anIdentity(over)
  await store.transaction(async (tx) => {
    const organisation = await tx.organisations.get()
    if (!organisation) await tx.organisations.insert(ORGANISATION, 'Acme', 'acme', 1)
    await tx.identities.insert(identity)
  })
  return identity
}

const insertConfig = (store: Store, config: JwtAuthRow) =>
  store.transaction((tx) => tx.jwtAuth.insert(config))
const insertToken = (store: Store, token: AccessTokenRow) =>
  store.transaction((tx) => tx.accessTokens.insert(token))
const deleteIdentity = (store: Store, id: string) =>
  store.transaction((tx) => tx.identities.delete(id))

export function identityConformance(check: Check): void {
  check('an identity comes back as it was written', async (store) => {
    const bare = await withIdentity(store)
    await store.transaction((tx) => tx.tenants.insert('t1', 'root', null, 1))
    const full = await withIdentity(store, {
      ...{ tenantId: 't1', name: 'ß 鍵', role: 'admin', deleteProtection: true },
      metadata: [
        { key: '"', value: '\\' },
        { key: 'b', value: '🔑' },
      ],
      ...{ lastLoginMethod: 'jwt-auth', lastLoginAt: 2 ** 45, createdAt: 2, updatedAt: 3 },
    })
    assert.deepEqual(await store.read.identities.byId(bare.id), bare)
    assert.deepEqual(await store.read.identities.byId(full.id), full)
    assert.equal(await store.read.identities.byId('nobody'), undefined)
    await assert.rejects(withIdentity(store, { id: bare.id }))
    await assert.rejects(withIdentity(store, { organisationId: 'none' }))
    await assert.rejects(withIdentity(store, { tenantId: 'none' }))
  })

  check('identities are listed by name, page by page, with their whole number', async (store) => {
    await withIdentity(store, { name: 'c', id: '1' })
    const tenants = [
      ['t1', 'root', null],
      ['t2', 'a', 't1'],
      ['t3', 'b', 't1'],
    ] as const
    for (const [id, name, parent] of tenants) {
      await store.transaction((tx) => tx.tenants.insert(id, name, parent, 1))
    }
    await withIdentity(store, { name: 'a', id: '4', tenantId: 't2' })
    await withIdentity(store, { name: 'b', id: '3', tenantId: 't3' })
    await withIdentity(store, { name: 'b', id: '2', tenantId: 't2' })
    const listed = async (limit: number, offset: number, tenantIds?: readonly string[]) => {
      const { identities, total } = await store.read.identities.list({ limit, offset, tenantIds })
      return [identities.map(({ id }) => id).join(' '), total]
    }
    assert.deepEqual(await listed(10, 0), ['4 2 3 1', 4])
    assert.deepEqual(await listed(2, 1), ['2 3', 4])
    assert.deepEqual(await listed(2, 4), ['', 4])
    assert.deepEqual(await listed(10, 0, ['t2']), ['4 2', 2])
    assert.deepEqual(await listed(1, 1, ['t2', 't3']), ['2', 3])
    assert.deepEqual(await listed(10, 0, ['t1']), ['', 0])
    assert.deepEqual(await listed(10, 0, []), ['', 0])
  })

  check('of an identity this can be changed, while it is there', async (store) => {
    const identity = await withIdentity(store)
    const other = await withIdentity(store)
    const changed: IdentityRow = {
      ...{ ...identity, name: 'new', role: 'member', deleteProtection: true, updatedAt: 9 },
      metadata: [{ key: 'k', value: 'v' }],
    }
    const update = (row: IdentityRow) => store.transaction((tx) => tx.identities.update(row))
    assert.equal(await update({ ...changed, createdAt: 7, organisationId: 'x' }), true)
    assert.deepEqual(await store.read.identities.byId(identity.id), changed)
    await store.grouped((tx) => tx.identities.setLastLogin(identity.id, 'jwt-auth', 5))
    const loggedIn = { ...changed, lastLoginMethod: 'jwt-auth', lastLoginAt: 5 }
    assert.deepEqual(await store.read.identities.byId(identity.id), loggedIn)
    assert.deepEqual(await store.read.identities.byId(other.id), other)
    assert.equal(await update(anIdentity()), false)
  })

  check('an identity goes with its configuration, tokens and grants', async (store) => {
    const identity = await withIdentity(store)
    const other = await withIdentity(store)
    const config = aConfig(identity.id)
    const [token, kept] = [aToken(identity.id, { configId: config.id }), aToken(other.id)]
    await insertConfig(store, config)
    await insertConfig(store, aConfig(other.id))
    await insertToken(store, token)
    await insertToken(store, kept)
    await store.transaction((tx) =>
      tx.identities.setGrants(identity.id, [{ capability: 'verify' }]),
    )
    assert.equal(await deleteIdentity(store, identity.id), true)
    assert.equal(await deleteIdentity(store, identity.id), false)
    assert.equal(await store.read.identities.byId(identity.id), undefined)
    assert.equal(await store.read.jwtAuth.byIdentity(identity.id), undefined)
    assert.equal(await store.read.accessTokens.byId(token.id), undefined)
    assert.deepEqual(await store.read.identities.grantsOf(identity.id), [])
    assert.deepEqual(await store.read.accessTokens.byId(kept.id), kept)
    assert.ok(await store.read.jwtAuth.byIdentity(other.id))
  })

  check('grants of an identity are replaced as a whole, or not at all', async (store) => {
    const { ring } = await seed(store)
    const identity = await withIdentity(store)
    const other = await withIdentity(store)
    const profile = { ringId: ring.id, name: 'ci', policy: {}, createdAt: 1, updatedAt: 1 }
    await store.transaction((tx) => tx.profiles.put({ id: 'p1', ...profile }))
    const set = (id: string, grants: Parameters<typeof store.read.identities.setGrants>[1]) =>
      store.transaction((tx) => tx.identities.setGrants(id, grants))
    const held = async (id: string) =>
      (await store.read.identities.grantsOf(id)).map((grant) => JSON.stringify(grant)).sort()
    const grants = [
      { capability: 'verify' },
      { capability: 'sign', ringId: ring.id },
      { capability: 'sign', profileId: 'p1' },
    ]
    await set(identity.id, grants)
    await set(other.id, [{ capability: 'verify' }])
    const written = grants.map((grant) => JSON.stringify(grant)).sort()
    assert.deepEqual(await held(identity.id), written)
    await assert.rejects(set(identity.id, [{ capability: 'verify' }, { capability: 'verify' }]))
    await assert.rejects(set(identity.id, [{ capability: 'sign', ringId: 'none' }]))
    await assert.rejects(set('nobody', [{ capability: 'verify' }]))
    assert.deepEqual(await held(identity.id), written)
    await set(identity.id, [])
    assert.deepEqual(await held(identity.id), [])
    assert.equal((await held(other.id)).length, 1)
  })

  // Configurations -----------------------------------------------------------------------------------

  check('a configuration comes back as it was written, and as it was changed', async (store) => {
    const { root } = await seed(store)
    const [first, second] = [await withIdentity(store), await withIdentity(store)]
    const bare = aConfig(first.id)
    const full = aConfig(second.id, {
      configurationType: 'static',
      ...{ jwksUrl: '', rootKid: root.kid },
      ...{ jwksCaCertSealed: randomBytes(40), publicKeysSealed: new Uint8Array(300).fill(255) },
      ...{ boundIssuer: 'https://i', boundAudiences: 'a, b', boundSubject: 'svc:*' },
      // Their order counts: it is the order of the checks.
      boundClaims: { z: 'x, y', 'a.b': '鍵', constructor: 'c' },
      ...{ accessTokenTtl: 315_360_000, accessTokenMaxTtl: 0 },
      accessTokenNumUsesLimit: Number.MAX_SAFE_INTEGER,
      accessTokenTrustedIps: [
        { ipAddress: '10.0.0.0', type: 'ipv4', prefix: 8 },
        { ipAddress: '::1', type: 'ipv6' },
      ],
    })
    for (const config of [bare, full]) assert.equal(await insertConfig(store, config), true)
    const read = async (id: string) => plain(await store.read.jwtAuth.byIdentity(id))
    assert.deepEqual(await read(first.id), plain(bare))
    assert.deepEqual(await read(second.id), plain(full))
    const claims = (await read(second.id))?.boundClaims ?? {}
    assert.deepEqual(Object.keys(claims), ['z', 'a.b', 'constructor'])
    assert.equal(await store.read.jwtAuth.byIdentity('nobody'), undefined)

    const update = (config: JwtAuthRow) => store.transaction((tx) => tx.jwtAuth.update(config))
    const changed = { ...full, id: bare.id, identityId: first.id, updatedAt: 9 }
    assert.equal(await update({ ...changed, createdAt: 9 }), true)
    assert.deepEqual(await read(first.id), plain(changed))
    assert.deepEqual(await read(second.id), plain(full))
    assert.equal(await update({ ...changed, id: randomId() }), false)
    assert.equal(await update({ ...changed, identityId: second.id }), false)
    assert.deepEqual(await read(second.id), plain(full))
  })

  check('of twenty configurations at once one is attached', async (store) => {
    const identity = await withIdentity(store)
    const configs = Array.from({ length: 20 }, () => aConfig(identity.id))
    const answers = await Promise.all(
      configs.map((config, i) =>
        i % 2 ? insertConfig(store, config) : store.grouped((tx) => tx.jwtAuth.insert(config)),
      ),
    )
    assert.equal(answers.filter((won) => won).length, 1)
    const winner = configs[answers.indexOf(true)]
    assert.equal((await store.read.jwtAuth.byIdentity(identity.id))?.id, winner?.id)
  })

  check('only what is attached twice is no error: all else is refused aloud', async (store) => {
    const [identity, other] = [await withIdentity(store), await withIdentity(store)]
    const config = aConfig(identity.id)
    await insertConfig(store, config)
    await assert.rejects(insertConfig(store, aConfig(other.id, { id: config.id })))
    await assert.rejects(insertConfig(store, aConfig('nobody')))
    await assert.rejects(insertConfig(store, aConfig(other.id, { rootKid: 'none' })))
    const sealed = { jwksCaCertSealed: randomBytes(40) }
    await assert.rejects(insertConfig(store, aConfig(other.id, sealed)), 'sealed by nobody')
    const odd = aConfig(other.id, { configurationType: 'oidc' as 'jwks' })
    await assert.rejects(insertConfig(store, odd))
    assert.equal(await store.read.jwtAuth.byIdentity(other.id), undefined)
  })

  check('a configuration can be detached and another attached', async (store) => {
    const [identity, other] = [await withIdentity(store), await withIdentity(store)]
    const [config, next] = [aConfig(identity.id), aConfig(identity.id)]
    await insertConfig(store, config)
    const attached = () => store.read.jwtAuth.attached([identity.id, other.id, 'nobody'])
    assert.deepEqual(await attached(), new Set([identity.id]))
    const remove = (id: string) => store.transaction((tx) => tx.jwtAuth.delete(id))
    assert.equal(await remove(config.id), true)
    assert.equal(await remove(config.id), false)
    assert.deepEqual(await attached(), new Set())
    assert.deepEqual(await store.read.jwtAuth.attached([]), new Set())
    assert.equal(await insertConfig(store, next), true)
    assert.equal(await remove(config.id), false)
    assert.equal((await store.read.jwtAuth.byIdentity(identity.id))?.id, next.id)
  })

  check(
    'what a configuration seals keeps its root key, and is found to be sealed anew',
    async (store) => {
      const { root } = await seed(store)
      const identity = await withIdentity(store)
      const sealed = randomBytes(40)
      const config = aConfig(identity.id, { rootKid: root.kid, publicKeysSealed: sealed })
      await insertConfig(store, config)
      const [row] = await store.read.sealed.under(root.kid, 10)
      assert.equal(row?.table, 'jwt_auth_configs')
      assert.equal(row?.owner, sealOwner(identity.id))
      assert.deepEqual(Object.keys(row?.values ?? {}), ['public_keys_sealed'])
      const removeRoot = () =>
        store.transaction((tx) => tx.keys.apply(change({ delete: [root.kid] })))
      await assert.rejects(removeRoot())
      await deleteIdentity(store, identity.id)
      await removeRoot()
    },
  )

  // Access tokens ------------------------------------------------------------------------------------

  check('an access token comes back as it was written', async (store) => {
    const identity = await withIdentity(store)
    const bare = aToken(identity.id)
    const full = aToken(identity.id, { usesLeft: 0, revokedAt: 2 ** 45, keepUntil: 2 ** 40 })
    for (const token of [bare, full]) await insertToken(store, token)
    assert.deepEqual(await store.read.accessTokens.byId(bare.id), bare)
    assert.deepEqual(await store.read.accessTokens.byId(full.id), full)
    assert.equal(await store.read.accessTokens.byId('nobody'), undefined)
    await assert.rejects(insertToken(store, bare))
    await assert.rejects(insertToken(store, aToken('nobody')))
    await assert.rejects(insertToken(store, aToken(identity.id, { usesLeft: -1 })))
  })

  for (const uses of [1, 7]) {
    check(`of 50 calls with a token of ${uses} use(s), so many pass`, async (store) => {
      const identity = await withIdentity(store)
      const [token, other] = [1, 2].map(() => aToken(identity.id, { usesLeft: uses }))
      assert.ok(token && other)
      for (const each of [token, other]) await insertToken(store, each)
      const consume = (i: number) =>
        i % 2
          ? store.grouped((tx) => tx.accessTokens.consumeUse(token.id))
          : store.transaction((tx) => tx.accessTokens.consumeUse(token.id))
      const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => consume(i)))
      assert.equal(answers.filter((passed) => passed).length, uses)
      assert.equal((await store.read.accessTokens.byId(token.id))?.usesLeft, 0)
      assert.equal((await store.read.accessTokens.byId(other.id))?.usesLeft, uses)
    })
  }

  check(
    'a use that was not committed is not used; uncounted ones are not counted',
    async (store) => {
      const identity = await withIdentity(store)
      const [one, any] = [aToken(identity.id, { usesLeft: 1 }), aToken(identity.id)]
      for (const token of [one, any]) await insertToken(store, token)
      const consume = (id: string) => store.transaction((tx) => tx.accessTokens.consumeUse(id))
      const failing = store.transaction(async (tx) => {
        assert.equal(await tx.accessTokens.consumeUse(one.id), true)
        throw new Error('on purpose')
      })
      await assert.rejects(failing, /on purpose/)
      assert.equal(await consume(one.id), true)
      assert.equal(await consume(one.id), false)
      assert.equal(await consume(any.id), false)
      assert.equal(await consume('nobody'), false)
      assert.equal((await store.read.accessTokens.byId(any.id))?.usesLeft, undefined)
    },
  )

  check(
    'a token once revoked stays so, with its first time, also in a store opened anew',
    async (store, _world, reopen) => {
      const identity = await withIdentity(store)
      const [token, other] = [aToken(identity.id), aToken(identity.id)]
      for (const each of [token, other]) await insertToken(store, each)
      const revoke = (id: string, at: number) =>
        store.transaction((tx) => tx.accessTokens.revoke(id, at))
      assert.equal(await revoke(token.id, 5), true)
      assert.equal(await revoke(token.id, 9), true)
      assert.equal(await revoke('nobody', 9), false)
      await store.close()
      const again = await reopen()
      assert.equal((await again.read.accessTokens.byId(token.id))?.revokedAt, 5)
      assert.equal((await again.read.accessTokens.byId(other.id))?.revokedAt, undefined)
    },
    { keepsData: true },
  )

  check('a token is kept longer, never shorter, and not once it is revoked', async (store) => {
    const identity = await withIdentity(store)
    const [token, other] = [1, 2].map(() => aToken(identity.id, { keepUntil: 100 }))
    assert.ok(token && other)
    for (const each of [token, other]) await insertToken(store, each)
    const extend = (id: string, until: number) =>
      store.transaction((tx) => tx.accessTokens.extend(id, until))
    const until = async (id: string) => (await store.read.accessTokens.byId(id))?.keepUntil
    assert.equal(await extend(token.id, 200), true)
    assert.equal(await extend(token.id, 150), true)
    assert.equal(await until(token.id), 200)
    assert.equal(await until(other.id), 100)
    await store.transaction((tx) => tx.accessTokens.revoke(token.id, 1))
    assert.equal(await extend(token.id, 300), false)
    assert.equal(await until(token.id), 200)
    assert.equal(await extend('nobody', 300), false)
  })

  check('of a revocation and a renewal at once, no renewal comes after', async (store) => {
    const identity = await withIdentity(store)
    const token = aToken(identity.id, { keepUntil: 100 })
    await insertToken(store, token)
    const order: string[] = []
    const renew = (i: number) =>
      store.grouped(async (tx) => {
        if (await tx.accessTokens.extend(token.id, 200 + i)) order.push('renewed')
      })
    const revoke = store.grouped(async (tx) => {
      await tx.accessTokens.revoke(token.id, 1)
      order.push('revoked')
    })
    await Promise.all([renew(1), renew(2), revoke, renew(3), renew(4)])
    assert.equal(order.at(-1), 'revoked')
  })

  check('what is over is forgotten, the oldest first, so many at a time', async (store) => {
    const identity = await withIdentity(store)
    const ends = [300, 100, 200, 100, 50, 201]
    const tokens = ends.map((keepUntil) =>
      aToken(identity.id, { keepUntil, revokedAt: keepUntil === 200 ? 1 : undefined }),
    )
    for (const token of tokens) await insertToken(store, token)
    const prune = (now: number, limit: number) =>
      store.transaction((tx) => tx.accessTokens.prune(now, limit))
    const left = async () => {
      const found = await Promise.all(tokens.map(({ id }) => store.read.accessTokens.byId(id)))
      return found.flatMap((token) => token?.keepUntil ?? [])
    }
    assert.equal(await prune(50, 10), 0)
    assert.equal(await prune(200, 1), 1)
    assert.deepEqual(await left(), [300, 100, 200, 100, 201])
    assert.equal(await prune(200, 10), 2)
    // A revoked one is kept as long as any other.
    assert.deepEqual(await left(), [300, 200, 201])
    assert.equal(await prune(201, 10), 1)
    assert.deepEqual(await left(), [300, 201])
    assert.equal(await prune(1000, 0), 0)
  })

  // Assertions ---------------------------------------------------------------------------------------

  check('an assertion is used once, of however many at once', async (store) => {
    const use = (iss: string, jti: string) =>
      store.grouped((tx) => tx.usedAssertions.use(iss, jti, 100))
    const answers = await Promise.all(Array.from({ length: 20 }, () => use('i', 'j')))
    assert.equal(answers.filter((first) => first).length, 1)
    assert.equal(await use('i', 'k'), true)
    assert.equal(await use('k', 'j'), true)
    assert.equal(await use('I', 'j'), true)
    assert.equal(await use('i', 'j'), false)
    assert.equal(await use('', ''), true)
  })

  check('a used assertion is forgotten after its time, and then by order only', async (store) => {
    const use = (jti: string, until: number) =>
      store.transaction((tx) => tx.usedAssertions.use('i', jti, until))
    const prune = (now: number, limit: number) =>
      store.transaction((tx) => tx.usedAssertions.prune(now, limit))
    for (const [jti, until] of [
      ['a', 100],
      ['b', 50],
      ['c', 200],
    ] as const) {
      await use(jti, until)
    }
    assert.equal(await prune(50, 10), 0)
    assert.equal(await prune(101, 1), 1)
    // The oldest went; used again it would be new, the others not.
    assert.equal(await use('a', 100), false)
    assert.equal(await use('b', 300), true)
    assert.equal(await prune(101, 10), 1)
    assert.equal(await use('c', 200), false)
  })
}
