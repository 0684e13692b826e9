import type { KeyObject } from 'node:crypto'
import type { Context, Principal } from '../context.ts'
import { isProblem, Problem } from '../errors.ts'
import type { IdentityRow, JwtAuthRow } from '../store/identities.ts'
import type { Tx } from '../store/store.ts'
import { toMillis } from '../time.ts'
import { parseBounds } from './bounds.ts'
import { describePlain, merged, type Wanted, wantedOf } from './configuration-row.ts'
import type { Directory } from './directory.ts'
import { type Action, checkMay, type Rights } from './rights.ts'
import { type JwtAuth, type JwtAuthCreate, type JwtAuthUpdate, ringOfUrl } from './schema.ts'
import { checkCaCertificates, parseStaticKeys } from './static-keys.ts'

// The configuration of an identity for logins with a JWT (identity contract, sections 2 to 5): attach, read, change, detach.

export interface ConfigurationParts {
  context: Context
  directory: Directory
  rights: Rights
  /** False: to hold the action is enough to attach, change and detach (section 13). */
  boundary: boolean
  /** Seals a column of a configuration under the root key that is active in this transaction. */
  seal(tx: Tx, row: SealedOf, values: Sealable): Promise<Sealed>
  /** What can be said of a URL without fetching it. @throws Problem `url_refused` */
  checkUrl(url: string): Promise<void>
  /** @throws Problem `source_refused` for a ring that is none, or that cannot be a source */
  checkRing(ring: string): void
  /** Whether it is the key of a ring of this server, past or present. */
  isOurs(key: KeyObject): Promise<boolean>
  /** The configuration is gone, or its keys come from elsewhere now. */
  onSourceGone(id: string): Promise<void>
}

export type SealedOf = Pick<JwtAuthRow, 'id' | 'identityId'>
export type Sealable = Record<'jwks_ca_cert_sealed' | 'public_keys_sealed', Uint8Array | undefined>
export interface Sealed {
  rootKid: string | undefined
  jwksCaCertSealed: Uint8Array | undefined
  publicKeysSealed: Uint8Array | undefined
}

export function createConfigurations(parts: ConfigurationParts) {
  const { context, directory, rights } = parts
  const { store, now, newId } = context

  /** Exists, is visible, may be acted on: in that order (section 3). */
  async function identityFor(
    tx: Tx,
    principal: Principal,
    id: string,
    { actions, unknown }: { actions: readonly Action[]; unknown: string },
  ): Promise<IdentityRow> {
    const identity = await tx.identities.byId(id)
    if (!identity || !(await rights.isVisible(tx, principal, identity.tenantId))) {
      throw new Problem('identity_not_found', unknown)
    }
    checkMay(principal, ...actions)
    return identity
  }

  /** Who may change the trust of an identity can become it (section 13). */
  async function checkBoundary(
    tx: Tx,
    principal: Principal,
    identity: IdentityRow,
    verb: 'attach' | 'update' | 'revoke',
  ): Promise<void> {
    if (!parts.boundary) return
    const { id, role, tenantId } = identity
    const grants = await tx.identities.grantsOf(id)
    await rights
      .checkBoundary(tx, principal, { role, grants, tenantId })
      .catch((error: unknown) => {
        if (!isProblem(error, 'privilege_boundary')) throw error
        const detail = `Failed to ${verb} jwt auth of identity with more privileged role`
        throw new Problem('privilege_boundary', detail, { extra: error.extra })
      })
  }

  /** In the order of section 3, behind TTL rule and addresses: the URL; then what else a configuration must hold. */
  async function checkSource(wanted: Wanted): Promise<void> {
    if (wanted.configurationType === 'jwks') {
      const ring = ringOfUrl(wanted.jwksUrl)
      if (ring === undefined) await parts.checkUrl(wanted.jwksUrl)
      else parts.checkRing(ring)
    }
    if (wanted.jwksCaCert !== '') checkCaCertificates(wanted.jwksCaCert)
    for (const [index, { key }] of parseStaticKeys(wanted.publicKeys).entries()) {
      // As a set of somebody else that holds a key of ours: a login would take what we sign for another purpose.
      if (!(await parts.isOurs(key))) continue
      const detail = `publicKeys[${index}]: The key is one of this server; as a source, name its ring`
      throw new Problem('pem_rejected', detail)
    }
    parseBounds(wanted)
  }

  async function toRow(
    tx: Tx,
    wanted: Wanted,
    ids: SealedOf,
    createdAt: number,
  ): Promise<JwtAuthRow> {
    const { jwksCaCert, publicKeys, ...plain } = wanted
    const { id, identityId } = ids
    const sealed = await parts.seal(tx, ids, {
      jwks_ca_cert_sealed: jwksCaCert === '' ? undefined : Buffer.from(jwksCaCert),
      public_keys_sealed:
        publicKeys.length === 0 ? undefined : Buffer.from(JSON.stringify(publicKeys)),
    })
    const at = toMillis(now())
    return { ...plain, ...sealed, id, identityId, createdAt, updatedAt: at }
  }

  /** `updatedAt` names the version of a source: two changes within a millisecond are two. */
  const later = (row: JwtAuthRow, before: JwtAuthRow): JwtAuthRow => ({
    ...row,
    updatedAt: Math.max(row.updatedAt, before.updatedAt + 1),
  })

  async function record(tx: Tx, done: string, principal: Principal, { id, identityId }: SealedOf) {
    await tx.audit.append({
      ...{ type: `identity.jwt-auth-${done}`, subject: identityId, principal: principal.id },
      detail: { configuration: id },
    })
  }

  const describe = (row: JwtAuthRow): JwtAuth => {
    const { caCert, publicKeys } = directory.attach(row)
    return { ...describePlain(row), jwksCaCert: caCert(), publicKeys: [...publicKeys()] }
  }

  return {
    /** @throws Problem `identity_not_found`, `forbidden`, `jwt_auth_attached`, `privilege_boundary`, and of a bad value */
    async attach(principal: Principal, identityId: string, body: JwtAuthCreate): Promise<JwtAuth> {
      const unknown = `Failed to find identity with ID ${identityId}`
      const attached = 'Failed to add JWT Auth to already configured identity'
      const look = async (tx: Tx) => {
        const access = { actions: ['edit-auth'] as const, unknown }
        const identity = await identityFor(tx, principal, identityId, access)
        await checkBoundary(tx, principal, identity, 'attach')
        return identity
      }
      await store.transaction(async (tx) => {
        await look(tx)
        if (await tx.jwtAuth.byIdentity(identityId))
          throw new Problem('jwt_auth_attached', attached)
      })
      const wanted = wantedOf(body)
      await checkSource(wanted)
      const id = newId()
      return store.transaction(async (tx) => {
        // Both may have changed while the URL was looked up.
        await look(tx)
        const row = await toRow(tx, wanted, { id, identityId }, toMillis(now()))
        if (!(await tx.jwtAuth.insert(row))) throw new Problem('jwt_auth_attached', attached)
        await record(tx, 'attached', principal, row)
        return describe(row)
      })
    },

    /** @throws Problem `identity_not_found`, `forbidden`, `jwt_auth_missing` */
    async get(principal: Principal, identityId: string): Promise<JwtAuth> {
      const unknown = `Failed to find identity with ID ${identityId}`
      return store.grouped(async (tx) => {
        await identityFor(tx, principal, identityId, { actions: ['read'], unknown })
        const row = await tx.jwtAuth.byIdentity(identityId)
        if (!row) {
          throw new Problem('jwt_auth_missing', 'The identity does not have JWT Auth attached')
        }
        await record(tx, 'read', principal, row)
        return describe(row)
      })
    },

    /**
     * What is left out keeps its value, but for the source, which is written whole (section 3). Tokens that were issued
     * stay as they are, except that trusted addresses count for them too.
     * @throws Problem as `attach`, with `jwt_auth_missing` in place of `jwt_auth_attached`
     */
    async update(principal: Principal, identityId: string, body: JwtAuthUpdate): Promise<JwtAuth> {
      const unknown = `Failed to find identity with ID ${identityId}`
      const look = async (tx: Tx) => {
        const access = { actions: ['edit-auth'] as const, unknown }
        const identity = await identityFor(tx, principal, identityId, access)
        await checkBoundary(tx, principal, identity, 'update')
        const row = await tx.jwtAuth.byIdentity(identityId)
        if (!row) throw new Problem('jwt_auth_missing', 'Failed to update JWT Auth')
        return row
      }
      await checkSource(merged(await store.transaction(look), body))
      const { row, before } = await store.transaction(async (tx) => {
        const before = await look(tx)
        // Somebody else may have changed what this leaves out: the rules hold for what is written.
        const wanted = merged(before, body)
        parseBounds(wanted)
        const row = later(await toRow(tx, wanted, before, before.createdAt), before)
        await tx.jwtAuth.update(row)
        await record(tx, 'updated', principal, row)
        return { row, before }
      })
      if (row.jwksUrl !== before.jwksUrl) await parts.onSourceGone(row.id)
      return describe(row)
    },

    /**
     * Detaches; every token that the identity got through it is void with the commit.
     * @throws Problem `identity_not_found`, `forbidden`, `jwt_auth_missing`, `privilege_boundary`
     */
    async revoke(principal: Principal, identityId: string) {
      const row = await store.transaction(async (tx) => {
        const access = {
          actions: ['edit', 'revoke-auth'] as const,
          unknown: 'Failed to find identity',
        }
        const identity = await identityFor(tx, principal, identityId, access)
        await checkBoundary(tx, principal, identity, 'revoke')
        const found = await tx.jwtAuth.byIdentity(identityId)
        if (!found) throw new Problem('jwt_auth_missing', 'The identity does not have JWT auth')
        await tx.jwtAuth.delete(found.id)
        await record(tx, 'revoked', principal, found)
        return found
      })
      await parts.onSourceGone(row.id)
      return describePlain(row)
    },
  }
}

export type Configurations = ReturnType<typeof createConfigurations>
