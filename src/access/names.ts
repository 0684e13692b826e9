import { Problem } from '../errors.ts'
import type { GrantRow } from '../store/access.ts'
import type { Tx } from '../store/store.ts'
import { isCapability } from './capabilities.ts'
import { contains, type Grant, type Tenants } from './grants.ts'

// Callers and principals know names, rows know ids: a ring that is made again under an old name inherits no grant.

/** By id. */
type Profiles = Map<string, { ring: string; profile: string }>

/** What the rows mean; one whose ring or profile is not among these grants nothing. */
function toGrants(
  rows: readonly GrantRow[],
  { ringNames, profiles }: { ringNames: ReadonlyMap<string, string>; profiles: Profiles },
): Grant[] {
  return rows.flatMap(({ capability, ...on }): Grant[] => {
    const { ringId, profileId, deliveryServiceId, xmlId } = on
    // A grant that this version does not understand grants nothing.
    if (!isCapability(capability)) return []
    if (deliveryServiceId !== undefined) {
      return xmlId === undefined ? [] : [{ capability, resource: { deliveryService: xmlId } }]
    }
    if (profileId !== undefined) {
      const resource = profiles.get(profileId)
      return resource ? [{ capability, resource }] : []
    }
    if (ringId === undefined) return [{ capability }]
    const ring = ringNames.get(ringId)
    return ring === undefined ? [] : [{ capability, resource: { ring } }]
  })
}

/** The tenant and the grants of one principal by name, without reading names that these do not need. */
export async function readHeld(
  tx: Tx,
  { tenantId, grants }: { tenantId: string | undefined; grants: readonly GrantRow[] },
): Promise<{ tenant: string | undefined; grants: Grant[] }> {
  if (grants.some(({ ringId, profileId }) => ringId !== undefined || profileId !== undefined)) {
    const names = await readNames(tx)
    return { tenant: names.tenantName(tenantId), grants: names.toGrants(grants) }
  }
  const tenant = tenantId === undefined ? undefined : await tx.tenants.byId(tenantId)
  return {
    tenant: tenant?.name,
    grants: toGrants(grants, { ringNames: new Map(), profiles: new Map() }),
  }
}

export type Names = Awaited<ReturnType<typeof readNames>>

/**
 * The names of tenants, rings and profiles as they are in `tx`, and of the delivery services that are asked for: of
 * those there may be a million.
 */
export async function readNames(tx: Tx, xmlIds: readonly string[] = []) {
  const services = await tx.grantTargets.services(xmlIds)
  const tenantRows = await tx.tenants.list()
  const ringRows = await tx.rings.list()
  const tenantNames = new Map(tenantRows.map(({ id, name }) => [id, name]))
  const tenantIds = new Map(tenantRows.map(({ id, name }) => [name, id]))
  const ringNames = new Map(ringRows.map(({ id, name }) => [id, name]))
  const ringIds = new Map(ringRows.map(({ id, name }) => [name, id]))
  const profiles: Profiles = new Map()
  for (const ring of ringRows) {
    for (const { id, name } of await tx.profiles.ofRing(ring.id)) {
      profiles.set(id, { ring: ring.name, profile: name })
    }
  }
  const tenants: Tenants = new Map(
    tenantRows.map(({ name, parent_id }) => [name, tenantNames.get(parent_id ?? '')]),
  )

  /** `within`: the caller's tenant. Throws `invalid_request` for what does not exist, or is not in it. */
  function toRow({ capability, resource }: Grant, within?: string): GrantRow {
    if (!resource) return { capability }
    if ('deliveryService' in resource) {
      const { deliveryService } = resource
      const service = services.get(deliveryService)
      // One of another tenant looks as one that there is not.
      if (service && contains(tenants, within, tenantNames.get(service.tenantId))) {
        return { capability, deliveryServiceId: service.id, xmlId: deliveryService }
      }
      throw unknown('grants', `There is no delivery service ${deliveryService}`)
    }
    const { ring, profile } = resource
    const ringId = ringIds.get(ring)
    if (ringId === undefined) throw unknown('grants', `There is no ring ${ring}`)
    if (profile === undefined) return { capability, ringId }
    for (const [profileId, held] of profiles) {
      if (held.ring === ring && held.profile === profile) return { capability, profileId }
    }
    throw unknown('grants', `The ring ${ring} has no profile ${profile}`)
  }

  return {
    tenants,
    toRow,
    toGrants: (rows: readonly GrantRow[]): Grant[] => toGrants(rows, { ringNames, profiles }),
    tenantName: (id: string | undefined) => (id === undefined ? undefined : tenantNames.get(id)),
    /** Throws `invalid_request` for a tenant that does not exist. */
    tenantId(name: string): string {
      const id = tenantIds.get(name)
      if (id === undefined) throw unknown('tenant', `There is no tenant ${name}`)
      return id
    },
  }
}

const unknown = (member: string, message: string) =>
  new Problem('invalid_request', message, {
    extra: { errors: [{ path: `body/${member}`, message }] },
  })
