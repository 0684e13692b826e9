import type { Context, Principal } from '../context.ts'
import { Problem } from '../errors.ts'
import type { ServiceRow } from '../store/delivery-services.ts'
import type { Tx } from '../store/store.ts'
import type { RotationRow } from '../store/uri-signing.ts'
import { fromMillis, toIso, toMillis } from '../time.ts'
import { isUriAlgorithm, type UriAlgorithm } from './algorithms.ts'
import type { KeyDocument } from './document.ts'
import { addKey, type NewKey, removeKey } from './edit.ts'
import { generateKey, newKid } from './generate.ts'
import type { History } from './history.ts'
import type { Moves, PlannedRotation } from './rotation-moves.ts'
import { openOf, type StepName } from './rotation-steps.ts'
import { createSigners } from './signers.ts'
import type { Tenancy } from './tenancy.ts'

export interface RotationParts {
  context: Context
  tenancy: Tenancy
  history: History
  moves: Moves
  /** True while the wall clock jumped and nobody confirmed it. */
  clockInDoubt(): boolean
}

export interface RotateRequest {
  /** Default: the one with the renewal key. */
  issuer?: string | undefined
  /** The key to replace; default: the one that signs. */
  kid?: string | undefined
  /** Default: that of the key that is replaced. */
  algorithm?: UriAlgorithm | undefined
  newKid?: string | undefined
  /** Seconds that caches are given to load the new key. */
  announceTtl: number
  /** Whether the timer takes the steps. */
  automatic: boolean
}

export interface Attestation {
  issuer?: string | undefined
  /** Unix milliseconds: all caches had loaded the document of then, or a later one. */
  reloadedAt: number
  /** NumericDate: the last `exp` that others signed with the old key; default: as it was attested before. */
  othersUntil?: number | undefined
  /** Seconds: the longest `cdniets` that others put into tokens; default: as it was attested before. */
  othersRenewalTtl?: number | undefined
}

/** Ended rotations that are remembered of each service. */
const KEPT = 20

export type Rotations = ReturnType<typeof createRotation>

/** Replaces keys that caches hold, in the one order in which nobody is turned away. */
export function createRotation(parts: RotationParts) {
  const { context, tenancy, history, moves } = parts
  const { store, now, newId } = context

  const at = () => toMillis(now())

  /** The open rotation that is meant. @throws Problem `rotation_not_found`, `rotation_conflict` */
  async function meant(
    tx: Tx,
    service: ServiceRow,
    issuer: string | undefined,
  ): Promise<RotationRow> {
    const all = await tx.uriRotations.ofService(service.id)
    const open = all.filter((one) => one.endedAt === undefined)
    const found = issuer === undefined ? open[0] : openOf(all, issuer)
    if (!found) throw new Problem('rotation_not_found')
    if (issuer === undefined && open.length > 1) {
      throw new Problem('rotation_conflict', 'More than one is under way; name the issuer')
    }
    return found
  }

  /** Of the rotations that have ended, the oldest beyond those that are remembered go. */
  async function prune(tx: Tx, serviceId: string): Promise<void> {
    const ended = (await tx.uriRotations.ofService(serviceId)).filter((one) => one.endedAt)
    for (const { id } of ended.slice(0, Math.max(0, ended.length - KEPT))) {
      await tx.uriRotations.delete(id)
    }
  }

  function checkClock(): void {
    if (parts.clockInDoubt()) throw new Problem('clock_jumped')
  }

  return {
    /** Every rotation that is remembered, the latest first, with its steps. */
    plan: (principal: Principal, xmlId: string): Promise<PlannedRotation[]> =>
      store.transaction(async (tx) => moves.planned(tx, await tenancy.found(tx, principal, xmlId))),

    /**
     * Adds a new key beside the one that it shall replace; nothing signs with it yet.
     * @throws Problem `keys_missing`, `issuer_not_found`, `key_not_found`, `key_rejected`, `key_conflict`,
     * `rotation_conflict`, `keyset_invalid`, `clock_jumped`
     */
    async start(
      principal: Principal,
      xmlId: string,
      request: RotateRequest,
    ): Promise<PlannedRotation[]> {
      // Waits are counted from this time.
      checkClock()
      // Before a key is made, which takes long; and again when it is there.
      const { algorithm, tenantId } = await store.transaction(async (tx) => {
        const service = await tenancy.found(tx, principal, xmlId)
        const { alg } = await startable(tx, service, request)
        return { algorithm: request.algorithm ?? alg, tenantId: service.tenantId }
      })
      if (!isUriAlgorithm(algorithm)) {
        throw new Problem(
          'key_rejected',
          'The key that is to be replaced has no algorithm that caches know',
        )
      }
      const kid = request.newKid ?? newKid(newId())
      const key = await generateKey(algorithm, kid, tenantId)
      return store.transaction(async (tx) => {
        const service = await tenancy.found(tx, principal, xmlId)
        await begin(tx, principal, service, { request, key })
        return moves.planned(tx, service)
      })
    },

    /**
     * Takes the next step now.
     * @throws Problem `rotation_not_found`, `rotation_conflict`, `rotation_unsafe` with `safeAt`, `clock_jumped`
     */
    async advance(
      principal: Principal,
      xmlId: string,
      { issuer, step }: { issuer?: string | undefined; step: StepName },
    ): Promise<PlannedRotation[]> {
      checkClock()
      return store.transaction(async (tx) => {
        const service = await tenancy.found(tx, principal, xmlId)
        await moves.take(tx, principal, service, await meant(tx, service, issuer), step)
        return moves.planned(tx, service)
      })
    },

    /**
     * Takes the new key away again, which is safe while nothing signs with it.
     * @throws Problem `rotation_not_found`, `rotation_conflict`
     */
    async cancel(
      principal: Principal,
      xmlId: string,
      issuer: string | undefined,
    ): Promise<PlannedRotation[]> {
      return store.transaction(async (tx) => {
        const service = await tenancy.found(tx, principal, xmlId)
        const rotation = await meant(tx, service, issuer)
        if (rotation.state !== 'announced') {
          throw new Problem('rotation_conflict', `Key ${rotation.newKid} signs already; go on`)
        }
        const { bytes } = await moves.documentOf(tx, service)
        const edited = removeKey(bytes, rotation.issuer, rotation.newKid)
        await history.put(tx, service, {
          origin: 'rotated',
          principal,
          bytes: edited,
          detail: { step: 'cancel' },
        })
        await tx.uriRotations.update({ ...rotation, state: 'cancelled', endedAt: at() })
        await moves.record(tx, service, principal, 'uri-keys.rotation-cancelled', rotation, {})
        return moves.planned(tx, service)
      })
    },

    /**
     * An operator's word for what nothing here can see: all caches had reloaded at a time, and what others signed.
     * @throws Problem `rotation_not_found`, `rotation_conflict` for a time before what caches had to load,
     * `invalid_request` for one that is still to come, `clock_jumped`
     */
    async attest(
      principal: Principal,
      xmlId: string,
      attestation: Attestation,
    ): Promise<PlannedRotation[]> {
      const { issuer, reloadedAt } = attestation
      checkClock()
      return store.transaction(async (tx) => {
        const service = await tenancy.found(tx, principal, xmlId)
        const rotation = await meant(tx, service, issuer)
        if (reloadedAt > at()) throw inFuture()
        const since = rotation.state === 'announced' ? rotation.addedAt : rotation.retiringAt
        if (since === undefined) {
          throw new Problem(
            'rotation_conflict',
            'renewal_kid has not moved yet; attest once it has',
          )
        }
        if (reloadedAt < since) {
          const time = toIso(fromMillis(since))
          throw new Problem('rotation_conflict', `Caches must have reloaded after ${time}`)
        }
        // Who says only that caches have reloaded takes nothing back of what others signed.
        const othersUntil = attestation.othersUntil ?? rotation.othersUntil
        const othersRenewalTtl = attestation.othersRenewalTtl ?? rotation.othersRenewalTtl
        const attested = { reloadedAt, othersUntil, othersRenewalTtl }
        const next = { ...rotation, ...attested, attestedAt: at(), attestedBy: principal.id }
        await tx.uriRotations.update(next)
        const time = toIso(fromMillis(reloadedAt))
        await moves.record(tx, service, principal, 'uri-keys.attested', rotation, {
          ...{ reloadedAt: time, othersUntil, othersRenewalTtl },
        })
        return moves.planned(tx, service)
      })
    },
  }

  /** What a rotation would replace. @throws Problem `rotation_conflict` while another one is under way */
  async function startable(tx: Tx, service: ServiceRow, request: RotateRequest) {
    const { bytes, document } = await moves.documentOf(tx, service)
    const replaced = await replacedBy(tx, service, document, request)
    const rotations = await tx.uriRotations.ofService(service.id)
    if (openOf(rotations, replaced.issuer)) {
      throw new Problem(
        'rotation_conflict',
        `A rotation of ${replaced.issuer} is under way; finish or cancel it`,
      )
    }
    return { ...replaced, bytes, rotations }
  }

  async function replacedBy(
    tx: Tx,
    { id }: ServiceRow,
    document: KeyDocument,
    { issuer, kid }: RotateRequest,
  ) {
    const signer = createSigners(document, await tx.uriRotations.ofService(id))
    if (kid === undefined) {
      const { issuer: of, key } = signer(issuer, undefined)
      return { issuer: of, kid: key.kid, alg: key.alg as string }
    }
    const set = document.issuers.get(issuer ?? document.renewal.issuer)
    if (!set) throw new Problem('issuer_not_found')
    const key = set.keys.find((one) => one.kid === kid)
    if (!key)
      throw new Problem('key_not_found', `Issuer ${set.issuer} has no key ${kid.slice(0, 64)}`)
    return { issuer: set.issuer, kid, alg: key.alg }
  }

  async function begin(
    tx: Tx,
    principal: Principal,
    service: ServiceRow,
    { request, key }: { request: RotateRequest; key: NewKey },
  ): Promise<void> {
    const { bytes, issuer, kid: oldKid, rotations } = await startable(tx, service, request)
    const kid = key['kid'] ?? ''
    const wasUsed =
      (await tx.uriPromises.get(service.id, issuer, kid)) !== undefined ||
      rotations.some((one) => one.issuer === issuer && [one.oldKid, one.newKid].includes(kid))
    if (wasUsed) throw new Problem('key_conflict', `The kid ${kid} was used before; choose another`)
    const detail = { issuer, oldKid, newKid: kid, step: 'add' }
    const edited = addKey(bytes, issuer, key)
    await history.put(tx, service, { origin: 'rotated', principal, bytes: edited, detail })
    await tx.uriRotations.insert({
      ...{ id: newId(), serviceId: service.id, issuer, oldKid, newKid: kid, state: 'announced' },
      ...{ automatic: request.automatic, announceTtl: request.announceTtl },
      ...{ startedBy: principal.id, addedAt: at(), signingAt: undefined, retiringAt: undefined },
      ...{ endedAt: undefined, reloadedAt: undefined, othersUntil: undefined },
      ...{ othersRenewalTtl: undefined, attestedAt: undefined, attestedBy: undefined },
    })
    await prune(tx, service.id)
  }
}

const inFuture = () => {
  const message = 'This time is still to come'
  return new Problem('invalid_request', message, {
    extra: { errors: [{ path: 'body/cachesReloadedAt', message }] },
  })
}
