import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { writeSecretFile } from '../../src/kek/files.ts'

async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'keyringd-files-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

test('keep leaves an existing file as it is and says so', async (t) => {
  const place = await folder(t)
  const path = join(place, 'token')
  assert.equal(await writeSecretFile(path, 'first', { ifExists: 'keep' }), true)
  assert.equal(await writeSecretFile(path, 'second', { ifExists: 'keep' }), false)
  assert.equal(await readFile(path, 'utf8'), 'first')
  assert.deepEqual(await readdir(place), ['token'])
})

test('replace swaps the file whole, with the mode of a secret', async (t) => {
  const place = await folder(t)
  const path = join(place, 'token')
  await writeFile(path, 'open to all', { mode: 0o644 })
  assert.equal(await writeSecretFile(path, 'second', { ifExists: 'replace' }), true)
  assert.equal(await readFile(path, 'utf8'), 'second')
  assert.equal((await stat(path)).mode & 0o777, 0o600)
  assert.deepEqual(await readdir(place), ['token'])
})

test('a failed write leaves no temporary file behind', async (t) => {
  const place = await folder(t)
  await writeSecretFile(join(place, 'taken', 'inner'), 'x', { ifExists: 'keep' })
  await assert.rejects(writeSecretFile(join(place, 'taken'), 'x', { ifExists: 'replace' }))
  assert.deepEqual(await readdir(place), ['taken'])
})
