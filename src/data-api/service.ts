import type { IncomingHttpHeaders } from 'node:http'
import { anonymous, type Context, type Principal } from '../context.ts'
import type { CheckSignature } from '../core/index.ts'
import { isProblem, Problem, type ProblemCode } from '../errors.ts'
import type { Authenticated } from '../http/auth.ts'
import { toSeconds } from '../time.ts'
import { NO_STATIC_KEYS, type StaticKeys } from './static-file.ts'
import { createUpdates, type UpdateParts, type UpdateSettings } from './update.ts'
import { type NamedVerdict, verifyDataToken } from './verify.ts'

// Who a token of the active set, or of the static file, is of; and how that set is replaced.

export interface DataApiSettings extends UpdateSettings {
  get(name: 'jwks_endpoint' | 'jwks_ssl_ca_certificate'): string
  get(name: 'jwks_update_interval' | 'http_api_pool_capacity'): number
  get(name: 'jwks_username_field' | 'jwks_require_audience' | 'jwks_issuer'): string
  get(name: 'http_api'): boolean
}

export interface DataApiParts extends UpdateParts {
  context: Context
  settings: DataApiSettings
  fixed?: StaticKeys | undefined
  check?: CheckSignature | undefined
  /** The user of this very name whom JWTs may be of; remembered. */
  jwtUser(name: string): Promise<Principal | undefined>
  /** Counts failures. @throws Problem `rate_limited` */
  limiter: {
    check(account: string, address: string): void
    failed(account: string | undefined, address: string): void
  }
  /** API tokens, and what `bearer` makes of others. */
  byToken(
    headers: IncomingHttpHeaders,
    address: string,
    bearer: (token: string, address: string, digest: Buffer) => Promise<Authenticated>,
  ): Authenticated | Promise<Authenticated>
  /** A name and a password (contract section 4). */
  basic(authorization: string, address: string): Promise<Authenticated>
}

interface Known {
  user: string
  fromSet: boolean
  /** NumericDate: its `exp`. */
  exp: number
  /** The user with that end, and of whom it was made: kept, so that one request has one principal. */
  bound?: { of: Principal; principal: Principal }
}

type NamedCheck = NamedVerdict['checks'][number]
type Looked = { known: Known } | { fault: NamedCheck }

/** Tokens whose signature was checked; the oldest goes. */
const CACHE_SIZE = 10_000
const SKEW = 60
/** The last millisecond that a Date has. */
const LAST = 8.64e15

export type DataApi = ReturnType<typeof createDataApi>

export function createDataApi(parts: DataApiParts) {
  const { context, settings, fixed = NO_STATIC_KEYS, limiter } = parts
  const updates = createUpdates(parts)
  const remembered = new Map<string, Known>()
  let generation = 0
  const now = () => toSeconds(context.now())

  const forget = () => {
    generation++
    remembered.clear()
  }
  updates.onReplaced(forget)
  const stop = settings.onChange(forget)

  const isLoaded = () => updates.active() !== undefined || fixed.methods.length > 0

  /** All but the user. */
  const check = (token: string): Promise<NamedVerdict> =>
    verifyDataToken(token, {
      ...{ keys: updates.active()?.keys, fixed, now: now(), check: parts.check },
      usernameField: settings.get('jwks_username_field'),
      audience: settings.get('jwks_require_audience'),
    })

  /** What a token says, once it is checked; the user may be nobody by now. */
  async function look(token: string, digest: Buffer): Promise<Looked> {
    const key = digest.toString('base64')
    const before = remembered.get(key)
    if (before && now() < before.exp + SKEW) return { known: before }
    const asOf = generation
    const { user, claims, fromSet = false, checks } = await check(token)
    if (user === undefined) return { fault: checks.find(({ ok }) => !ok) ?? NO_REASON }
    const known: Known = { user, fromSet, exp: Number(claims?.['exp']) }
    if (asOf === generation) {
      const [oldest] = remembered.keys()
      if (oldest !== undefined && remembered.size >= CACHE_SIZE) remembered.delete(oldest)
      remembered.set(key, known)
    }
    return { known }
  }

  /** Whom it lets in; what they make of that ends with it. */
  async function holderOf(looked: Looked, onlySet: boolean): Promise<Principal | NamedCheck> {
    if ('fault' in looked) return looked.fault
    const { known } = looked
    if (onlySet && !known.fromSet) return NOT_OF_SET
    const of = await parts.jwtUser(known.user)
    if (!of) return noUser(known.user)
    if (known.bound?.of !== of) {
      const expiresAt = Math.min(Math.floor(known.exp * 1000), LAST)
      known.bound = { of, principal: { ...of, expiresAt } }
    }
    return known.bound.principal
  }

  async function byJwt(
    token: string,
    address: string,
    digest: Buffer,
    onlySet = false,
  ): Promise<Authenticated> {
    if (!isLoaded()) return failed('jwks_not_loaded')
    try {
      limiter.check('', address)
      const holder = await holderOf(await look(token, digest), onlySet)
      if ('id' in holder) return { principal: holder, presented: true }
      // The reason is for the log alone (contract section 7).
      const { name, reason } = holder
      context.log.info({ check: name, reason }, 'a JWT on the data API was refused')
      limiter.failed(undefined, address)
      return failed('jwt_invalid')
    } catch (error) {
      if (isProblem(error, 'rate_limited')) return { ...NOBODY, failure: error }
      throw error
    }
  }

  return {
    ...{ update: updates.update, drop: updates.drop },
    ...{ tick: updates.tick, load: updates.load, status: updates.status },

    /** Every check of a token, by name; issues and counts nothing. */
    async verify(token: string): Promise<NamedVerdict> {
      const { user, fromSet: _, ...verdict } = await check(token)
      if (user === undefined) return verdict
      const isUser = (await parts.jwtUser(user)) !== undefined
      const last = isUser ? { name: 'user', ok: true } : noUser(user)
      return { ...verdict, valid: isUser, checks: [...verdict.checks, last] }
    },

    /** Who sends a request on `/api/v2`. */
    authenticate(headers: IncomingHttpHeaders, address: string) {
      const { authorization = '' } = headers
      if (/^\s*basic\b/i.test(authorization) && !headers['x-nomad-token']) {
        return parts.basic(authorization, address)
      }
      return parts.byToken(headers, address, (token, from, digest) =>
        byJwt(unwrapped(token), from, digest),
      )
    },

    /**
     * Whom a JWT of the active set is of on `/v1`: only where `jwks_issuer` names its issuer. Those of the static file
     * count on the data API alone (product.md section 4).
     */
    bearerOf: (token: string, address: string, digest: Buffer) =>
      byJwt(token, address, digest, true),
    issuer: (): string => settings.get('jwks_issuer'),

    async close(): Promise<void> {
      stop()
      await updates.close()
    },
  }
}

const NO_REASON = { name: 'claims', ok: false }
const NOT_OF_SET = { name: 'key', ok: false, reason: 'Tokens of the static file count elsewhere' }
const noUser = (name: string) => ({
  ...{ name: 'user', ok: false },
  reason: `There is no user ${name.slice(0, 64)} with jwt: true`,
})

const NOBODY = { principal: anonymous, presented: true }
const failed = (code: ProblemCode): Authenticated => ({ ...NOBODY, failure: new Problem(code) })

/** The documentation can be read as "base64 of the JWT" (contract section 4). */
function unwrapped(token: string): string {
  // Node's decoder passes over what is none of the alphabet.
  if (!/^[\w+/-]+={0,2}$/.test(token)) return token
  const text = Buffer.from(token, 'base64').toString()
  return /^[^.]+\.[^.]*\.[^.]*$/.test(text) ? text : token
}
