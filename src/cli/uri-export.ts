import { constants } from 'node:fs'
import { open, stat, utimes } from 'node:fs/promises'
import { writeSecretFile } from '../kek/files.ts'
import { lintDocument } from '../uri-signing/lint.ts'
import { createClient } from './client.ts'
import { command, segment } from './command.ts'
import { text, toggle } from './flags.ts'
import { codeOf, failure, usage } from './io.ts'
import { plain } from './table.ts'

// Brings keys to a cache (contract section 7): a file that is there whole or not at all, readable by its owner alone,
// and that the cache can load; then remap.config is touched, which is how a cache learns of it at its next reload.

/** Whether the file is there already as it shall be; a link in its place never counts, and is never followed. */
async function isThere(path: string, document: string): Promise<boolean> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      const found = await file.stat()
      const isOurs = found.isFile() && (found.mode & 0o777) === 0o600
      return isOurs && (await file.readFile('utf8')) === document
    } finally {
      await file.close()
    }
  } catch {
    return false
  }
}

/** @throws Problem `command_failed` for what would take a cache down, or open it */
function checkLoads(document: string): void {
  const faults = lintDocument(Buffer.from(document)).filter(({ severity }) => severity === 'error')
  const [first] = faults
  if (first) throw failure(`error: ${plain(first.message)} Nothing was written`)
}

/** Gives `path` the time of the keys, which is that of this machine when they were written; false: it has it. */
async function touch(path: string, keys: string): Promise<boolean> {
  try {
    const { mtime } = await stat(keys)
    if ((await stat(path)).mtime >= mtime) return false
    await utimes(path, mtime, mtime)
    return true
  } catch (error) {
    throw failure(
      `error: ${plain(path)}, the file of -reload-touch, cannot be touched (${codeOf(error)})`,
    )
  }
}

async function write(path: string, document: string): Promise<void> {
  try {
    await writeSecretFile(path, document, { ifExists: 'replace' })
  } catch (error) {
    throw failure(`error: ${plain(path)}, the file of -out, cannot be written (${codeOf(error)})`)
  }
}

export const exportKeys = command({
  name: 'uri export',
  argument: 'xml_id',
  summary: 'Writes the keys of a delivery service to the file that a cache loads, mode 0600',
  notes: [
    'Where the file already has them, it is left as it is',
    'A document that a cache cannot load is never written',
  ],
  flags: {
    out: text('FILE', 'such as /etc/trafficserver/uri_signing_demo.config; needed'),
    public: toggle('without the private halves of RS, PS and ES keys, but for the renewal key'),
    'reload-touch': text(
      'FILE',
      'remap.config of the cache: touched when it is older than the keys',
    ),
  },
  async run({ values, argument, io }) {
    const { out, public: publicOnly, 'reload-touch': remap } = values
    if (!out) throw usage('-out is needed: the file that the cache loads')
    const path = `/v1/delivery-services/${segment(argument)}/cache-config?public=${publicOnly}`
    const { text: document } = await createClient(values, io).call('GET', path)
    checkLoads(document)
    const before = await isThere(out, document)
    if (!before) await write(out, document)
    // Also when an earlier run ended between the two.
    const touched = remap !== undefined && (await touch(remap, out))
    io.out(before ? `${plain(out)} has these keys already\n` : `Wrote ${plain(out)}\n`)
    if (touched) io.out(`Touched ${plain(remap)}; reload the cache\n`)
    return 0
  },
})
