import type { KeyObject } from 'node:crypto'
import type { Context, Principal } from '../context.ts'
import {
  type CheckSignature,
  thumbprint,
  type Verdict,
  type VerificationKey,
} from '../core/index.ts'
import { Problem } from '../errors.ts'
import type { GrantRow } from '../store/access.ts'
import type { IdentityRow, JwtAuthRow } from '../store/identities.ts'
import { type Place, sealOwner } from '../store/sealed.ts'
import type { Tx } from '../store/store.ts'
import { toMillis } from '../time.ts'
import { createAccessTokens, PRUNE_INTERVAL } from './access-tokens.ts'
import { createBearer } from './bearer.ts'
import { createConfigurations, type Sealable, type SealedOf } from './configuration.ts'
import { createDerive } from './derive.ts'
import { createDirectory } from './directory.ts'
import { createLogins, type Limiter, type RemoteSource } from './login.ts'
import type { Rights, TargetRights } from './rights.ts'
import { createIdentities } from './service.ts'

// Puts the slice together. Each part is in a file of its own; this one only knows who needs whom.

export interface IdentitiesOptions {
  context: Context
  /** Seconds: `MAX_MACHINE_IDENTITY_TOKEN_AGE`. */
  ceiling: number
  /** `PRIVILEGE_BOUNDARY`. */
  boundary: boolean
  /** `LOGIN_FROM_DEFAULT_RING`. */
  loginFromDefaultRing: boolean
  limiter: Limiter
  rights: Rights & {
    principalOf(tx: Tx, id: string, held: TargetRights): Promise<Principal>
  }
  /** A known caller was refused. For the audit record. */
  onDenied(principal: Principal, needed: string): Promise<void>
  keyring: {
    seal(tx: Tx, place: Place, value: Uint8Array): Promise<{ rootKid: string; sealed: Uint8Array }>
    unseal(rootKid: string, place: Place, sealed: Uint8Array): Uint8Array
    hasKey(ring: string, kid: string): boolean
    /** Undefined: there was no such ring at `asOf`, in Unix milliseconds. */
    publishedKeys(ring: string, asOf: number): VerificationKey[] | undefined
    check: CheckSignature
    verifierOf(ring: string, kid: string): KeyObject | undefined
    /** Whether a key of this server, past or present, has this RFC 7638 thumbprint. */
    isOurs(kid: string | undefined, thumbprint: string): Promise<boolean>
    /** With the `access` ring. */
    sign(claims: Record<string, unknown>): Promise<string>
    /** Against the `access` ring: type `at+jwt`, this audience or any, no tolerance. */
    verify(token: string, audience: string | undefined): Promise<Verdict>
    /** Of the `access` ring; undefined: none. */
    issuer(): string | undefined
  }
  remote: {
    keys(source: RemoteSource, kid: string | undefined): Promise<readonly VerificationKey[]>
    check(url: string): Promise<void>
    forget(id: string): Promise<void>
    prune(): Promise<void>
  }
  /** The audience of our access tokens where there is no issuer. */
  fallbackAudience: string
  clockInDoubt(): boolean
  /** Undefined where `/oauth` is off. */
  tokenEndpoint(): string | undefined
}

export type IdentitiesSlice = ReturnType<typeof createIdentitiesSlice>

const TABLE = 'jwt_auth_configs'
const placeOf = ({ id, identityId }: SealedOf, column: string): Place => ({
  ...{ table: TABLE, id, column, owner: sealOwner(identityId) },
})

export function createIdentitiesSlice(options: IdentitiesOptions) {
  const { context, rights, keyring, remote } = options
  const audience = () => keyring.issuer() ?? options.fallbackAudience
  /** What an assertion for this server may be addressed to, and a login's JWT may not: issuer and token endpoint. */
  const ownAudiences = (): string[] => [audience(), options.tokenEndpoint() ?? []].flat()

  /** @throws Problem `source_refused` */
  function ringKeys(ring: string, asOf: number): VerificationKey[] {
    if (ring === 'access' || ring === 'audit') {
      throw new Problem('source_refused', `The ring ${ring} signs for this server only`)
    }
    if (ring === 'default' && !options.loginFromDefaultRing) {
      const how = 'set KEYRINGD_LOGIN_FROM_DEFAULT_RING if that is meant'
      throw new Problem('source_refused', `The default ring is no source of keys; ${how}`)
    }
    const keys = keyring.publishedKeys(ring, asOf)
    if (!keys) throw new Problem('source_refused', `There is no ring ${ring}`)
    return keys
  }

  const directory = createDirectory({
    context,
    unseal(row: JwtAuthRow, column) {
      const sealed = column === 'public_keys_sealed' ? row.publicKeysSealed : row.jwksCaCertSealed
      return keyring.unseal(row.rootKid ?? '', placeOf(row, column), sealed ?? new Uint8Array())
    },
    principalOf: (tx, { id, role, tenantId }: IdentityRow, grants: readonly GrantRow[]) =>
      rights.principalOf(tx, `identity:${id}`, { role, grants, tenantId }),
  })

  /** What is cached of a source that is gone does no harm, so to fail here is no failure of the change. */
  const onSourceGone = (id: string): Promise<void> =>
    remote.forget(id).catch((error: unknown) => {
      context.log.error({ err: error, source: id }, 'a key set could not be forgotten')
    })

  const identities = createIdentities({ context, rights, onSourceGone })

  function sign(claims: Record<string, unknown>): Promise<string> {
    const issuer = keyring.issuer()
    const iss = issuer !== undefined && { iss: issuer }
    return keyring.sign({ ...iss, aud: audience(), ...claims })
  }

  const tokens = createAccessTokens({
    ...{ context, directory, ceiling: options.ceiling },
    organisationId: async () => (await identities.organisation()).id,
    sign,
    ...{ audience, onDenied: options.onDenied, clockInDoubt: options.clockInDoubt },
    keyOf: (kid) => keyring.verifierOf('access', kid),
    verify: (token, whose) => keyring.verify(token, whose === 'ours' ? audience() : undefined),
  })

  async function seal(tx: Tx, row: SealedOf, values: Sealable) {
    let rootKid: string | undefined
    const one = async (column: keyof Sealable) => {
      const value = values[column]
      if (value === undefined) return undefined
      const done = await keyring.seal(tx, placeOf(row, column), value)
      rootKid = done.rootKid
      return done.sealed
    }
    const jwksCaCertSealed = await one('jwks_ca_cert_sealed')
    const publicKeysSealed = await one('public_keys_sealed')
    return { rootKid, jwksCaCertSealed, publicKeysSealed }
  }

  const configurations = createConfigurations({
    ...{ context, directory, rights, boundary: options.boundary, seal },
    checkUrl: remote.check,
    checkRing: (ring) => void ringKeys(ring, toMillis(context.now())),
    isOurs: (key) => keyring.isOurs(undefined, thumbprint(key.export({ format: 'jwk' }))),
    onSourceGone,
  })
  const logins = createLogins({
    ...{ context, directory, tokens, limiter: options.limiter, ringKeys, check: keyring.check },
    remoteKeys: remote.keys,
    organisation: identities.organisation,
    ownAudiences,
  })
  const bearer = createBearer({ tokens, isOurKid: (kid) => keyring.hasKey('access', kid) })
  let timer: NodeJS.Timeout | undefined

  /** One look at what can be forgotten: the timer's work. */
  async function prune(): Promise<void> {
    await tokens.prune()
    if (!options.clockInDoubt()) await remote.prune()
  }

  return {
    ...{ identities, configurations, logins, tokens, bearer, audience, ownAudiences },
    derive: createDerive({ context, sign }),

    prune,

    /** Reads which tokens are revoked, and starts the timer that forgets what nobody needs. */
    async start(): Promise<void> {
      await tokens.load()
      const look = () => {
        prune().catch((error: unknown) => context.log.error({ err: error }, 'pruning failed'))
      }
      timer = setInterval(look, toMillis(PRUNE_INTERVAL))
      timer.unref()
    },

    close(): void {
      clearInterval(timer)
      directory.close()
      tokens.close()
    },
  }
}
