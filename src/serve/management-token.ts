import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { newApiToken } from '../access/credential.ts'
import type { Server } from '../app.ts'
import type { Config } from '../config.ts'
import { Problem } from '../errors.ts'
import { writeSecretFile } from '../kek/files.ts'
import type { Store } from '../store/store.ts'

// The API token that a server begins with: where it comes from, and the file that keeps it.

export interface ManagementToken {
  /** Undefined when only the database knows it, hashed. */
  value: string | undefined
  /** Where the first start keeps one that it made. */
  file: string
  /** The token comes from the settings; no file is written. */
  given: boolean
  isNew: boolean
}

/** The token that the settings give, else, in an empty database, a new one. */
export function chooseManagementToken(config: Config, databaseEmpty: boolean): ManagementToken {
  const file = join(dirname(config.kekFile), 'management-token')
  const given = config.managementToken?.reveal()
  if (given !== undefined) return { value: given, file, given: true, isNew: false }
  if (!databaseEmpty) return { value: undefined, file, given: false, isNew: false }
  return { value: newApiToken(), file, given: false, isNew: true }
}

/** Whether the file still holds the token that counts: another one may have been given at a start in between. */
export async function isFileCurrent(
  { file }: ManagementToken,
  access: Server['access'],
): Promise<boolean> {
  const kept = await readFile(file, 'utf8').catch(() => '')
  const { principal } = await access.authenticate({ authorization: `Bearer ${kept.trim()}` }, '')
  return principal.id === 'token:management'
}

/** Has a server that was started before take the token that the settings give now. */
export async function adoptGiven(
  { value, given }: ManagementToken,
  store: Store,
  access: Server['access'],
): Promise<void> {
  if (!given || value === undefined) return
  await store.transaction((tx) => access.ensureManagementToken(tx, value))
}

/**
 * Writes a new token to its file before the database knows it: a start that is killed in between finds the file again
 * and takes what it holds. @throws Problem `config_invalid`
 */
export async function keepInFile(token: ManagementToken): Promise<void> {
  if (!token.isNew) return
  try {
    await writeSecretFile(token.file, `${token.value}\n`, { ifExists: 'keep' })
    token.value = (await readFile(token.file, 'utf8')).trim()
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new Problem(
      'config_invalid',
      `The management token cannot be written to ${token.file} (${why}); set KEYRINGD_MANAGEMENT_TOKEN, or make ${dirname(token.file)} writable for the first start.`,
      { cause },
    )
  }
}
