import type { TestContext } from 'node:test'
import { CAPABILITY_NAMES } from '../../src/access/capabilities.ts'
import { accessRoutes } from '../../src/access/routes.ts'
import { createAccess } from '../../src/access/service.ts'
import { tenantRoutes } from '../../src/access/tenant-routes.ts'
import { userRoutes } from '../../src/access/user-routes.ts'
import type { Context } from '../../src/context.ts'
import { installAuth } from '../../src/http/auth.ts'
import { createLogger } from '../../src/http/log.ts'
import { createServer, ourApi } from '../../src/http/server.ts'
import { readMigrations } from '../../src/store/migrations.ts'
import { RESERVED_RINGS, type Ring } from '../../src/store/rings.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { fromMillis, type Instant } from '../../src/time.ts'

export const START: Instant = 1_700_000_000_000_000_000n
/** As an operator may choose it: 32 characters without our prefix. */
export const ROOT_TOKEN = 'correct-horse-battery-staple-0001'

const aRing = (name: string): Ring => ({
  ...{ id: name, name, reserved: RESERVED_RINGS.some((reserved) => reserved === name) },
  ...{ algorithms: ['ES256'], exportable: false, createdAt: 1 },
  ...{ rotationThreshold: undefined, maxTokenTtl: undefined, jwksMaxAge: undefined },
  issuer: undefined,
})

/** Access over a real store: ring `payments` with profile `ci`, ring `other`, tenants root ▸ east ▸ shop and root ▸ west. */
export async function accessWorld(t: TestContext, file = ':memory:') {
  let time = START
  let ids = 0
  const written: string[] = []
  const log = createLogger({
    level: 'debug',
    destination: { write: (line: string) => void written.push(line) },
  })
  const now = () => time
  const newId = () => `id-${String(++ids).padStart(4, '0')}`
  const migrations = await readMigrations('migrations/sqlite')
  const onListenerError = (error: unknown) => {
    throw error
  }
  const store = openSqliteStore({ file, migrations, writer: 'w', now, newId, onListenerError })
  t.after(() => store.close())
  const context: Context = { store, log, now, newId, monotonic: () => time }
  const access = createAccess(context)
  await store.transaction(async (tx) => {
    for (const name of [...RESERVED_RINGS, 'payments', 'other']) await tx.rings.insert(aRing(name))
    await tx.profiles.put({
      ...{ id: 'profile-1', ringId: 'payments', name: 'ci', policy: {} },
      ...{ createdAt: 1, updatedAt: 1 },
    })
    await tx.tenants.insert('t0', 'root', null, 1)
    await tx.tenants.insert('t1', 'east', 't0', 1)
    await tx.tenants.insert('t2', 'shop', 't1', 1)
    await tx.tenants.insert('t3', 'west', 't0', 1)
    await access.ensureManagementToken(tx, ROOT_TOKEN)
  })
  return {
    access,
    store,
    context,
    logText: () => written.join(''),
    advance: (millis: number) => {
      time += fromMillis(millis)
    },
    /** The audit chain, oldest first. */
    audit: () => store.read.audit.list(0n, 1000),
  }
}

/** The world behind its routes, called as a holder of the given token. */
export async function accessApp(t: TestContext, file?: string) {
  const world = await accessWorld(t, file)
  const app = createServer({ log: world.context.log, newId: world.context.newId })
  t.after(() => app.close())
  installAuth(app, {
    known: new Set<string>(CAPABILITY_NAMES),
    authenticate: (request) => world.access.authenticate(request.headers, '192.0.2.1'),
    onDenied: (principal, needed) => world.access.recordDenied(principal, needed),
  })
  await app.register(async (scope) => {
    ourApi(scope)
    await scope.register(accessRoutes(world.access))
    await scope.register(tenantRoutes(world.access))
    await scope.register(userRoutes(world.access))
  })

  type Method = 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE'

  /** Any of our own paths. */
  async function ask(token: string, method: Method, url: string, body?: object) {
    const answer = await app.inject({
      ...{ method, url },
      headers: token === '' ? {} : { authorization: `Bearer ${token}` },
      ...(body && { payload: body }),
    })
    return { status: answer.statusCode, body: answer.body ? answer.json() : undefined, answer }
  }

  const call = (token: string, method: Method, path = '', body?: object) =>
    ask(token, method, `/v1/api-tokens${path}`, body)

  /** Makes a token as the management token would. */
  async function make(body: object): Promise<string> {
    const { status, body: created } = await call(ROOT_TOKEN, 'POST', '', body)
    if (status !== 201) throw new Error(JSON.stringify(created))
    return created.token
  }
  return { ...world, app, ask, call, make }
}
