import type { ExternalSecurityRow, JwtSecretRow, Sealed } from '../store/external-securities.ts'
import { type Place, type Seals, sealOwner } from '../store/sealed.ts'
import type { Tx } from '../store/store.ts'

// How the secrets of this slice are sealed and opened (contract section 8). The values never leave it but to verify.

export type Vault = ReturnType<typeof createVault>

const propertiesPlace = ({ id, name }: { id: string; name: string }): Place => ({
  ...{ table: 'external_securities', id, column: 'secret_properties_sealed' },
  owner: sealOwner(name),
})

type SecretPlace = Pick<JwtSecretRow, 'id' | 'externalSecurityId' | 'keyId'>

/** Bound to the internal id, the configuration and the key id: a value that was moved does not open. */
const secretPlace = ({ id, externalSecurityId, keyId }: SecretPlace): Place => ({
  ...{ table: 'jwt_secrets', id, column: 'value_sealed' },
  owner: sealOwner(externalSecurityId, keyId),
})

export function createVault(seals: Seals) {
  return {
    /** Undefined: there is none to seal. @throws Problem `not_ready` */
    async sealProperties(
      tx: Tx,
      row: { id: string; name: string },
      secrets: ReadonlyMap<string, string>,
    ): Promise<Sealed | undefined> {
      if (secrets.size === 0) return undefined
      const text = JSON.stringify(Object.fromEntries(secrets))
      return seals.seal(tx, propertiesPlace(row), Buffer.from(text))
    },

    /** @throws Problem `seal_broken`, `key_unusable` */
    openProperties(row: ExternalSecurityRow): ReadonlyMap<string, string> {
      if (!row.secrets) return new Map()
      const { rootKid, sealed } = row.secrets
      const text = Buffer.from(seals.unseal(rootKid, propertiesPlace(row), sealed)).toString()
      return new Map(Object.entries(JSON.parse(text) as Record<string, string>))
    },

    /** @throws Problem `not_ready` */
    sealSecret: (tx: Tx, row: SecretPlace, value: string): Promise<Sealed> =>
      seals.seal(tx, secretPlace(row), Buffer.from(value)),

    /** @throws Problem `seal_broken`, `key_unusable` */
    openSecret: (row: JwtSecretRow): string =>
      Buffer.from(seals.unseal(row.value.rootKid, secretPlace(row), row.value.sealed)).toString(),
  }
}
