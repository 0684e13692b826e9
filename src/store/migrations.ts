import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Problem } from '../errors.ts'

export interface Migration {
  /** `0001-init`. */
  name: string
  sql: string
  hash: string
}

export interface Applied {
  name: string
  hash: string
}

const FILE = /^(\d{4}-[a-z0-9-]+)\.sql$/

/** Reads `NNNN-name.sql` of one folder in order. */
export async function readMigrations(folder: string): Promise<Migration[]> {
  const names = (await readdir(folder)).flatMap((file) => FILE.exec(file)?.[1] ?? []).sort()
  return Promise.all(
    names.map(async (name) => {
      const text = await readFile(join(folder, `${name}.sql`), 'utf8')
      return { name, sql: text, hash: createHash('sha256').update(text).digest('hex') }
    }),
  )
}

/** What is still to be applied; throws `migration_mismatch` when what was applied is not what is here. */
export function pending(known: readonly Migration[], applied: readonly Applied[]): Migration[] {
  for (const [at, done] of applied.entries()) {
    const here = known[at]
    if (!here || here.name !== done.name) {
      const skipped = known.some(({ name }) => name === done.name)
      throw new Problem(
        'migration_mismatch',
        here && skipped
          ? `Migration ${here.name} belongs before ${done.name}, which this database already has.`
          : `The database has migration ${done.name}, which this version does not know: it was written by a newer keyringd.`,
      )
    }
    if (here.hash !== done.hash) {
      throw new Problem(
        'migration_mismatch',
        `Migration ${done.name} was changed after it was applied to this database; restore the original file.`,
      )
    }
  }
  return known.slice(applied.length)
}
