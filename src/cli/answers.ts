// What our HTTP API answers, as far as the command line reads it (openapi.yaml has the whole).

export interface KeyAnswer {
  kid: string
  state: string
  createdAt: string
  /** Planned activation of a key that waits. */
  activatesAt: string | null
}

export interface PlanAnswer {
  kid: string
  step: string
  at: string | null
  why: string
}

export interface RingAnswer {
  name: string
  algorithms: string[]
  issuer: string | null
  rotationThreshold: string
  /** Seconds. */
  maxTokenTtl: number
  createdAt: string
}

export interface ProfileAnswer {
  name: string
  sub: string
  aud: string[]
  /** Seconds. */
  maxTtl: number
  createdAt: string
  updatedAt: string
}

export interface ApiTokenAnswer {
  name: string
  role?: string
  grants: string[]
  tenant?: string
  createdAt: string
  expiresAt?: string
}

export interface TenantAnswer {
  name: string
  parent?: string
  createdAt: string
}

export interface UserAnswer {
  name: string
  role: string
  tenant?: string
  hasPassword: boolean
  jwt: boolean
  digest: boolean
  createdAt: string
  updatedAt: string
}

export interface VerdictAnswer {
  valid: boolean
  checks: { name: string; ok: boolean; reason?: string }[]
}

export interface StatusAnswer {
  rotationMode: string
  clockJump: { seenAt: string; byMs: number } | null
  quarantined: string[]
  damaged: string[]
  rings: { name: string; warnings: string[] }[]
  remoteSets: { source: string; host: string; keys: number; lastError: string | null }[]
}

/** One of a list of identities; about one alone the answer wraps it. */
export interface IdentityAnswer {
  id: string
  role: string
  createdAt: string
  updatedAt: string
  lastLoginTime: string | null
  metadata: { key: string; value: string }[]
  identity: { name: string; hasDeleteProtection: boolean; authMethods: string[] }
}

export interface JwtAuthAnswer {
  configurationType: 'jwks' | 'static'
  jwksUrl: string
  jwksCaCert: string
  publicKeys: string[]
  boundIssuer: string
  boundSubject: string
  boundAudiences: string
  boundClaims: Record<string, string>
  /** Seconds, as the next one; 0 stands for no limit. */
  accessTokenTTL: number
  accessTokenMaxTTL: number
  accessTokenNumUsesLimit: number
  accessTokenTrustedIps: { ipAddress: string; prefix?: number }[]
  createdAt: string
  updatedAt: string
}

export interface ExplanationAnswer {
  ok: boolean
  checks: { name: string; ok: boolean; claim?: string; rule?: string; reason?: string }[]
}

export interface ServiceAnswer {
  xmlId: string
  tenant: string
  cdn: string | null
  createdAt: string
  keys: { version: number; etag: string; updatedAt: string; updatedBy: string } | null
}

export interface VersionAnswer {
  version: number
  origin: string
  hasKeys: boolean
  createdAt: string
  createdBy: string
}

export interface UriPlanAnswer {
  rotations: {
    issuer: string
    oldKid: string
    newKid: string
    state: string
    steps: { step: string; doneAt: string | null; safeAt: string | null; why: string }[]
  }[]
}

export interface UriVerdictAnswer {
  code: number
  reason: string
  checks: { name: string; ok: boolean; reason?: string }[]
  renewal?: { setCookie: string } | null
}

/** `GET /v1/settings/{name}`. */
export interface SettingAnswer {
  name: string
  value: unknown
  defaultValue: unknown
  source: string
}

/** `POST /v1/role-grants`. */
export interface RoleGrantAnswer {
  id: string
  externalSecurity: string
  externalName: string
  role: string
  tenant?: string
  createdAt: string
}

/** `GET /manage/v2/external-security`. */
export interface ExternalSecurityListAnswer {
  'external-security-default-list': {
    'list-items': { 'list-item': { nameref: string; idref: string }[] }
  }
}

/** `GET /manage/v2/external-security/{name}/properties`. */
export interface ExternalSecurityAnswer {
  [property: string]: unknown
  'oauth-server'?: {
    [property: string]: unknown
    'oauth-jwt-secrets'?: { 'oauth-jwt-secret': { 'oauth-jwt-key-id': string }[] }
  }
}
