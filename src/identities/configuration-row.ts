import { Problem } from '../errors.ts'
import type { JwtAuthRow } from '../store/identities.ts'
import { fromMillis, toIso } from '../time.ts'
import type { JwtAuth, JwtAuthCreate, JwtAuthUpdate } from './schema.ts'
import { parseTrustedIp } from './trusted-ips.ts'

// A configuration as it is asked for, stored and answered (identity contract sections 2 and 3). Pure.

/** What a configuration says, as it is written: the members of a row that somebody chooses. */
export type Wanted = Omit<
  JwtAuthRow,
  | 'id'
  | 'identityId'
  | 'rootKid'
  | 'jwksCaCertSealed'
  | 'publicKeysSealed'
  | 'createdAt'
  | 'updatedAt'
> & { jwksCaCert: string; publicKeys: readonly string[] }

const trustedIps = (ips: readonly { ipAddress: string }[]) =>
  ips.map(({ ipAddress }) => parseTrustedIp(ipAddress))

interface Ttls {
  accessTokenTtl: number
  accessTokenMaxTtl: number
}

/** @throws Problem `ttl_above_max` */
function ttlsOf(ttls: Ttls): Ttls {
  const { accessTokenTtl, accessTokenMaxTtl } = ttls
  if (accessTokenMaxTtl === 0 || accessTokenTtl <= accessTokenMaxTtl) return ttls
  throw new Problem('ttl_above_max')
}

/** @throws Problem `ttl_above_max`, then `trusted_ip_invalid`: members are read in the order they are written in */
export const wantedOf = (body: JwtAuthCreate): Wanted => ({
  ...ttlsOf({
    accessTokenTtl: body.accessTokenTTL,
    accessTokenMaxTtl: body.accessTokenMaxTTL,
  }),
  ...{ configurationType: body.configurationType, jwksUrl: body.jwksUrl },
  ...{ jwksCaCert: body.jwksCaCert, publicKeys: body.publicKeys },
  ...{ boundIssuer: body.boundIssuer, boundAudiences: body.boundAudiences },
  ...{ boundClaims: body.boundClaims, boundSubject: body.boundSubject },
  accessTokenNumUsesLimit: body.accessTokenNumUsesLimit,
  accessTokenTrustedIps: trustedIps(body.accessTokenTrustedIps),
})

/** @throws Problem as `wantedOf`: the rule is for the pair that comes of it */
export const merged = (row: JwtAuthRow, body: JwtAuthUpdate): Wanted => ({
  ...ttlsOf({
    accessTokenTtl: body.accessTokenTTL ?? row.accessTokenTtl,
    accessTokenMaxTtl: body.accessTokenMaxTTL ?? row.accessTokenMaxTtl,
  }),
  ...{ configurationType: body.configurationType, jwksUrl: body.jwksUrl },
  ...{ jwksCaCert: body.jwksCaCert, publicKeys: body.publicKeys },
  boundIssuer: body.boundIssuer ?? row.boundIssuer,
  boundAudiences: body.boundAudiences ?? row.boundAudiences,
  boundClaims: body.boundClaims ?? row.boundClaims,
  boundSubject: body.boundSubject ?? row.boundSubject,
  accessTokenNumUsesLimit: body.accessTokenNumUsesLimit ?? row.accessTokenNumUsesLimit,
  accessTokenTrustedIps: body.accessTokenTrustedIps
    ? trustedIps(body.accessTokenTrustedIps)
    : row.accessTokenTrustedIps,
})

export const describePlain = (row: JwtAuthRow): Omit<JwtAuth, 'jwksCaCert' | 'publicKeys'> => ({
  id: row.id,
  accessTokenTTL: row.accessTokenTtl,
  accessTokenMaxTTL: row.accessTokenMaxTtl,
  accessTokenNumUsesLimit: row.accessTokenNumUsesLimit,
  accessTokenTrustedIps: [...row.accessTokenTrustedIps],
  identityId: row.identityId,
  configurationType: row.configurationType,
  jwksUrl: row.jwksUrl,
  boundIssuer: row.boundIssuer,
  boundAudiences: row.boundAudiences,
  boundClaims: { ...row.boundClaims },
  boundSubject: row.boundSubject,
  createdAt: toIso(fromMillis(row.createdAt)),
  updatedAt: toIso(fromMillis(row.updatedAt)),
  accessTokenPeriod: 0,
})
