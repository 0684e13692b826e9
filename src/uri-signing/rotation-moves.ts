import type { Context, Principal } from '../context.ts'
import { Problem } from '../errors.ts'
import type { ServiceRow } from '../store/delivery-services.ts'
import type { Tx } from '../store/store.ts'
import type { RotationRow } from '../store/uri-signing.ts'
import { fromMillis, toIso, toMillis } from '../time.ts'
import { type KeyDocument, openDocument } from './document.ts'
import { removeKey, setRenewalKid } from './edit.ts'
import type { History } from './history.ts'
import {
  nextStep,
  type PlannedStep,
  planOf,
  type RotationFacts,
  type StepName,
  safeAtOf,
  UNATTESTED,
} from './rotation-steps.ts'

// How a rotation goes on, inside one transaction: whoever asks, the timer or an operator, what is not safe is not done.

export interface MovesParts {
  context: Context
  history: History
  /** Seconds that caches' clocks may be behind. */
  skew: number
}

export interface PlannedRotation {
  rotation: RotationRow
  steps: PlannedStep[]
}

export type Moves = ReturnType<typeof createMoves>

export function createMoves({ context, history, skew }: MovesParts) {
  const at = () => toMillis(context.now())

  /** @throws Problem `keys_missing`, `keyset_invalid` for a document that a cache could not load */
  async function documentOf(tx: Tx, service: ServiceRow) {
    const row = await tx.uriDocuments.current(service.id)
    const bytes = row && history.open(service, row)
    if (!bytes) throw new Problem('keys_missing', `${service.xmlId} has no keys`)
    return { bytes, document: openDocument(bytes) }
  }

  async function factsOf(
    tx: Tx,
    rotation: RotationRow,
    document: KeyDocument,
  ): Promise<RotationFacts> {
    const { serviceId, issuer, oldKid } = rotation
    return {
      promise: await tx.uriPromises.get(serviceId, issuer, oldKid),
      longestRenewal: await tx.uriPromises.longestRenewal(serviceId),
      oldRenews: document.issuers.get(issuer)?.renewalKid === oldKid,
      skew,
    }
  }

  async function record(
    tx: Tx,
    service: ServiceRow,
    principal: Principal,
    type: 'uri-keys.rotated' | 'uri-keys.attested' | 'uri-keys.rotation-cancelled',
    { issuer, oldKid, newKid }: RotationRow,
    detail: Record<string, unknown>,
  ): Promise<void> {
    await tx.audit.append({
      ...{ type, subject: service.xmlId, principal: principal.id },
      detail: { issuer, oldKid, newKid, ...detail },
    })
  }

  /** Takes one step, if it is the next one and safe. @throws Problem `rotation_unsafe`, with `safeAt` */
  async function take(
    tx: Tx,
    principal: Principal,
    service: ServiceRow,
    rotation: RotationRow,
    step: StepName,
  ): Promise<RotationRow> {
    const { bytes, document } = await documentOf(tx, service)
    const facts = await factsOf(tx, rotation, document)
    if (nextStep(rotation) !== step) {
      throw new Problem('rotation_conflict', `The next step is ${nextStep(rotation) ?? 'none'}`)
    }
    const safeAt = safeAtOf(rotation, facts)
    if (safeAt === undefined || safeAt > at()) throw unsafe(rotation, facts, safeAt)
    const { next, edited } = moved(rotation, step, facts, bytes, at())
    const detail = {
      issuer: rotation.issuer,
      oldKid: rotation.oldKid,
      newKid: rotation.newKid,
      step,
    }
    if (edited)
      await history.put(tx, service, { origin: 'rotated', principal, bytes: edited, detail })
    else await record(tx, service, principal, 'uri-keys.rotated', rotation, { step })
    await tx.uriRotations.update(next)
    return next
  }

  async function planned(tx: Tx, service: ServiceRow): Promise<PlannedRotation[]> {
    const rotations = await tx.uriRotations.ofService(service.id)
    if (rotations.length === 0) return []
    const row = await tx.uriDocuments.current(service.id)
    const bytes = row && history.open(service, row)
    const document = bytes && openDocument(bytes, 'compat')
    const plans: PlannedRotation[] = []
    for (const rotation of rotations.toReversed()) {
      const facts = document
        ? await factsOf(tx, rotation, document)
        : { promise: undefined, longestRenewal: 0, oldRenews: false, skew }
      plans.push({ rotation, steps: planOf(rotation, facts) })
    }
    return plans
  }

  return { documentOf, planned, record, take }
}

function unsafe(rotation: RotationRow, facts: RotationFacts, safeAt: number | undefined): Problem {
  const why = planOf(rotation, facts).find(({ step }) => step === nextStep(rotation))?.why
  const time = safeAt === undefined ? null : toIso(fromMillis(safeAt))
  return new Problem('rotation_unsafe', why, { extra: { safeAt: time } })
}

/** The rotation after a step, and the document where the step changes it. Pure. */
function moved(
  rotation: RotationRow,
  step: StepName,
  { oldRenews }: RotationFacts,
  bytes: Uint8Array,
  at: number,
): { next: RotationRow; edited: Uint8Array | undefined } {
  const { issuer, oldKid, newKid } = rotation
  if (step === 'remove') {
    return {
      next: { ...rotation, state: 'done', endedAt: at },
      edited: removeKey(bytes, issuer, oldKid),
    }
  }
  if (step === 'renew') {
    return {
      next: { ...rotation, ...UNATTESTED, state: 'retiring', retiringAt: at },
      edited: oldRenews ? setRenewalKid(bytes, issuer, newKid) : undefined,
    }
  }
  // A key that never renewed has nothing to hand over.
  const next: RotationRow = oldRenews
    ? { ...rotation, state: 'signing', signingAt: at }
    : { ...rotation, ...UNATTESTED, state: 'retiring', signingAt: at, retiringAt: at }
  return { next, edited: undefined }
}
