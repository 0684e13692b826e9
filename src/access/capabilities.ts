// The one table of what may be granted, and of the roles (product.md section 4).

/**
 * What a grant may name: nothing, one ring, one profile of a ring, which the ring includes, or one delivery service.
 */
export type Scope = 'all' | 'ring' | 'profile' | 'delivery-service'

/** Every capability, with the narrowest resource that a grant of it may name. */
export const CAPABILITIES = {
  'keyring-read': 'ring',
  'keyring-rotate': 'ring',
  'keyring-delete': 'ring',
  'keyring-revoke': 'ring',
  'key-import': 'ring',
  'key-export': 'ring',
  'ring-manage': 'ring',
  sign: 'profile',
  verify: 'ring',
  'identity:read': 'all',
  'identity:create': 'all',
  'identity:edit': 'all',
  'identity:delete': 'all',
  'identity:edit-auth': 'all',
  'identity:revoke-auth': 'all',
  'identity:create-token': 'all',
  'DS-SECURITY-KEY:READ': 'delivery-service',
  'DS-SECURITY-KEY:CREATE': 'delivery-service',
  'DS-SECURITY-KEY:UPDATE': 'delivery-service',
  'DS-SECURITY-KEY:DELETE': 'delivery-service',
  'DELIVERY-SERVICE:READ': 'delivery-service',
  'DELIVERY-SERVICE:UPDATE': 'delivery-service',
  'external-security': 'all',
  'data-api-admin': 'all',
  'access-manage': 'all',
  settings: 'all',
  'audit-read': 'all',
  backup: 'all',
} as const satisfies Record<string, Scope>

export type Capability = keyof typeof CAPABILITIES

export const CAPABILITY_NAMES = Object.keys(CAPABILITIES) as readonly Capability[]

export const isCapability = (name: string): name is Capability => Object.hasOwn(CAPABILITIES, name)

const beginningWith = (prefix: string) => CAPABILITY_NAMES.filter((name) => name.startsWith(prefix))

/** Role → capabilities, each on every resource. Settings that are trust need `access-manage` as well. */
export const ROLES = {
  admin: CAPABILITY_NAMES,
  operator: [...beginningWith('keyring-'), 'verify', 'settings'],
  'identity-admin': beginningWith('identity:'),
  'cdn-admin': [...beginningWith('DS-SECURITY-KEY:'), ...beginningWith('DELIVERY-SERVICE:')],
  'security-admin': ['external-security', 'data-api-admin'],
  // Reads that return no secret, no audit, no backup.
  member: ['keyring-read', 'identity:read', 'DELIVERY-SERVICE:READ'],
  'no-access': [],
} as const satisfies Record<string, readonly Capability[]>

export type Role = keyof typeof ROLES

export const ROLE_NAMES = Object.keys(ROLES) as readonly Role[]

export const isRole = (name: string): name is Role => Object.hasOwn(ROLES, name)
