import { type Context, type Principal, system } from '../context.ts'
import { Problem } from '../errors.ts'
import type { Seals } from '../store/sealed.ts'
import type { Tx } from '../store/store.ts'
import type { UserRow } from '../store/users.ts'
import { fromMillis, toIso, toMillis } from '../time.ts'
import { sealHa1 } from './digest.ts'
import { contains } from './grants.ts'
import { checkLasts } from './lasting.ts'
import type { UserAccount } from './logins.ts'
import { proofOf } from './logins.ts'
import { type Names, readNames } from './names.ts'
import { isPassword, MAX_PASSWORD, type Passwords } from './passwords.ts'
import { checkBoundary, type Held } from './rights.ts'
import type { User, UserCreate, UserPatch } from './schema.ts'

// Users: who may make, see, change and delete them, all within the privilege boundary.

export interface UsersParts {
  context: Context
  passwords: Passwords
  /** Characters: `MIN_PASSWORD_LENGTH`. */
  minLength: number
  /** For what Digest logins need to know of a password. */
  seals: Seals
}

interface Seen {
  row: UserRow
  names: Names
  held: Held
}

export function createUsers({ context, passwords, minLength, seals }: UsersParts) {
  const { store, now, newId, log } = context

  /** @throws Problem `invalid_request`, `overloaded` */
  async function hashNew(password: string, caller: string): Promise<string> {
    checkNew(password, minLength)
    return passwords.hash(password, caller)
  }

  /**
   * Ends every session and voids the login token, in the same transaction. Digest logins, where there are some, go on
   * with the new password.
   */
  async function writePassword(
    tx: Tx,
    row: UserRow,
    { password, passwordHash }: NewPassword,
    principal: string,
  ): Promise<UserRow> {
    const digest = row.digest && (await sealHa1(seals, tx, row, password))
    const next = { ...row, passwordHash, digest, updatedAt: toMillis(now()) }
    await tx.users.update(next)
    const sessionsEnded = await tx.sessions.deleteOfUser(row.id)
    await tx.loginTokens.deleteOfUser(row.id)
    await tx.audit.append({
      ...{ type: 'user.password-changed', subject: row.name, principal },
      detail: { sessionsEnded },
    })
    return next
  }

  async function insert(
    tx: Tx,
    user: Omit<UserRow, 'id' | 'digest' | 'createdAt' | 'updatedAt'>,
    digestPassword?: string,
  ) {
    const [id, at] = [newId(), toMillis(now())]
    const digest =
      digestPassword === undefined
        ? undefined
        : await sealHa1(seals, tx, { id, name: user.name }, digestPassword)
    const row: UserRow = { ...user, id, digest, createdAt: at, updatedAt: at }
    await tx.users.insert(row)
    return row
  }

  return {
    /**
     * @throws Problem `name_taken`, `privilege_boundary`, `overloaded`, or `invalid_request` for a password that is
     * too short and a tenant that does not exist
     */
    async create(principal: Principal, body: UserCreate): Promise<User> {
      const { name, password, role, tenant, jwt = false, digest = false } = body
      if (digest && password === undefined) throw needsPassword()
      checkDigest(digest, role)
      checkLasts(principal, MAKE)
      const passwordHash =
        password === undefined ? undefined : await hashNew(password, principal.id)
      return store.transaction(async (tx) => {
        const names = await readNames(tx)
        checkBoundary(principal, names, { role, grants: [], tenant })
        const tenantId = tenant === undefined ? undefined : names.tenantId(tenant)
        if (await tx.users.byName(name)) {
          throw new Problem('name_taken', `There is a user ${name} already`)
        }
        const user = { name, passwordHash, role, tenantId, jwt }
        const row = await insert(tx, user, digest ? password : undefined)
        await tx.audit.append({
          ...{ type: 'user.created', subject: name, principal: principal.id },
          detail: { role, ...(tenant !== undefined && { tenant }), jwt, digest },
        })
        return describe(row, names)
      })
    },

    /** Those of the caller's tenant and below, by name. */
    async list(principal: Principal): Promise<User[]> {
      const names = await readNames(store.read)
      const rows = await store.read.users.list()
      return rows
        .filter((row) => isVisible(principal, row, names))
        .map((row) => describe(row, names))
    },

    /** @throws Problem `user_not_found` */
    async get(principal: Principal, name: string): Promise<User> {
      const { row, names } = await visibleUser(store.read, principal, name)
      return describe(row, names)
    },

    /**
     * Changes what is given; a new password ends every session; that, another role and another tenant void the login
     * token. The caller must have all that the user had, and will have.
     * @throws Problem `user_not_found`, `privilege_boundary`, `invalid_request`, `overloaded`
     */
    async update(principal: Principal, name: string, body: UserPatch): Promise<User> {
      const { password } = body
      if (body.digest === true && password === undefined) throw needsPassword()
      if (password !== undefined || body.jwt === true) checkLasts(principal, MAKE)
      // Who may not at all is told so before anything is hashed.
      const first = await visibleUser(store.read, principal, name)
      checkBoundary(principal, first.names, first.held)
      const passwordHash =
        password === undefined ? undefined : await hashNew(password, principal.id)
      return store.transaction(async (tx) => {
        const { row, names, held } = await visibleUser(tx, principal, name)
        checkBoundary(principal, names, held)
        const { role = row.role, jwt = row.jwt } = body
        const tenant = body.tenant === undefined ? held.tenant : (body.tenant ?? undefined)
        checkBoundary(principal, names, { role, grants: held.grants, tenant })
        const tenantId = tenant === undefined ? undefined : names.tenantId(tenant)
        const { digest: isDigest = row.digest !== undefined } = body
        checkDigest(isDigest, role)
        const digest =
          body.digest === true && password !== undefined
            ? await sealHa1(seals, tx, row, password)
            : isDigest
              ? row.digest
              : undefined
        let next: UserRow = { ...row, role, jwt, tenantId, digest, updatedAt: toMillis(now()) }
        const { password: _, ...others } = body
        if (Object.keys(others).length > 0) {
          await tx.users.update(next)
          // Who made one had all that the user had then, and perhaps not what they have now.
          if (role !== row.role || tenantId !== row.tenantId) {
            await tx.loginTokens.deleteOfUser(row.id)
          }
          await tx.audit.append({
            ...{ type: 'user.changed', subject: name, principal: principal.id },
            detail: { role, ...(tenant !== undefined && { tenant }), jwt, digest: isDigest },
          })
        }
        if (password !== undefined && passwordHash !== undefined) {
          next = await writePassword(tx, next, { password, passwordHash }, principal.id)
        }
        return describe(next, names)
      })
    },

    /**
     * Who says which JWTs are believed can become every user whom they may be of: he must have all that these have, and
     * be bound to no tenant. @throws Problem `privilege_boundary`
     */
    async checkJwtTrust(principal: Principal): Promise<void> {
      checkLasts(principal, 'say whose tokens count')
      const names = await readNames(store.read)
      checkBoundary(principal, names, { role: undefined, grants: [], tenant: undefined })
      for (const { id, role, jwt, tenantId } of await store.read.users.list()) {
        if (!jwt) continue
        const grants = names.toGrants(await store.read.users.grantsOf(id))
        checkBoundary(principal, names, { role, grants, tenant: names.tenantName(tenantId) })
      }
    },

    /**
     * A user changes the own password; `account` is the answer to the old one.
     * @throws Problem `credentials_wrong`, `invalid_request`, `overloaded`
     */
    async changeOwnPassword(account: UserAccount, password: string, caller: string) {
      const passwordHash = await hashNew(password, caller)
      await store.transaction(async (tx) => {
        const row = await tx.users.byId(account.id)
        if (!row || proofOf(row.passwordHash) !== account.proof) {
          throw new Problem('credentials_wrong')
        }
        await writePassword(tx, row, { password, passwordHash }, `user:${row.name}`)
      })
    },

    /** With all sessions and the login token. @throws Problem `user_not_found`, `privilege_boundary` */
    async delete(principal: Principal, name: string): Promise<void> {
      await store.transaction(async (tx) => {
        const { row, names, held } = await visibleUser(tx, principal, name)
        checkBoundary(principal, names, held)
        const sessionsEnded = await tx.sessions.deleteOfUser(row.id)
        await tx.users.delete(row.id)
        await tx.audit.append({
          ...{ type: 'user.deleted', subject: name, principal: principal.id },
          detail: { sessionsEnded },
        })
      })
    },

    /**
     * The user of `ADMIN_USER`: made with role `admin` where there is none, and given the password of the settings
     * where it has another, which ends its sessions. A role and a tenant that it has stay.
     */
    async ensureAdmin(name: string, password: string): Promise<'kept' | 'created' | 'replaced'> {
      const known = await store.read.users.byName(name)
      if (known && (await passwords.verify(password, known.passwordHash, system.id))) return 'kept'
      const passwordHash = await passwords.hash(password, system.id)
      return store.transaction(async (tx) => {
        const row = await tx.users.byName(name)
        if (row) {
          if (row.role !== 'admin' || row.tenantId !== undefined) {
            log.warn({ user: name }, 'KEYRINGD_ADMIN_USER is no unbound admin; its role stays')
          }
          await writePassword(tx, row, { password, passwordHash }, system.id)
          return 'replaced'
        }
        const role = 'admin'
        await insert(tx, { name, passwordHash, role, tenantId: undefined, jwt: false })
        await tx.audit.append({
          ...{ type: 'user.created', subject: name, principal: system.id },
          detail: { role, jwt: false },
        })
        return 'created'
      })
    },
  }
}

/** What a user is; see `checkLasts`. */
const MAKE = 'make users or set passwords'

interface NewPassword {
  password: string
  passwordHash: string
}

const needsPassword = () =>
  unfit('password', 'Logins by HTTP Digest begin with a password: give it in the same request')

/** What is kept for Digest is as good as the password, and one who may do all is not worth that. */
function checkDigest(isDigest: boolean, role: string): void {
  if (isDigest && role === 'admin') {
    throw unfit('digest', 'Nobody of role admin logs in by HTTP Digest')
  }
}

const unfit = (member: string, message: string) =>
  new Problem('invalid_request', message, {
    extra: { errors: [{ path: `body/${member}`, message }] },
  })

/** Counted as people do: by code points. @throws Problem `invalid_request` */
function checkNew(password: string, minLength: number): void {
  if ([...password].length < minLength) {
    throw unfit('password', `A password has at least ${minLength} characters`)
  }
  if (!isPassword(password)) {
    throw unfit('password', `A password is well-formed text of at most ${MAX_PASSWORD} characters`)
  }
}

/** The user of this name, where the caller's tenant contains theirs. @throws Problem `user_not_found` */
export async function visibleUser(tx: Tx, principal: Principal, name: string): Promise<Seen> {
  const names = await readNames(tx)
  const row = await tx.users.byName(name)
  if (!row || !isVisible(principal, row, names)) {
    throw new Problem('user_not_found', `There is no user ${name.slice(0, 64)}`)
  }
  const grants = names.toGrants(await tx.users.grantsOf(row.id))
  const tenant = names.tenantName(row.tenantId)
  return { row, names, held: { role: row.role, grants, tenant } }
}

const isVisible = (principal: Principal, row: UserRow, names: Names): boolean =>
  contains(names.tenants, principal.tenant, names.tenantName(row.tenantId))

function describe(row: UserRow, names: Names): User {
  const tenant = names.tenantName(row.tenantId)
  return {
    ...{ name: row.name, role: row.role },
    ...(tenant !== undefined && { tenant }),
    ...{ hasPassword: row.passwordHash !== undefined, jwt: row.jwt },
    digest: row.digest !== undefined,
    createdAt: toIso(fromMillis(row.createdAt)),
    updatedAt: toIso(fromMillis(row.updatedAt)),
  }
}
