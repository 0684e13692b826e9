import { type Context, system } from '../context.ts'
import { isProblem } from '../errors.ts'
import type { RotationRow } from '../store/uri-signing.ts'
import { type Duration, toMillis } from '../time.ts'
import type { Moves } from './rotation-moves.ts'
import { nextStep, type StepName, safeAtOf } from './rotation-steps.ts'

// The timer's work: steps of automatic rotations that are safe. What cannot be undone was safe at two looks, an interval
// apart by the monotonic clock, and waits while the wall clock is in doubt (product.md section 5.3).

export interface TimerParts {
  context: Context
  moves: Moves
  clockInDoubt(): boolean
  isReady(): boolean
  skew: number
  interval: Duration
}

/** Rotations that one look reads at a time. */
const PAGE = 200

export function createRotationTimer(parts: TimerParts) {
  const { context, moves, skew } = parts
  const { store, now, log, monotonic } = context
  /** Steps that were due at an earlier look, and since when. */
  let seen = new Map<string, bigint>()
  let running: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined

  const at = () => toMillis(now())

  /** The steps of automatic rotations that are due, as a look finds them. */
  async function due(): Promise<{ rotation: RotationRow; step: StepName }[]> {
    const found: { rotation: RotationRow; step: StepName }[] = []
    for (let after = ''; ; ) {
      const page = await store.read.uriRotations.open(PAGE, after)
      for (const rotation of page) {
        const step = nextStep(rotation)
        if (step && rotation.automatic && (await looked(rotation))) found.push({ rotation, step })
      }
      const last = page.at(-1)
      if (!last || page.length < PAGE) return found
      after = last.id
    }
  }

  /** One rotation that cannot be looked at never keeps the others from their work. */
  async function looked(rotation: RotationRow): Promise<boolean> {
    try {
      return await isDue(rotation)
    } catch (error) {
      log.error({ err: error, rotation: rotation.id }, 'a rotation cannot be looked at')
      return false
    }
  }

  /** Without the document, which the step itself asks. */
  async function isDue(rotation: RotationRow): Promise<boolean> {
    const { serviceId, issuer, oldKid, state } = rotation
    const { uriPromises } = store.read
    const asks = state === 'retiring'
    const facts = {
      promise: asks ? await uriPromises.get(serviceId, issuer, oldKid) : undefined,
      longestRenewal: asks ? await uriPromises.longestRenewal(serviceId) : 0,
      ...{ oldRenews: false, skew },
    }
    const safeAt = safeAtOf(rotation, facts)
    return safeAt !== undefined && safeAt <= at()
  }

  /** What cannot be undone was due at a look an interval ago as well. */
  async function look(): Promise<void> {
    if (!parts.isReady()) return
    const steps = await due()
    const name = ({ rotation, step }: (typeof steps)[number]) => `${rotation.id} ${step}`
    seen = new Map(steps.map((one) => [name(one), seen.get(name(one)) ?? monotonic()]))
    if (parts.clockInDoubt()) return
    for (const one of steps) {
      const since = seen.get(name(one)) ?? monotonic()
      // Timers fire a little early or late; nine tenths of an interval is one.
      if (monotonic() - since < (parts.interval * 9n) / 10n) continue
      await taken(one.rotation.id, one.step)
    }
  }

  /** One rotation's trouble never keeps the others from their work. */
  async function taken(id: string, step: StepName): Promise<void> {
    try {
      await store.transaction(async (tx) => {
        const rotation = await tx.uriRotations.get(id)
        const service = rotation && (await tx.deliveryServices.byId(rotation.serviceId))
        if (service && nextStep(rotation) === step)
          await moves.take(tx, system, service, rotation, step)
      })
    } catch (error) {
      // The document, which only the step itself reads, has it wait; the plan says why.
      if (isProblem(error) && error.code === 'rotation_unsafe') return
      log.error(
        { err: error, rotation: id, step },
        'a step of a rotation failed; the next look tries again',
      )
    }
  }

  /** One look at every open rotation; calls that come while one runs share it. */
  function tick(): Promise<void> {
    running ??= look().finally(() => {
      running = undefined
    })
    return running
  }

  return {
    tick,

    start(): void {
      const run = () => {
        tick().catch((error: unknown) => log.error({ err: error }, 'a look at rotations failed'))
      }
      timer = setInterval(run, toMillis(parts.interval))
      timer.unref()
    },

    async close(): Promise<void> {
      clearInterval(timer)
      await running
    },
  }
}
