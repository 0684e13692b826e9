import type { Context, Principal } from '../context.ts'
import { thumbprint } from '../core/index.ts'
import { Problem } from '../errors.ts'
import type { ExternalSecurityRow } from '../store/external-securities.ts'
import type { Tx } from '../store/store.ts'
import { toMillis } from '../time.ts'
import { checkSameName, oauthServerOf } from './configuration.ts'
import { findOr } from './find.ts'
import { MAX_ENTRIES, type Payload, type SecretEntry, type Tree } from './payload.ts'
import { checkSecretValue, importRsaKey, isShortSecret } from './secret-value.ts'
import type { BoundaryRights } from './service.ts'
import { shortFault } from './switch-on.ts'
import type { Vault } from './vault.ts'

// The keys that tokens of a configuration are checked with (contract section 5): all or nothing, in one transaction.

export interface SecretsParts {
  context: Pick<Context, 'store' | 'now' | 'newId' | 'log'>
  vault: Vault
  rights: BoundaryRights
  isOurs(kid: string | undefined, thumbprint: string): Promise<boolean>
  isSwitchedOn(name: string): boolean
}

export type Secrets = ReturnType<typeof createSecrets>

const invalid = (reason: string) => new Problem('external_security_invalid', reason)
const conflict = (reason: string) => new Problem('external_security_conflict', reason)
const quoted = (keyId: string): string => JSON.stringify(keyId.slice(0, 64))
const unknownKey = (keyId: string) => invalid(`There is no secret ${quoted(keyId)}`)

export function createSecrets(parts: SecretsParts) {
  const { context, vault, rights, isOurs, isSwitchedOn } = parts
  const { store, now, newId, log } = context

  type Verb = 'added' | 'replaced' | 'removed'

  async function record(tx: Tx, principal: Principal, subject: string, verb: Verb, keyId: string) {
    await tx.audit.append({
      ...{ type: `jwt-secret.${verb}`, subject, principal: principal.id, detail: { keyId } },
    })
  }

  const algOf = (row: ExternalSecurityRow): string =>
    oauthServerOf(row.properties as Tree)?.alg ?? ''

  function checkShort(row: ExternalSecurityRow, keyId: string, value: string): void {
    if (!isSwitchedOn(row.name) || !isShortSecret(algOf(row), value)) return
    throw invalid(`The external security authenticates here, and ${shortFault(keyId)}`)
  }

  async function insert(tx: Tx, row: ExternalSecurityRow, keyId: string, value: string) {
    checkShort(row, keyId, value)
    const at = toMillis(now())
    const place = { id: newId(), externalSecurityId: row.id, keyId }
    const sealed = await vault.sealSecret(tx, place, value)
    await tx.jwtSecrets.insert({ ...place, value: sealed, createdAt: at, updatedAt: at })
  }

  async function replace(
    tx: Tx,
    row: ExternalSecurityRow,
    { id, keyId }: { id: string; keyId: string },
    value: string,
  ) {
    checkShort(row, keyId, value)
    const place = { id, externalSecurityId: row.id, keyId }
    const sealed = await vault.sealSecret(tx, place, value)
    await tx.jwtSecrets.replace(id, sealed, toMillis(now()))
  }

  async function add(
    tx: Tx,
    principal: Principal,
    row: ExternalSecurityRow,
    entries: readonly SecretEntry[],
  ): Promise<void> {
    for (const { keyId, value = '' } of entries) {
      if (await tx.jwtSecrets.byKeyId(row.id, keyId)) {
        throw conflict(`There is a secret ${quoted(keyId)} already; PUT replaces it`)
      }
      await insert(tx, row, keyId, value)
      await record(tx, principal, row.name, 'added', keyId)
    }
  }

  /** What is there, and may be written to by whom `check` lets: the same for every write of keys. */
  async function target(
    tx: Tx,
    { principal, ref, payload }: { principal: Principal; ref: string; payload: Payload },
    check: BoundaryRights['checkTrust'],
  ) {
    const row = await findOr(tx, ref, 'external_security_invalid')
    await check(tx, principal, row.id)
    checkSameName(payload.properties, row.name)
    if (!oauthServerOf(row.properties as Tree)) {
      throw invalid('The external security has no oauth-server')
    }
    return row
  }

  async function known(tx: Tx, row: ExternalSecurityRow, keyId: string) {
    const found = await tx.jwtSecrets.byKeyId(row.id, keyId)
    if (!found) throw unknownKey(keyId)
    return found
  }

  function entriesOf({ jwtSecrets }: Payload): readonly SecretEntry[] {
    if (!jwtSecrets || jwtSecrets.length === 0) throw invalid('oauth-jwt-secret is required')
    if (jwtSecrets.length > MAX_ENTRIES) {
      throw invalid(`oauth-jwt-secret has more than ${MAX_ENTRIES} entries`)
    }
    return jwtSecrets
  }

  function checkOnce(entries: readonly SecretEntry[]): void {
    const seen = new Set<string>()
    for (const { keyId } of entries) {
      if (seen.has(keyId)) throw conflict(`The key id ${quoted(keyId)} is there twice`)
      seen.add(keyId)
    }
  }

  /**
   * Values that are to be stored, and that no key id is there twice. Before any transaction: keys take time to read.
   * @throws Problem `external_security_invalid`, `external_security_conflict`
   */
  async function checkValues(alg: string, entries: readonly SecretEntry[]): Promise<void> {
    checkOnce(entries)
    for (const { keyId, value = '' } of entries) {
      checkSecretValue(alg, value)
      if (alg !== 'RS256') continue
      const { key } = importRsaKey(value)
      // What this server signs for another purpose would count as a token of the configuration.
      if (await isOurs(undefined, thumbprint(key.export({ format: 'jwk' })))) {
        throw invalid(`The key ${quoted(keyId)} is one of this server`)
      }
    }
  }

  /** The algorithm by which values are read. @throws Problem `external_security_invalid` */
  async function algBefore(ref: string): Promise<string> {
    return algOf(await findOr(store.read, ref, 'external_security_invalid'))
  }

  /** The configuration was made another one while its keys were read. */
  function checkSameAlg(row: ExternalSecurityRow, alg: string): void {
    if (algOf(row) !== alg) throw invalid('oauth-jwt-alg was changed meanwhile')
  }

  function warnOfShort(name: string, alg: string, entries: readonly SecretEntry[]): void {
    for (const { keyId, value } of entries) {
      if (value === undefined || !isShortSecret(alg, value)) continue
      log.warn({ externalSecurity: name, keyId }, 'a JWT secret has fewer than 32 bytes')
    }
  }

  return {
    checkValues,
    warnOfShort,
    add,

    /** For a change of the configuration itself: a value adds or replaces, none must be there. */
    async put(
      tx: Tx,
      principal: Principal,
      row: ExternalSecurityRow,
      entries: readonly SecretEntry[],
    ): Promise<void> {
      checkOnce(entries)
      const keyIds = new Set(await tx.jwtSecrets.keyIds(row.id))
      for (const { keyId, value } of entries) {
        if (value === undefined) {
          if (!keyIds.has(keyId)) throw unknownKey(keyId)
          continue
        }
        const before = await tx.jwtSecrets.byKeyId(row.id, keyId)
        if (before) await replace(tx, row, before, value)
        else await insert(tx, row, keyId, value)
        await record(tx, principal, row.name, before ? 'replaced' : 'added', keyId)
      }
    },

    /**
     * POST: adds.
     * @throws Problem `external_security_invalid`, `external_security_conflict`, `privilege_boundary`, `not_ready`
     */
    async addTo(principal: Principal, ref: string, payload: Payload): Promise<void> {
      const entries = entriesOf(payload)
      const alg = await algBefore(ref)
      await checkValues(alg, entries)
      const name = await store.transaction(async (tx) => {
        const row = await target(tx, { principal, ref, payload }, rights.checkTrust)
        checkSameAlg(row, alg)
        await add(tx, principal, row, entries)
        return row.name
      })
      warnOfShort(name, alg, entries)
    },

    /** PUT: replaces, and touches no other. @throws as `addTo` */
    async replaceIn(principal: Principal, ref: string, payload: Payload): Promise<void> {
      const entries = entriesOf(payload)
      const alg = await algBefore(ref)
      await checkValues(alg, entries)
      const name = await store.transaction(async (tx) => {
        const row = await target(tx, { principal, ref, payload }, rights.checkTrust)
        checkSameAlg(row, alg)
        for (const { keyId, value = '' } of entries) {
          await replace(tx, row, await known(tx, row, keyId), value)
          await record(tx, principal, row.name, 'replaced', keyId)
        }
        return row.name
      })
      warnOfShort(name, alg, entries)
    },

    /** DELETE with a payload; values in it mean nothing. @throws as `addTo` */
    async removeFrom(principal: Principal, ref: string, payload: Payload): Promise<void> {
      const entries = entriesOf(payload)
      checkOnce(entries)
      await store.transaction(async (tx) => {
        const row = await target(tx, { principal, ref, payload }, rights.checkBoundary)
        for (const { keyId } of entries) {
          await tx.jwtSecrets.delete((await known(tx, row, keyId)).id)
          await record(tx, principal, row.name, 'removed', keyId)
        }
      })
    },

    /** DELETE by the path. @throws Problem `external_security_invalid`, `jwt_secret_not_found` */
    async removeOne(principal: Principal, ref: string, keyId: string): Promise<void> {
      await store.transaction(async (tx) => {
        const row = await findOr(tx, ref, 'external_security_invalid')
        await rights.checkBoundary(tx, principal, row.id)
        const found = await tx.jwtSecrets.byKeyId(row.id, keyId)
        if (!found) throw new Problem('jwt_secret_not_found', `There is no secret ${quoted(keyId)}`)
        await tx.jwtSecrets.delete(found.id)
        await record(tx, principal, row.name, 'removed', keyId)
      })
    },
  }
}
