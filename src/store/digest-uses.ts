import { type Direct, hot } from './hot.ts'

export interface DigestUse {
  nonce: string
  /** The client's counter (RFC 7616 section 3.4): the same one does not count twice. */
  nc: number
  /** Unix milliseconds: from then on the nonce counts for nothing anyway. */
  expiresAt: number
}

const claim = hot<{ nonce: string; nc: number; expiresAt: number }>((db, use) =>
  db
    .insertInto('digest_uses')
    .values({ nonce: use.nonce, nc: use.nc, expires_at: use.expiresAt })
    .onConflict((conflict) => conflict.doNothing()),
)

/** Counters that were used with a nonce. */
export function digestUseQueries(direct: Direct) {
  const { db } = direct
  return {
    /** False: it was used before. */
    async claim({ nonce, nc, expiresAt }: DigestUse): Promise<boolean> {
      const { numAffectedRows } = await claim(direct, { nonce, nc, expiresAt })
      return numAffectedRows === 1n
    },

    /** Drops what ended before `time` (Unix milliseconds); how many rows that were. */
    async pruneBefore(time: number): Promise<number> {
      const result = await db
        .deleteFrom('digest_uses')
        .where('expires_at', '<', BigInt(time))
        .executeTakeFirst()
      return Number(result.numDeletedRows)
    },
  }
}
