import type { Context, Principal } from '../context.ts'
import { Problem } from '../errors.ts'
import type { ServiceRow } from '../store/delivery-services.ts'
import type { Tx } from '../store/store.ts'

// Whose delivery services a caller may touch: his own tenant's and those of the tenants below it (contract section 4).

/** What this slice asks of access control. */
export interface Rights {
  /** Whether the caller's tenant is, or is above, this one; undefined: all tenants. */
  isVisible(tx: Tx, principal: Principal, tenantId: string | undefined): Promise<boolean>
  /** The ids of the tenants that the caller's contains; undefined: all of them. */
  visibleTenants(tx: Tx, principal: Principal): Promise<readonly string[] | undefined>
}

export interface TenancyParts {
  context: Pick<Context, 'store'>
  rights: Rights
  hideForeign: boolean
}

const pairOf = ({ tenant }: Principal, tenantId: string): string => `${tenant} ${tenantId}`

/** Pairs of tenants that are remembered. */
const MAX_KNOWN = 10_000

export type Tenancy = ReturnType<typeof createTenancy>

export function createTenancy({ context: { store }, rights, hideForeign }: TenancyParts) {
  const known = new Map<string, boolean>()
  let generation = 0

  const stop = store.onCommit((events) => {
    if (!events.some(({ type }) => type.startsWith('tenant.'))) return
    generation++
    known.clear()
  })

  async function ask(principal: Principal, tenantId: string, pair: string): Promise<boolean> {
    const before = generation
    const visible = await rights.isVisible(store.read, principal, tenantId)
    // What an event overtook may be old: answer with it, but do not keep it.
    if (before === generation) {
      if (known.size >= MAX_KNOWN) known.clear()
      known.set(pair, visible)
    }
    return visible
  }

  function isVisible(principal: Principal, tenantId: string): boolean | Promise<boolean> {
    if (principal.tenant === undefined) return true
    const pair = pairOf(principal, tenantId)
    return known.get(pair) ?? ask(principal, tenantId, pair)
  }

  /**
   * Problem `delivery_service_not_found`; where foreign services are hidden from this caller, what there is not
   * looks like what is another tenant's.
   */
  async function unknown(tx: Tx, principal: Principal, xmlId: string): Promise<Problem> {
    if (hideForeign && !(await rights.isVisible(tx, principal, undefined))) return foreign()
    return new Problem('delivery_service_not_found', `No delivery service ${xmlId.slice(0, 64)}`)
  }

  const foreign = () => new Problem('tenant_forbidden')

  return {
    /** At once where it is remembered. @throws Problem `delivery_service_not_found`, `tenant_forbidden` */
    check(
      principal: Principal,
      service: Pick<ServiceRow, 'tenantId'> | undefined,
      xmlId: string,
    ): void | Promise<void> {
      if (!service)
        return unknown(store.read, principal, xmlId).then((problem) => Promise.reject(problem))
      const visible = isVisible(principal, service.tenantId)
      if (visible === true) return
      return refuse(visible, principal)
    },

    /** Whether it is remembered that the caller may. */
    isKnown: (principal: Principal, { tenantId }: Pick<ServiceRow, 'tenantId'>): boolean =>
      principal.tenant === undefined || known.get(pairOf(principal, tenantId)) === true,

    /** As it is in this transaction. @throws Problem `delivery_service_not_found`, `tenant_forbidden` */
    async found(tx: Tx, principal: Principal, xmlId: string): Promise<ServiceRow> {
      const service = await tx.deliveryServices.byXmlId(xmlId)
      if (!service) throw await unknown(tx, principal, xmlId)
      if (!(await rights.isVisible(tx, principal, service.tenantId))) throw foreign()
      return service
    },

    visibleTenants: rights.visibleTenants,
    isVisibleIn: rights.isVisible,
    close: stop,
  }

  async function refuse(visible: boolean | Promise<boolean>, principal: Principal): Promise<void> {
    if (await visible) return
    // What `unknown` asks, and as long: the time would tell.
    if (hideForeign) await rights.isVisible(store.read, principal, undefined)
    throw foreign()
  }
}
