import type { PromiseRow, RotationRow } from '../store/uri-signing.ts'

// What becomes of a key that caches hold, and when each step is safe (contract section 7; product.md section 5.3). Pure.
// add → announce → sign → move renewal_kid → remove: caches must know a key before it signs, and go on knowing it until
// the last token under it is over. Owners and caches sign with these keys unseen, so the last step needs somebody's word.

export type StepName = 'sign' | 'renew' | 'remove'

export interface RotationFacts {
  /** Of the old key; undefined: nothing was signed with it here. */
  promise: PromiseRow | undefined
  /** The longest `cdniets` that any token of the service was given here, in seconds: all of them are renewed alike. */
  longestRenewal: number
  /** Whether the document's `renewal_kid` is the old key of this issuer. */
  oldRenews: boolean
  /** Seconds that caches' clocks may be behind. */
  skew: number
}

export interface PlannedStep {
  step: 'add' | StepName
  /** Unix milliseconds: when it was taken. */
  doneAt: number | undefined
  /** Unix milliseconds, of a step that is not taken: from when on it is safe; undefined: something else must come first. */
  safeAt: number | undefined
  why: string
}

/** The step that comes next; undefined: the rotation has ended. */
export function nextStep({ state }: RotationRow): StepName | undefined {
  switch (state) {
    case 'announced':
      return 'sign'
    case 'signing':
      return 'renew'
    case 'retiring':
      return 'remove'
    default:
      return undefined
  }
}

/** From when on the next step is safe, in Unix milliseconds; undefined: no time makes it so. */
export function safeAtOf(rotation: RotationRow, facts: RotationFacts): number | undefined {
  switch (rotation.state) {
    case 'announced':
      return signingSafeAt(rotation)
    case 'signing':
      // Every cache knows the new key since it signs.
      return rotation.signingAt
    case 'retiring':
      return removalSafeAt(rotation, facts)
    default:
      return undefined
  }
}

function signingSafeAt({ addedAt, announceTtl, reloadedAt }: RotationRow): number {
  const assumed = addedAt + announceTtl * 1000
  return reloadedAt !== undefined && reloadedAt >= addedAt ? Math.min(reloadedAt, assumed) : assumed
}

function removalSafeAt(rotation: RotationRow, facts: RotationFacts): number | undefined {
  const { retiringAt, reloadedAt, othersUntil = 0, othersRenewalTtl = 0 } = rotation
  const { promise, longestRenewal, oldRenews, skew } = facts
  if (oldRenews || retiringAt === undefined) return undefined
  if (reloadedAt === undefined || reloadedAt < retiringAt) return undefined
  const renewed = reloadedAt / 1000 + Math.max(longestRenewal, othersRenewalTtl)
  return Math.ceil((Math.max(promise?.until ?? 0, othersUntil, renewed) + skew) * 1000)
}

/** All steps, taken and to come, in order. */
export function planOf(rotation: RotationRow, facts: RotationFacts): PlannedStep[] {
  const { addedAt, signingAt, retiringAt, endedAt, state } = rotation
  const next = nextStep(rotation)
  const safeAt = (step: StepName) => (step === next ? safeAtOf(rotation, facts) : undefined)
  const isDone = state === 'done'
  return [
    {
      step: 'add',
      doneAt: addedAt,
      safeAt: undefined,
      why: `${rotation.newKid} is in the document`,
    },
    {
      ...{ step: 'sign', doneAt: signingAt, safeAt: safeAt('sign') },
      why: 'every cache must have loaded the new key before anything is signed with it',
    },
    {
      ...{ step: 'renew', doneAt: retiringAt, safeAt: safeAt('renew') },
      why: 'the new key takes over renewal_kid, if the old one has it',
    },
    {
      step: 'remove',
      doneAt: isDone ? endedAt : undefined,
      safeAt: safeAt('remove'),
      why: whyRemove(rotation, facts),
    },
  ]
}

function whyRemove(
  { state, oldKid, retiringAt, reloadedAt }: RotationRow,
  { oldRenews }: RotationFacts,
): string {
  if (state === 'cancelled') return 'the rotation was cancelled'
  if (state === 'done') return `${oldKid} is not in the document any more`
  if (oldRenews && state === 'retiring') return `renewal_kid names ${oldKid} again`
  if (retiringAt === undefined || reloadedAt === undefined || reloadedAt < retiringAt) {
    return 'waits for an attestation that all caches have reloaded since renewal_kid moved'
  }
  return `the last token under ${oldKid}, and the last renewal of one, must have expired`
}

/**
 * Which key of an issuer signs, as far as rotations say; undefined: they say nothing. One that is only announced changes
 * nothing, and the one under way counts before all that have ended, whatever the clock said then.
 */
export function signerByRotation(
  rotations: readonly RotationRow[],
  issuer: string,
): string | undefined {
  const open = openOf(rotations, issuer)
  if (open && open.state !== 'announced') return open.newKid
  return rotations.findLast((one) => one.issuer === issuer && one.state === 'done')?.newKid
}

/** The key of an issuer that caches may not know yet, so that nothing signs with it. */
export function announcedKid(
  rotations: readonly RotationRow[],
  issuer: string,
): string | undefined {
  const open = openOf(rotations, issuer)
  return open?.state === 'announced' ? open.newKid : undefined
}

/** The open rotation of an issuer. */
export const openOf = (
  rotations: readonly RotationRow[],
  issuer: string,
): RotationRow | undefined =>
  rotations.find((one) => one.issuer === issuer && one.endedAt === undefined)

/** An attestation speaks of one wait. Times alone do not say of which: the clock may have gone back since. */
export const UNATTESTED = { reloadedAt: undefined, attestedAt: undefined, attestedBy: undefined }

/**
 * What a change of the document from outside makes of an open rotation. Where both keys are still there, the wait under
 * way begins anew, and never earlier than it began: caches must load what is new, and a kid may stand for another key
 * now.
 */
export function afterChange(
  rotation: RotationRow,
  { hasOld, hasNew }: { hasOld: boolean; hasNew: boolean },
  now: number,
): RotationRow {
  const { state, addedAt, retiringAt = now } = rotation
  if (!hasNew || (!hasOld && state === 'announced')) {
    return { ...rotation, state: 'cancelled', endedAt: now }
  }
  if (!hasOld) {
    return { ...rotation, state: 'done', retiringAt, endedAt: now }
  }
  if (state === 'announced') {
    return { ...rotation, ...UNATTESTED, addedAt: Math.max(addedAt, now) }
  }
  if (state !== 'retiring') return rotation
  return { ...rotation, ...UNATTESTED, retiringAt: Math.max(retiringAt, now) }
}
