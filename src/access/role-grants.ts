import { hash } from 'node:crypto'
import type { Context, Principal } from '../context.ts'
import { Problem } from '../errors.ts'
import type { RoleGrantRow } from '../store/role-grants.ts'
import type { Tx } from '../store/store.ts'
import { fromMillis, toIso, toMillis } from '../time.ts'
import { isRole } from './capabilities.ts'
import { contains, grantsOf, mayAnywhere, mayWith } from './grants.ts'
import { checkLasts } from './lasting.ts'
import { type Names, readNames } from './names.ts'
import { checkBoundary, type Held } from './rights.ts'
import type { RoleGrant, RoleGrantCreate } from './schema.ts'

// What the roles mean here that tokens of others name (product.md section 4). Without a grant an external role is a word:
// one that is called `admin` as well.

/** Principals; the oldest goes. */
const CACHE_SIZE = 10_000
/** Committed events after which a remembered principal may be wrong. */
const STALE =
  /^(?:(?:role-grant|external-security|tenant|ring|profile)\.|delivery-service\.deleted$)/
/** External roles of one token that are looked at. */
const MAX_ROLES = 1000

/** A user whom an external-security configuration vouches for. */
export interface ExternalUser {
  configuration: { id: string; name: string }
  user: string
  /** As the token has them. */
  roles: readonly string[]
}

export function createRoleGrants({ store, now, newId }: Context) {
  const remembered = new Map<string, Principal>()
  let generation = 0

  const stop = store.onCommit((events) => {
    if (!events.some(({ type }) => STALE.test(type))) return
    generation++
    remembered.clear()
  })

  async function named(tx: Tx, id: string): Promise<string> {
    return (await tx.externalSecurities.byId(id))?.name ?? ''
  }

  async function visible(tx: Tx, principal: Principal, id: string) {
    const row = await tx.roleGrants.byId(id)
    const names = await readNames(tx)
    if (!row || !isVisible(principal, row, names)) {
      throw new Problem('role_grant_not_found', `There is no role grant ${id.slice(0, 64)}`)
    }
    return { row, names }
  }

  /**
   * The roles of the outermost tenant, joined. Roles that are bound to different tenants cannot be one principal: joined,
   * each would reach into the tenants of the others. Those further in are left out, so that a grant within a tenant takes
   * nothing away beyond it; where no tenant contains all others, none of the roles counts.
   */
  function held(rows: readonly RoleGrantRow[], names: Names): Held | undefined {
    const bound = new Map(rows.map(({ tenantId }) => [tenantId, names.tenantName(tenantId)]))
    // Without a name it would be bound to none, and see all.
    if ([...bound].some(([id, name]) => id !== undefined && name === undefined)) return undefined
    const outermost = [...bound].filter(([, outer]) =>
      [...bound.values()].every((inner) => contains(names.tenants, outer, inner)),
    )
    if (outermost.length === 0) return undefined
    const ids = new Set(outermost.map(([id]) => id))
    const counting = rows.filter(({ tenantId }) => ids.has(tenantId))
    const grants = counting.flatMap(({ role }) => (isRole(role) ? grantsOf(role, []) : []))
    // The root and no tenant are both all of them.
    const tenant = outermost.map(([, name]) => name).find((name) => name !== undefined)
    return { role: undefined, grants, tenant }
  }

  /**
   * Who writes the keys of a configuration can make its users: he must have all that its grants give, and as it is
   * bound to no tenant, neither may he. Undefined: a configuration that has no grants yet, or none that matter.
   * @throws Problem `privilege_boundary`
   */
  async function boundary(
    tx: Tx,
    principal: Principal,
    configurationId: string | undefined,
  ): Promise<void> {
    const names = await readNames(tx)
    checkBoundary(principal, names, { role: undefined, grants: [], tenant: undefined })
    if (configurationId === undefined) return
    for (const { role, tenantId } of await tx.roleGrants.ofConfiguration(configurationId)) {
      const tenant = names.tenantName(tenantId)
      checkBoundary(principal, names, { role, grants: [], tenant })
    }
  }

  /** For what lets users of a configuration in, and goes on. @throws Problem `privilege_boundary` */
  async function trust(
    tx: Tx,
    principal: Principal,
    configurationId: string | undefined,
  ): Promise<void> {
    await boundary(tx, principal, configurationId)
    if (configurationId === undefined) return
    // As long as nobody is granted anything, its users may nothing.
    const grants = await tx.roleGrants.ofConfiguration(configurationId)
    if (grants.length > 0) checkLasts(principal, 'say whose tokens count')
  }

  async function end(
    tx: Tx,
    principal: Principal,
    { id, externalName, role }: RoleGrantRow,
    externalSecurity: string,
  ): Promise<void> {
    await tx.roleGrants.delete(id)
    await tx.audit.append({
      ...{ type: 'role-grant.deleted', subject: id, principal: principal.id },
      detail: { externalSecurity, externalName, role },
    })
  }

  return {
    /**
     * @throws Problem `privilege_boundary`, `name_taken` where it is there already, `invalid_request` for a
     * configuration or a tenant that there is not
     */
    async create(principal: Principal, body: RoleGrantCreate): Promise<RoleGrant> {
      const { externalSecurity, externalName, role, tenant } = body
      return store.transaction(async (tx) => {
        const names = await readNames(tx)
        checkBoundary(principal, names, { role, grants: [], tenant })
        checkLasts(principal, 'grant roles')
        const configuration = await tx.externalSecurities.byName(externalSecurity)
        if (!configuration) throw unknown(externalSecurity)
        const { id: externalSecurityId } = configuration
        const tenantId = tenant === undefined ? undefined : names.tenantId(tenant)
        const grant = { externalSecurityId, externalName, role, tenantId }
        if (await tx.roleGrants.find(grant)) {
          throw new Problem('name_taken', 'There is such a role grant already')
        }
        const row: RoleGrantRow = { id: newId(), ...grant, createdAt: toMillis(now()) }
        await tx.roleGrants.insert(row)
        const description = describe(row, externalSecurity, names)
        const { id, createdAt: _, ...detail } = description
        await tx.audit.append({
          ...{ type: 'role-grant.created', subject: id, principal: principal.id, detail },
        })
        return description
      })
    },

    /** Those of the caller's tenant and below, the oldest first. */
    async list(principal: Principal): Promise<RoleGrant[]> {
      const { read } = store
      const names = await readNames(read)
      const configurations = new Map(
        (await read.externalSecurities.list()).map(({ id, name }) => [id, name]),
      )
      return (await read.roleGrants.list())
        .filter((row) => isVisible(principal, row, names))
        .map((row) => describe(row, configurations.get(row.externalSecurityId) ?? '', names))
    },

    /** @throws Problem `role_grant_not_found`, `privilege_boundary` */
    async delete(principal: Principal, id: string): Promise<void> {
      await store.transaction(async (tx) => {
        const { row, names } = await visible(tx, principal, id)
        const tenant = names.tenantName(row.tenantId)
        checkBoundary(principal, names, { role: row.role, grants: [], tenant })
        await end(tx, principal, row, await named(tx, row.externalSecurityId))
      })
    },

    /** Ends all of a configuration that goes. @throws Problem `privilege_boundary` */
    async endAll(
      tx: Tx,
      principal: Principal,
      { id, name }: { id: string; name: string },
    ): Promise<void> {
      await boundary(tx, principal, id)
      for (const row of await tx.roleGrants.ofConfiguration(id)) await end(tx, principal, row, name)
    },

    checkBoundary: boundary,
    checkTrust: trust,

    /** Who a user of a configuration is here; without a role that counts, somebody who may nothing. */
    async principalOf({ configuration, user, roles }: ExternalUser): Promise<Principal> {
      const wanted = new Set(roles.slice(0, MAX_ROLES))
      // Its hash: what a token holds may be long, and many are remembered.
      const text = JSON.stringify([configuration.id, user, ...[...wanted].sort()])
      const key = hash('sha256', text, 'base64')
      const known = remembered.get(key)
      if (known) return known
      const before = generation
      const { read } = store
      const rows = await read.roleGrants.ofConfiguration(configuration.id)
      const granted = rows.filter(({ externalName }) => wanted.has(externalName))
      const rights = held(granted, await readNames(read))
      const grants = rights?.grants ?? []
      const principal: Principal = {
        ...{ id: `external:${plain(configuration.name)}/${plain(user)}`, tenant: rights?.tenant },
        ...{ may: mayWith(grants), maySome: mayAnywhere(grants) },
      }
      // What an event overtook may be old: answer with it, but do not keep it.
      if (before === generation) {
        const [oldest] = remembered.keys()
        if (oldest !== undefined && remembered.size >= CACHE_SIZE) remembered.delete(oldest)
        remembered.set(key, principal)
      }
      return principal
    },

    /** Stops listening to the store. */
    close: stop,
  }
}

/** Both may hold a slash: `a/b` of `c` is not `b` of `c/a`. */
const plain = (name: string): string => name.replace(/[%/]/g, encodeURIComponent)

function unknown(name: string): Problem {
  const message = `There is no external-security configuration ${name.slice(0, 64)}`
  return new Problem('invalid_request', message, {
    extra: { errors: [{ path: 'body/externalSecurity', message }] },
  })
}

const isVisible = (principal: Principal, { tenantId }: RoleGrantRow, names: Names): boolean =>
  contains(names.tenants, principal.tenant, names.tenantName(tenantId))

function describe(row: RoleGrantRow, externalSecurity: string, names: Names): RoleGrant {
  const tenant = names.tenantName(row.tenantId)
  return {
    ...{ id: row.id, externalSecurity, externalName: row.externalName, role: row.role },
    ...(tenant !== undefined && { tenant }),
    createdAt: toIso(fromMillis(row.createdAt)),
  }
}
