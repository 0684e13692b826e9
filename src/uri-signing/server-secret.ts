import { randomBytes } from 'node:crypto'
import type { Context } from '../context.ts'
import { Problem } from '../errors.ts'
import { type Place, type Seals, sealOwner } from '../store/sealed.ts'
import type { ServerSecretRow } from '../store/server-secrets.ts'
import { toMillis } from '../time.ts'

export interface ServerSecretParts {
  context: Pick<Context, 'store' | 'now' | 'newId'>
  seals: Seals
  /** False until the root keys are unsealed. */
  isReady(): boolean
  /** Its name in `server_secrets`. */
  name: string
}

const BYTES = 32

const placeOf = (id: string, name: string): Place => ({
  ...{ table: 'server_secrets', id, column: 'value_sealed', owner: sealOwner(name) },
})

/**
 * 32 random bytes of the server's own, sealed at rest, made when first asked for and then kept in memory.
 * @throws Problem `not_ready` while nothing can be sealed
 */
export function createServerSecret({ context, seals, isReady, name }: ServerSecretParts) {
  const { store, now, newId } = context
  let known: Promise<Uint8Array> | undefined

  const opened = ({ id, rootKid, valueSealed }: ServerSecretRow): Uint8Array =>
    seals.unseal(rootKid, placeOf(id, name), valueSealed)

  async function read(): Promise<Uint8Array> {
    const row = await store.read.serverSecrets.byName(name)
    return row ? opened(row) : make()
  }

  /** Of two that make it at once, the second finds that of the first. */
  function make(): Promise<Uint8Array> {
    return store.transaction(async (tx) => {
      const row = await tx.serverSecrets.byName(name)
      if (row) return opened(row)
      const value = randomBytes(BYTES)
      const id = newId()
      const { rootKid, sealed } = await seals.seal(tx, placeOf(id, name), value)
      const updatedAt = toMillis(now())
      await tx.serverSecrets.insert({ id, name, valueSealed: sealed, rootKid, updatedAt })
      return value
    })
  }

  return async (): Promise<Uint8Array> => {
    if (!isReady()) throw new Problem('not_ready')
    known ??= read()
    const mine = known
    try {
      return await mine
    } catch (error) {
      if (known === mine) known = undefined
      throw error
    }
  }
}
