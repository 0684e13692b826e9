import type { Principal } from '../context.ts'
import { Problem } from '../errors.ts'

/**
 * What ends, or is bound to addresses and uses, makes nothing that lets somebody in and goes on. `what` completes the
 * sentence "A credential that ends cannot …".
 * @throws Problem `privilege_boundary`
 */
export function checkLasts({ id, expiresAt }: Principal, what: string): void {
  if (expiresAt === undefined && !id.startsWith('identity:')) return
  throw new Problem('privilege_boundary', `A credential that ends cannot ${what}: that would go on`)
}
