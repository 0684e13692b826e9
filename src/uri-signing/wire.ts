import type { DocumentRow, ListedService } from '../store/delivery-services.ts'
import { fromMillis, toIso } from '../time.ts'
import { etagOf, type Written } from './documents.ts'
import type { Finding } from './lint.ts'
import type { PlannedRotation } from './rotation-moves.ts'

// What our own API says of delivery services. Pure.

const iso = (millis: number): string => toIso(fromMillis(millis))
const isoOrNull = (millis: number | undefined): string | null =>
  millis === undefined ? null : iso(millis)

export const toServiceDocument = ({ xmlId, tenant, cdn, createdAt, keys }: ListedService) => ({
  ...{ xmlId, tenant, cdn: cdn ?? null, createdAt: iso(createdAt) },
  keys: keys
    ? {
        ...{ version: keys.version, etag: etagOf(keys) },
        ...{ updatedAt: iso(keys.createdAt), updatedBy: keys.createdBy },
      }
    : null,
})

export const toWritten = ({ version, etag, updatedAt }: Written) => ({
  ...{ version, etag, updatedAt: iso(updatedAt) },
})

export const toVersion = ({ version, origin, sealed, createdAt, createdBy }: DocumentRow) => ({
  ...{ version, origin, hasKeys: sealed !== undefined, createdAt: iso(createdAt), createdBy },
})

export const toFindings = (findings: readonly Finding[]) => ({
  ok: findings.every(({ severity }) => severity !== 'error'),
  findings: [...findings],
})

export const toPlan = (rotations: readonly PlannedRotation[]) => ({
  rotations: rotations.map(({ rotation, steps }) => ({
    ...{ issuer: rotation.issuer, oldKid: rotation.oldKid, newKid: rotation.newKid },
    ...{ state: rotation.state, automatic: rotation.automatic, startedBy: rotation.startedBy },
    cachesReloadedAt: isoOrNull(rotation.reloadedAt),
    attestedBy: rotation.attestedBy ?? null,
    steps: steps.map(({ step, doneAt, safeAt, why }) => ({
      ...{ step, doneAt: isoOrNull(doneAt), safeAt: isoOrNull(safeAt), why },
    })),
  })),
})
