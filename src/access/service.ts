import type { IncomingHttpHeaders } from 'node:http'
import { type Context, type Principal, system } from '../context.ts'
import { equalBytes } from '../core/index.ts'
import { Problem } from '../errors.ts'
import { addressKey } from '../http/address.ts'
import type { ApiTokenRow } from '../store/access.ts'
import type { Seals } from '../store/sealed.ts'
import type { Tx } from '../store/store.ts'
import { fromMillis, MINUTE, SECOND, toIso, toMillis } from '../time.ts'
import { type Answer, createAuthenticator, type JwtBearer, MANAGEMENT } from './authenticate.ts'
import { createBasic } from './basic.ts'
import { hashToken, newApiToken } from './credential.ts'
import { createDigest, REALM } from './digest.ts'
import { isDigest } from './digest-header.ts'
import { createFailures } from './failures.ts'
import { contains, formatGrant, type Grant, servicesIn } from './grants.ts'
import { createLoginTokens } from './login-tokens.ts'
import { createLogins, type Limiter } from './logins.ts'
import { type Names, readNames } from './names.ts'
import { createPasswords } from './passwords.ts'
import { checkBoundary, createRights, type Held } from './rights.ts'
import { createRoleGrants } from './role-grants.ts'
import type { ApiToken, ApiTokenCreate, ApiTokenCreated } from './schema.ts'
import { createSessions } from './sessions.ts'
import { createTenants } from './tenants.ts'
import { createUserPrincipals } from './user-principals.ts'
import { createUsers } from './users.ts'
import { createWorkQueue } from './work-queue.ts'

export type AccessService = ReturnType<typeof createAccess>

/** A caller who is refused the same again and again is recorded once in this time, by monotonic clock. */
const DENIED_AGAIN = 60n * SECOND
const DENIED_SIZE = 1000

/** Between two looks at sessions that have ended. */
const PRUNE_INTERVAL = 10n * MINUTE
/** Passwords that are hashed: two of libuv's four threads at most, and a second or two of waiting. */
const PASSWORD_QUEUE = { atOnce: 2, waiting: 64, perCaller: 16 }

export interface AccessOptions {
  newToken?(): string
  /** Who a bearer is of that is no API token. */
  jwt?: JwtBearer
  /** Counts failed passwords; default: 200 a minute. */
  limiter?: Limiter
  /** Characters; default 12. */
  minPasswordLength?: number
  /** True while the wall clock jumped and nobody confirmed it: nothing is forgotten. */
  clockInDoubt?(): boolean
  /** For what Digest logins need to know of a password; without it there are none. */
  seals?: Seals
  /** What nonces of Digest are signed with. @throws Problem `not_ready` */
  digestSecret?(): Promise<Uint8Array>
}

const notReady = async () => {
  throw new Problem('not_ready')
}
const NO_SEALS: Seals = {
  seal: notReady,
  unseal() {
    throw new Problem('not_ready')
  },
}

/**
 * API tokens, users, sessions and tenants: who presents one, and who may make, see and delete them.
 * @throws Problem `config_invalid` where this Node.js has no argon2
 */
export function createAccess(context: Context, options: AccessOptions = {}) {
  const { newToken = newApiToken, jwt, minPasswordLength = 12 } = options
  const { store, now, newId, monotonic, log } = context
  const { authenticate, stop } = createAuthenticator(context, jwt)
  const rights = createRights()
  const limiter =
    options.limiter ?? createFailures({ count: 200, per: MINUTE }, monotonic, addressKey)
  const passwords = createPasswords(createWorkQueue(PASSWORD_QUEUE))
  const logins = createLogins({ context, passwords, limiter })
  const principals = createUserPrincipals(context, rights)
  const { principalOf } = principals
  const sessions = createSessions({ context, principalOf })
  const loginTokens = createLoginTokens({ context, limiter, openFor: sessions.openFor })
  const { seals = NO_SEALS, digestSecret = notReady } = options
  const users = createUsers({ context, passwords, minLength: minPasswordLength, seals })
  const basic = createBasic({
    context,
    limiter,
    verifyPassword: logins.verifyPassword,
    principalOf,
  })
  const digest = createDigest({ context, seals, secret: digestSecret, limiter, principalOf })
  const roleGrants = createRoleGrants(context)
  let timer: NodeJS.Timeout | undefined

  async function prune(): Promise<void> {
    if (options.clockInDoubt?.()) return
    await sessions.prune()
    await loginTokens.prune()
    await digest.prune()
  }
  const denied = new Map<string, bigint>()

  function manage(asked: ManageAsked, bearer: JwtBearer): Answer {
    const { headers, address } = asked
    const { authorization = '' } = headers
    if (headers['x-nomad-token']) return authenticate(headers, address, bearer)
    if (isDigest(authorization)) return digest.authenticate({ ...asked, authorization })
    if (/^\s*basic\b/i.test(authorization)) return basic.authenticate(authorization, address)
    return authenticate(headers, address, bearer)
  }

  return {
    authenticate,

    /**
     * Makes `token` the management token: role `admin`, whatever its form. The one before, if another, is void with
     * the commit. Throws `config_invalid` when the same token already has another name.
     */
    async ensureManagementToken(tx: Tx, token: string): Promise<'kept' | 'created' | 'replaced'> {
      const hash = hashToken(token)
      const twin = await tx.apiTokens.byHash(hash)
      if (twin && twin.name !== MANAGEMENT) {
        throw new Problem(
          'config_invalid',
          `The management token is the API token ${twin.name} already; choose another.`,
        )
      }
      const row = await tx.apiTokens.byName(MANAGEMENT)
      if (row && equalBytes(row.tokenHash, hash)) return 'kept'
      if (row) {
        await tx.apiTokens.setHash(row.id, hash)
      } else {
        await tx.apiTokens.insert({
          ...{ id: newId(), name: MANAGEMENT, tokenHash: hash, role: 'admin', grants: [] },
          ...{ createdAt: toMillis(now()), createdBy: system.id },
          ...{ tenantId: undefined, expiresAt: undefined },
        })
      }
      const outcome = row ? 'replaced' : 'created'
      const type = `api-token.${outcome}`
      await tx.audit.append({ type, subject: MANAGEMENT, principal: system.id })
      return outcome
    },

    /**
     * Makes a token and returns it, once. Throws `name_taken`, `privilege_boundary`, or `invalid_request` for a ring,
     * profile or tenant that does not exist.
     */
    async createApiToken(principal: Principal, body: ApiTokenCreate): Promise<ApiTokenCreated> {
      const { name, role, tenant, ttl } = body
      if (name === MANAGEMENT) throw new Problem('name_taken', `The name ${name} is reserved`)
      // An API token would go on where the identity, its addresses and its uses have ended.
      if (principal.id.startsWith('identity:')) {
        throw new Problem('privilege_boundary', 'An identity cannot make API tokens')
      }
      const grants = distinct(body.grants ?? [])
      const token = newToken()
      return store.transaction(async (tx) => {
        const names = await readNames(tx, servicesIn(grants))
        checkBoundary(principal, names, { role, grants, tenant })
        const createdAt = toMillis(now())
        const expiresAt = ttl === undefined ? undefined : createdAt + toMillis(ttl)
        checkOutlives(principal, expiresAt)
        const row: ApiTokenRow = {
          ...{ id: newId(), name, tokenHash: hashToken(token), role, createdAt },
          tenantId: tenant === undefined ? undefined : names.tenantId(tenant),
          createdBy: principal.id,
          expiresAt,
          grants: grants.map((grant) => names.toRow(grant, principal.tenant)),
        }
        if (await tx.apiTokens.byName(name)) {
          throw new Problem('name_taken', `There is an API token ${name} already`)
        }
        await tx.apiTokens.insert(row)
        const description = describe(row, names)
        const { id: _id, name: _name, ...detail } = description
        await tx.audit.append({
          ...{ type: 'api-token.created', subject: name, principal: principal.id, detail },
        })
        return { ...description, token }
      })
    },

    /** The tokens of the caller's tenant and below, by name. */
    async listApiTokens(principal: Principal): Promise<ApiToken[]> {
      const names = await readNames(store.read)
      const rows = await store.read.apiTokens.list()
      return rows
        .filter((row) => isVisible(principal, row, names))
        .map((row) => describe(row, names))
    },

    /** Throws `token_not_found`. */
    async getApiToken(principal: Principal, name: string): Promise<ApiToken> {
      const names = await readNames(store.read)
      return describe(await visible(store.read, principal, name, names), names)
    },

    /** Throws `token_not_found`, or `privilege_boundary` for a token that has more rights than the caller. */
    async deleteApiToken(principal: Principal, name: string): Promise<void> {
      await store.transaction(async (tx) => {
        const names = await readNames(tx)
        const row = await visible(tx, principal, name, names)
        if (name === MANAGEMENT) {
          throw new Problem(
            'privilege_boundary',
            'The management token is replaced by setting another one, never deleted',
          )
        }
        checkBoundary(principal, names, rightsOf(row, names))
        await tx.apiTokens.delete(row.id)
        await tx.audit.append({
          ...{ type: 'api-token.deleted', subject: name, principal: principal.id },
        })
      })
    },

    /** Records that a known caller was refused, once a minute for each capability. */
    async recordDenied(principal: Principal, needed: string): Promise<void> {
      const key = `${principal.id} ${needed.split('@', 1)[0]}`
      const last = denied.get(key)
      const at = monotonic()
      if (last !== undefined && at - last < DENIED_AGAIN) return
      if (denied.size >= DENIED_SIZE) denied.clear()
      denied.set(key, at)
      const event = { type: 'access.denied', subject: needed, principal: principal.id }
      await store.grouped((tx) => tx.audit.append(event))
    },

    /** What other slices ask about the identities that they keep: roles, tenants, the privilege boundary. */
    rights,

    users: {
      ...{ ...users, verifyPassword: logins.verifyPassword, principalOf },
      jwtUser: principals.jwtUser,
    },
    sessions,
    loginTokens,
    roleGrants,

    /** Who sends a name and a password in a header (RFC 7617). */
    basic: basic.authenticate,

    /**
     * Who sends a request on `/manage`: an API token, Digest or Basic; `bearer` looks at other tokens.
     * @throws Problem `not_ready` before nonces can be signed, `overloaded`
     */
    authenticateManage(asked: ManageAsked, bearer: JwtBearer): Answer {
      return digest.isPrepared()
        ? manage(asked, bearer)
        : digest.prepare().then(() => manage(asked, bearer))
    },

    /** What a 401 on `/manage` says: Digest first, with a fresh nonce (external-security contract section 2). */
    challenges(failure?: Problem): string[] {
      const offered = digest.challenge(failure?.code === 'nonce_stale')
      return [...(offered === undefined ? [] : [offered]), `Basic realm="${REALM}"`]
    },

    tenants: createTenants(context),

    /** One look at what can be forgotten: the timer's work. */
    prune,

    /** Starts the timer that forgets what nobody needs. */
    start(): void {
      const look = () => {
        prune().catch((error: unknown) => log.error({ err: error }, 'pruning failed'))
      }
      timer = setInterval(look, toMillis(PRUNE_INTERVAL))
      timer.unref()
    },

    /** Stops the timer, and listening to the store. */
    close(): void {
      clearInterval(timer)
      stop()
      logins.close()
      principals.close()
      basic.close()
      digest.close()
      roleGrants.close()
    },
  }
}

/** What of a request on `/manage` decides who sends it. */
export interface ManageAsked {
  method: string
  /** The request target as it came. */
  rawUrl: string
  headers: IncomingHttpHeaders
  address: string
}

/** A credential that ends cannot make one that goes on: it would be its own successor. */
function checkOutlives({ expiresAt }: Principal, wanted: number | undefined): void {
  if (expiresAt === undefined || (wanted !== undefined && wanted <= expiresAt)) return
  const end = toIso(fromMillis(expiresAt))
  throw new Problem('privilege_boundary', `Your own token ends ${end}; give a ttl within that`)
}

async function visible(tx: Tx, principal: Principal, name: string, names: Names) {
  const row = await tx.apiTokens.byName(name)
  if (row && isVisible(principal, row, names)) return row
  throw new Problem('token_not_found', `There is no API token ${name.slice(0, 64)}`)
}

const isVisible = (principal: Principal, row: ApiTokenRow, names: Names): boolean =>
  contains(names.tenants, principal.tenant, names.tenantName(row.tenantId))

const rightsOf = ({ role, grants, tenantId }: ApiTokenRow, names: Names): Held => ({
  ...{ role, grants: names.toGrants(grants), tenant: names.tenantName(tenantId) },
})

function describe(row: ApiTokenRow, names: Names): ApiToken {
  const { role, grants, tenant } = rightsOf(row, names)
  return {
    ...{ id: row.id, name: row.name },
    ...(role !== undefined && { role }),
    grants: grants.map(formatGrant).sort(),
    ...(tenant !== undefined && { tenant }),
    createdAt: toIso(fromMillis(row.createdAt)),
    createdBy: row.createdBy,
    ...(row.expiresAt !== undefined && { expiresAt: toIso(fromMillis(row.expiresAt)) }),
  }
}

const distinct = (grants: readonly Grant[]): Grant[] => [
  ...new Map(grants.map((grant) => [formatGrant(grant), grant])).values(),
]
