import { randomBytes } from 'node:crypto'
import { dirname } from 'node:path'
import { Problem } from '../errors.ts'
import { KEK_BYTES } from './aead.ts'
import { codeOf, readSecretFile, syncFolder, writeSecretFile } from './files.ts'

export interface KekSource {
  /** The KEK itself as text, from the environment; the file is then not looked at. */
  kek?: string | undefined
  /** Absolute path of the file that holds it otherwise. */
  kekFile: string
  /** Whether a missing file may be made. */
  autocreate: boolean
  /** Whether no root key was ever wrapped: only then can a new KEK lose nothing. */
  databaseEmpty: boolean
}

export interface LoadedKek {
  kek: Uint8Array
  created: boolean
  /** Where it came from, for the log: a path, or the name of the setting. */
  source: string
  /** One sentence when others than the owner may read the file. */
  warning?: string
}

/**
 * Reads the KEK, or makes its file while the database is empty; of several that try at once one
 * wins and all read its file. Throws `kek_missing` or `kek_wrong`, each one plain sentence.
 */
export async function loadOrCreateKek(options: KekSource): Promise<LoadedKek> {
  if (options.kek !== undefined) {
    return { kek: decode(options.kek, 'KEYRINGD_KEK'), created: false, source: 'KEYRINGD_KEK' }
  }
  const existing = await readKek(options.kekFile)
  if (existing) {
    // Perhaps a start that was killed made it: its name must outlast a power cut before data does.
    if (options.databaseEmpty) await syncFolder(dirname(options.kekFile)).catch(() => undefined)
    return existing
  }
  refuseIfForbidden(options)
  const created = await createKek(options.kekFile)
  const loaded = await readKek(options.kekFile)
  if (!loaded) throw new Problem('kek_missing', `The KEK file ${options.kekFile} vanished`)
  return { ...loaded, created }
}

function refuseIfForbidden({ kekFile, autocreate, databaseEmpty }: KekSource): void {
  if (!databaseEmpty) {
    throw new Problem(
      'kek_missing',
      `The database holds keys, but the file with the KEK that opens them, ${kekFile}, does not exist: restore it from a backup, or set KEYRINGD_KEK_FILE to where it is`,
    )
  }
  if (!autocreate) {
    throw new Problem(
      'kek_missing',
      `The KEK file ${kekFile} does not exist and KEYRINGD_KEK_AUTOCREATE is false: put 32 random bytes there as base64url text, for example with: head -c 32 /dev/urandom | basenc --base64url > ${kekFile}`,
    )
  }
}

async function readKek(path: string): Promise<LoadedKek | undefined> {
  try {
    const { text, mode } = await readSecretFile(path)
    const kek = decode(text, `The file ${path}`)
    return { kek, created: false, source: path, ...warningAbout(path, mode) }
  } catch (cause) {
    const code = codeOf(cause)
    if (code === 'ENOENT') return undefined
    if (cause instanceof Problem) throw cause
    const detail = `The KEK file ${path} cannot be read (${code}): check its owner and permissions`
    throw new Problem('kek_missing', detail, { cause })
  }
}

async function createKek(path: string): Promise<boolean> {
  const text = `${randomBytes(KEK_BYTES).toString('base64url')}\n`
  try {
    return await writeSecretFile(path, text, { ifExists: 'keep' })
  } catch (cause) {
    const detail = `The KEK file ${path} cannot be created (${codeOf(cause)}): make its folder writable, or set KEYRINGD_KEK_FILE to another place`
    throw new Problem('kek_missing', detail, { cause })
  }
}

/** Exactly 32 bytes of base64url (RFC 4648 section 5), padded or not, and at most one final newline. */
function decode(text: string, source: string): Uint8Array {
  const line = text.replace(/\r?\n$/, '').replace(/=$/, '')
  const kek = Buffer.from(line, 'base64url')
  // Encoding again finds what decoding lets pass: foreign characters, spare bits, the + and / of base64.
  if (kek.length !== KEK_BYTES || kek.toString('base64url') !== line) {
    const detail = `${source} does not hold a KEK: it must be base64url text of exactly ${KEK_BYTES} bytes (43 characters)`
    throw new Problem('kek_wrong', detail)
  }
  return kek
}

// Not refused: a Kubernetes secret volume shows its files as readable by the group.
const warningAbout = (path: string, mode: number) =>
  (mode & 0o077) === 0
    ? {}
    : { warning: `The KEK file ${path} is open to others than its owner; chmod 600 it` }
