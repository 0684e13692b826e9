import type { Context, Principal } from '../context.ts'
import type { CheckSignature } from '../core/index.ts'
import { Problem } from '../errors.ts'
import type { ExternalSecurityRow } from '../store/external-securities.ts'
import type { Seals } from '../store/sealed.ts'
import type { Tx } from '../store/store.ts'
import { toMillis, toSeconds } from '../time.ts'
import {
  type Configuration,
  changeConfiguration,
  changedNames,
  createConfiguration,
  oauthServerOf,
} from './configuration.ts'
import { createDirectory, type Entry, toEntry } from './directory.ts'
import { findOr } from './find.ts'
import type { Payload, Tree } from './payload.ts'
import { isShortSecret } from './secret-value.ts'
import { createSecrets, type Secrets } from './secrets.ts'
import { faultOf, shortFault } from './switch-on.ts'
import { createVault } from './vault.ts'
import {
  type ExternalCheck,
  type ExternalVerdict,
  type RemoteKeys,
  sourceId,
  verifyExternal,
} from './verify.ts'

export interface ExternalSecurityParts {
  context: Pick<Context, 'store' | 'now' | 'newId' | 'log'>
  seals: Seals
  remote: RemoteKeys & { forget(id: string): Promise<void> }
  rights: BoundaryRights
  /** Whether a key of this server has this kid or RFC 7638 thumbprint. */
  isOurs(kid: string | undefined, thumbprint: string): Promise<boolean>
  /** The setting `external_security`, as it is now. */
  switchedOn(): readonly string[]
  check?: CheckSignature | undefined
}

export interface BoundaryRights {
  /**
   * The privilege boundary (product.md section 4): who writes keys of a configuration may make its users, so he must
   * have all that its role grants give, in a tenant that contains theirs. Undefined: a configuration without grants.
   * @throws Problem `privilege_boundary`
   */
  checkBoundary(tx: Tx, principal: Principal, configurationId: string | undefined): Promise<void>
  /** The same, for what makes users who outlive the credential of who makes them. @throws Problem `privilege_boundary` */
  checkTrust(tx: Tx, principal: Principal, configurationId: string | undefined): Promise<void>
  /** Ends the role grants of a configuration that goes. @throws Problem `privilege_boundary` */
  endGrants(tx: Tx, principal: Principal, of: { id: string; name: string }): Promise<void>
}

/** Who a token is of; what his roles mean here is for others to say. */
export interface ExternalUser {
  configuration: { id: string; name: string }
  user: string
  /** External names, as the token has them. */
  roles: readonly string[]
  /** Unix milliseconds. */
  expiresAt: number
}

export interface ShownConfiguration {
  id: string
  name: string
  properties: Tree
}

const algOf = (properties: Tree): string => oauthServerOf(properties)?.alg ?? ''
const issuerIn = (properties: unknown): string => oauthServerOf(properties as Tree)?.issuer ?? ''

export type ExternalSecurity = ReturnType<typeof createExternalSecurity>

/** External-security configurations and their JWT secrets. */
export function createExternalSecurity(parts: ExternalSecurityParts) {
  const { context, remote, rights, switchedOn, check } = parts
  const { store, now, newId } = context
  const vault = createVault(parts.seals)
  const directory = createDirectory(context, vault)
  const isSwitchedOn = (name: string): boolean => switchedOn().includes(name)
  const secrets: Secrets = createSecrets({ ...parts, vault, isSwitchedOn })

  /** An unsigned 64-bit number in decimal (contract section 3). */
  const newNumber = (): string => String(BigInt(`0x${newId().replaceAll('-', '').slice(0, 16)}`))

  async function toRow(
    tx: Tx,
    { name, properties, secrets: values }: Configuration,
    row: Pick<ExternalSecurityRow, 'id' | 'createdAt'>,
  ): Promise<ExternalSecurityRow> {
    const sealed = await vault.sealProperties(tx, { id: row.id, name }, values)
    return { ...row, name, properties, secrets: sealed, updatedAt: toMillis(now()) }
  }

  /** Another that authenticates and whose tokens name the same issuer: a token would be of neither. */
  async function rivalOf(tx: Tx, { name, properties }: ExternalSecurityRow) {
    const issuer = issuerIn(properties)
    if (issuer === '') return undefined
    for (const other of switchedOn()) {
      const row = other === name ? undefined : await tx.externalSecurities.byName(other)
      if (row && issuerIn(row.properties) === issuer) return `${other} has its oauth-jwt-issuer-uri`
    }
    return undefined
  }

  /**
   * Of a configuration that authenticates, nothing may be taken that it needs for that, nor may it take the issuer of
   * another; `issuer` is the one that it had.
   */
  async function checkStillOn(tx: Tx, row: ExternalSecurityRow, issuer?: string): Promise<void> {
    if (!isSwitchedOn(row.name)) return
    const isOther = issuerIn(row.properties) !== issuer
    const fault = faultOf(toEntry(row)) ?? (isOther ? await rivalOf(tx, row) : undefined)
    if (fault === undefined) return
    const reason = `The external security authenticates here, and could not with this: ${fault}`
    throw new Problem('external_security_invalid', reason)
  }

  async function changed(
    tx: Tx,
    row: ExternalSecurityRow,
    payload: Payload,
    alg: string,
  ): Promise<ExternalSecurityRow> {
    const { name, properties } = row
    const before = { name, properties: properties as Tree, secrets: vault.openProperties(row) }
    const after = changeConfiguration(before, payload)
    const isOther = algOf(after.properties) !== algOf(before.properties)
    // Another algorithm would read the keys in another way: a public key would be a shared secret.
    if (isOther && (await tx.jwtSecrets.keyIds(row.id)).length > 0) {
      const reason = 'oauth-jwt-alg cannot be changed while there are secrets; remove them first'
      throw new Problem('external_security_invalid', reason)
    }
    if (algOf(after.properties) !== alg) {
      throw new Problem('external_security_invalid', 'oauth-jwt-alg was changed meanwhile')
    }
    const wanted = await toRow(tx, after, row)
    await checkStillOn(tx, wanted, issuerIn(properties))
    return wanted
  }

  const nowSeconds = (): number => toSeconds(now())

  return {
    secrets,

    /** By name. */
    async list(): Promise<{ id: string; name: string }[]> {
      const rows = await store.read.externalSecurities.list()
      return rows.map(({ id, name }) => ({ id, name }))
    },

    /** By name or id, without its secrets. @throws Problem `external_security_not_found` */
    async get(ref: string): Promise<ShownConfiguration> {
      const { id, name, properties } = await findOr(store.read, ref, 'external_security_not_found')
      return { id, name, properties: properties as Tree }
    },

    /** The ids of its keys, in the order in which they were added. */
    keyIds: (id: string): Promise<string[]> => store.read.jwtSecrets.keyIds(id),

    /**
     * Makes a configuration, with its keys if the body has any.
     * @throws Problem `external_security_invalid`, `external_security_uri_invalid`, `external_security_conflict`,
     * `privilege_boundary`, `not_ready`
     */
    async create(principal: Principal, payload: Payload): Promise<{ id: string; name: string }> {
      const wanted = createConfiguration(payload)
      const { name } = wanted
      const entries = payload.jwtSecrets ?? []
      const alg = algOf(wanted.properties)
      await secrets.checkValues(alg, entries)
      const made = await store.transaction(async (tx) => {
        await rights.checkBoundary(tx, principal, undefined)
        if (await tx.externalSecurities.byName(name)) {
          throw new Problem(
            'external_security_conflict',
            'There is an external security of this name',
          )
        }
        const row = await toRow(tx, wanted, { id: newNumber(), createdAt: toMillis(now()) })
        await checkStillOn(tx, row)
        await tx.externalSecurities.insert(row)
        await tx.audit.append({
          ...{ type: 'external-security.created', subject: name, principal: principal.id },
          detail: { id: row.id, authentication: row.properties['authentication'] },
        })
        await secrets.add(tx, principal, row, entries)
        return row
      })
      secrets.warnOfShort(name, alg, entries)
      return { id: made.id, name }
    },

    /**
     * Lays a change over a configuration. Keys with a value are added or replaced, those without one must be there,
     * those that the body does not list stay.
     * @throws Problem as `create`
     */
    async change(principal: Principal, ref: string, payload: Payload): Promise<void> {
      const entries = payload.jwtSecrets ?? []
      const given = entries.filter(({ value }) => value !== undefined)
      const before = await findOr(store.read, ref, 'external_security_invalid')
      const alg = algOf(payload.properties) || algOf(before.properties as Tree)
      await secrets.checkValues(alg, given)
      const name = await store.transaction(async (tx) => {
        const row = await findOr(tx, ref, 'external_security_invalid')
        await rights.checkTrust(tx, principal, row.id)
        const wanted = await changed(tx, row, payload, alg)
        await tx.externalSecurities.update(wanted)
        await tx.audit.append({
          ...{ type: 'external-security.changed', subject: row.name, principal: principal.id },
          detail: { changed: changedNames(payload) },
        })
        await secrets.put(tx, principal, wanted, entries)
        return row.name
      })
      secrets.warnOfShort(name, alg, given)
    },

    /**
     * With its keys and role grants.
     * @throws Problem `external_security_not_found`, `external_security_in_use`, `privilege_boundary`
     */
    async delete(principal: Principal, ref: string): Promise<void> {
      const id = await store.transaction(async (tx) => {
        const row = await findOr(tx, ref, 'external_security_not_found')
        await rights.endGrants(tx, principal, row)
        if (isSwitchedOn(row.name)) {
          const reason =
            'The external security authenticates here; take it out of the setting first'
          throw new Problem('external_security_in_use', reason)
        }
        await tx.externalSecurities.delete(row.id)
        await tx.audit.append({
          ...{ type: 'external-security.deleted', subject: row.name, principal: principal.id },
          detail: { id: row.id },
        })
        return row.id
      })
      await remote.forget(sourceId(id))
    },

    /**
     * A token against a configuration by its own rules (contract section 7), with every check.
     * @throws Problem `external_security_not_found`
     */
    async verify(name: string, token: string): Promise<ExternalVerdict> {
      const entry = await directory.find(name)
      if (!entry)
        throw new Problem('external_security_not_found', 'No external security of this name')
      return verifyExternal({ directory, remote, check }, entry, token, {
        ...{ now: nowSeconds(), rules: 'own' },
      })
    },

    /**
     * Who a token is of, by the stricter rules; undefined in place of a user: nobody, and the verdict says why. Only for
     * configurations that are switched on.
     */
    async authenticate(
      name: string,
      token: string,
    ): Promise<{ user?: ExternalUser; verdict: ExternalVerdict }> {
      const entry = isSwitchedOn(name) ? await directory.find(name) : undefined
      if (!entry) return { verdict: { valid: false, checks: [NOT_ON] } }
      const verdict = await verifyExternal({ directory, remote, check }, entry, token, {
        ...{ now: nowSeconds(), rules: 'authenticate' },
      })
      const { valid, user, roles = [], claims } = verdict
      if (!valid || user === undefined) return { verdict }
      const configuration = { id: entry.id, name: entry.name }
      const expiresAt = Math.min(Math.floor(Number(claims?.['exp']) * 1000), LAST)
      return { verdict, user: { configuration, user, roles, expiresAt } }
    },

    /** The issuer that tokens of a configuration name; '' where it has none, undefined where there is no such one. */
    async issuerOf(name: string): Promise<string | undefined> {
      const entry = await directory.find(name)
      return entry && (entry.oauth?.issuer ?? '')
    },

    /** Why a configuration cannot be switched on to authenticate here; undefined: it can. */
    async whyNot(name: string): Promise<string | undefined> {
      const row = await store.read.externalSecurities.byName(name)
      if (!row) return 'there is no external security of this name'
      const entry: Entry = toEntry(row)
      const fault = faultOf(entry)
      if (fault !== undefined || entry.oauth?.alg !== 'HS256') return fault
      const rows = await store.read.jwtSecrets.list(row.id)
      const short = rows.find((one) => isShortSecret('HS256', vault.openSecret(one)))
      return short && shortFault(short.keyId)
    },

    /** Stops listening to the store. */
    close: directory.close,
  }
}

/** The last millisecond that a Date has. */
const LAST = 8.64e15

const NOT_ON: ExternalCheck = {
  ...{ name: 'configuration', ok: false, reason: 'The configuration is not switched on' },
}
