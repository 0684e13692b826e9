import type { Context, Principal } from '../context.ts'
import { Problem } from '../errors.ts'
import type { IdentityRow } from '../store/identities.ts'
import type { Tx } from '../store/store.ts'
import { fromMillis, toIso, toMillis } from '../time.ts'
import { type Action, checkMay, type Rights } from './rights.ts'
import type { Identity, IdentityCreate, IdentityUpdate, Membership } from './schema.ts'
import { AUTH_METHOD } from './token-claims.ts'

// Identities (identity contract, section 12): what a workload is to this server.

export interface IdentityParts {
  context: Context
  rights: Rights
  /** The configuration of this id is gone, with its identity. */
  onSourceGone(id: string): Promise<void>
}

export type Identities = ReturnType<typeof createIdentities>

/** The original answers all at once; so do we, up to here. */
const MAX_LISTED = 10_000

export function createIdentities({ context, rights, onSourceGone }: IdentityParts) {
  const { store, now, newId } = context

  /** Made with the installation, and never changed. */
  let only: Awaited<ReturnType<Tx['organisations']['get']>>

  async function organisation(tx: Tx) {
    only ??= await tx.organisations.get()
    if (!only) throw new Problem('not_ready', 'The server has no organisation yet')
    return only
  }

  async function visible(tx: Tx, principal: Principal, id: string, action: Action) {
    const row = await tx.identities.byId(id)
    if (!row || !(await rights.isVisible(tx, principal, row.tenantId))) {
      throw new Problem('identity_not_found', `Failed to find identity with ID ${id}`)
    }
    checkMay(principal, action)
    return row
  }

  const grantsOf = async (tx: Tx, { id, role, tenantId }: IdentityRow) => ({
    ...{ role, tenantId, grants: await tx.identities.grantsOf(id) },
  })

  async function record(tx: Tx, type: string, principal: Principal, row: IdentityRow) {
    const detail = { name: row.name, role: row.role }
    await tx.audit.append({ type, subject: row.id, principal: principal.id, detail })
  }

  function checkRole(role: string): void {
    if (rights.isRole(role)) return
    const message = `There is no role ${role}`
    const errors = [{ code: 'custom', path: ['role'], message }]
    throw new Problem('invalid_request', message, { extra: { errors } })
  }

  const methodsOf = async (tx: Tx, id: string): Promise<string[]> =>
    (await tx.jwtAuth.byIdentity(id)) ? [AUTH_METHOD] : []

  return {
    /** @throws Problem `forbidden`, `invalid_request` for a role that is none, `privilege_boundary` */
    async create(principal: Principal, body: IdentityCreate): Promise<Identity> {
      checkMay(principal, 'create')
      checkRole(body.role)
      return store.transaction(async (tx) => {
        const tenantId = await rights.tenantOf(tx, principal)
        await rights.checkBoundary(tx, principal, { role: body.role, grants: [], tenantId })
        const at = toMillis(now())
        const row: IdentityRow = {
          ...{ id: newId(), organisationId: (await organisation(tx)).id, tenantId },
          ...{ name: body.name, role: body.role, deleteProtection: body.hasDeleteProtection },
          ...{ metadata: body.metadata ?? [], createdAt: at, updatedAt: at },
          ...{ lastLoginMethod: undefined, lastLoginAt: undefined },
        }
        await tx.identities.insert(row)
        await record(tx, 'identity.created', principal, row)
        return describe(row, [])
      })
    },

    /** @throws Problem `identity_not_found`, `forbidden` */
    async get(principal: Principal, id: string): Promise<Membership> {
      return store.transaction(async (tx) => {
        const row = await visible(tx, principal, id, 'read')
        return toMembership(row, await methodsOf(tx, id))
      })
    },

    /** By name, those of the caller's tenant and below. @throws Problem `forbidden` */
    async list(principal: Principal): Promise<{ identities: Membership[]; totalCount: number }> {
      checkMay(principal, 'read')
      return store.transaction(async (tx) => {
        const tenantIds = await rights.visibleTenants(tx, principal)
        const page = { limit: MAX_LISTED, offset: 0, tenantIds }
        const { identities, total } = await tx.identities.list(page)
        const attached = await tx.jwtAuth.attached(identities.map(({ id }) => id))
        const methods = ({ id }: IdentityRow) => (attached.has(id) ? [AUTH_METHOD] : [])
        return {
          identities: identities.map((row) => toMembership(row, methods(row))),
          totalCount: total,
        }
      })
    },

    /**
     * Both what it has and what it gets must be within the caller's rights.
     * @throws Problem `identity_not_found`, `forbidden`, `invalid_request`, `privilege_boundary`
     */
    async update(principal: Principal, id: string, body: IdentityUpdate): Promise<Identity> {
      return store.transaction(async (tx) => {
        const before = await visible(tx, principal, id, 'edit')
        if (body.role !== undefined) checkRole(body.role)
        const after: IdentityRow = {
          ...before,
          name: body.name ?? before.name,
          role: body.role ?? before.role,
          deleteProtection: body.hasDeleteProtection ?? before.deleteProtection,
          metadata: body.metadata ?? before.metadata,
          updatedAt: toMillis(now()),
        }
        await rights.checkBoundary(tx, principal, await grantsOf(tx, before))
        await rights.checkBoundary(tx, principal, await grantsOf(tx, after))
        await tx.identities.update(after)
        await record(tx, 'identity.changed', principal, after)
        return describe(after, await methodsOf(tx, id))
      })
    },

    /**
     * With its configuration and its tokens.
     * @throws Problem `identity_not_found`, `forbidden`, `identity_protected`, `privilege_boundary`
     */
    async delete(principal: Principal, id: string): Promise<Identity> {
      const { row, attached } = await store.transaction(async (tx) => {
        const row = await visible(tx, principal, id, 'delete')
        await rights.checkBoundary(tx, principal, await grantsOf(tx, row))
        if (row.deleteProtection) {
          throw new Problem('identity_protected', 'Identity has delete protection')
        }
        const attached = await tx.jwtAuth.byIdentity(id)
        await tx.identities.delete(id)
        await record(tx, 'identity.deleted', principal, row)
        return { row, attached }
      })
      if (attached) await onSourceGone(attached.id)
      return describe(row, attached ? [AUTH_METHOD] : [])
    },

    /** The one organisation. @throws Problem `not_ready` */
    organisation: () => organisation(store.read),
  }
}

const times = ({ createdAt, updatedAt }: IdentityRow) => ({
  createdAt: toIso(fromMillis(createdAt)),
  updatedAt: toIso(fromMillis(updatedAt)),
})

const describe = (row: IdentityRow, authMethods: string[]): Identity => ({
  ...{ id: row.id, name: row.name, authMethod: null, orgId: row.organisationId },
  hasDeleteProtection: row.deleteProtection,
  ...times(row),
  ...{ authMethods, metadata: [...row.metadata] },
})

/** The original wraps an identity in its membership of the organisation; here the two are one. */
const toMembership = (row: IdentityRow, authMethods: string[]): Membership => ({
  ...{ id: row.id, role: row.role, roleId: null, orgId: row.organisationId, identityId: row.id },
  ...times(row),
  lastLoginAuthMethod: row.lastLoginMethod ?? null,
  lastLoginTime: row.lastLoginAt === undefined ? null : toIso(fromMillis(row.lastLoginAt)),
  metadata: [...row.metadata],
  identity: {
    ...{ id: row.id, name: row.name, orgId: row.organisationId },
    ...{ hasDeleteProtection: row.deleteProtection, authMethods, activeLockoutAuthMethods: [] },
  },
})
