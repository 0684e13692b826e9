import type { Algorithm, KeyMaterial } from '../core/index.ts'
import { toPublicJwk } from '../core/index.ts'
import { Problem } from '../errors.ts'
import type { Key } from '../store/keys.ts'
import type { Ring } from '../store/rings.ts'
import type { Wrap } from '../store/root-keys.ts'
import type { Tx } from '../store/store.ts'
import type { Instant } from '../time.ts'
import type { NewKey } from './lifecycle.ts'
import type { Sealing } from './sealing.ts'
import type { SpareKeys } from './spare.ts'

/** A key pair with its kid, ready for a transaction: the slow work is done. */
export interface Prepared {
  kid: string
  ring: Ring
  material: KeyMaterial
  /** Of a key of the `default` ring, whose data key is new. */
  wraps: readonly Wrap[] | undefined
}

export function createMaterial(spare: SpareKeys, sealing: Sealing, newId: () => string) {
  return {
    /** Generates and wraps, outside any transaction. @throws Problem `wrap_failed`, `not_ready` */
    async prepare(ring: Ring, alg: Algorithm): Promise<Prepared> {
      const kid = newId()
      const material = await spare.take(alg)
      const wraps = ring.id === 'default' ? await sealing.createRoot(kid) : undefined
      return { kid, ring, material, wraps }
    },

    /**
     * The row of a prepared key, sealed inside the transaction that stores it: under its own data key in the `default`
     * ring, else under the root key that is active in this transaction.
     */
    async toRow(tx: Tx, prepared: Prepared, now: Instant): Promise<NewKey> {
      const { kid, ring, material, wraps } = prepared
      const rootKid = wraps ? kid : await activeRoot(tx)
      return {
        kid,
        ringId: ring.id,
        alg: material.alg,
        publicJwk: toPublicJwk(material.publicJwk, material.alg, kid),
        thumbprint: material.thumbprint,
        origin: 'generated',
        handedOutAt: undefined,
        attestedAt: undefined,
        rootKid,
        privateSealed: sealing.sealPrivate({ kid, rootKid, ringId: ring.id }, material.privateDer),
        mac: new Uint8Array(),
        createdAt: now,
        activatedAt: undefined,
        retiredAt: undefined,
        withdrawnAt: undefined,
        revokedAt: undefined,
        createIndex: 0n,
        modifyIndex: 0n,
      }
    },

    /** Runs the transaction that may take `prepared`; forgets those that it did not store, all if it failed. */
    async taking<T>(
      prepared: readonly Prepared[],
      transaction: Promise<T>,
      keysOf: (result: T) => readonly Key[] | undefined,
    ): Promise<T> {
      let stored: ReadonlySet<string> = new Set()
      try {
        const result = await transaction
        stored = new Set(keysOf(result)?.map(({ kid }) => kid))
        return result
      } finally {
        for (const { kid, wraps } of prepared) if (wraps && !stored.has(kid)) sealing.forget(kid)
      }
    },
  }
}

/** The kid of the root key that seals now. */
export async function activeRoot(tx: Tx): Promise<string> {
  const active = await tx.keys.activeKid('default')
  if (active === undefined) throw new Problem('not_ready', 'keyring has not been initialized yet')
  return active
}

export type Material = ReturnType<typeof createMaterial>
