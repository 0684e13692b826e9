import { createHash } from 'node:crypto'
import type { Insertable, Kysely } from 'kysely'
import { type Instant, toMillis } from '../time.ts'
import { hot } from './hot.ts'
import type { AuditEventsTable, Tables } from './schema.ts'

/** Something that happened, as it is recorded in its transaction and told after the commit. */
export interface AuditEvent {
  writer: string
  seq: bigint
  /** Unix milliseconds. */
  at: number
  /** `noun.past-participle`. */
  type: string
  subject: string
  principal: string
  detail: Record<string, unknown>
  /** The link of the chain that this is. */
  hash: Uint8Array
}

export type NewEvent = Pick<AuditEvent, 'type' | 'subject' | 'principal'> & {
  detail?: Record<string, unknown>
}

const GENESIS = new Uint8Array(32)

/** One link of the chain: SHA-256 over the previous hash and every field, each with its length in front. */
export function chainHash(
  previous: Uint8Array,
  fields: readonly (string | bigint | number)[],
): Uint8Array {
  const hash = createHash('sha256').update(previous)
  for (const field of fields) {
    const bytes = Buffer.from(String(field))
    const length = Buffer.alloc(4)
    length.writeUInt32BE(bytes.length)
    hash.update(length).update(bytes)
  }
  return hash.digest()
}

const insert = hot<Insertable<AuditEventsTable>>((db, event) =>
  db.insertInto('audit_events').values({
    ...{ writer: event.writer, seq: event.seq, at: event.at, type: event.type },
    ...{ subject: event.subject, principal: event.principal, detail: event.detail },
    ...{ previous_hash: event.previous_hash, hash: event.hash },
  }),
)

/** Appends to this writer's chain; `told` collects what is announced after the commit. */
export function auditQueries(
  db: Kysely<Tables>,
  writer: string,
  now: () => Instant,
  told: AuditEvent[],
) {
  async function head() {
    return db
      .selectFrom('audit_events')
      .select(['seq', 'hash'])
      .where('writer', '=', writer)
      .orderBy('seq', 'desc')
      .limit(1)
      .executeTakeFirst()
  }

  return {
    head,

    async append({ type, subject, principal, detail = {} }: NewEvent): Promise<AuditEvent> {
      // What this transaction has appended already is the head; a savepoint that is rolled back takes it away again.
      const last = told.at(-1) ?? (await head())
      const previous = last?.hash ?? GENESIS
      const seq = (last?.seq ?? 0n) + 1n
      const at = toMillis(now())
      const text = JSON.stringify(detail)
      const hash = chainHash(previous, [writer, seq, at, type, subject, principal, text])
      await insert(db, {
        ...{ writer, seq, at, type, subject, principal, detail: text },
        ...{ previous_hash: previous, hash },
      })
      const event = { writer, seq, at, type, subject, principal, detail, hash }
      told.push(event)
      return event
    },

    /** The chain of this writer, oldest first. */
    async list(after: bigint, limit: number) {
      return db
        .selectFrom('audit_events')
        .selectAll()
        .where('writer', '=', writer)
        .where('seq', '>', after)
        .orderBy('seq')
        .limit(limit)
        .execute()
    },
  }
}
