import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { randomId } from '../../src/context.ts'
import type { LoginTokenRow } from '../../src/store/login-tokens.ts'
import type { SessionKind, SessionRow } from '../../src/store/sessions.ts'
import type { Store } from '../../src/store/store.ts'
import type { UserRow } from '../../src/store/users.ts'
import type { Check } from './conformance.ts'
import { anApiToken } from './fixtures.ts'

// Users, their sessions and login tokens, and the tree of tenants (product.md section 3).

const aUser = (over: Partial<UserRow> = {}): UserRow => {
  const id = randomId()
  return {
    ...{ id, name: `user-${id}`, role: 'member', tenantId: undefined, jwt: false },
    ...{ passwordHash: undefined, digest: undefined },
    ...{ createdAt: 1_700_000_000_000, updatedAt: 1_700_000_000_000 },
    ...over,
  }
}

const aSession = (userId: string, over: Partial<SessionRow> = {}): SessionRow => ({
  ...{ idHash: randomBytes(32), userId, kind: 'traffic-ops', createdAt: 1, expiresAt: 100 },
  ...over,
})

async function withUser(store: Store, over: Partial<UserRow> = {}): Promise<UserRow> {
  const user = aUser(over)
  await store.transaction((tx) => tx.users.insert(user))
  return user
}

async function withSession(store: Store, userId: string, over: Partial<SessionRow> = {}) {
  const session = aSession(userId, over)
  await store.transaction((tx) => tx.sessions.insert(session))
  return session
}

async function withLoginToken(store: Store, userId: string, over: Partial<LoginTokenRow> = {}) {
  const token = { tokenHash: randomBytes(32), userId, createdAt: 1, expiresAt: 100, ...over }
  await store.transaction((tx) => tx.loginTokens.put(token))
  return token
}

const hexOf = (token: LoginTokenRow | undefined) =>
  token && Buffer.from(token.tokenHash).toString('hex')

const hex = (session: SessionRow | undefined) =>
  session && { ...session, idHash: Buffer.from(session.idHash).toString('hex') }

const read = async (store: Store, { idHash, kind }: Pick<SessionRow, 'idHash' | 'kind'>) =>
  hex(await store.read.sessions.byHash(idHash, kind))

/** root ▸ a ▸ b, root ▸ c. */
const withTenants = (store: Store) =>
  store.transaction(async (tx) => {
    await tx.tenants.insert('t0', 'root', null, 1)
    await tx.tenants.insert('ta', 'a', 't0', 2)
    await tx.tenants.insert('tb', 'b', 'ta', 3)
    await tx.tenants.insert('tc', 'c', 't0', 4)
  })

export function accessConformance(check: Check): void {
  userConformance(check)
  sessionConformance(check)
  loginTokenConformance(check)
  tenantConformance(check)
}

function userConformance(check: Check): void {
  check('a user comes back as it was written, by id and by name', async (store) => {
    await withTenants(store)
    const bare = await withUser(store)
    const full = await withUser(store, {
      ...{ name: 'Ann.B-c_1', role: 'cdn-admin', tenantId: 'tb', jwt: true },
      ...{ passwordHash: '$argon2id$v=19$m=8,t=1,p=1$AA$AA', createdAt: 2 ** 45, updatedAt: 7 },
    })
    for (const user of [bare, full]) {
      assert.deepEqual(await store.read.users.byId(user.id), user)
      assert.deepEqual(await store.read.users.byName(user.name), user)
    }
    assert.equal(await store.read.users.byId('nobody'), undefined)
    assert.equal(await store.read.users.byName('ann.b-c_1'), undefined, 'names have a case')
    assert.deepEqual(await store.read.users.grantsOf(full.id), [])
  })

  check('a name is one user, whose role and tenant must exist as the table says', async (store) => {
    await withTenants(store)
    const user = await withUser(store)
    const insert = (over: Partial<UserRow>) =>
      store.transaction((tx) => tx.users.insert(aUser(over)))
    await assert.rejects(insert({ name: user.name }))
    await assert.rejects(insert({ id: user.id }))
    await assert.rejects(insert({ tenantId: 'nowhere' }))
    const both = await Promise.allSettled([1, 2].map(() => insert({ name: 'twin' })))
    assert.equal(both.filter(({ status }) => status === 'fulfilled').length, 1)
    assert.deepEqual((await store.read.users.list()).map(({ name }) => name).sort(), [
      ...['twin', user.name].sort(),
    ])
  })

  check('users are listed by name, all or those of some tenants', async (store) => {
    await withTenants(store)
    for (const [name, tenantId] of [
      ['d', undefined],
      ['b', 'tb'],
      ['a', 'tc'],
      ['c', 'ta'],
    ] as const) {
      await withUser(store, { name, tenantId })
    }
    const names = async (ids?: readonly string[]) =>
      (await store.read.users.list(ids)).map(({ name }) => name)
    assert.deepEqual(await names(), ['a', 'b', 'c', 'd'])
    assert.deepEqual(await names(['ta', 'tb', 'none']), ['b', 'c'])
    assert.deepEqual(await names([]), [])
  })

  check('a user is changed and deleted alone; name, id and age stay', async (store) => {
    await withTenants(store)
    const [user, other] = [await withUser(store), await withUser(store)]
    const changed = {
      ...{ ...user, role: 'operator', tenantId: 'tc', jwt: true, passwordHash: 'x', updatedAt: 9 },
    }
    const update = (row: UserRow) => store.transaction((tx) => tx.users.update(row))
    assert.equal(await update({ ...changed, name: 'another', createdAt: 5 }), true)
    assert.deepEqual(await store.read.users.byId(user.id), changed)
    assert.deepEqual(await store.read.users.byId(other.id), other)
    assert.equal(await update({ ...changed, id: randomId() }), false)
    await assert.rejects(update({ ...changed, tenantId: 'nowhere' }))

    const remove = () => store.transaction((tx) => tx.users.delete(user.id))
    assert.deepEqual([await remove(), await remove()], [true, false])
    assert.equal(await store.read.users.byId(user.id), undefined)
    assert.ok(await store.read.users.byId(other.id))
  })
}

function sessionConformance(check: Check): void {
  check('a session is found by its hash and kind, and by no other', async (store) => {
    const user = await withUser(store)
    const session = await withSession(store, user.id, { expiresAt: 2 ** 45 })
    const other = await withSession(store, user.id, { kind: 'console' })
    assert.deepEqual(await read(store, session), hex(session))
    assert.deepEqual(await read(store, other), hex(other))
    assert.equal(await read(store, { ...session, kind: 'console' }), undefined)
    assert.equal(await read(store, { ...session, idHash: randomBytes(32) }), undefined)
    const insert = (over: SessionRow) => store.transaction((tx) => tx.sessions.insert(over))
    await assert.rejects(insert({ ...session, kind: 'console' }), 'a hash is one session')
    await assert.rejects(insert(aSession('nobody')))
    await assert.rejects(insert(aSession(user.id, { kind: 'api' as SessionKind })))
  })

  check('a session lives longer, never shorter, and not once it has ended', async (store) => {
    const user = await withUser(store)
    const [session, other] = [await withSession(store, user.id), await withSession(store, user.id)]
    const { idHash, kind } = session
    const extend = (until: number, now: number, as: SessionKind = kind) =>
      store.transaction((tx) => tx.sessions.extend(idHash, as, until, now))
    assert.equal(await extend(200, 99), true)
    assert.equal(await extend(150, 99), false, 'never shorter')
    assert.equal(await extend(300, 99, 'console'), false, 'of another kind')
    assert.equal(await extend(300, 200), false, 'it has ended')
    assert.equal((await read(store, session))?.expiresAt, 200)
    assert.equal((await read(store, other))?.expiresAt, 100)
  })

  check('a session is ended alone, or with all of its user, or with the user', async (store) => {
    const [user, other] = [await withUser(store), await withUser(store)]
    const [one, two] = [await withSession(store, user.id), await withSession(store, user.id)]
    const console = await withSession(store, user.id, { kind: 'console' })
    const foreign = await withSession(store, other.id)
    const remove = (kind: SessionKind) =>
      store.transaction((tx) => tx.sessions.delete(one.idHash, kind))
    assert.equal(await remove('console'), false)
    assert.deepEqual([await remove('traffic-ops'), await remove('traffic-ops')], [true, false])
    assert.ok(await read(store, two))
    const endAll = () => store.transaction((tx) => tx.sessions.deleteOfUser(user.id))
    assert.deepEqual([await endAll(), await endAll()], [2, 0])
    assert.equal(await read(store, console), undefined)
    assert.ok(await read(store, foreign))
    await store.transaction((tx) => tx.users.delete(other.id))
    assert.equal(await read(store, foreign), undefined)
  })

  check('of too many sessions of a user and kind the newest stay', async (store) => {
    const [user, other] = [await withUser(store), await withUser(store)]
    const ages = [3, 1, 5, 2, 4]
    const sessions = await Promise.all(
      ages.map((createdAt) => withSession(store, user.id, { createdAt })),
    )
    const console = await withSession(store, user.id, { kind: 'console', createdAt: 0 })
    const foreign = await withSession(store, other.id, { createdAt: 0 })
    const trim = (keep: number) =>
      store.transaction((tx) => tx.sessions.trim(user.id, 'traffic-ops', keep))
    const left = async () => {
      const found = await Promise.all(sessions.map((session) => read(store, session)))
      return found.flatMap((session) => session?.createdAt ?? [])
    }
    await trim(9)
    assert.equal((await left()).length, 5)
    await trim(2)
    assert.deepEqual(await left(), [5, 4])
    await trim(0)
    assert.deepEqual(await left(), [])
    assert.ok(await read(store, console))
    assert.ok(await read(store, foreign))
  })

  check('sessions that ended are forgotten, the oldest first, so many at a time', async (store) => {
    const user = await withUser(store)
    const ends = [300, 100, 200, 100, 50]
    const sessions = await Promise.all(
      ends.map((expiresAt) => withSession(store, user.id, { expiresAt })),
    )
    const prune = (now: number, limit: number) =>
      store.transaction((tx) => tx.sessions.prune(now, limit))
    const left = async () => {
      const found = await Promise.all(sessions.map((session) => read(store, session)))
      return found.flatMap((session) => session?.expiresAt ?? [])
    }
    assert.equal(await prune(50, 10), 0)
    assert.equal(await prune(200, 1), 1)
    assert.deepEqual(await left(), [300, 100, 200, 100])
    assert.equal(await prune(200, 10), 2)
    assert.deepEqual(await left(), [300, 200])
    assert.equal(await prune(1000, 0), 0)
  })
}

function loginTokenConformance(check: Check): void {
  check(
    'a login token is claimed once, by one of many, and not when it has ended',
    async (store) => {
      const user = await withUser(store)
      const { tokenHash } = await withLoginToken(store, user.id)
      const claim = (now: number, hash = tokenHash) =>
        store.grouped((tx) => tx.loginTokens.claim(hash, now))
      assert.equal(await claim(1, randomBytes(32)), undefined)
      assert.equal(await claim(100), undefined, 'it has ended')
      const claims = await Promise.all(Array.from({ length: 20 }, () => claim(99)))
      assert.deepEqual(
        claims.filter((userId) => userId !== undefined),
        [user.id],
      )
      assert.equal(await store.read.loginTokens.byHash(tokenHash), undefined)
    },
  )

  check(
    'a user has one login token, the newest, of a hash and an end that can be',
    async (store) => {
      const [user, other] = [await withUser(store), await withUser(store)]
      const first = await withLoginToken(store, user.id)
      const foreign = await withLoginToken(store, other.id)
      const second = await withLoginToken(store, user.id, { createdAt: 2, expiresAt: 2 ** 45 })
      const { byHash } = store.read.loginTokens
      assert.equal(await byHash(first.tokenHash), undefined)
      const found = await byHash(second.tokenHash)
      assert.deepEqual(
        { ...found, tokenHash: hexOf(found) },
        { ...second, tokenHash: hexOf(second) },
      )
      assert.ok(await byHash(foreign.tokenHash))
      const put = (over: Partial<LoginTokenRow>) => withLoginToken(store, user.id, over)
      await assert.rejects(put({ tokenHash: randomBytes(31) }))
      await assert.rejects(put({ tokenHash: foreign.tokenHash }), 'a hash is one token')
      await assert.rejects(put({ createdAt: 9, expiresAt: 9 }))
      await assert.rejects(put({ userId: 'nobody' }))
      assert.ok(await byHash(second.tokenHash), 'what is refused replaces nothing')
    },
  )

  check('a login token goes alone, with its user, or when it has ended', async (store) => {
    const users = [await withUser(store), await withUser(store), await withUser(store)]
    const [one, two, three] = users.map(({ id }) => id) as [string, string, string]
    const [alone, cascaded] = [await withLoginToken(store, one), await withLoginToken(store, two)]
    const later = await withLoginToken(store, three, { expiresAt: 101 })
    const { byHash } = store.read.loginTokens
    const remove = () => store.transaction((tx) => tx.loginTokens.deleteOfUser(one))
    assert.deepEqual([await remove(), await remove()], [true, false])
    assert.equal(await byHash(alone.tokenHash), undefined)
    assert.ok(await byHash(cascaded.tokenHash))
    await store.transaction((tx) => tx.users.delete(two))
    assert.equal(await byHash(cascaded.tokenHash), undefined)
    await withLoginToken(store, one)
    const prune = (now: number) => store.transaction((tx) => tx.loginTokens.prune(now))
    assert.deepEqual([await prune(100), await prune(101), await prune(101)], [0, 1, 0])
    assert.ok(await byHash(later.tokenHash))
  })
}

function tenantConformance(check: Check): void {
  check('a tenant is hung on another parent; the root has none, ever', async (store) => {
    await withTenants(store)
    const setParent = (id: string, parent: string) =>
      store.transaction((tx) => tx.tenants.setParent(id, parent))
    await setParent('tb', 'tc')
    const parents = (await store.read.tenants.list()).map(({ name, parent_id }) => [
      name,
      parent_id,
    ])
    assert.deepEqual(parents, [
      ['a', 't0'],
      ['b', 'tc'],
      ['c', 't0'],
      ['root', null],
    ])
    await assert.rejects(setParent('tb', 'nowhere'))
    await assert.rejects(setParent('t0', 'ta'), 'the root hangs on nothing')
  })

  check('a tenant says what it holds, and is deleted only when that is nothing', async (store) => {
    await withTenants(store)
    const remove = (id: string) => store.transaction((tx) => tx.tenants.delete(id))
    const contents = (id: string) => store.read.tenants.contents(id)
    const nothing = {
      ...{ tenants: 0, users: 0, apiTokens: 0, identities: 0, deliveryServices: 0, roleGrants: 0 },
    }
    assert.deepEqual(await contents('ta'), { ...nothing, tenants: 1 })
    await assert.rejects(remove('ta'))
    const user = await withUser(store, { tenantId: 'tb' })
    const token = anApiToken({ tenantId: 'tb' })
    await store.transaction((tx) => tx.apiTokens.insert(token))
    assert.deepEqual(await contents('tb'), { ...nothing, users: 1, apiTokens: 1 })
    await assert.rejects(remove('tb'))
    await store.transaction((tx) => tx.users.delete(user.id))
    await assert.rejects(remove('tb'))
    await store.transaction((tx) => tx.apiTokens.delete(token.id))
    assert.deepEqual(await contents('tb'), nothing)
    assert.deepEqual([await remove('tb'), await remove('tb')], [true, false])
    assert.equal(await remove('ta'), true)
  })

  check('a tenant tells the roles and grants of who is bound to it', async (store) => {
    await withTenants(store)
    await withUser(store, { tenantId: 'ta', role: 'cdn-admin' })
    await withUser(store, { tenantId: 'ta', role: 'cdn-admin' })
    await withUser(store, { tenantId: 'tc', role: 'admin' })
    const grants = [{ capability: 'verify' }]
    await store.transaction(async (tx) => {
      await tx.apiTokens.insert(anApiToken({ tenantId: 'tb', role: 'member', grants }))
      await tx.apiTokens.insert(
        anApiToken({ tenantId: 'ta', grants: [{ capability: 'settings' }] }),
      )
      await tx.apiTokens.insert(anApiToken({ grants: [{ capability: 'backup' }] }))
    })
    const held = async (ids: readonly string[]) => {
      const { roles, grants } = await store.read.tenants.heldIn(ids)
      return { roles: [...roles].sort(), grants: grants.map((one) => one.capability).sort() }
    }
    assert.deepEqual(await held(['ta', 'tb']), {
      roles: ['cdn-admin', 'member'],
      grants: ['settings', 'verify'],
    })
    assert.deepEqual(await held(['tc']), { roles: ['admin'], grants: [] })
    assert.deepEqual(await held([]), { roles: [], grants: [] })
  })
}
