import type { Key } from '../store/keys.ts'
import type { ProfileRow } from '../store/profiles.ts'
import type { Ring } from '../store/rings.ts'
import { formatDuration, fromMillis, type Instant, toIso } from '../time.ts'
import { type Facts, inUseUntil, type Plan, type Policy, safeToActivateAt } from './lifecycle.ts'
import type { Profile } from './profiles.ts'
import type { KeyDocument, PlanStep, ProfileDocument, RingDocument } from './schema.ts'

// Rows as our own API shows them.

const time = (instant: Instant | undefined): string | null =>
  instant === undefined ? null : toIso(instant)

/** An instant that may be "always": the epoch says nothing to anybody. */
const known = (instant: Instant): string | null => (instant === 0n ? null : toIso(instant))

export function toKeyDocument(
  key: Key,
  facts: Facts,
  policy: Policy,
  withheld: string | undefined,
): KeyDocument {
  const waits = key.state === 'next'
  return {
    kid: key.kid,
    alg: key.alg,
    state: key.state,
    published: key.published && withheld === undefined,
    standby: key.standby,
    rekeying: key.rekeying,
    createdAt: toIso(key.createdAt),
    publishedAt: toIso(key.publishedAt),
    activatesAt: waits ? toIso(key.plannedAt) : null,
    activatedAt: time(key.activatedAt),
    retiredAt: time(key.retiredAt),
    withdrawnAt: time(key.withdrawnAt),
    safeToActivateAt: waits ? known(safeToActivateAt(key, facts, policy)) : null,
    inUseUntil: known(inUseUntil(key, facts, policy)),
    withheld: withheld ?? null,
  }
}

export const toPlanStep = ({ kid, step, at, why }: Plan): PlanStep => ({
  kid,
  step,
  at: time(at),
  why,
})

export function toRingDocument(
  ring: Ring,
  defaults: { issuer: string | undefined; threshold: bigint; maxTokenTtl: number },
): RingDocument {
  return {
    name: ring.name,
    reserved: ring.reserved,
    algorithms: [...ring.algorithms],
    issuer: defaults.issuer ?? null,
    rotationThreshold: formatDuration(ring.rotationThreshold ?? defaults.threshold),
    maxTokenTtl: ring.maxTokenTtl ?? defaults.maxTokenTtl,
    exportable: ring.exportable,
    createdAt: toIso(fromMillis(ring.createdAt)),
    jwksPath: `/rings/${ring.name}/.well-known/jwks.json`,
  }
}

export function toProfileDocument(row: ProfileRow, profile: Profile): ProfileDocument {
  const { iss, typ, sub, maxTtl } = profile
  const { fixed, default: fallback, allowed } = profile.claims
  return {
    name: row.name,
    sub,
    aud: [...profile.aud],
    claims: { fixed: { ...fixed }, default: { ...fallback }, allowed: [...allowed] },
    header: [...profile.header],
    maxTtl,
    ...(iss !== undefined && { iss }),
    ...(typ !== undefined && { typ }),
    createdAt: toIso(fromMillis(row.createdAt)),
    updatedAt: toIso(fromMillis(row.updatedAt)),
  }
}
