import type { Context, Principal } from '../context.ts'
import { Problem } from '../errors.ts'
import type { Directory, Entry } from './directory.ts'
import type { Tenancy } from './tenancy.ts'

export type Visible = ReturnType<typeof createVisible>

/** Delivery services with their keys, for those who may see them. */
export function createVisible(
  directory: Directory,
  tenancy: Tenancy,
  { read }: Pick<Context['store'], 'read'>,
) {
  /**
   * Nothing is opened for who may not see it: that takes time, and may fail in words of its own. Nor does it matter here
   * what is remembered of whom: somebody else's service and one that there is not take the same way.
   */
  async function load(principal: Principal, xmlId: string): Promise<Entry> {
    await tenancy.check(principal, await read.deliveryServices.byXmlId(xmlId), xmlId)
    const entry = await directory.find(xmlId)
    await tenancy.check(principal, entry?.service, xmlId)
    // Of what there is not, the check has said so.
    if (!entry) throw new Problem('internal')
    return entry
  }

  /** At once where all of it is remembered. @throws Problem `delivery_service_not_found`, `tenant_forbidden`, `not_ready` */
  return (principal: Principal, xmlId: string): Entry | Promise<Entry> => {
    const entry = directory.recall(xmlId)
    return entry && tenancy.isKnown(principal, entry.service) ? entry : load(principal, xmlId)
  }
}
