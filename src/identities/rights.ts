import type { Principal } from '../context.ts'
import { Problem } from '../errors.ts'
import type { GrantRow } from '../store/access.ts'
import type { Tx } from '../store/store.ts'

// What this slice asks of access control: who may see an identity, and who may hand out what it has.

/** What an identity has, by id as in its row. */
export interface TargetRights {
  role: string
  grants: readonly GrantRow[]
  tenantId: string | undefined
}

export interface Rights {
  isRole(name: string): boolean
  /** Whether the caller's tenant contains the identity's. */
  isVisible(tx: Tx, principal: Principal, tenantId: string | undefined): Promise<boolean>
  /** The tenants that the caller's contains, by id; undefined: all, and those of none. */
  visibleTenants(tx: Tx, principal: Principal): Promise<readonly string[] | undefined>
  /** The tenant of what the caller makes. */
  tenantOf(tx: Tx, principal: Principal): Promise<string | undefined>
  /**
   * The privilege boundary (product.md section 4): nobody hands out, or takes over, what is not within his own.
   * @throws Problem `privilege_boundary`, with `missing`
   */
  checkBoundary(tx: Tx, principal: Principal, target: TargetRights): Promise<void>
}

export type Action =
  | 'read'
  | 'create'
  | 'edit'
  | 'delete'
  | 'edit-auth'
  | 'revoke-auth'
  | 'create-token'

/** @throws Problem `forbidden`, with the action and its subject */
export function checkMay(principal: Principal, ...actions: readonly Action[]): void {
  for (const action of actions) {
    if (principal.may(`identity:${action}`)) continue
    const detail = `You are not allowed to ${action} on identity`
    throw new Problem('forbidden', detail, { extra: { action, subject: 'identity' } })
  }
}
