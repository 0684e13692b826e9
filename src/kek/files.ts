import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, link, mkdir, open, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'

export interface SecretFileOptions {
  /** Permission bits of the file; readable by its owner alone unless said otherwise. */
  mode?: number
  /** What to do with a file of that name: `keep` leaves it and answers false, `replace` swaps it out. */
  ifExists: 'keep' | 'replace'
}

/**
 * Writes a file that is there whole or not at all, also after a power cut: temporary file in the
 * same folder, fsync, link or rename, fsync of the folder. Missing folders are made with mode 0700.
 * Answers whether the text is now in place. Throws the file system's own errors.
 */
export async function writeSecretFile(
  path: string,
  text: string,
  { mode = 0o600, ifExists }: SecretFileOptions,
): Promise<boolean> {
  const folder = dirname(path)
  await makeFolder(folder)
  const temporary = join(folder, `.${basename(path)}.${randomBytes(8).toString('hex')}.tmp`)
  try {
    await writeNew(temporary, text, mode)
    const placed = ifExists === 'keep' ? await linkNew(temporary, path) : true
    if (ifExists === 'replace') await rename(temporary, path)
    await syncFolder(folder)
    return placed
  } finally {
    await unlink(temporary).catch(ignoreMissing)
  }
}

/** Milliseconds between two looks into a pipe that nobody has written to yet. */
const LOOK_AGAIN = 50
const CHUNK = 4096

/**
 * Reads a whole text and its mode. A pipe (`mkfifo`, `<(…)`) may be filled at any time: it is looked into again and
 * again, because a read that blocks would also block the end of the process. Throws the file system's own errors.
 */
export async function readSecretFile(path: string): Promise<{ text: string; mode: number }> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const stat = await file.stat()
    const text = stat.isFIFO() ? await readPipe(file) : await file.readFile('utf8')
    return { text, mode: stat.mode }
  } finally {
    await file.close()
  }
}

async function readPipe(file: FileHandle): Promise<string> {
  const chunks: Buffer[] = []
  for (;;) {
    const { buffer, bytesRead } = await file
      .read(Buffer.alloc(CHUNK), 0, CHUNK, null)
      .catch((error: unknown) => {
        if (codeOf(error) === 'EAGAIN') return { buffer: Buffer.alloc(0), bytesRead: -1 }
        throw error
      })
    if (bytesRead > 0) chunks.push(buffer.subarray(0, bytesRead))
    // Zero without anything before it: nobody has opened the other end so far.
    else if (bytesRead === 0 && chunks.length > 0) return Buffer.concat(chunks).toString('utf8')
    else await pause(LOOK_AGAIN)
  }
}

/** Answers false when another file has the name already; `link` never overwrites. */
async function linkNew(temporary: string, path: string): Promise<boolean> {
  try {
    await link(temporary, path)
    return true
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false
    throw error
  }
}

async function writeNew(path: string, text: string, mode: number): Promise<void> {
  const file = await open(path, 'wx', mode)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Like `mkdir -p`, mode 0700, but durable: a new folder is so once the one above it is synced. Throws as `mkdir`. */
export async function makeFolder(folder: string): Promise<void> {
  if (await makeOne(folder)) return
  await makeFolder(dirname(folder))
  // The folder above is there: what is missing now is a file system that takes folders.
  if (!(await makeOne(folder))) await mkdir(folder, 0o700)
}

/** Answers false when the folder above is missing. Node's own recursive mkdir never ends in /proc. */
async function makeOne(folder: string): Promise<boolean> {
  try {
    await mkdir(folder, 0o700)
    await syncFolder(dirname(folder))
  } catch (error) {
    if (codeOf(error) === 'ENOENT' && dirname(folder) !== folder) return false
    if (codeOf(error) !== 'EEXIST') throw error
  }
  return true
}

/** Makes the names in a folder durable; throws the file system's own errors. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function ignoreMissing(error: unknown): void {
  if (codeOf(error) !== 'ENOENT') throw error
}

/** The code of a file system error, such as `ENOENT`. */
export const codeOf = (error: unknown): unknown =>
  error instanceof Error && 'code' in error ? error.code : undefined
