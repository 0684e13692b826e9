import { hash, randomBytes } from 'node:crypto'
import type { Context, Principal } from '../context.ts'
import { Problem } from '../errors.ts'
import type { SessionKind } from '../store/sessions.ts'
import type { Tx } from '../store/store.ts'
import type { UserRow } from '../store/users.ts'
import { toMillis } from '../time.ts'
import { proofOf } from './logins.ts'

// Sessions: a login that goes on. What names one is known to the client alone; here is its SHA-256.

const ID_BYTES = 32
const ID = /^[A-Za-z0-9_-]{43}$/
/** Of one user and kind; the newest. A client that logs in anew for each request fills no database. */
const PER_USER = 100
const PRUNE_AT_ONCE = 1000

export interface FoundSession {
  principal: Principal
  userId: string
  /** Unix milliseconds. */
  expiresAt: number
}

export interface OpenedSession {
  /** What names it, for the client alone. */
  id: string
  userId: string
  /** Unix milliseconds. */
  expiresAt: number
}

export interface NoSession {
  failure: 'unknown' | 'expired' | 'user_gone'
}

export interface SessionsParts {
  context: Pick<Context, 'store' | 'now'>
  principalOf(userId: string): Promise<Principal | undefined>
}

/** Random, so that a fast hash is enough. Undefined for what no session was ever called. */
const hashOf = (id: string): Buffer | undefined =>
  ID.test(id) ? hash('sha256', id, 'buffer') : undefined

export function createSessions({ context, principalOf }: SessionsParts) {
  const { store } = context
  const now = () => toMillis(context.now())

  /** Opens a session of whom `admit` lets in, in one transaction; the oldest ones end where there are too many. */
  async function openFor(
    admit: (tx: Tx) => Promise<UserRow>,
    kind: SessionKind,
    ttlMillis: number,
  ): Promise<OpenedSession> {
    const id = randomBytes(ID_BYTES).toString('base64url')
    const idHash = hash('sha256', id, 'buffer')
    const createdAt = now()
    const expiresAt = createdAt + ttlMillis
    const userId = await store.grouped(async (tx) => {
      const user = await admit(tx)
      // First those that go: of several in one millisecond the new one is none.
      await tx.sessions.trim(user.id, kind, PER_USER - 1)
      await tx.sessions.insert({ idHash, userId: user.id, kind, createdAt, expiresAt })
      await tx.audit.append({
        ...{ type: 'session.opened', subject: user.name, principal: `user:${user.name}` },
        detail: { kind },
      })
      return user.id
    })
    return { id, userId, expiresAt }
  }

  return {
    openFor,

    /**
     * Opens a session of a user. `proof` is that of the login: a password that was changed since opens none.
     * @throws Problem `credentials_wrong`
     */
    open: (
      userId: string,
      kind: SessionKind,
      ttlMillis: number,
      proof?: string,
    ): Promise<OpenedSession> =>
      openFor(
        async (tx) => {
          const user = await tx.users.byId(userId)
          if (user && (proof === undefined || proof === proofOf(user.passwordHash))) return user
          throw new Problem('credentials_wrong')
        },
        kind,
        ttlMillis,
      ),

    /** Whose session it is, and until when; or why it is nobody's. */
    async find(id: string, kind: SessionKind): Promise<FoundSession | NoSession> {
      const idHash = hashOf(id)
      const row = idHash && (await store.read.sessions.byHash(idHash, kind))
      if (!row) return { failure: 'unknown' }
      if (row.expiresAt <= now()) return { failure: 'expired' }
      const principal = await principalOf(row.userId)
      if (!principal) return { failure: 'user_gone' }
      return { principal, userId: row.userId, expiresAt: row.expiresAt }
    },

    /** From now on it lives so long at least. One that has ended stays ended; none is ever shortened. */
    async extend(id: string, kind: SessionKind, ttlMillis: number): Promise<void> {
      const idHash = hashOf(id)
      const at = now()
      if (idHash) await store.grouped((tx) => tx.sessions.extend(idHash, kind, at + ttlMillis, at))
    },

    /** A logout; done at once, and for good. */
    async end(id: string, kind: SessionKind): Promise<void> {
      const idHash = hashOf(id)
      if (!idHash) return
      await store.transaction(async (tx) => {
        const row = await tx.sessions.byHash(idHash, kind)
        const user = row && (await tx.users.byId(row.userId))
        if (!user) return
        await tx.sessions.delete(idHash, kind)
        await tx.audit.append({
          ...{ type: 'session.ended', subject: user.name, principal: `user:${user.name}` },
          detail: { kind },
        })
      })
    },

    /** Forgets those that have ended: the timer's work. */
    async prune(): Promise<void> {
      const at = now()
      let count = PRUNE_AT_ONCE
      while (count === PRUNE_AT_ONCE) {
        count = await store.transaction((tx) => tx.sessions.prune(at, PRUNE_AT_ONCE))
      }
    },
  }
}
