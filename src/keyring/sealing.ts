import { randomBytes } from 'node:crypto'
import { deriveMacKey, equalBytes, macFields, seal, unseal } from '../core/index.ts'
import { isProblem, Problem } from '../errors.ts'
import type { Key } from '../store/keys.ts'
import type { RootKey, Wrap } from '../store/root-keys.ts'
import { type SealedRow, sealOwner } from '../store/sealed.ts'

// The data keys of root keys, once unsealed, and everything that is done with them. They never leave this file.

/** What wraps data keys; `src/kek/provider.ts` has the words. */
export interface Wrapper {
  readonly id: string
  readonly kekId: string
  wrap(dataKey: Uint8Array, context: { installation: string; rootKid: string }): Promise<Uint8Array>
  unwrap(
    wrapped: Uint8Array,
    context: { installation: string; rootKid: string },
  ): Promise<Uint8Array>
}

export type Sealing = ReturnType<typeof createSealing>

interface Root {
  dataKey: Uint8Array
  macKey: Uint8Array
}

export type Integrity = 'good' | 'bad' | 'unknown'

const KEY_BYTES = 32

export function createSealing(installation: string) {
  const roots = new Map<string, Root>()
  let providers: readonly Wrapper[] = []

  function rootOf(kid: string): Root {
    const root = roots.get(kid)
    if (!root) throw new Problem('key_unusable', `no such key "${kid}" in keyring`)
    return root
  }

  const contextOf = (
    table: string,
    row: string,
    column: string,
    rootKid: string,
    owner: string,
  ) => ({
    installation,
    table,
    row,
    column,
    rootKid,
    owner,
  })

  const privateContext = (key: Pick<Key, 'kid' | 'rootKid' | 'ringId'>) =>
    contextOf('keys', key.kid, 'private_sealed', key.rootKid, sealOwner(key.ringId))

  function macOf(key: Omit<Key, 'mac'>, root: Root): Uint8Array {
    const fields = [
      ...[installation, key.kid, key.ringId, key.alg, key.state, JSON.stringify(key.publicJwk)],
      ...[key.thumbprint, key.rootKid, key.origin, key.standby, key.published, key.rekeying],
      ...[key.createdAt, key.absentUntil, key.plannedAt, key.publishedAt, key.activatedAt],
      ...[key.retiredAt, key.withdrawnAt, key.revokedAt, key.handedOutAt, key.attestedAt],
    ]
    return macFields(
      root.macKey,
      fields.map((field) => String(field)),
    )
  }

  return {
    /** Names the KEK providers, once they are known. */
    useProviders(known: readonly Wrapper[]): void {
      providers = known
    },

    /** True once the data key of this root key is in memory. */
    has: (kid: string): boolean => roots.has(kid),

    /**
     * Makes the data key of a new root key and wraps it with every provider.
     * @throws Problem `wrap_failed` with the provider's message, `not_ready` without any; nothing is kept then
     */
    async createRoot(kid: string): Promise<Wrap[]> {
      // A data key without a wrap would be lost with the process.
      if (providers.length === 0) {
        throw new Problem('not_ready', 'keyring has not been initialized yet')
      }
      const dataKey = randomBytes(KEY_BYTES)
      const wraps = await Promise.all(
        providers.map(async (provider) => ({
          providerId: provider.id,
          kekId: provider.kekId,
          wrapped: await provider
            .wrap(dataKey, { installation, rootKid: kid })
            .catch((cause: unknown) => {
              throw new Problem('wrap_failed', isProblem(cause) ? cause.detail : undefined, {
                cause,
              })
            }),
        })),
      )
      roots.set(kid, { dataKey, macKey: deriveMacKey(dataKey) })
      return wraps
    },

    /** Forgets a data key whose key was deleted, or never stored. */
    forget(kid: string): void {
      roots.get(kid)?.dataKey.fill(0)
      roots.delete(kid)
    },

    /**
     * Opens a root key with the first provider that can. All are asked at once: one that hangs delays nothing that
     * another opens (keyring contract section 6).
     * @throws Problem `kek_wrong` when none opens it, `kek_unreachable` when one that might could not be asked
     */
    async openRoot({ kid, wraps }: RootKey): Promise<void> {
      const attempts = wraps.flatMap(({ providerId, wrapped }) => {
        const provider = providers.find(({ id }) => id === providerId)
        return provider ? [provider.unwrap(wrapped, { installation, rootKid: kid })] : []
      })
      if (attempts.length === 0) {
        throw new Problem('kek_wrong', `No configured KEK provider has a wrap of root key ${kid}.`)
      }
      const dataKey = await Promise.any(attempts).catch(({ errors }: AggregateError) => {
        throw errors.find((error) => isProblem(error, 'kek_unreachable')) ?? errors[0]
      })
      roots.set(kid, { dataKey, macKey: deriveMacKey(dataKey) })
    },

    sealPrivate: (key: Pick<Key, 'kid' | 'rootKid' | 'ringId'>, der: Uint8Array): Uint8Array =>
      seal(rootOf(key.rootKid).dataKey, der, privateContext(key)),

    /** @throws Problem `seal_broken` when the value was swapped or damaged, `key_unusable` without its root key */
    unsealPrivate(key: Key): Uint8Array {
      if (!key.privateSealed) {
        throw new Problem('key_unusable', `Key ${key.kid} has no private half any more`)
      }
      return unseal(rootOf(key.rootKid).dataKey, key.privateSealed, privateContext(key))
    },

    /** The row with its MAC made anew; every write of a key passes here. */
    authenticate<K extends Omit<Key, 'mac'>>(key: K): K & { mac: Uint8Array } {
      return { ...key, mac: macOf(key, rootOf(key.rootKid)) }
    },

    /** A row that was edited outside is never given a fresh MAC. @throws Problem `key_unusable` */
    assertAuthentic(key: Key): void {
      if (this.integrityOf(key) !== 'bad') return
      throw new Problem('key_unusable', `Key ${key.kid} was changed outside this server`)
    },

    /** `unknown` while the root key that the row names is not unsealed. */
    integrityOf(key: Key): Integrity {
      const root = roots.get(key.rootKid)
      if (!root) return 'unknown'
      return equalBytes(macOf(key, root), key.mac) ? 'good' : 'bad'
    },

    /** Moves a key of another ring under a newer root key: private half and MAC. */
    resealKey(key: Key, rootKid: string): Key {
      const moved = { ...key, rootKid }
      const privateSealed =
        key.privateSealed &&
        seal(
          rootOf(rootKid).dataKey,
          unseal(rootOf(key.rootKid).dataKey, key.privateSealed, privateContext(key)),
          privateContext(moved),
        )
      return this.authenticate({ ...moved, privateSealed })
    },

    /** Seals one column of a row of any other table. */
    sealValue: (
      rootKid: string,
      row: { table: string; id: string; column: string; owner: string },
      value: Uint8Array,
    ): Uint8Array =>
      seal(
        rootOf(rootKid).dataKey,
        value,
        contextOf(row.table, row.id, row.column, rootKid, row.owner),
      ),

    /** @throws Problem `seal_broken`, `key_unusable` */
    unsealValue: (
      rootKid: string,
      row: { table: string; id: string; column: string; owner: string },
      sealed: Uint8Array,
    ): Uint8Array =>
      unseal(
        rootOf(rootKid).dataKey,
        sealed,
        contextOf(row.table, row.id, row.column, rootKid, row.owner),
      ),

    /** The values of a sealed row under a newer root key. */
    resealRow(row: SealedRow, rootKid: string): Record<string, Uint8Array> {
      return Object.fromEntries(
        Object.entries(row.values).map(([column, sealed]) => {
          const place = { table: row.table, id: row.id, column, owner: row.owner }
          return [
            column,
            this.sealValue(rootKid, place, this.unsealValue(row.rootKid, place, sealed)),
          ]
        }),
      )
    },
  }
}
