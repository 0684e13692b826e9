import type { Store } from '../store/store.ts'
import type { Current } from './directory.ts'
import type { Signer } from './signers.ts'

// Before a token is answered, it is on disk how long the key it was signed with is needed, and how long what caches
// renew of it may last (product.md section 5.3). Raised in steps: a million signatures cost a handful of writes.

/** Seconds. */
const LONGEST_STEP = 600

export interface Needed {
  /** NumericDate. */
  exp: number
  /** Seconds. */
  ttl: number
  /** The token's `cdniets`, in seconds; 0 where it is not renewed. */
  renewalTtl: number
}

export type Promises = ReturnType<typeof createPromises>

export function createPromises({ grouped }: Pick<Store, 'grouped'>) {
  const raising = new WeakMap<
    Signer,
    { until: number; renewalTtl: number; done: Promise<boolean> }
  >()

  function raise(signer: Signer, row: Current['row'], needed: Needed): Promise<boolean> {
    const running = raising.get(signer)
    if (running && running.until >= needed.exp && running.renewalTtl >= needed.renewalTtl) {
      return running.done
    }
    const { issuer, key } = signer
    const until = Math.max(signer.until, needed.exp + Math.min(LONGEST_STEP, needed.ttl))
    const renewalTtl = Math.max(signer.renewalTtl, needed.renewalTtl)
    const done = grouped((tx) =>
      tx.uriPromises.raise(row.serviceId, row.id, { issuer, kid: key.kid, until, renewalTtl }),
    ).then((raised) => {
      if (raised) {
        signer.until = Math.max(signer.until, until)
        signer.renewalTtl = Math.max(signer.renewalTtl, renewalTtl)
      }
      return raised
    })
    const mine = { until, renewalTtl, done }
    raising.set(signer, mine)
    const over = () => {
      if (raising.get(signer) === mine) raising.delete(signer)
    }
    done.then(over, over)
    return done
  }

  return {
    /**
     * True when what is durable covers a token; false when the document is not the service's latest any more, so that
     * the key may be gone.
     */
    cover(signer: Signer, { row }: Pick<Current, 'row'>, needed: Needed): true | Promise<boolean> {
      const { exp, renewalTtl } = needed
      return (signer.until >= exp && signer.renewalTtl >= renewalTtl) || raise(signer, row, needed)
    },
  }
}
