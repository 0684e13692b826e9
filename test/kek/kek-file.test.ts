import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { isProblem, type ProblemCode } from '../../src/errors.ts'
import { loadOrCreateKek } from '../../src/kek/kek-file.ts'

async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'keyringd-kek-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

/** A Problem of this code whose one-line detail matches and does not hold the secret. */
const refusal = (code: ProblemCode, words: RegExp, secret?: string) => (error: unknown) => {
  assert.ok(isProblem(error, code), String(error))
  assert.match(error.detail, words)
  assert.ok(!error.detail.includes('\n'))
  if (secret) assert.ok(!error.detail.includes(secret))
  return true
}

test('the first start makes a KEK that only its owner can read, in folders likewise', async (t) => {
  const place = join(await folder(t), 'a', 'b')
  const kekFile = join(place, 'kek')
  const made = await loadOrCreateKek({ kekFile, autocreate: true, databaseEmpty: true })
  assert.equal(made.created, true)
  assert.equal(made.source, kekFile)
  assert.equal(made.warning, undefined)
  assert.equal((await stat(kekFile)).mode & 0o777, 0o600)
  assert.equal((await stat(place)).mode & 0o777, 0o700)
  assert.equal((await stat(join(place, '..'))).mode & 0o777, 0o700)
  assert.match(await readFile(kekFile, 'utf8'), /^[A-Za-z0-9_-]{43}\n$/)
  assert.deepEqual(await readdir(place), ['kek'])

  const again = await loadOrCreateKek({ kekFile, autocreate: true, databaseEmpty: false })
  assert.equal(again.created, false)
  assert.deepEqual(again.kek, made.kek)
})

test('twenty starts at once agree on one KEK', async (t) => {
  const kekFile = join(await folder(t), 'new', 'kek')
  const load = () => loadOrCreateKek({ kekFile, autocreate: true, databaseEmpty: true })
  const all = await Promise.all(Array.from({ length: 20 }, load))
  const keys = new Set(all.map(({ kek }) => Buffer.from(kek).toString('hex')))
  assert.equal(keys.size, 1)
  assert.equal(all.filter(({ created }) => created).length, 1)
  assert.deepEqual(await readdir(join(kekFile, '..')), ['kek'])
})

test('several processes at once agree on one KEK', async (t) => {
  const kekFile = join(await folder(t), 'kek')
  const script = `
    const { loadOrCreateKek } = await import(process.argv[1])
    const { kek, created } = await loadOrCreateKek({ kekFile: process.argv[2], autocreate: true, databaseEmpty: true })
    process.stdout.write(JSON.stringify({ kek: Buffer.from(kek).toString('hex'), created }))`
  const source = new URL('../../src/kek/kek-file.ts', import.meta.url).href
  const start = () =>
    promisify(execFile)(process.execPath, ['--input-type=module', '-e', script, source, kekFile])
  const outcomes = await Promise.all(Array.from({ length: 5 }, start))
  const loaded = outcomes.map(({ stdout }) => JSON.parse(stdout))
  assert.equal(new Set(loaded.map(({ kek }) => kek)).size, 1)
  assert.equal(loaded.filter(({ created }) => created).length, 1)
})

test('data without its KEK is one plain sentence, and no new KEK is made', async (t) => {
  const place = await folder(t)
  const kekFile = join(place, 'kek')
  await assert.rejects(
    loadOrCreateKek({ kekFile, autocreate: true, databaseEmpty: false }),
    refusal('kek_missing', /does not exist: restore it from a backup, or set KEYRINGD_KEK_FILE/),
  )
  assert.deepEqual(await readdir(place), [])
})

test('without permission to make one, a missing KEK is asked for', async (t) => {
  const place = await folder(t)
  const kekFile = join(place, 'kek')
  await assert.rejects(
    loadOrCreateKek({ kekFile, autocreate: false, databaseEmpty: true }),
    refusal('kek_missing', /KEYRINGD_KEK_AUTOCREATE is false/),
  )
  assert.deepEqual(await readdir(place), [])
})

test('a KEK may come as text, and no file is looked at', async () => {
  const kek = randomBytes(32)
  const loaded = await loadOrCreateKek({
    kek: kek.toString('base64url'),
    kekFile: '/nowhere/kek',
    autocreate: true,
    databaseEmpty: true,
  })
  assert.deepEqual(loaded, { kek, created: false, source: 'KEYRINGD_KEK' })
})

test('padding and one final newline are allowed, nothing else', async (t) => {
  const kekFile = join(await folder(t), 'kek')
  const kek = Buffer.alloc(32, 0xfb) // its text holds the letters that base64 and base64url write differently
  const text = kek.toString('base64url')
  const load = async (content: string) => {
    await writeFile(kekFile, content, { mode: 0o600 })
    return loadOrCreateKek({ kekFile, autocreate: true, databaseEmpty: true })
  }
  for (const good of [text, `${text}\n`, `${text}\r\n`, `${text}=\n`]) {
    assert.deepEqual((await load(good)).kek, kek)
  }
  const bad = [
    ...['', '\n', `${text}\n\n`, ` ${text}`, `${text} `, text.slice(1), `${text}A`, `${text}==`],
    ...[kek.toString('base64'), kek.toString('hex'), `${text.slice(0, -1)}9`, `"${text}"`],
  ]
  for (const content of bad) {
    await assert.rejects(load(content), refusal('kek_wrong', /43 characters/, text))
  }
})

test('a damaged KEK file is never replaced', async (t) => {
  const kekFile = join(await folder(t), 'kek')
  await writeFile(kekFile, 'damaged', { mode: 0o600 })
  const load = loadOrCreateKek({ kekFile, autocreate: true, databaseEmpty: true })
  await assert.rejects(load, refusal('kek_wrong', /does not hold a KEK/))
  assert.equal(await readFile(kekFile, 'utf8'), 'damaged')
})

test('a KEK file that others may read is used with a warning', async (t) => {
  const kekFile = join(await folder(t), 'kek')
  await loadOrCreateKek({ kekFile, autocreate: true, databaseEmpty: true })
  await chmod(kekFile, 0o640)
  const { warning } = await loadOrCreateKek({ kekFile, autocreate: true, databaseEmpty: false })
  assert.match(warning ?? '', /chmod 600/)
})

test('a KEK file that is no file, and a place where none can be made, say so', async (t) => {
  const place = await folder(t)
  await mkdir(join(place, 'kek'))
  await assert.rejects(
    loadOrCreateKek({ kekFile: join(place, 'kek'), autocreate: true, databaseEmpty: true }),
    refusal('kek_missing', /cannot be read \(EISDIR\)/),
  )
  await writeFile(join(place, 'file'), '')
  await assert.rejects(
    loadOrCreateKek({ kekFile: join(place, 'file', 'kek'), autocreate: true, databaseEmpty: true }),
    refusal('kek_missing', /cannot be (?:read|created) \(ENOTDIR\)/),
  )
  await assert.rejects(
    loadOrCreateKek({ kekFile: '/proc/keyringd/kek', autocreate: true, databaseEmpty: true }),
    refusal('kek_missing', /cannot be created \(ENOENT\)/),
  )
})
