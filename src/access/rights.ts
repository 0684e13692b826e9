import type { Principal } from '../context.ts'
import { Problem } from '../errors.ts'
import type { GrantRow } from '../store/access.ts'
import type { Tx } from '../store/store.ts'
import { isRole } from './capabilities.ts'
import { contains, type Grant, grantsOf, mayAnywhere, mayWith, missing } from './grants.ts'
import { type Names, readHeld, readNames } from './names.ts'

// The privilege boundary, and what other slices ask about the principals that they keep.

/** What a principal has, or would get: compared with what the caller has. */
export interface Held {
  role: string | undefined
  grants: readonly Grant[]
  tenant: string | undefined
}

/** The same by id, as in the rows of another slice. */
export interface HeldById {
  role: string
  grants: readonly GrantRow[]
  tenantId: string | undefined
}

/** The privilege boundary (product.md section 4): nobody hands out, or takes away, what is not within his own. */
export function checkBoundary(principal: Principal, { tenants }: Names, rights: Held): void {
  const { role, tenant } = rights
  const wanted = grantsOf(role === undefined ? undefined : roleOf(role), rights.grants)
  const lacking = missing(principal, wanted)
  if (lacking.length > 0) {
    throw new Problem('privilege_boundary', `This needs ${lacking.join(', ')}`, {
      extra: { missing: lacking },
    })
  }
  if (!contains(tenants, principal.tenant, tenant)) {
    throw new Problem(
      'privilege_boundary',
      `The tenant ${principal.tenant} does not contain ${tenant ?? 'all tenants'}; name one that it does`,
    )
  }
}

const roleOf = (role: string) => (isRole(role) ? role : undefined)

export function createRights() {
  return {
    isRole: (name: string): boolean => isRole(name),

    /** Somebody with these rights, as a caller. */
    async principalOf(
      tx: Tx,
      id: string,
      { role, grants, tenantId }: HeldById,
    ): Promise<Principal> {
      const { tenant, grants: named } = await readHeld(tx, { tenantId, grants })
      // Without a name it would be bound to none, and see all.
      if (tenantId !== undefined && tenant === undefined) throw new Problem('unauthenticated')
      const held = grantsOf(roleOf(role), named)
      return { ...{ id, tenant }, ...{ may: mayWith(held), maySome: mayAnywhere(held) } }
    },

    /** Whether the caller's tenant contains this one; undefined: all tenants. */
    async isVisible(tx: Tx, { tenant }: Principal, tenantId: string | undefined): Promise<boolean> {
      const names = await readNames(tx)
      return contains(names.tenants, tenant, names.tenantName(tenantId))
    },

    /** The ids of the tenants that the caller's contains; undefined: all of them, and what has none. */
    async visibleTenants(tx: Tx, { tenant }: Principal): Promise<readonly string[] | undefined> {
      const names = await readNames(tx)
      if (contains(names.tenants, tenant, undefined)) return undefined
      const inner = [...names.tenants.keys()].filter((name) =>
        contains(names.tenants, tenant, name),
      )
      return inner.map(names.tenantId)
    },

    /** The id of the caller's tenant: that of what he makes. */
    async tenantOf(tx: Tx, { tenant }: Principal): Promise<string | undefined> {
      return tenant === undefined ? undefined : (await readNames(tx)).tenantId(tenant)
    },

    /** @throws Problem `privilege_boundary` */
    async checkBoundary(tx: Tx, principal: Principal, target: HeldById): Promise<void> {
      const names = await readNames(tx)
      const { role, grants, tenantId } = target
      const tenant = names.tenantName(tenantId)
      checkBoundary(principal, names, { role, grants: names.toGrants(grants), tenant })
    },
  }
}
