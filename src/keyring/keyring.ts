import type { Context, Principal } from '../context.ts'
import { type Algorithm, generateKeyMaterial, type SigningKey } from '../core/index.ts'
import { Problem } from '../errors.ts'
import type { Ring } from '../store/rings.ts'
import type { Tx } from '../store/store.ts'
import { formatDuration, fromMillis, SECOND, toIso, toMillis, toSeconds } from '../time.ts'
import { type Blocking, createBlocking, type Limits } from './blocking.ts'
import { createCacheLives } from './cache-lives.ts'
import { createChanges } from './changes.ts'
import { toKeyDocument, toPlanStep, toRingDocument } from './documents.ts'
import { createCacheControl, createJwks } from './jwks.ts'
import { plan } from './lifecycle.ts'
import { createMaterial } from './material.ts'
import { createOwn } from './own.ts'
import { cachePolicy, type KeyringSettings, NOMAD_LEEWAY, policyOf } from './policy.ts'
import { createProfiles } from './profile-service.ts'
import { createPromises } from './promises.ts'
import { createRemoval } from './removal.ts'
import { createReseal } from './reseal.ts'
import { createRings, type NewRing } from './rings.ts'
import { createRotation } from './rotation.ts'
import { createScheduler } from './scheduler.ts'
import type { RotateBody, StatusDocument } from './schema.ts'
import { createSealing, type Wrapper } from './sealing.ts'
import { createSigning } from './sign.ts'
import { createSigner } from './signer.ts'
import { createSpareKeys } from './spare.ts'
import { createStart } from './start.ts'
import { createVerification } from './verify.ts'
import { createView, type RingView } from './view.ts'

// Puts the slice together. Each part is in a file of its own; this one only knows who needs whom.

export interface KeyringOptions {
  context: Context
  settings: KeyringSettings
  installation: string
  rootKeyAlgorithm: Algorithm
  /** The issuer of the `default` ring; it may be known only once the server listens. */
  issuer(): string | undefined
  /** An issuer with a path below it. */
  joinIssuer(issuer: string, path: string): string
  limits: Limits
  alsoAtBootstrap(tx: Tx): Promise<void>
  onSigned(ring: string, key: SigningKey): void
  onVerified(kid: string | undefined, valid: boolean): void
  /** Why a token of a ring has ended before its `exp`; undefined: it has not. */
  endedBy(ring: string, token: string): Promise<string | undefined>
  onPromiseWrite(): void
  onForgotten(key: { kid: string; ring: string; alg: string }): void
}

export type Keyring = ReturnType<typeof createKeyring>

/** Slews and late timers are no jumps. */
const CLOCK_TOLERANCE = 5n * SECOND
/** Beyond these, consumers with fixed limits begin to fail (docs/guides). */
const MANY_KEYS = 10
const MANY_BYTES = 40_000

export function createKeyring(options: KeyringOptions) {
  const { context, settings, installation, joinIssuer } = options
  const { store, now, log, newId } = context
  const cacheLives = createCacheLives(store, settings, now)

  const millis = () => toMillis(now())
  const policy = (ring: Ring) => policyOf(settings, ring, cacheLives.earlier(ring), now())
  /** Asked for every signature. */
  const joined = new WeakMap<Ring, { base: string; issuer: string }>()
  const issuerOf = (ring: Ring): string | undefined => {
    const base = options.issuer()
    if (ring.issuer !== undefined || ring.id === 'default') return ring.issuer ?? base
    if (base === undefined) return undefined
    const known = joined.get(ring)
    if (known?.base === base) return known.issuer
    const issuer = joinIssuer(base, `/rings/${ring.name}`)
    joined.set(ring, { base, issuer })
    return issuer
  }

  const sealing = createSealing(installation)
  const view = createView({
    ...{ sealing, now, monotonic: context.monotonic },
    onFault: (kid, error) => log.error({ err: error, kid }, 'a private key does not open'),
  })
  const spare = createSpareKeys(generateKeyMaterial, (error) =>
    log.error({ err: error }, 'a key pair could not be made ahead'),
  )
  const changes = createChanges(sealing, view, millis)
  const material = createMaterial(spare, sealing, newId)
  const reseal = createReseal(context, { sealing, view, changes })
  const rotationParts = { context, view, changes, material, reseal, policy }
  const rotation = createRotation(rotationParts)
  const removal = createRemoval({
    ...{ ...rotationParts, rotation, sealing, leeway: NOMAD_LEEWAY },
    clockInDoubt: () => scheduler.lookAtClock() !== undefined,
  })
  const scheduler = createScheduler({
    ...{ ...rotationParts, rotation, sealing, holder: 'main' },
    interval: settings.rootKeyGcInterval,
    tolerance: settings.clockSkew > CLOCK_TOLERANCE ? settings.clockSkew : CLOCK_TOLERANCE,
  })
  const rings = createRings({ context, view, changes, material, policy, issuerOf })
  const profiles = createProfiles(context, view)
  const promises = createPromises(store, options.onPromiseWrite)
  const signer = createSigner((error) => log.error({ err: error }, 'the signing thread ended'))
  const signing = createSigning({
    ...{ context, view, promises, signer, issuerOf, profile: profiles.policy },
    ...{ maxTokenTtl: toSeconds(settings.maxTokenTtl), onSigned: options.onSigned },
  })
  const verification = createVerification({
    ...{ context, view, issuerOf, check: signer.verify, onVerified: options.onVerified },
    endedBy: options.endedBy,
    skew: toSeconds(settings.clockSkew),
  })
  const blocking: Blocking = createBlocking(view.index, options.limits)
  const start = createStart({
    ...{ context, installation, sealing, view, changes, material, policy },
    ...{ rootKeyAlgorithm: options.rootKeyAlgorithm, alsoAtBootstrap: options.alsoAtBootstrap },
  })

  const present = new Map<string, Map<string, string>>()
  view.onChange(({ ring, keys }) => {
    const before = present.get(ring.id) ?? new Map<string, string>()
    const after = new Map(keys.map(({ kid, alg }) => [kid, alg]))
    present.set(ring.id, after)
    for (const [kid, alg] of before) {
      if (after.has(kid)) continue
      promises.forget(kid)
      options.onForgotten({ kid, ring: ring.name, alg })
    }
    blocking.wake()
  })

  const cacheControls = new WeakMap<RingView, ReturnType<typeof createCacheControl>>()

  function ringView(name: string) {
    const found = view.ring(name)
    if (!found) throw new Problem('ring_not_found', `No ring ${name.slice(0, 64)}`)
    return found
  }

  const describeRing = (ring: Ring) =>
    toRingDocument(ring, {
      issuer: issuerOf(ring),
      threshold: settings.rootKeyRotationThreshold,
      maxTokenTtl: toSeconds(settings.maxTokenTtl),
    })

  function waitingFor(): string[] {
    const waits = start.waitingFor()
    if (waits !== undefined) return [waits]
    const idle = view.rings().flatMap(({ ring, signers }) => {
      const lanes = ring.reserved ? [] : ring.algorithms.filter((alg) => !signers.has(alg))
      if (signers.size === 0) return [`an active key in ring ${ring.name}`]
      return lanes.map((alg) => `an active ${alg} key in ring ${ring.name}`)
    })
    return [...view.faults(), ...idle]
  }

  return {
    ...{ view, rotation, removal, scheduler, reseal, profiles, signing, verification, blocking },
    own: createOwn({ context, sealing, view, signer }),
    ...{ issuerOf, waitingFor, isKekUnreachable: start.isUnreachable },

    /** Reads what is public; from here on relying parties are served. */
    publish: start.publish,

    /** Unseals, makes first keys, starts the timer. @throws Problem `kek_wrong`, `kek_missing` */
    async open(providers: readonly Wrapper[], signal: AbortSignal): Promise<void> {
      // Before anybody can rotate, and again when the first rings are there.
      await cacheLives.remember(view.rings().map(({ ring }) => ring))
      await start.run(providers, signal)
      for (const fault of view.faults()) log.error(fault)
      await cacheLives.remember(view.rings().map(({ ring }) => ring))
      await rotation.ensureActive()
      for (const { ring } of view.rings()) for (const alg of ring.algorithms) spare.warm(alg)
      await scheduler.start()
      reseal.start()
    },

    /** A JWK Set with its Cache-Control as of now. `random` is in 0 ≤ r < 1. */
    published(name: string, postQuantum: boolean, random: number) {
      // Before the first key exists, clients poll for it (contract section 2.4).
      if (name === 'default' && view.ring(name) === undefined) {
        return { document: createJwks([], postQuantum), cacheControl: undefined }
      }
      const shown = ringView(name)
      const { ring, withheld, jwks, jwksPostQuantum, keys, size, newest, inDefaultSet } = shown
      if (withheld.size > 0 && policy(ring).mode === 'nomad') {
        const lost = [...withheld].find(([, why]) => why === 'quarantined')
        if (lost) throw new Problem('key_unusable', `no such key "${lost[0]}" in keyring`)
      }
      if (size === 0 && keys.length > 0) throw new Problem('not_ready', 'No key can be published')
      const here = postQuantum ? size - inDefaultSet : inDefaultSet
      if (size > 0 && here === 0) {
        const other = postQuantum ? 'jwks.json' : 'jwks-pq.json'
        throw new Problem('not_found', `The keys of ring ${ring.name} are in its ${other}`)
      }
      const document = postQuantum ? jwksPostQuantum : jwks
      const known = cacheControls.get(shown)
      const control = known ?? createCacheControl(cachePolicy(settings, ring), newest)
      if (!known) cacheControls.set(shown, control)
      return { document, cacheControl: size === 0 ? undefined : control(now, random) }
    },

    ringView,
    listRings: () => view.rings().map(({ ring }) => describeRing(ring)),
    getRing: (name: string) => describeRing(ringView(name).ring),
    async createRing(wanted: NewRing, principal: Principal) {
      const ring = await rings.create(wanted, principal)
      await cacheLives.remember([ring])
      return describeRing(ring)
    },

    async listKeys(name: string) {
      const { ring, keys, withheld } = ringView(name)
      const facts = await changes.facts(store.read, keys)
      return keys.map((key) => toKeyDocument(key, facts, policy(ring), withheld.get(key.kid)))
    },

    /** Our route: what is unsafe needs `force` and a reason. */
    async rotate(name: string, body: RotateBody, principal: Principal) {
      if (body.force && body.reason === undefined) {
        throw new Problem('invalid_request', 'force needs a reason')
      }
      const activateAt =
        body.activateAt === undefined ? undefined : fromMillis(Date.parse(body.activateAt))
      if (activateAt !== undefined && BigInt.asIntN(64, activateAt) !== activateAt) {
        throw new Problem('invalid_request', 'activateAt does not fit 64-bit nanoseconds')
      }
      const jump = scheduler.lookAtClock()
      if (jump && !body.force && !body.dryRun && activateAt === undefined) {
        const by = formatDuration(jump.by)
        throw new Problem(
          'clock_jumped',
          `The clock jumped by ${by}, so nobody knows what verifiers hold; confirm it first`,
        )
      }
      if (activateAt !== undefined && activateAt <= now()) {
        throw new Problem('invalid_request', 'activateAt lies in the past')
      }
      const request = { ...body, ring: name, activateAt }
      const { keys, plan: steps } = await rotation.rotate(request, principal)
      const { ring } = ringView(name)
      const facts = await changes.facts(store.read, keys)
      return {
        keys: keys.map((key) => toKeyDocument(key, facts, policy(ring), undefined)),
        plan: steps.map(toPlanStep),
      }
    },

    async confirmClock(reason: string, principal: Principal): Promise<void> {
      await store.transaction((tx) =>
        tx.audit.append({
          type: 'clock.confirmed',
          subject: toIso(now()),
          principal: principal.id,
          detail: { reason },
        }),
      )
      await scheduler.confirmClock()
    },

    /** The next step of every ring; for status and metrics. */
    async nextSteps() {
      const rings = view.rings()
      const all = rings.flatMap(({ keys }) => keys)
      const facts = await changes.facts(store.read, all)
      return rings.map(({ ring, keys }) => ({
        ring: ring.name,
        steps: plan(keys, facts, policy(ring), now()),
      }))
    },

    async status(): Promise<Omit<StatusDocument, 'remoteSets'>> {
      const jump = scheduler.clockJump()
      const next = new Map((await this.nextSteps()).map(({ ring, steps }) => [ring, steps[0]]))
      const waits = waitingFor()
      return {
        ready: waits.length === 0,
        waitingFor: waits,
        rotationMode: settings.rotationMode,
        index: String(view.index()),
        heldQueries: blocking.held(),
        clockJump: jump ? { seenAt: toIso(jump.seenAt), byMs: toMillis(jump.by) } : null,
        quarantined: [...start.quarantined()],
        damaged: reseal.damaged(),
        rings: view.rings().map(({ ring, keys, size, jwks }) => {
          const active = keys.find(({ state }) => state === 'active')
          const step = next.get(ring.name)
          const bytes = jwks.body.length
          return {
            ...{ name: ring.name, keys: keys.length, published: size, jwksBytes: bytes },
            activeSince: active?.activatedAt ? toIso(active.activatedAt) : null,
            nextStep: step ? toPlanStep(step) : null,
            warnings: [
              ...(size >= MANY_KEYS ? [`${size} keys are published; some verifiers take 10`] : []),
              ...(bytes >= MANY_BYTES
                ? [`the set has ${bytes} bytes; some verifiers take 51200`]
                : []),
            ],
          }
        }),
      }
    },

    /** Answers held queries, ends timers; the store is somebody else's. */
    async close(): Promise<void> {
      blocking.close()
      await scheduler.close()
      await reseal.close()
      spare.close()
      await signer.close()
    },
  }
}
