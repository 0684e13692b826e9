import type { Context, Principal } from '../context.ts'
import { Problem } from '../errors.ts'
import type { Tx } from '../store/store.ts'
import { fromMillis, toIso, toMillis } from '../time.ts'
import { contains, type Tenants } from './grants.ts'
import { type Names, readNames } from './names.ts'
import { checkBoundary } from './rights.ts'
import type { Tenant, TenantCreate } from './schema.ts'
import { depthOf, differing, heightOf, MAX_DEPTH } from './tenant-tree.ts'

// Tenants: a tree whose root is there from the first start. Who is bound to one sees it and what is below, no more.

const ROOT = 'root'
/** Every decision about rights reads all of them. */
const MAX_TENANTS = 10_000
/** Below the tenant of a caller who is bound to it. */
const MAX_BELOW = 1000

type Row = Awaited<ReturnType<Tx['tenants']['list']>>[number]

export function createTenants({ store, now, newId }: Context) {
  /** Those of the tree that the caller may see. */
  const sees = ({ tenant }: Principal, { tenants }: Names, name: string) =>
    tenants.has(name) && contains(tenants, tenant, name)

  function describe(principal: Principal, names: Names, row: Row): Tenant {
    const parent = names.tenants.get(row.name)
    return {
      name: row.name,
      // What is above the caller's own tenant is not his to see.
      ...(parent !== undefined && sees(principal, names, parent) && { parent }),
      createdAt: toIso(fromMillis(Number(row.created_at))),
    }
  }

  async function visible(tx: Tx, principal: Principal, name: string) {
    const names = await readNames(tx)
    const row = await tx.tenants.byName(name)
    if (row && sees(principal, names, name)) return { names, row }
    throw new Problem('tenant_not_found', `There is no tenant ${name.slice(0, 64)}`)
  }

  return {
    /**
     * Makes a tenant below another: the one named, else the caller's own, else the root.
     * @throws Problem `name_taken`, `privilege_boundary`, `invalid_request` for a parent that does not exist
     */
    async create(principal: Principal, body: TenantCreate): Promise<Tenant> {
      const { name, parent = principal.tenant ?? ROOT } = body
      return store.transaction(async (tx) => {
        const names = await readNames(tx)
        checkWithin(principal, names.tenants, parent)
        const parentId = idOf(names, parent)
        if (names.tenants.has(name)) {
          throw new Problem('name_taken', `There is a tenant ${name} already`)
        }
        checkDepth(depthOf(names.tenants, parent) + 1)
        if (names.tenants.size >= MAX_TENANTS) {
          throw new Problem('tenant_limit', `There are ${MAX_TENANTS} tenants already`)
        }
        if (principal.tenant !== undefined && principal.tenant !== ROOT) {
          const below = [...names.tenants.keys()].filter((one) => sees(principal, names, one))
          // Who is bound to one tenant does not use up what all share.
          if (below.length > MAX_BELOW) {
            throw new Problem(
              'tenant_limit',
              `${principal.tenant} has ${MAX_BELOW} tenants already`,
            )
          }
        }
        await tx.tenants.insert(newId(), name, parentId, toMillis(now()))
        await tx.audit.append({
          ...{ type: 'tenant.created', subject: name, principal: principal.id },
          detail: { parent },
        })
        const { names: after, row } = await visible(tx, principal, name)
        return describe(principal, after, row)
      })
    },

    /** The caller's own and those below, by name. */
    async list(principal: Principal): Promise<Tenant[]> {
      const names = await readNames(store.read)
      const rows = await store.read.tenants.list()
      return rows
        .filter(({ name }) => sees(principal, names, name))
        .map((row) => describe(principal, names, row))
    },

    /** @throws Problem `tenant_not_found` */
    async get(principal: Principal, name: string): Promise<Tenant> {
      const { names, row } = await visible(store.read, principal, name)
      return describe(principal, names, row)
    },

    /**
     * Hangs a tenant, with all below it, on another parent. The caller's tenant must contain the old and the new one,
     * and the caller must have what everybody has who gets or loses rights in what moves.
     * @throws Problem `tenant_not_found`, `privilege_boundary`, `invalid_request`
     */
    async move(principal: Principal, name: string, parent: string): Promise<Tenant> {
      return store.transaction(async (tx) => {
        const { names, row } = await visible(tx, principal, name)
        const { tenants } = names
        const from = parentOf(principal, tenants, name)
        checkWithin(principal, tenants, parent)
        const parentId = idOf(names, parent)
        if (contains(tenants, name, parent)) {
          throw unfit(`${parent} is ${name} itself or below it`)
        }
        checkDepth(depthOf(tenants, parent) + 1 + heightOf(tenants, name))
        await checkHeld(tx, principal, names, differing(tenants, from, parent))
        await tx.tenants.setParent(row.id, parentId)
        await tx.audit.append({
          ...{ type: 'tenant.moved', subject: name, principal: principal.id },
          detail: { from, to: parent },
        })
        const after = await visible(tx, principal, name)
        return describe(principal, after.names, after.row)
      })
    },

    /**
     * Deletes an empty tenant.
     * @throws Problem `tenant_not_found`, `privilege_boundary`, `tenant_in_use` with `blockedBy`
     */
    async delete(principal: Principal, name: string): Promise<void> {
      await store.transaction(async (tx) => {
        const { names, row } = await visible(tx, principal, name)
        parentOf(principal, names.tenants, name)
        const contents = Object.entries(await tx.tenants.contents(row.id))
        const held = contents.filter(([, count]) => count > 0)
        if (held.length > 0) {
          const words = held.map(([kind, count]) => `${count} ${WORDS[kind] ?? kind}`).join(', ')
          throw new Problem('tenant_in_use', `The tenant ${name} still holds ${words}`, {
            extra: { blockedBy: Object.fromEntries(held) },
          })
        }
        await tx.tenants.delete(row.id)
        await tx.audit.append({
          ...{ type: 'tenant.deleted', subject: name, principal: principal.id },
        })
      })
    },
  }
}

/** Who is bound to one of these tenants has no more than the caller. @throws Problem `privilege_boundary` */
async function checkHeld(tx: Tx, principal: Principal, names: Names, affected: readonly string[]) {
  const { roles, grants } = await tx.tenants.heldIn(affected.map(names.tenantId))
  const tenant = principal.tenant
  checkBoundary(principal, names, { role: undefined, grants: names.toGrants(grants), tenant })
  for (const role of roles) checkBoundary(principal, names, { role, grants: [], tenant })
}

const WORDS: Record<string, string> = {
  ...{ tenants: 'tenant(s)', users: 'user(s)', apiTokens: 'API token(s)' },
  ...{ identities: 'identity(ies)', deliveryServices: 'delivery service(s)' },
  roleGrants: 'role grant(s)',
}

const unfit = (message: string) =>
  new Problem('invalid_request', message, { extra: { errors: [{ path: 'body/parent', message }] } })

function idOf({ tenants, tenantId }: Names, parent: string): string {
  if (!tenants.has(parent)) throw unfit(`There is no tenant ${parent}`)
  return tenantId(parent)
}

function checkDepth(depth: number): void {
  if (depth > MAX_DEPTH) throw unfit(`Tenants are at most ${MAX_DEPTH} levels below the root`)
}

/** The same for a tenant of others and for one that there is not: who is bound to one learns of no other. */
function checkWithin({ tenant }: Principal, tenants: Tenants, name: string): void {
  if (contains(tenants, tenant, name)) return
  throw new Problem('privilege_boundary', `The tenant ${tenant} does not contain ${name}`)
}

/** What a tenant hangs on, which the caller's must contain to take it off. @throws Problem `privilege_boundary` */
function parentOf(principal: Principal, tenants: Tenants, name: string): string {
  const parent = tenants.get(name)
  if (parent === undefined) {
    throw new Problem('privilege_boundary', `The tenant ${name} stays: all others are below it`)
  }
  if (contains(tenants, principal.tenant, parent)) return parent
  throw new Problem('privilege_boundary', `The tenant ${name} is your own`)
}
