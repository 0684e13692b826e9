import type { Context, Principal } from '../context.ts'
import { isProblem, Problem } from '../errors.ts'
import type { ListedService, ServiceRow } from '../store/delivery-services.ts'
import type { Tx } from '../store/store.ts'
import { toMillis } from '../time.ts'
import type { History } from './history.ts'
import type { Tenancy } from './tenancy.ts'

export interface ServicesParts {
  context: Context
  tenancy: Tenancy
  history: History
}

export interface ServiceWrite {
  /** By name. */
  tenant: string
  cdn?: string | undefined
}

/** As RFC 9110 section 13.1 has them. A service has no entity tag: `*` is all that can hold. */
export interface ServiceConditions {
  ifMatch?: string | undefined
  ifNoneMatch?: string | undefined
}

export type Services = ReturnType<typeof createServices>

/** Delivery services: whose they are. */
export function createServices({ context, tenancy, history }: ServicesParts) {
  const { store, now, newId } = context

  /** The privilege boundary: nobody gives a service to a tenant that his own does not contain. */
  async function tenantFor(tx: Tx, principal: Principal, name: string): Promise<string> {
    const row = await tx.tenants.byName(name)
    const boundary = () =>
      new Problem('privilege_boundary', `Your tenant does not contain ${name.slice(0, 64)}`)
    if (row) {
      if (await tenancy.isVisibleIn(tx, principal, row.id)) return row.id
      throw boundary()
    }
    // Who is bound to a tenant does not learn which others there are.
    if (!(await tenancy.isVisibleIn(tx, principal, undefined))) throw boundary()
    const message = `There is no tenant ${name.slice(0, 64)}`
    throw new Problem('invalid_request', message, {
      extra: { errors: [{ path: 'body/tenant', message }] },
    })
  }

  /** Of one that the caller may see. @throws Problem `precondition_failed` */
  function checkConditions(
    { ifMatch, ifNoneMatch }: ServiceConditions,
    principal: Principal,
    xmlId: string,
    before: ServiceRow | undefined,
  ): void {
    if (ifMatch !== undefined && ifMatch.trim() !== '*') throw new Problem('precondition_failed')
    if (!before || ifNoneMatch?.trim() !== '*') return
    // Whoever may write it need not be who may read it.
    const mayRead = principal.may('DELIVERY-SERVICE:READ', { deliveryService: xmlId })
    const whose = mayRead ? `, of tenant ${before.tenant}` : ''
    throw new Problem('precondition_failed', `There is a delivery service ${xmlId} already${whose}`)
  }

  /** One that there is not fails the condition; what is hidden stays so. */
  function unmet(error: unknown): never {
    if (!isProblem(error, 'delivery_service_not_found')) throw error
    throw new Problem('precondition_failed', error.detail)
  }

  async function create(
    tx: Tx,
    principal: Principal,
    service: Omit<ServiceRow, 'tenant' | 'createdAt'>,
    tenant: string,
  ): Promise<void> {
    await tx.deliveryServices.insert({ ...service, createdAt: toMillis(now()) })
    await tx.audit.append({
      ...{ type: 'delivery-service.created', subject: service.xmlId, principal: principal.id },
      detail: { tenant, ...(service.cdn !== undefined && { cdn: service.cdn }) },
    })
  }

  /** Whoever has the other tenant reads them from then on. @throws Problem `forbidden` */
  async function checkMayGiveKeys(tx: Tx, principal: Principal, { id, xmlId }: ServiceRow) {
    const [latest] = await tx.uriDocuments.list(id)
    if (!latest || principal.may('DS-SECURITY-KEY:READ', { deliveryService: xmlId })) return
    throw new Problem('forbidden', `This needs DS-SECURITY-KEY:READ@delivery-service:${xmlId}`)
  }

  /** Changes what is different; the keys move along, sealed for their new tenant. */
  async function change(
    tx: Tx,
    principal: Principal,
    service: ServiceRow,
    to: { tenantId: string; tenant: string; cdn: string | undefined },
  ): Promise<void> {
    const moves = to.tenantId !== service.tenantId
    if (!moves && to.cdn === service.cdn) return
    if (moves) {
      await checkMayGiveKeys(tx, principal, service)
      await history.move(tx, service, to.tenantId)
    }
    await tx.deliveryServices.update(service.id, to)
    await tx.audit.append({
      type: moves ? 'delivery-service.moved' : 'delivery-service.changed',
      ...{ subject: service.xmlId, principal: principal.id },
      detail: {
        ...(moves && { from: service.tenant, tenant: to.tenant }),
        ...(to.cdn !== service.cdn && { cdn: to.cdn ?? null }),
      },
    })
  }

  return {
    /**
     * The service itself, its keys unopened.
     * @throws Problem `delivery_service_not_found`, `tenant_forbidden`
     */
    async find(principal: Principal, xmlId: string): Promise<ServiceRow> {
      const service = await store.read.deliveryServices.byXmlId(xmlId)
      await tenancy.check(principal, service, xmlId)
      if (!service) throw new Problem('internal')
      return service
    },

    /** With what is known of its keys. @throws Problem as `find` */
    async get(principal: Principal, xmlId: string): Promise<ListedService> {
      const service = await store.read.deliveryServices.listed(xmlId)
      await tenancy.check(principal, service, xmlId)
      if (!service) throw new Problem('internal')
      return service
    },

    /** A page of those that the caller's tenant contains, by xml_id. */
    async list(
      principal: Principal,
      page: { limit: number; after?: string | undefined },
    ): Promise<{ services: ListedService[]; next: string | undefined }> {
      const tenantIds = await tenancy.visibleTenants(store.read, principal)
      const { limit, after } = page
      const services = await store.read.deliveryServices.list({
        limit: limit + 1,
        after,
        tenantIds,
      })
      const more = services.length > limit
      if (more) services.pop()
      return { services, next: more ? services.at(-1)?.xmlId : undefined }
    },

    /**
     * Makes the service, or gives it to another tenant; with conditions, only the one or only the other.
     * @throws Problem `tenant_forbidden`, `precondition_failed`, `privilege_boundary`, `forbidden` for who may not read the
     * keys that would move, `invalid_request` for a tenant that there is not
     */
    async put(
      principal: Principal,
      xmlId: string,
      write: ServiceWrite,
      conditions: ServiceConditions = {},
    ): Promise<ListedService> {
      const { tenant, cdn } = write
      return store.transaction(async (tx) => {
        const before = await tx.deliveryServices.byXmlId(xmlId)
        if (before || conditions.ifMatch !== undefined) {
          await tenancy.found(tx, principal, xmlId).catch(unmet)
        }
        checkConditions(conditions, principal, xmlId, before)
        const tenantId = await tenantFor(tx, principal, tenant)
        if (before) await change(tx, principal, before, { tenantId, tenant, cdn })
        else await create(tx, principal, { id: newId(), xmlId, tenantId, cdn }, tenant)
        const service = await tx.deliveryServices.listed(xmlId)
        if (!service) throw new Problem('internal')
        return service
      })
    },

    /**
     * Deletes the service and its keys, all versions of them.
     * @throws Problem `delivery_service_not_found`, `tenant_forbidden`
     */
    async delete(principal: Principal, xmlId: string): Promise<void> {
      await store.transaction(async (tx) => {
        const { id, tenant } = await tenancy.found(tx, principal, xmlId)
        await tx.deliveryServices.delete(id)
        await tx.audit.append({
          ...{ type: 'delivery-service.deleted', subject: xmlId, principal: principal.id },
          detail: { tenant },
        })
      })
    },
  }
}
