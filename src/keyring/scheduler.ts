import { isDeepStrictEqual } from 'node:util'
import { system } from '../context.ts'
import { Problem } from '../errors.ts'
import type { Key } from '../store/keys.ts'
import type { Ring } from '../store/rings.ts'
import { type Duration, HOUR, type Instant, MINUTE, toIso, toMillis } from '../time.ts'
import type { Step } from './lifecycle.ts'
import * as lifecycle from './lifecycle.ts'
import { laneOf, lanesOf, type Rotation, type RotationParts } from './rotation.ts'
import type { Sealing } from './sealing.ts'

// The timer's work: one look at every lane, an interval apart. What cannot be undone needs its time to have passed at
// two looks, an interval apart by the monotonic clock, and waits while the wall clock is in doubt (product.md 5.3).

const LEASE = 'keyring'
const CLOCK = 'clock_seen_at'
const JUMP = 'clock_jump'

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

const DAY = 24n * HOUR

/**
 * Compares the wall clock with the monotonic one. Differences add up, so that many small steps are one jump; of what
 * has added up, one tolerance a day is forgotten. Beyond `tolerance` it is a jump until it is confirmed, or undone.
 */
export function createClockWatch(tolerance: Duration) {
  let last: { wall: Instant; monotonic: bigint } | undefined
  let drift: Duration = 0n
  let jump: ClockJump | undefined

  const isBeyond = (span: Duration) => span > tolerance || span < -tolerance

  function judge(wall: Instant): void {
    // A clock that comes back to where it was is as good as new.
    if (!isBeyond(drift)) jump = undefined
    else if (!jump || isBeyond(drift - jump.by)) jump = { seenAt: wall, by: drift }
  }

  function forget(elapsed: Duration): void {
    const least = (tolerance * elapsed) / DAY
    if (jump) return
    if (drift > 0n) drift = drift > least ? drift - least : 0n
    else drift = -drift > least ? drift + least : 0n
  }

  return {
    look(wall: Instant, monotonic: bigint): ClockJump | undefined {
      if (last) {
        const elapsed = monotonic - last.monotonic
        forget(elapsed)
        drift += wall - last.wall - elapsed
        judge(wall)
      }
      last = { wall, monotonic }
      return jump
    },
    /** The clock stands before the last moment the database remembers. */
    behind(wall: Instant, remembered: Instant): void {
      if (wall >= remembered - tolerance) return
      drift = wall - remembered
      judge(wall)
    },
    /** A restart is no confirmation. */
    restore(before: ClockJump): void {
      if (jump) return
      drift = before.by
      jump = before
    },
    jump: () => jump,
    confirm(): void {
      drift = 0n
      jump = undefined
    },
  }
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
  let rememberedJump: ClockJump | undefined
  let running: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined

  /** Remembers the wall clock at most once a minute, so that a restart notices when it was set back. */
  async function remember(): Promise<void> {
    const at = now()
    if (clock.jump() || at - rememberedAt < MINUTE) return
    rememberedAt = at
    await store.transaction((tx) => tx.settings.set(CLOCK, String(at)))
  }

  async function rememberJump(jump: ClockJump | undefined): Promise<void> {
    if (jump === rememberedJump) return
    const value = jump ? { seenAt: String(jump.seenAt), by: String(jump.by) } : null
    await store.transaction((tx) => tx.settings.set(JUMP, value))
    rememberedJump = jump
  }

  /** Has the view look again at rows that were edited outside while nothing else was written. */
  async function noticeEdits(ring: Ring): Promise<void> {
    const seen = view.ring(ring.name)
    const keys = await store.read.keys.ofRing(ring.id)
    const isNews = (key: Key) => {
      const before = seen?.keys.find(({ kid }) => kid === key.kid)?.privateSealed
      const resealed = !isDeepStrictEqual(key.privateSealed, before)
      return resealed || (changes.isTampered(key) && !seen?.withheld.has(key.kid))
    }
    if (keys.length === seen?.keys.length && !keys.some(isNews)) return
    view.put(await store.transaction((tx) => changes.stateOf(tx, ring)))
  }

  async function stepsOf(ring: Ring, alg: Ring['algorithms'][0], tx = store.read): Promise<Step[]> {
    const keys = laneOf(ring, await tx.keys.ofRing(ring.id), alg)
    const steps = lifecycle.step(keys, alg, await changes.facts(tx, keys), policy(ring), now())
    return steps.filter((step) => {
      const key = 'kid' in step ? keys.find(({ kid }) => kid === step.kid) : undefined
      if (!key || step.do === 'promote') return true
      return step.do === 'withdraw' ? changes.isWritable(key) : !changes.isTampered(key)
    })
  }

  /** Generates what the step needs, then decides again inside the transaction: losing a race changes nothing. */
  async function apply(ring: Ring, alg: Ring['algorithms'][0], step: Step): Promise<void> {
    const safe = policy(ring).mode === 'safe'
    const needsKey = step.do === 'prepublish' || (step.do === 'promote' && safe)
    const prepared = needsKey ? [await material.prepare(ring, alg)] : []
    const transaction = store.transaction(async (tx) => {
      const again = await stepsOf(ring, alg, tx)
      if (!again.some((one) => same(one, step))) return undefined
      const keys = laneOf(ring, await tx.keys.ofRing(ring.id), alg)
      const [one] = prepared
      const row = one && (await material.toRow(tx, one, now()))
      const change = changeOf(step, keys, row, ring)
      return changes.write(tx, ring, change, rotation.writing(system, prepared))
    })
    const state = await material.taking(prepared, transaction, (state) => state?.keys)
    if (!state) return
    view.put(state)
    if (step.do === 'delete') sealing.forget(step.kid)
    if (step.do === 'promote' && ring.id === 'default') reseal.start()
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
      for (const step of steps) await guarded(ring, () => apply(ring, alg, step))
    } else {
      due.push(...steps.filter(isIrreversible))
    }
  }

  async function tick(): Promise<void> {
    if (!view.isUnsealed()) return
    const jump = clock.look(now(), monotonic())
    await rememberJump(jump)
    const ttl = toMillis(interval) * 3 + 1000
    const epoch = await store.transaction((tx) => tx.leases.acquire(LEASE, parts.holder, ttl))
    if (epoch === undefined) return
    const due: { ring: Ring; alg: Ring['algorithms'][0]; step: Step }[] = []
    for (const { ring } of view.rings()) {
      await guarded(ring, () => noticeEdits(ring))
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
      const jump = (await store.read.settings.get(JUMP)) as { seenAt: string; by: string } | null
      rememberedJump = jump ? { seenAt: BigInt(jump.seenAt), by: BigInt(jump.by) } : undefined
      if (rememberedJump) clock.restore(rememberedJump)
      clock.look(now(), monotonic())
      const run = () => {
        this.tick().catch((error: unknown) => log.error({ err: error }, 'a tick failed'))
      }
      timer = setInterval(run, toMillis(interval))
    },

    clockJump: clock.jump,
    /** The same, after a look at the clock: what is decided between two ticks asks here. */
    lookAtClock: () => clock.look(now(), monotonic()),

    /** An operator says that the wall clock is right; frozen steps go on. */
    async confirmClock(): Promise<void> {
      clock.confirm()
      await store.transaction((tx) => tx.settings.set(CLOCK, String(now())))
      await store.transaction((tx) => tx.settings.set(JUMP, null))
      rememberedJump = undefined
    },

    async close(): Promise<void> {
      clearInterval(timer)
      await running
    },
  }
}

const isIrreversible = (step: Step): boolean =>
  step.do === 'promote' || step.do === 'withdraw' || step.do === 'delete'

const same = (a: Step, b: Step): boolean =>
  a.do === b.do && ('kid' in a ? a.kid : '') === ('kid' in b ? b.kid : '')
