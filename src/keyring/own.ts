import type { KeyObject } from 'node:crypto'
import type { Context } from '../context.ts'
import type { VerificationKey } from '../core/index.ts'
import { Problem } from '../errors.ts'
import type { Place } from '../store/sealed.ts'
import type { Tx } from '../store/store.ts'
import { activeRoot } from './material.ts'
import type { Sealing } from './sealing.ts'
import type { Signer } from './signer.ts'
import type { View } from './view.ts'

// What the rest of the server asks of the keyring, beside signing and verifying: seals, and which keys are ours.

export interface OwnParts {
  context: Context
  sealing: Sealing
  view: View
  signer: Signer
}

export function createOwn({ context, sealing, view, signer }: OwnParts) {
  return {
    /** Checks a signature, with others where many are checked at once. */
    check: signer.verify,

    /**
     * Seals a value under the root key that is active in this transaction; the row must name it.
     * @throws Problem `not_ready`
     */
    async seal(
      tx: Tx,
      place: Place,
      value: Uint8Array,
    ): Promise<{ rootKid: string; sealed: Uint8Array }> {
      const rootKid = await activeRoot(tx)
      return { rootKid, sealed: sealing.sealValue(rootKid, place, value) }
    },

    /** @throws Problem `seal_broken`, `key_unusable` */
    unseal: (rootKid: string, place: Place, sealed: Uint8Array): Uint8Array =>
      sealing.unsealValue(rootKid, place, sealed),

    /** Whether a key of this server, past or present, has this kid or this RFC 7638 thumbprint. */
    isOurs: (kid: string | undefined, thumbprint: string): Promise<boolean> =>
      context.store.read.keys.wasUsed(kid ?? '', thumbprint),

    /** Whether a ring has, or had until its key was collected, this kid. */
    hasKey: (ring: string, kid: string): boolean =>
      view.ring(ring)?.keys.some((key) => key.kid === kid) ?? false,

    /** The key of a ring that verifies under this kid now; the same object for as long as it does. */
    verifierOf: (ring: string, kid: string): KeyObject | undefined =>
      view.ring(ring)?.verifiers.get(kid)?.key,

    /**
     * The keys that a ring publishes, each bound to its kid and algorithm; undefined when there is no such ring, or
     * when it was made after `asOf` (Unix milliseconds): then it has the name of the one that was meant, no more.
     * @throws Problem `not_ready` until the rows are checked: nobody vouches for them before
     */
    publishedKeys(ring: string, asOf: number): VerificationKey[] | undefined {
      const seen = view.ring(ring)
      if (!view.isUnsealed()) throw new Problem('not_ready', 'The keys are not proven yet')
      if (!seen || seen.ring.createdAt > asOf) return undefined
      return [...seen.verifiers].map(([kid, key]) => ({ ...key, kid }))
    },
  }
}
