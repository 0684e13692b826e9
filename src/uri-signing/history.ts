import type { Context, Principal } from '../context.ts'
import { equalBytes } from '../core/index.ts'
import { Problem } from '../errors.ts'
import type { DocumentOrigin, DocumentRow, ServiceRow } from '../store/delivery-services.ts'
import { type Seals, sealOwner } from '../store/sealed.ts'
import type { Tx } from '../store/store.ts'
import { type Duration, toMillis, toSeconds } from '../time.ts'
import { openDocument } from './document.ts'
import { afterChange } from './rotation-steps.ts'

// The versions of key documents, sealed. A version without a document says that the keys were removed; a service takes
// all of its versions with it, and a new one of the same name has another id, under which none of them opens.

/** Versions that are kept of each document. */
export const KEPT = 10
/** Seconds for which it is remembered how long a key was needed, when that is over: its kid is not for another key. */
const REMEMBERED = 30 * 86_400

export interface HistoryParts {
  context: Context
  seals: Seals
  /** False: nothing can be opened or sealed now. */
  isReady(): boolean
  /** What time has ended is not forgotten while it is not known what time it is. */
  clockInDoubt(): boolean
  /** How far the wall clock has fallen back, while it is in doubt: no wait begins in the past. */
  clockBehind(): Duration
}

export interface NewVersion {
  principal: Pick<Principal, 'id'>
  origin: DocumentOrigin
  /** Undefined: the keys are removed. */
  bytes: Uint8Array | undefined
  /** More for the audit record. */
  detail?: Record<string, unknown>
}

export type History = ReturnType<typeof createHistory>

type Owner = Pick<ServiceRow, 'id' | 'xmlId' | 'tenantId'>

export function createHistory(parts: HistoryParts) {
  const { context, seals, isReady, clockInDoubt, clockBehind } = parts
  const { now, newId } = context

  const placeOf = (owner: Owner, { id, version }: Pick<DocumentRow, 'id' | 'version'>) => ({
    ...{ table: 'uri_signing_documents', id, column: 'document_sealed' },
    owner: sealOwner(owner.id, String(version), owner.xmlId, owner.tenantId),
  })

  /** The bytes of a version as they were written. @throws Problem `not_ready`, `seal_broken`, `key_unusable` */
  function open(service: Owner, row: DocumentRow): Uint8Array | undefined {
    if (!isReady()) throw new Problem('not_ready')
    if (!row.sealed || row.rootKid === undefined) return undefined
    return seals.unseal(row.rootKid, placeOf(service, row), row.sealed)
  }

  /**
   * Rotations look at what a change from outside has left of them; of one that it ends, or has wait anew, there is a
   * record. The same bytes again change nothing: caches need not load them again.
   */
  async function reconsider(
    tx: Tx,
    service: ServiceRow,
    before: DocumentRow | undefined,
    { bytes, origin, principal }: NewVersion,
  ) {
    const rotations = await tx.uriRotations.ofService(service.id)
    const under = rotations.filter(({ endedAt }) => endedAt === undefined)
    if (under.length === 0) return
    const known = before && open(service, before)
    if (bytes && known && equalBytes(bytes, known)) return
    const document = bytes && openDocument(bytes, 'compat')
    for (const rotation of under) {
      const kids = document?.issuers.get(rotation.issuer)?.keys.map(({ kid }) => kid) ?? []
      const has = { hasOld: kids.includes(rotation.oldKid), hasNew: kids.includes(rotation.newKid) }
      const next = afterChange(rotation, has, toMillis(now() + clockBehind()))
      if (next === rotation) continue
      await tx.uriRotations.update(next)
      const { issuer, oldKid, newKid, state } = next
      const what =
        next.endedAt === undefined ? 'restarted' : state === 'done' ? 'rotated' : 'cancelled'
      await tx.audit.append({
        type: what === 'rotated' ? 'uri-keys.rotated' : `uri-keys.rotation-${what}`,
        ...{ subject: service.xmlId, principal: principal.id },
        detail: { issuer, oldKid, newKid, ...(state === 'done' && { step: 'remove' }), by: origin },
      })
    }
  }

  return {
    open,

    /** Writes the next version, and drops the oldest beyond those that are kept. */
    async put(tx: Tx, service: ServiceRow, change: NewVersion): Promise<DocumentRow> {
      const { bytes, origin, principal, detail } = change
      const latest = await tx.uriDocuments.current(service.id)
      const id = newId()
      const version = (latest?.version ?? 0) + 1
      const sealing = bytes && (await seals.seal(tx, placeOf(service, { id, version }), bytes))
      const row: DocumentRow = {
        ...{ id, serviceId: service.id, version, xmlId: service.xmlId, tenantId: service.tenantId },
        ...{ sealed: sealing?.sealed, rootKid: sealing?.rootKid, origin },
        ...{ createdAt: toMillis(now()), createdBy: principal.id },
      }
      await tx.uriDocuments.insert(row)
      await tx.uriDocuments.deleteThrough(service.id, version - KEPT)
      await tx.audit.append({
        ...{ type: `uri-keys.${origin}`, subject: service.xmlId, principal: principal.id },
        detail: { version, ...(bytes && { bytes: bytes.length }), ...detail },
      })
      if (!clockInDoubt()) await tx.uriPromises.prune(service.id, toSeconds(now()) - REMEMBERED)
      if (origin !== 'rotated') await reconsider(tx, service, latest, change)
      return row
    },

    /** Seals every version for another tenant, in the transaction that moves the service there. */
    async move(tx: Tx, service: ServiceRow, tenantId: string): Promise<void> {
      const moved = { ...service, tenantId }
      for (const row of await tx.uriDocuments.list(service.id)) {
        const bytes = open(service, row)
        const sealing = bytes && (await seals.seal(tx, placeOf(moved, row), bytes))
        await tx.uriDocuments.reseal({
          ...{ id: row.id, tenantId, sealed: sealing?.sealed, rootKid: sealing?.rootKid },
        })
      }
    },
  }
}
