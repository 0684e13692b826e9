import { hash } from 'node:crypto'
import { type Insertable, sql } from 'kysely'
import { type Instant, toMillis } from '../time.ts'
import { type Direct, hot } from './hot.ts'
import type { AuditEventsTable } from './schema.ts'

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
  const texts = fields.map(String)
  const lengths = texts.map((text) => Buffer.byteLength(text))
  const all = Buffer.allocUnsafe(lengths.reduce((sum, length) => sum + 4 + length, previous.length))
  all.set(previous)
  let at = previous.length
  for (const [index, text] of texts.entries()) {
    at = all.writeUInt32BE(lengths[index] ?? 0, at)
    at += all.write(text, at)
  }
  return hash('sha256', all, 'buffer')
}

const insert = hot<Insertable<AuditEventsTable>>((db, event) =>
  db.insertInto('audit_events').values({
    ...{ writer: event.writer, seq: event.seq, at: event.at, type: event.type },
    ...{ subject: event.subject, principal: event.principal, detail: event.detail },
    ...{ previous_hash: event.previous_hash, hash: event.hash },
  }),
)

const selectHead = hot<{ writer: string }>((db, { writer }) =>
  db
    .selectFrom('audit_events')
    .select(['seq', 'hash'])
    .where('writer', '=', writer)
    .orderBy('seq', 'desc')
    .limit(sql.lit(1)),
)

/** Appends to this writer's chain; `told` collects what is announced after the commit. */
export function auditQueries(
  direct: Direct,
  writer: string,
  now: () => Instant,
  told: AuditEvent[],
) {
  const { db } = direct

  async function head() {
    const { rows } = await selectHead(direct, { writer })
    return rows[0] as { seq: bigint; hash: Uint8Array } | undefined
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
      const link = chainHash(previous, [writer, seq, at, type, subject, principal, text])
      await insert(direct, {
        ...{ writer, seq, at, type, subject, principal, detail: text },
        ...{ previous_hash: previous, hash: link },
      })
      const event = { writer, seq, at, type, subject, principal, detail, hash: link }
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
