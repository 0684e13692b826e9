import type { Context } from '../context.ts'
import type { Seals } from '../store/sealed.ts'
import type { Duration } from '../time.ts'
import { createDirectory } from './directory.ts'
import { createDocuments } from './documents.ts'
import { createHistory } from './history.ts'
import { createPromises } from './promises.ts'
import { createReads } from './reads.ts'
import { createRotation } from './rotation.ts'
import { createMoves } from './rotation-moves.ts'
import { createRotationTimer } from './rotation-timer.ts'
import { createServices } from './services.ts'
import { createSigning } from './signing.ts'
import { createTenancy, type Rights } from './tenancy.ts'
import { createVisible } from './visible.ts'

// Delivery services and their URI signing keys: what both wires, the Traffic Ops one and our own, are made of.

export interface UriSigningParts {
  context: Context
  rights: Rights
  seals: Seals
  /** False: nothing can be opened or sealed now. */
  isReady(): boolean
  /** True while the wall clock jumped and nobody confirmed it: what cannot be undone waits. */
  clockInDoubt(): boolean
  /** Nanoseconds that the wall clock has fallen back, while it is in doubt; else 0. */
  clockBehind(): Duration
  /** `URI_SIGNING_VALIDATION`: of documents that our own API stores. */
  validation: 'strict' | 'compat'
  /** `HIDE_FOREIGN_SERVICES`: services that there are not look like those of other tenants. */
  hideForeign: boolean
  /** Seconds that caches' clocks may be behind. */
  skew: number
  /** Nanoseconds between two looks of the timer. */
  interval: Duration
}

export type UriSigning = ReturnType<typeof createUriSigning>

/** Start it once the keys are unsealed, and close it with the app. */
export function createUriSigning(parts: UriSigningParts) {
  const { context } = parts
  const tenancy = createTenancy(parts)
  const history = createHistory(parts)
  const directory = createDirectory(parts, history)
  const visible = createVisible(directory, tenancy, context.store)
  const reads = createReads(context)
  const promises = createPromises(context.store)
  const moves = createMoves({ ...parts, history })
  const timer = createRotationTimer({ ...parts, moves })
  return {
    services: createServices({ context, tenancy, history }),
    documents: createDocuments({ ...parts, tenancy, history, visible, reads }),
    signing: createSigning({ context, visible, promises }),
    rotation: createRotation({ ...parts, tenancy, history, moves }),
    /** One look at every open rotation: the timer's work. */
    tick: timer.tick,
    start: timer.start,
    async close(): Promise<void> {
      await timer.close()
      directory.close()
      tenancy.close()
    },
  }
}
