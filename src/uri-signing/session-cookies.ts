import { createHmac } from 'node:crypto'
import { equalBytes, parseJsonStrict } from '../core/index.ts'
import { isProblem } from '../errors.ts'

// The two cookies of a Traffic Ops session (contract section 3). Both name one session of ours, which alone decides:
// what is signed here only keeps guesses away from the database. Pure.

export interface SessionName {
  /** The secret by which the session is found. */
  id: string
  userId: string
}

/** Characters; ours are shorter. */
const MAX_VALUE = 1024
const MAX_COOKIES = 8 * 1024
const ID = /^[\w-]{16,128}$/
const COOKIE = 'mojolicious'
const TOKEN = 'access_token'

/** The one header our access tokens have: compared as text, so that no token chooses its algorithm. */
const JWT_HEADER = Buffer.from('{"alg":"HS256","typ":"JWT"}').toString('base64url')

/** Writes and reads both, with keys of their own made of one secret. */
export function createCookieSigner(secret: Uint8Array) {
  const keyFor = (use: string) => createHmac('sha256', secret).update(`traffic-ops/${use}`).digest()
  const cookieKey = keyFor(COOKIE)
  const tokenKey = keyFor(TOKEN)
  const mac = (key: Uint8Array, text: string) => createHmac('sha256', key).update(text).digest()

  return {
    /** The value of `mojolicious`. */
    cookie({ id, userId }: SessionName): string {
      const text = Buffer.from(`${id}.${userId}`).toString('base64url')
      return `${text}--${mac(cookieKey, text).toString('hex')}`
    },

    /** Undefined: the signature is bad. */
    readCookie(value: string): SessionName | undefined {
      const end = value.lastIndexOf('--')
      if (end === -1 || value.length > MAX_VALUE) return undefined
      const text = value.slice(0, end)
      if (!equalBytes(mac(cookieKey, text), Buffer.from(value.slice(end + 2), 'hex'))) {
        return undefined
      }
      const [id = '', userId = ''] = Buffer.from(text, 'base64url').toString().split('.')
      return { id, userId }
    },

    /** The value of `access_token`, a JWT. Times in Unix milliseconds. */
    token({ id, userId }: SessionName, now: number, expiresAt: number): string {
      const claims = { sub: userId, sid: id, iat: seconds(now), exp: seconds(expiresAt) }
      const payload = Buffer.from(JSON.stringify(claims)).toString('base64url')
      const input = `${JWT_HEADER}.${payload}`
      return `${input}.${mac(tokenKey, input).toString('base64url')}`
    },

    /** Undefined: it is not usable. */
    readToken(value: string, now: number): SessionName | undefined {
      const [header, payload, signature = '', ...more] = value.split('.', 4)
      if (header !== JWT_HEADER || more.length > 0 || value.length > MAX_VALUE) return undefined
      const given = Buffer.from(signature, 'base64url')
      if (!equalBytes(mac(tokenKey, `${header}.${payload}`), given)) return undefined
      const { sub, sid, exp } = claimsOf(payload ?? '')
      if (typeof sub !== 'string' || typeof sid !== 'string' || !ID.test(sid)) return undefined
      return typeof exp === 'number' && exp > now / 1000 ? { id: sid, userId: sub } : undefined
    },
  }
}

export type CookieSigner = ReturnType<typeof createCookieSigner>

const seconds = (millis: number) => Math.floor(millis / 1000)

function claimsOf(payload: string): Record<string, unknown> {
  try {
    return Object(parseJsonStrict(Buffer.from(payload, 'base64url'))) as Record<string, unknown>
  } catch (error) {
    if (isProblem(error, 'token_malformed')) return {}
    throw error
  }
}

/** Whether a bearer can be one of ours: nothing else may, where it stands, be taken for it. */
export const isSessionToken = (bearer: string): boolean => bearer.startsWith(`${JWT_HEADER}.`)

export interface Presented {
  name: typeof COOKIE | typeof TOKEN
  value: string
}

/** The first of the two in the order of the header; undefined where neither is there. */
export function findCookie(header: string | undefined): Presented | undefined {
  if (header === undefined || header.length > MAX_COOKIES) return undefined
  for (const pair of header.split(';')) {
    const at = pair.indexOf('=')
    const name = pair.slice(0, Math.max(0, at)).trim()
    if (name === COOKIE || name === TOKEN) return { name, value: pair.slice(at + 1).trim() }
  }
  return undefined
}

export interface Attributes {
  /** Seconds; 0 ends the cookie. */
  maxAge: number
  /** Served over TLS. */
  secure: boolean
}

/** `Set-Cookie` of both, in the order of the original. */
export function setCookies(
  values: { cookie: string; token: string },
  { maxAge, secure }: Attributes,
): string[] {
  const rest = `; Path=/; Max-Age=${maxAge}; HttpOnly; SameSite=Strict${secure ? '; Secure' : ''}`
  return [`${COOKIE}=${values.cookie}${rest}`, `${TOKEN}=${values.token}${rest}`]
}
