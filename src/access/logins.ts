import { createHmac, hash, randomBytes } from 'node:crypto'
import type { Context } from '../context.ts'
import { Problem } from '../errors.ts'
import { addressKey } from '../http/address.ts'
import type { UserRow } from '../store/users.ts'
import { MINUTE } from '../time.ts'
import type { createFailures } from './failures.ts'
import { isPassword, type Passwords } from './passwords.ts'

// A name and a password in, an account out. Wrong names and wrong passwords look alike, in words and in time.

/** Whose password it was. */
export interface UserAccount {
  id: string
  name: string
  role: string
  /** Names the password that was checked, and says nothing of it: a session is opened only while it is the same. */
  proof: string
}

export type Limiter = Pick<ReturnType<typeof createFailures>, 'check' | 'failed'>

export interface LoginsParts {
  context: Pick<Context, 'store' | 'monotonic'>
  passwords: Passwords
  limiter: Limiter
}

/** A password that was right is not hashed again for so long, by monotonic clock. */
const REMEMBERED = MINUTE
const REMEMBERED_SIZE = 1000
/** Characters of a name that is looked up. */
const MAX_NAME = 64

/** Of a password at rest. Undefined for an account that no password opens. */
export const proofOf = (passwordHash: string | undefined): string =>
  passwordHash === undefined ? '' : hash('sha256', passwordHash, 'base64url')

export function createLogins({ context, passwords, limiter }: LoginsParts) {
  const { store, monotonic } = context
  /** Of this process alone; what is derived from a password never leaves it. */
  const key = randomBytes(32)
  const remembered = new Map<string, bigint>()
  const stop = store.onCommit((events) => {
    if (events.some(({ type }) => type.startsWith('user.'))) remembered.clear()
  })

  const markOf = ({ id, passwordHash }: UserRow, password: string): string =>
    createHmac('sha256', key)
      .update(`${id} ${passwordHash} `)
      .update(password.normalize('NFC'))
      .digest('base64')

  function isRemembered(mark: string): boolean {
    const until = remembered.get(mark)
    return until !== undefined && monotonic() < until
  }

  function remember(mark: string): void {
    remembered.delete(mark)
    const [oldest] = remembered.keys()
    if (oldest !== undefined && remembered.size >= REMEMBERED_SIZE) remembered.delete(oldest)
    remembered.set(mark, monotonic() + REMEMBERED)
  }

  /**
   * What failures are counted for. Names that there are not share a few thousand counters, so that they are refused as
   * others are and yet cannot fill the memory.
   */
  const accountOf = (name: string, row: UserRow | undefined): string =>
    row?.id ?? `nobody ${createHmac('sha256', key).update(name).digest('hex').slice(0, 3)}`

  async function deny(name: string, row: UserRow | undefined, address: string): Promise<never> {
    limiter.failed(accountOf(name, row), address)
    await store.grouped((tx) =>
      tx.audit.append({
        // People type passwords where a name is asked for: what is nobody's name stays out of the record.
        ...{ type: 'login.denied', subject: row?.name ?? 'unknown user', principal: 'anonymous' },
        detail: { method: 'password', address },
      }),
    )
    throw new Problem('credentials_wrong')
  }

  return {
    /**
     * Whose name and password these are. Failures are counted by account and by address.
     * @throws Problem `credentials_wrong`, `rate_limited`, `overloaded`
     */
    async verifyPassword(name: string, password: string, address: string): Promise<UserAccount> {
      const row = name.length <= MAX_NAME ? await store.read.users.byName(name) : undefined
      const account = accountOf(name, row)
      limiter.check(account, address)
      const mark = row?.passwordHash && isPassword(password) ? markOf(row, password) : undefined
      if (mark === undefined || !isRemembered(mark)) {
        const isRight = await passwords.verify(
          password,
          row?.passwordHash,
          addressKey(address),
          // Of many that came at once, those behind the limit cost no more than the wait.
          () => limiter.check(account, address),
        )
        if (!isRight) return deny(name, row, address)
      }
      // The password may have been changed, or the user deleted, while it was hashed.
      const now = row && (await store.read.users.byId(row.id))
      if (!row || !now || now.passwordHash !== row.passwordHash) {
        throw new Problem('credentials_wrong')
      }
      if (mark !== undefined) remember(mark)
      return { id: now.id, name: now.name, role: now.role, proof: proofOf(now.passwordHash) }
    },

    /** Stops listening to the store. */
    close: stop,
  }
}
