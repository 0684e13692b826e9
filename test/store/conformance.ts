import { type TestContext, test } from 'node:test'
import type { Store } from '../../src/store/store.ts'
import { accessConformance } from './conformance-access.ts'
import { auditConformance } from './conformance-audit.ts'
import { databasesConformance } from './conformance-databases.ts'
import { deliveryServiceConformance } from './conformance-delivery-services.ts'
import { identityConformance } from './conformance-identities.ts'
import { keyConformance } from './conformance-keys.ts'
import { remoteJwksConformance } from './conformance-remote-jwks.ts'
import { rowConformance } from './conformance-rows.ts'
import { transactionConformance } from './conformance-transactions.ts'
import { createWorld, type World } from './fixtures.ts'

/** A test of one promise that every backend makes, on a store of its own. */
export type Check = (
  promise: string,
  body: (store: Store, world: ReturnType<typeof createWorld>, reopen: Reopen) => Promise<void>,
  needs?: { keepsData: boolean },
) => void

/** Closes nothing: opens the same data once more, for a test that closed it. */
export type Reopen = (world?: Partial<World>) => Promise<Store>

/**
 * The definition of a backend: what passes here can hold keyringd's data. `open` gives a store with every migration
 * applied, over the data of `world.place`, empty the first time. A backend that forgets at `close` says
 * `keepsData: false` and is spared the tests that open twice.
 */
export function conformance(
  name: string,
  open: (t: TestContext, world: World) => Promise<Store>,
  { keepsData = true } = {},
): void {
  const check: Check = (promise, body, needs) => {
    if (needs?.keepsData && !keepsData) return
    test(`${name}: ${promise}`, async (t) => {
      const world = createWorld()
      const opened: Store[] = []
      const openOne = async (over: Partial<World> = {}) => {
        const store = await open(t, { ...world, ...over })
        opened.push(store)
        return store
      }
      t.after(() => Promise.all(opened.map((store) => store.close())))
      await body(await openOne(), world, openOne)
    })
  }

  transactionConformance(check)
  auditConformance(check)
  keyConformance(check)
  rowConformance(check)
  identityConformance(check)
  databasesConformance(check)
  deliveryServiceConformance(check)
  accessConformance(check)
  remoteJwksConformance(check)
}
