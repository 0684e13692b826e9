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
  function checked(
    principal: Principal,
    xmlId: string,
    entry: Entry | undefined,
  ): Entry | Promise<Entry> {
    const checking = tenancy.check(principal, entry?.service, xmlId)
    return checking ? checking.then(() => found(entry)) : found(entry)
  }

  /** Nothing is opened for who may not see it: that takes time, and may fail in words of its own. */
  async function load(principal: Principal, xmlId: string): Promise<Entry> {
    await tenancy.check(principal, await read.deliveryServices.byXmlId(xmlId), xmlId)
    return checked(principal, xmlId, await directory.find(xmlId))
  }

  /** At once where all of it is remembered. @throws Problem `delivery_service_not_found`, `tenant_forbidden`, `not_ready` */
  return (principal: Principal, xmlId: string): Entry | Promise<Entry> => {
    const entry = directory.recall(xmlId)
    return entry ? checked(principal, xmlId, entry) : load(principal, xmlId)
  }
}

/** Of what there is not, the check has said so. */
function found(entry: Entry | undefined): Entry {
  if (!entry) throw new Problem('internal')
  return entry
}
