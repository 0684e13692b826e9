import type { IncomingHttpHeaders } from 'node:http'
import { anonymous, type Context, type Principal } from '../context.ts'
import { Problem, type ProblemCode } from '../errors.ts'
import type { Authenticated } from '../http/auth.ts'
import { toMillis } from '../time.ts'
import { isFromElsewhere } from './same-site.ts'
import {
  type CookieSigner,
  createCookieSigner,
  findCookie,
  isSessionToken,
  type SessionName,
  setCookies,
} from './session-cookies.ts'

// Sessions of Traffic Ops clients: a password or a login token in, two cookies out (contract section 3).

const KIND = 'traffic-ops'
const HOUR = 3600_000
/** Milliseconds: of a login (`Max-Age` 21600), and at least after each use. */
const LOGIN_TTL = 6 * HOUR
const USE_TTL = HOUR
/** A use that would lengthen a session by less writes nothing. */
const STEP = 60_000

/** What the cookies name, and all that decides. */
export interface SessionStore {
  open(
    userId: string,
    kind: typeof KIND,
    ttlMillis: number,
    /** That of the login: a password that was changed since opens no session. */
    proof: string,
  ): Promise<{ id: string; expiresAt: number }>
  find(
    id: string,
    kind: typeof KIND,
  ): Promise<
    | { principal: Principal; userId: string; expiresAt: number }
    | { failure: 'unknown' | 'expired' | 'user_gone' }
  >
  extend(id: string, kind: typeof KIND, ttlMillis: number): Promise<void>
  end(id: string, kind: typeof KIND): Promise<void>
}

export interface SessionsParts {
  context: Pick<Context, 'now' | 'log'>
  /** @throws Problem `not_ready` */
  secret(): Promise<Uint8Array>
  sessions: SessionStore
  users: {
    /** @throws Problem `credentials_wrong`, `rate_limited`, `overloaded` */
    verifyPassword(
      name: string,
      password: string,
      address: string,
    ): Promise<{ id: string; role: string; proof: string }>
    principalOf(userId: string): Promise<Principal | undefined>
  }
  loginTokens: {
    /** Opens a session with a token that counts once. @throws Problem `login_token_wrong`, `rate_limited` */
    logIn(
      token: string,
      address: string,
      kind: typeof KIND,
      ttlMillis: number,
    ): Promise<{ id: string; userId: string; expiresAt: number }>
  }
  /** API tokens, and what `bearer` makes of others. */
  byToken(
    headers: IncomingHttpHeaders,
    address: string,
    bearer: (token: string) => Promise<Authenticated> | undefined,
  ): Authenticated | Promise<Authenticated>
  /** A known caller was refused. For the audit record. */
  onDenied(principal: Principal, needed: string): Promise<void>
}

/** What of a request decides who sends it. */
export interface Asked {
  method: string
  headers: IncomingHttpHeaders
  ip: string
  /** With its port, as the client wrote it. */
  host: string
  /** `https` behind a trusted proxy, too. */
  protocol: string
}

interface Session extends SessionName {
  expiresAt: number
}

const READS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS'])
const failed = (code: ProblemCode): Authenticated => ({
  ...{ principal: anonymous, presented: true, failure: new Problem(code) },
})

export type Sessions = ReturnType<typeof createSessions>

export function createSessions(parts: SessionsParts) {
  const { context, sessions, users } = parts
  /** By request, so that its answer can carry the cookies again. */
  const current = new WeakMap<object, Session>()
  let signer: CookieSigner | undefined
  const now = () => toMillis(context.now())

  const getSigner = async (): Promise<CookieSigner> => {
    signer ??= createCookieSigner(await parts.secret())
    return signer
  }

  /** Who a session is of; `bad` for one that is over. */
  async function enter(asked: Asked, named: SessionName, bad: ProblemCode): Promise<Authenticated> {
    const found = await sessions.find(named.id, KIND)
    if ('failure' in found) {
      const isGone =
        found.failure === 'user_gone' || (await users.principalOf(named.userId)) === undefined
      return failed(isGone ? 'session_orphaned' : bad)
    }
    const { principal, userId, expiresAt } = found
    // The cookie says whose it is only to tell a deleted user from an ended session.
    current.set(asked, { id: named.id, userId, expiresAt })
    return { principal, presented: true }
  }

  async function byBearer(asked: Asked, token: string): Promise<Authenticated> {
    const named = (await getSigner()).readToken(token, now())
    return named ? enter(asked, named, 'unauthenticated') : failed('unauthenticated')
  }

  async function byCookie(asked: Asked): Promise<Authenticated> {
    const presented = findCookie(asked.headers.cookie)
    if (!presented) return { principal: anonymous, presented: false }
    const { name, value } = presented
    if (value === '') return failed('unauthenticated')
    const signs = await getSigner()
    if (name === 'access_token') return withinSite(asked, await byBearer(asked, value))
    const named = signs.readCookie(value)
    if (!named) return failed('session_forged')
    return withinSite(asked, await enter(asked, named, 'session_expired'))
  }

  /** Browsers send cookies by themselves, so what writes must come from a page of ours, or from no page. */
  async function withinSite(asked: Asked, found: Authenticated): Promise<Authenticated> {
    if (READS.has(asked.method) || !isFromElsewhere(asked.headers, asked.host)) return found
    if (found.principal.id === anonymous.id) return found
    current.delete(asked)
    await parts.onDenied(found.principal, 'same-site')
    return failed('cross_site')
  }

  function cookiesOf(signs: CookieSigner, session: Session, asked: Asked): string[] {
    const at = now()
    const token = signs.token(session, at, session.expiresAt)
    return setCookies(
      { cookie: signs.cookie(session), token },
      {
        maxAge: Math.max(1, Math.floor((session.expiresAt - at) / 1000)),
        secure: asked.protocol === 'https',
      },
    )
  }

  /**
   * Another site could log its visitor in as somebody it has a credential of. Nothing is used up before cookies can be
   * signed. @throws Problem `cross_site`, `not_ready`
   */
  async function prepareLogin(asked: Asked): Promise<CookieSigner> {
    if (isFromElsewhere(asked.headers, asked.host)) throw new Problem('cross_site')
    return getSigner()
  }

  return {
    /** By the first that applies: an API token, a session's JWT as a bearer, the first cookie. */
    authenticate(asked: Asked): Authenticated | Promise<Authenticated> {
      const { headers, ip } = asked
      const isBearer = /^\s*bearer\b/i.test(headers.authorization ?? '')
      if (!isBearer && !headers['x-nomad-token']) return byCookie(asked)
      return parts.byToken(headers, ip, (token) =>
        isSessionToken(token) ? byBearer(asked, token) : undefined,
      )
    },

    /**
     * Opens a session; resolves to its cookies.
     * @throws Problem `cross_site`, `credentials_wrong`, `rate_limited`, `overloaded`, `not_ready`
     */
    async login(asked: Asked, name: string, password: string): Promise<string[]> {
      const signs = await prepareLogin(asked)
      const { id: userId, role, proof } = await users.verifyPassword(name, password, asked.ip)
      if (role === 'no-access') throw new Problem('credentials_wrong')
      const opened = await sessions.open(userId, KIND, LOGIN_TTL, proof)
      return cookiesOf(signs, { ...opened, userId }, asked)
    },

    /**
     * The same, with a token that counts once.
     * @throws Problem `cross_site`, `login_token_wrong`, `rate_limited`, `not_ready`
     */
    async loginByToken(asked: Asked, token: string): Promise<string[]> {
      const signs = await prepareLogin(asked)
      const opened = await parts.loginTokens.logIn(token, asked.ip, KIND, LOGIN_TTL)
      return cookiesOf(signs, opened, asked)
    },

    /** Ends the session of the request, if it has one; resolves to cookies that end the client's. */
    async logout(asked: Asked): Promise<string[]> {
      const session = current.get(asked)
      current.delete(asked)
      if (session) await sessions.end(session.id, KIND)
      return setCookies(
        { cookie: '', token: '' },
        { maxAge: 0, secure: asked.protocol === 'https' },
      )
    },

    /** Whether a session is its credential. */
    has: (asked: Asked): boolean => current.has(asked),

    /** Each use lengthens a session to an hour at least; resolves to its cookies, none where none was used. */
    async renew(asked: Asked): Promise<string[]> {
      const session = current.get(asked)
      if (!session) return []
      const at = now()
      try {
        if (at + USE_TTL - session.expiresAt >= STEP) {
          await sessions.extend(session.id, KIND, USE_TTL)
          session.expiresAt = at + USE_TTL
        }
        return cookiesOf(await getSigner(), session, asked)
      } catch (error) {
        // The answer itself is done.
        context.log.warn({ err: error }, 'a session could not be lengthened')
        return []
      }
    },
  }
}
