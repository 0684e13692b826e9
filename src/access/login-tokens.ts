import type { Context, Principal } from '../context.ts'
import { isProblem, Problem } from '../errors.ts'
import type { SessionKind } from '../store/sessions.ts'
import type { Tx } from '../store/store.ts'
import type { UserRow } from '../store/users.ts'
import { type Duration, fromMillis, HOUR, toIso, toMillis } from '../time.ts'
import { hashToken, isLoginToken, newLoginToken } from './credential.ts'
import { checkLasts } from './lasting.ts'
import type { Limiter } from './logins.ts'
import { checkBoundary } from './rights.ts'
import type { LoginToken } from './schema.ts'
import type { OpenedSession } from './sessions.ts'
import { visibleUser } from './users.ts'

// Login tokens: with one a user logs in once, and no password is asked for (URI signing contract section 3). Whoever may
// set the password of a user may make one; a new password, another role or tenant and the end of the user void it.

/** Where no ttl is given. */
const TTL = HOUR

export interface LoginTokensParts {
  context: Pick<Context, 'store' | 'now'>
  limiter: Limiter
  /** A session of whom `admit` lets in, opened in the transaction that it ran in. */
  openFor(
    admit: (tx: Tx) => Promise<UserRow>,
    kind: SessionKind,
    ttlMillis: number,
  ): Promise<OpenedSession>
}

export function createLoginTokens({ context, limiter, openFor }: LoginTokensParts) {
  const { store } = context
  const now = () => toMillis(context.now())

  /** The user that it lets in, this once. @throws Problem `login_token_wrong` */
  async function claim(tx: Tx, tokenHash: Uint8Array): Promise<UserRow> {
    const userId = await tx.loginTokens.claim(tokenHash, now())
    const user = userId === undefined ? undefined : await tx.users.byId(userId)
    if (!user || user.role === 'no-access') throw new Problem('login_token_wrong')
    await tx.audit.append({
      ...{ type: 'login-token.used', subject: user.name, principal: `user:${user.name}` },
    })
    return user
  }

  async function deny(address: string): Promise<never> {
    limiter.failed(undefined, address)
    await store.grouped((tx) =>
      tx.audit.append({
        ...{ type: 'login.denied', subject: 'unknown user', principal: 'anonymous' },
        detail: { method: 'login-token', address },
      }),
    )
    throw new Problem('login_token_wrong')
  }

  return {
    /**
     * Makes a token for a user and returns it, once; the one before is void. The caller must have all that the user has.
     * @throws Problem `user_not_found`, `privilege_boundary`
     */
    async make(principal: Principal, name: string, ttl: Duration = TTL): Promise<LoginToken> {
      checkLasts(principal, 'make login tokens')
      const token = newLoginToken()
      return store.transaction(async (tx) => {
        const { row, names, held } = await visibleUser(tx, principal, name)
        checkBoundary(principal, names, held)
        const createdAt = now()
        const ends = createdAt + toMillis(ttl)
        await tx.loginTokens.put({
          ...{ tokenHash: hashToken(token), userId: row.id, createdAt, expiresAt: ends },
        })
        const expiresAt = toIso(fromMillis(ends))
        await tx.audit.append({
          ...{ type: 'login-token.created', subject: row.name, principal: principal.id },
          detail: { expiresAt },
        })
        return { token, expiresAt }
      })
    },

    /**
     * Opens a session of the user that it was made for, and uses it up in the same transaction. What lets nobody in counts
     * as a wrong password does, by address: nobody can say whose account it was meant for.
     * @throws Problem `login_token_wrong`, `rate_limited`
     */
    async logIn(
      token: string,
      address: string,
      kind: SessionKind,
      ttlMillis: number,
    ): Promise<OpenedSession> {
      limiter.check('', address)
      const tokenHash = isLoginToken(token) ? hashToken(token) : undefined
      // Looked up first, so that guesses wait for no writer.
      const known = tokenHash && (await store.read.loginTokens.byHash(tokenHash))
      if (!tokenHash || !known) return deny(address)
      try {
        return await openFor((tx) => claim(tx, tokenHash), kind, ttlMillis)
      } catch (error) {
        if (isProblem(error, 'login_token_wrong')) return deny(address)
        throw error
      }
    },

    /** Forgets those that have ended: the timer's work. */
    async prune(): Promise<void> {
      await store.grouped((tx) => tx.loginTokens.prune(now()))
    },
  }
}
