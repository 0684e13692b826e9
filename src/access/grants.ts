import type { Principal, Resource } from '../context.ts'
import {
  CAPABILITIES,
  type Capability,
  isCapability,
  ROLES,
  type Role,
  type Scope,
} from './capabilities.ts'

// Grants: who may do what, on what. Pure.

/** A capability on everything, or on one ring and its profiles, on one profile, or on one delivery service. */
export interface Grant {
  capability: Capability
  resource?: Resource
}

const NAME = '[A-Za-z0-9][A-Za-z0-9._-]{0,63}'
const XML_ID = '[^\\s./@]{1,48}'
const GRANT = new RegExp(
  `^([^@]+)(?:@ring:(${NAME})|@profile:(${NAME})/(${NAME})|@delivery-service:(${XML_ID}))?$`,
)

/** What a grant of a capability may name. */
const SCOPES: Record<Scope, readonly Scope[]> = {
  all: ['all'],
  ring: ['all', 'ring'],
  profile: ['all', 'ring', 'profile'],
  'delivery-service': ['all', 'delivery-service'],
}

/**
 * Reads `capability[@ring:NAME|@profile:RING/NAME|@delivery-service:XML_ID]`. Returns what is wrong, in words for the caller, when it is no
 * grant or one that nobody may have: `sign` on everything belongs to the role `admin` alone.
 */
export function parseGrant(text: string): Grant | string {
  const [, capability = '', ring, profileRing, profile, deliveryService] = GRANT.exec(text) ?? []
  if (!capability) {
    return 'Expected capability, capability@ring:NAME, capability@profile:RING/NAME or capability@delivery-service:XML_ID'
  }
  if (!isCapability(capability)) return `There is no capability ${capability.slice(0, 64)}`
  const resource =
    deliveryService === undefined ? toResource(ring ?? profileRing, profile) : { deliveryService }
  const named = scopeOf(resource)
  if (!SCOPES[CAPABILITIES[capability]].includes(named)) {
    return `${capability} cannot be limited to a ${named.replace('-', ' ')}`
  }
  if (capability === 'sign' && !resource) {
    return 'sign needs @ring:NAME or @profile:RING/NAME; only the role admin signs for every ring'
  }
  return resource ? { capability, resource } : { capability }
}

function toResource(ring: string | undefined, profile: string | undefined): Resource | undefined {
  if (ring === undefined) return undefined
  return profile === undefined ? { ring } : { ring, profile }
}

function scopeOf(resource: Resource | undefined): Scope {
  if (!resource) return 'all'
  if ('deliveryService' in resource) return 'delivery-service'
  return resource.profile === undefined ? 'ring' : 'profile'
}

/** The delivery services that grants name. */
export const servicesIn = (grants: readonly Grant[]): string[] =>
  grants.flatMap(({ resource }) =>
    resource && 'deliveryService' in resource ? [resource.deliveryService] : [],
  )

/** The inverse of `parseGrant`. */
export function formatGrant({ capability, resource }: Grant): string {
  if (!resource) return capability
  if ('deliveryService' in resource) {
    return `${capability}@delivery-service:${resource.deliveryService}`
  }
  const { ring, profile } = resource
  return profile === undefined
    ? `${capability}@ring:${ring}`
    : `${capability}@profile:${ring}/${profile}`
}

/** Whether who holds `held` has all that `wanted` names. Reflexive and transitive. */
export function covers(held: Grant, wanted: Grant): boolean {
  if (held.capability !== wanted.capability) return false
  const [on, asked] = [held.resource, wanted.resource]
  if (!on) return true
  if (!asked) return false
  if ('deliveryService' in on) {
    return 'deliveryService' in asked && on.deliveryService === asked.deliveryService
  }
  if ('deliveryService' in asked || on.ring !== asked.ring) return false
  return on.profile === undefined || on.profile === asked.profile
}

/** What a role and grants come to. */
export const grantsOf = (role: Role | undefined, grants: readonly Grant[]): Grant[] => [
  ...(role ? ROLES[role].map((capability) => ({ capability })) : []),
  ...grants,
]

/** `Principal.may` of somebody with these grants. A name that is no capability is nobody's. */
export const mayWith =
  (held: readonly Grant[]): Principal['may'] =>
  (capability, resource) =>
    isCapability(capability) &&
    held.some((grant) => covers(grant, resource ? { capability, resource } : { capability }))

/** Whether any of the grants held is for the capability, on anything, or on anything in one ring. */
export const mayAnywhere =
  (held: readonly Grant[]): Principal['maySome'] =>
  (capability, ring) =>
    held.some(
      (grant) =>
        grant.capability === capability &&
        (ring === undefined || grant.resource === undefined || isIn(grant.resource, ring)),
    )

const isIn = (resource: Resource, ring: string) => 'ring' in resource && resource.ring === ring

/** The privilege boundary: what of `wanted` the caller has not got, as grants are written. Empty: all is covered. */
export const missing = (caller: Principal, wanted: readonly Grant[]): string[] =>
  wanted.filter(({ capability, resource }) => !caller.may(capability, resource)).map(formatGrant)

/** Tenant name → the name of its parent; the root has none. */
export type Tenants = ReadonlyMap<string, string | undefined>

/** Whether `inner` is `outer` or below it. Undefined means every tenant, which is what the root holds. */
export function contains(
  tenants: Tenants,
  outer: string | undefined,
  inner: string | undefined,
): boolean {
  if (outer === undefined) return true
  let at = inner ?? rootOf(tenants)
  // A tree has no cycles, but a loop here would hold up the whole server.
  for (let depth = 0; at !== undefined && depth <= tenants.size; depth++) {
    if (at === outer) return true
    at = tenants.get(at)
  }
  return false
}

function rootOf(tenants: Tenants): string | undefined {
  for (const [name, parent] of tenants) if (parent === undefined) return name
  return undefined
}
