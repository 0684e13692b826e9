import { system } from '../context.ts'
import { Problem } from '../errors.ts'
import type { Key } from '../store/keys.ts'
import type { Ring } from '../store/rings.ts'
import { type Duration, type Instant, toIso, toMillis } from '../time.ts'
import type { Step } from './lifecycle.ts'
import * as lifecycle from './lifecycle.ts'
import { laneOf, lanesOf, type Rotation, type RotationParts } from './rotation.ts'
import type { Sealing } from './sealing.ts'

// The timer's work: one look at every lane, an interval apart. What cannot be undone needs its time to have passed at
// two looks, an interval apart by the monotonic clock, and waits while the wall clock is in doubt (product.md 5.3).

const LEASE = 'keyring'
const CLOCK = 'clock_seen_at'

/** Remembers which steps were due at an earlier look. Pure but for its memory; `at` is monotonic. */
export function createConfirmation(interval: Duration) {
  let seen = new Map<string, bigint>()
  return {
    /** The steps that were due a whole interval ago as well; forgets those that are due no longer. */
    confirmed(steps: readonly Step[], at: bigint): Step[] {
      const name = (step: Step) => `${step.do} ${'kid' in step ? step.kid : ''}`
      // Timers fire a little early or late; nine tenths of an interval is one.
      const enough = (interval * 9n) / 10n
      const next = new Map(steps.map((step) => [name(step), seen.get(name(step)) ?? at]))
      seen = next
      return steps.filter((step) => at - (next.get(name(step)) ?? at) >= enough)
    },
  }
}

export interface ClockJump {
  seenAt: Instant
  by: Duration
}

/** Compares the wall clock with the monotonic one; a difference beyond `tolerance` is a jump until it is confirmed. */
export function createClockWatch(tolerance: Duration) {
  let last: { wall: Instant; monotonic: bigint } | undefined
  let jump: ClockJump | undefined
  return {
    look(wall: Instant, monotonic: bigint): ClockJump | undefined {
      if (last) {
        const by = wall - last.wall - (monotonic - last.monotonic)
        // A clock that comes back to where it was is as good as new.
        if (by > tolerance || by < -tolerance) jump = rejoin(jump, { seenAt: wall, by }, tolerance)
      }
      last = { wall, monotonic }
      return jump
    },
    /** The clock stands before the last moment the database remembers. */
    behind(wall: Instant, remembered: Instant): void {
      if (wall < remembered - tolerance) jump = { seenAt: wall, by: wall - remembered }
    },
    jump: () => jump,
    confirm(): void {
      jump = undefined
    },
  }
}

function rejoin(before: ClockJump | undefined, now: ClockJump, tolerance: Duration) {
  const by = (before?.by ?? 0n) + now.by
  return by <= tolerance && by >= -tolerance ? undefined : { seenAt: now.seenAt, by }
}

export function createScheduler(
  parts: RotationParts & {
    sealing: Sealing
    rotation: Rotation
    interval: Duration
    tolerance: Duration
    holder: string
  },
) {
  const { context, view, changes, material, reseal, policy, rotation, sealing, interval } = parts
  const { store, now, log, monotonic } = context
  const confirmation = createConfirmation(interval)
  const clock = createClockWatch(parts.tolerance)
  let rememberedAt = 0n
  let running: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined

  /** Remembers the wall clock at most once a minute, so that a restart notices when it was set back. */
  async function remember(): Promise<void> {
    const at = now()
    if (clock.jump() || at - rememberedAt < 60_000_000_000n) return
    rememberedAt = at
    await store.transaction((tx) => tx.settings.set(CLOCK, String(at)))
  }

  async function stepsOf(ring: Ring, alg: Ring['algorithms'][0], tx = store.read): Promise<Step[]> {
    const keys = laneOf(ring, await tx.keys.ofRing(ring.id), alg)
    return lifecycle.step(keys, alg, await changes.facts(tx, keys), policy(ring), now())
  }

  /** Generates what the step needs, then decides again inside the transaction: losing a race changes nothing. */
  async function apply(ring: Ring, alg: Ring['algorithms'][0], step: Step): Promise<void> {
    const safe = policy(ring).mode === 'safe'
    const needsKey = step.do === 'prepublish' || (step.do === 'promote' && safe)
    const prepared = needsKey ? await material.prepare(ring, alg) : undefined
    try {
      const state = await store.transaction(async (tx) => {
        const again = await stepsOf(ring, alg, tx)
        if (!again.some((one) => same(one, step))) return undefined
        const keys = laneOf(ring, await tx.keys.ofRing(ring.id), alg)
        const row = prepared && (await material.toRow(tx, prepared, now()))
        const change = changeOf(step, keys, row, ring)
        const writes = rotation.writing(system, prepared ? [prepared] : [])
        return changes.write(tx, ring, change, writes)
      })
      if (state) view.put(state)
      if (prepared && !state?.keys.some(({ kid }) => kid === prepared.kid))
        material.discard(prepared)
      if (state && step.do === 'delete') sealing.forget(step.kid)
      if (state && step.do === 'promote' && ring.id === 'default') reseal.start()
    } catch (error) {
      if (prepared) material.discard(prepared)
      throw error
    }
  }

  function changeOf(
    step: Step,
    keys: readonly Key[],
    row: lifecycle.NewKey | undefined,
    ring: Ring,
  ) {
    if (step.do === 'promote') {
      const options = { full: false, policy: policy(ring), now: now() }
      return lifecycle.promote(keys, step.kid, row, options)
    }
    if (step.do === 'withdraw') return lifecycle.withdraw(keys, step.kid, now())
    if (step.do === 'delete') return { insert: [], update: [], delete: [step.kid] }
    if (!row) throw new Problem('internal')
    return lifecycle.addStandby(row, step.plannedAt, now())
  }

  async function lane(ring: Ring, alg: Ring['algorithms'][0], due: Step[]): Promise<void> {
    await rotation.ensureStandby(ring, alg, system)
    const steps = await stepsOf(ring, alg)
    if (policy(ring).mode === 'nomad') {
      for (const step of steps) await apply(ring, alg, step)
    } else {
      due.push(...steps)
    }
  }

  async function tick(): Promise<void> {
    if (!view.isUnsealed()) return
    const jump = clock.look(now(), monotonic())
    const ttl = toMillis(interval) * 3 + 1000
    const epoch = await store.transaction((tx) => tx.leases.acquire(LEASE, parts.holder, ttl))
    if (epoch === undefined) return
    const due: { ring: Ring; alg: Ring['algorithms'][0]; step: Step }[] = []
    for (const { ring } of view.rings()) {
      for (const alg of lanesOf(ring)) {
        const steps: Step[] = []
        await guarded(ring, () => lane(ring, alg, steps))
        due.push(...steps.map((step) => ({ ring, alg, step })))
      }
    }
    const ready = confirmation.confirmed(
      due.map(({ step }) => step),
      monotonic(),
    )
    if (jump && ready.length > 0) {
      log.warn(
        { by: String(jump.by), seenAt: toIso(jump.seenAt) },
        'the clock jumped: what cannot be undone waits until the clock is confirmed',
      )
    } else {
      for (const { ring, alg, step } of due) {
        if (ready.includes(step)) await guarded(ring, () => apply(ring, alg, step))
      }
    }
    reseal.start()
    await remember()
  }

  /** One ring's trouble never keeps the others from their work. */
  async function guarded(ring: Ring, work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      log.error(
        { err: error, ring: ring.name },
        'a scheduled step failed; the next tick tries again',
      )
    }
  }

  return {
    /** One look at everything; calls that come while one runs share it. */
    tick(): Promise<void> {
      running ??= tick().finally(() => {
        running = undefined
      })
      return running
    },

    async start(): Promise<void> {
      const remembered = await store.read.settings.get(CLOCK)
      if (typeof remembered === 'string') clock.behind(now(), BigInt(remembered))
      clock.look(now(), monotonic())
      const run = () => {
        this.tick().catch((error: unknown) => log.error({ err: error }, 'a tick failed'))
      }
      timer = setInterval(run, toMillis(interval))
    },

    clockJump: clock.jump,

    /** An operator says that the wall clock is right; frozen steps go on. */
    async confirmClock(): Promise<void> {
      clock.confirm()
      await store.transaction((tx) => tx.settings.set(CLOCK, String(now())))
    },

    async close(): Promise<void> {
      clearInterval(timer)
      await running
    },
  }
}

const same = (a: Step, b: Step): boolean =>
  a.do === b.do && ('kid' in a ? a.kid : '') === ('kid' in b ? b.kid : '')
