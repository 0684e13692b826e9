import { CompiledQuery, type DatabaseConnection, type Kysely } from 'kysely'
import type { Instant } from '../time.ts'
import { accessQueries } from './access.ts'
import { accessTokenQueries } from './access-tokens.ts'
import { type AuditEvent, auditQueries } from './audit.ts'
import { deliveryServiceQueries } from './delivery-services.ts'
import { digestUseQueries } from './digest-uses.ts'
import { externalSecurityQueries, jwtSecretQueries } from './external-securities.ts'
import { lend, readOnly } from './guards.ts'
import { type Direct, directly } from './hot.ts'
import { identityQueries } from './identities.ts'
import { keyQueries } from './keys.ts'
import { loginTokenQueries } from './login-tokens.ts'
import { operationQueries } from './operation.ts'
import { profileQueries } from './profiles.ts'
import { promiseQueries } from './promises.ts'
import { dataApiKeysQueries, remoteJwksQueries } from './remote-jwks.ts'
import { ringQueries } from './rings.ts'
import { roleGrantQueries } from './role-grants.ts'
import { rootKeyQueries } from './root-keys.ts'
import type { Tables } from './schema.ts'
import { sealedQueries } from './sealed.ts'
import { serverSecretQueries } from './server-secrets.ts'
import { sessionQueries } from './sessions.ts'
import { tenantQueries } from './tenants.ts'
import { uriSigningQueries } from './uri-signing.ts'
import { userQueries } from './users.ts'

/** Every aggregate's queries, over one connection or one transaction. */
export type Tx = ReturnType<typeof createTx>

export type Listener = (events: readonly AuditEvent[]) => void

export interface Store {
  /** Reads outside any transaction; inside one use its `tx`, this would wait for it for ever. Refuses to write. */
  read: Tx
  /** All or nothing. `work` does no I/O but SQL and may run again. Events are told after the commit. */
  transaction<T>(work: (tx: Tx) => Promise<T>): Promise<T>
  /** Like `transaction`, but those that arrive together share one commit, with a savepoint each. */
  grouped<T>(work: (tx: Tx) => Promise<T>): Promise<T>
  /** Calls `listener` after every commit that recorded something, in their order; returns how to stop that. */
  onCommit(listener: Listener): () => void
  /** Waits for what was begun; what comes later fails. */
  close(): Promise<void>
}

export interface StoreParts {
  db: Kysely<Tables>
  /** Names this process's audit chain. */
  writer: string
  now(): Instant
  newId(): string
  /** True for an error that says: run the whole transaction again. */
  isRetryable(error: unknown): boolean
  /** An error in words for a caller where there are any; else the error itself. */
  explain(error: unknown): unknown
  /** A listener failed; what it listens to is committed all the same. */
  onListenerError(error: unknown): void
  /** Closes the backend when what waits for a connection has had it; called once. */
  close(): Promise<void>
}

const GROUP_LIMIT = 512
const SAVEPOINT = CompiledQuery.raw('savepoint caller')
const RELEASE = CompiledQuery.raw('release savepoint caller')
const ROLLBACK = CompiledQuery.raw('rollback to savepoint caller')
const ATTEMPTS = 10

function createTx(direct: Direct, parts: StoreParts, told: AuditEvent[]) {
  const { db } = direct
  return {
    ...operationQueries(db, parts.now),
    ...accessQueries(direct, parts.newId),
    ...identityQueries(direct, parts.newId),
    ...accessTokenQueries(direct),
    ...deliveryServiceQueries(direct),
    ...uriSigningQueries(direct),
    rings: ringQueries(db),
    keys: keyQueries(direct),
    rootKeys: rootKeyQueries(db),
    sealed: sealedQueries(db),
    serverSecrets: serverSecretQueries(db),
    tenants: tenantQueries(db),
    users: userQueries(direct),
    sessions: sessionQueries(direct),
    loginTokens: loginTokenQueries(db),
    promises: promiseQueries(direct),
    profiles: profileQueries(db),
    externalSecurities: externalSecurityQueries(direct),
    jwtSecrets: jwtSecretQueries(direct),
    roleGrants: roleGrantQueries(db),
    digestUses: digestUseQueries(direct),
    dataApiKeys: dataApiKeysQueries(db),
    remoteJwks: remoteJwksQueries(db),
    audit: auditQueries(direct, parts.writer, parts.now, told),
  }
}

/** The one that a transaction is bound to. */
const connectionOf = (trx: Kysely<Tables>): Promise<DatabaseConnection> =>
  trx.getExecutor().provideConnection(async (connection) => connection)

interface Job {
  run(tx: Tx): Promise<unknown>
  resolve(value: unknown): void
  reject(error: unknown): void
}

/** The parts that every backend shares: transactions, group commit, events after the commit. */
export function createStore(parts: StoreParts): Store {
  const { db } = parts
  const listeners = new Set<Listener>()
  const queue: Job[] = []
  let flushing: Promise<void> | undefined
  let closing: Promise<void> | undefined

  function tell(events: readonly AuditEvent[]): void {
    if (events.length === 0) return
    for (const listener of listeners) {
      try {
        listener(events)
      } catch (error) {
        parts.onListenerError(error)
      }
    }
  }

  async function commit<T>(
    work: (tx: Tx, direct: Direct, told: AuditEvent[]) => Promise<T>,
  ): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        // Told before the connection is given back: the next commit cannot be told first.
        return await db.connection().execute(async (connection) => {
          const told: AuditEvent[] = []
          const result = await connection.transaction().execute(async (trx) => {
            const direct = directly(trx, await connectionOf(trx))
            return work(createTx(direct, parts, told), direct, told)
          })
          tell(told)
          return result
        })
      } catch (error) {
        if (attempt === ATTEMPTS || !parts.isRetryable(error)) throw parts.explain(error)
      }
    }
  }

  async function runGroup(jobs: readonly Job[]): Promise<void> {
    try {
      const answers = await commit(async (tx, direct, told) => {
        const settle: (() => void)[] = []
        for (const job of jobs) {
          const before = told.length
          await direct.execute(SAVEPOINT)
          try {
            const value = await lend(tx, job.run)
            settle.push(() => job.resolve(value))
          } catch (error) {
            if (parts.isRetryable(error)) throw error
            // Where the database gave the whole transaction up there is no savepoint, and `error` says why.
            await direct.execute(ROLLBACK).catch(() => Promise.reject(error))
            told.length = before
            settle.push(() => job.reject(error))
          }
          await direct.execute(RELEASE)
        }
        return settle
      })
      for (const answer of answers) answer()
    } catch (error) {
      if (jobs.length === 1) for (const job of jobs) job.reject(error)
      // Whose fault it was only shows alone: a deferred constraint speaks at the commit.
      else for (const job of jobs) await runGroup([job])
    }
  }

  async function flush(): Promise<void> {
    // One turn of the event loop gathers what arrives together.
    await new Promise((resolve) => setImmediate(resolve))
    while (queue.length > 0) await runGroup(queue.splice(0, GROUP_LIMIT))
    flushing = undefined
  }

  return {
    read: createTx(directly(db.withPlugin(readOnly)), parts, []),
    transaction: (work) => commit((tx) => lend(tx, work)),
    grouped<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
      return new Promise<T>((resolve, reject) => {
        queue.push({ run: work, resolve: (value) => resolve(value as T), reject })
        flushing ??= flush()
      })
    },
    onCommit(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    close() {
      closing ??= (async () => {
        await flushing
        await parts.close()
      })()
      return closing
    },
  }
}
