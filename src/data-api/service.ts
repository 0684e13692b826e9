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
  /** Unix seconds, with the tolerance. */
  until: number
}

/** Tokens whose signature was checked; the oldest goes. */
const CACHE_SIZE = 10_000
const SKEW = 60

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

  async function userOf(token: string, digest: Buffer): Promise<string | undefined> {
    const key = digest.toString('base64')
    const known = remembered.get(key)
    if (known && now() < known.until) return known.user
    const before = generation
    const { user, claims } = await check(token)
    if (user === undefined) return undefined
    if (before === generation) {
      const [oldest] = remembered.keys()
      if (oldest !== undefined && remembered.size >= CACHE_SIZE) remembered.delete(oldest)
      remembered.set(key, { user, until: Number(claims?.['exp']) + SKEW })
    }
    return user
  }

  async function byJwt(token: string, address: string, digest: Buffer): Promise<Authenticated> {
    if (!isLoaded()) return failed('jwks_not_loaded')
    try {
      limiter.check('', address)
      const user = await userOf(token, digest)
      const principal = user === undefined ? undefined : await parts.jwtUser(user)
      if (principal) return { principal, presented: true }
      context.log.info({ user: user?.slice(0, 64) }, 'a JWT on the data API was refused')
      limiter.failed(undefined, address)
      return failed('jwt_invalid')
    } catch (error) {
      if (isProblem(error, 'rate_limited')) return { ...NOBODY, failure: error }
      throw error
    }
  }

  return {
    ...{ update: updates.update, tick: updates.tick, load: updates.load, status: updates.status },

    /** Every check of a token, by name; issues and counts nothing. */
    async verify(token: string): Promise<NamedVerdict> {
      const { user, fromSet: _, ...verdict } = await check(token)
      if (user === undefined) return verdict
      const isUser = (await parts.jwtUser(user)) !== undefined
      const reason = `There is no user ${user.slice(0, 64)} with jwt: true`
      const last = { name: 'user', ok: isUser, ...(!isUser && { reason }) }
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

    /** Whom a JWT of the active set is of on `/v1`: only where `jwks_issuer` names its issuer. */
    bearerOf: byJwt,
    issuer: (): string => settings.get('jwks_issuer'),

    async close(): Promise<void> {
      stop()
      await updates.close()
    },
  }
}

const NOBODY = { principal: anonymous, presented: true }
const failed = (code: ProblemCode): Authenticated => ({ ...NOBODY, failure: new Problem(code) })

/** The documentation can be read as "base64 of the JWT" (contract section 4). */
function unwrapped(token: string): string {
  if (token.includes('.')) return token
  const text = Buffer.from(token, 'base64').toString()
  return /^[^.]+\.[^.]*\.[^.]*$/.test(text) ? text : token
}
