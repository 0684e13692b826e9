import { createHmac, randomBytes } from 'node:crypto'
import { anonymous, type Context, type Principal } from '../context.ts'
import { isProblem } from '../errors.ts'
import { MINUTE } from '../time.ts'
import type { Authenticated } from './authenticate.ts'
import type { Limiter, UserAccount } from './logins.ts'

// A name and a password in every request (RFC 7617). The password is hashed for the first one only.

/** Characters of a header field that is looked at. */
const MAX_HEADER = 4096
const SCHEME = /^\s*basic\s+([A-Za-z0-9+/]+={0,2})\s*$/i
const CACHE_SIZE = 1000

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** UTF-8; the first colon splits, and the password may be empty. Undefined: it is no such credential. */
export function parseBasic(authorization: string): { name: string; password: string } | undefined {
  if (authorization.length > MAX_HEADER) return undefined
  const [, encoded = ''] = SCHEME.exec(authorization) ?? []
  const bytes = Buffer.from(encoded, 'base64')
  if (bytes.toString('base64').replace(/=+$/, '') !== encoded.replace(/=+$/, '')) return undefined
  try {
    const text = utf8.decode(bytes)
    const colon = text.indexOf(':')
    return colon === -1
      ? undefined
      : { name: text.slice(0, colon), password: text.slice(colon + 1) }
  } catch {
    return undefined
  }
}

export interface BasicParts {
  context: Pick<Context, 'store' | 'monotonic'>
  limiter: Pick<Limiter, 'check'>
  /** @throws Problem `credentials_wrong`, `rate_limited`, `overloaded` */
  verifyPassword(name: string, password: string, address: string): Promise<UserAccount>
  principalOf(userId: string): Promise<Principal | undefined>
}

export function createBasic({ context, limiter, verifyPassword, principalOf }: BasicParts) {
  const { store, monotonic } = context
  /** Of this process alone: what is kept of a credential is good for nothing else. */
  const key = randomBytes(32)
  const remembered = new Map<string, { userId: string; until: bigint }>()
  /** Those that are being hashed: of many that come at once with the same, one is. */
  const pending = new Map<string, Promise<string>>()
  let generation = 0
  const stop = store.onCommit((events) => {
    if (!events.some(({ type }) => type.startsWith('user.'))) return
    generation++
    remembered.clear()
  })

  async function userOf(authorization: string, address: string): Promise<string | undefined> {
    const mark = createHmac('sha256', key).update(authorization).digest('base64')
    const known = remembered.get(mark)
    if (known && monotonic() < known.until) {
      // Else who has failed too often could go on to guess, at no cost, until one guess is answered for.
      limiter.check(known.userId, address)
      return known.userId
    }
    const credential = parseBasic(authorization)
    if (!credential) return undefined
    const name = `${generation} ${address} ${mark}`
    const running = pending.get(name)
    if (running) return running
    const started = verify(credential, address, mark).finally(() => pending.delete(name))
    pending.set(name, started)
    return started
  }

  async function verify(
    { name, password }: { name: string; password: string },
    address: string,
    mark: string,
  ): Promise<string> {
    const before = generation
    const { id } = await verifyPassword(name, password, address)
    if (before !== generation) return id
    remembered.delete(mark)
    const [oldest] = remembered.keys()
    if (oldest !== undefined && remembered.size >= CACHE_SIZE) remembered.delete(oldest)
    remembered.set(mark, { userId: id, until: monotonic() + MINUTE })
    return id
  }

  async function authenticate(authorization: string, address: string): Promise<Authenticated> {
    const asOf = generation
    try {
      const userId = await userOf(authorization, address)
      const principal = userId === undefined ? undefined : await principalOf(userId)
      if (!principal) return NOBODY
      const found: Authenticated = { principal, presented: true }
      found.again = () => (asOf === generation ? found : authenticate(authorization, address))
      return found
    } catch (error) {
      if (!isProblem(error) || error.status >= 500) throw error
      return { ...NOBODY, failure: error }
    }
  }

  return {
    /** Who sends this header. A wrong one is `anonymous` with a `failure`; @throws Problem `overloaded` */
    authenticate,
    /** Stops listening to the store. */
    close: stop,
  }
}

const NOBODY: Authenticated = { principal: anonymous, presented: true }
