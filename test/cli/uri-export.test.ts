import assert from 'node:assert/strict'
import { existsSync, lstatSync, readFileSync, statSync, symlinkSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { clientEnv, fileIn, folder, listeningServer, run } from './setup.ts'

// Contract section 7: the file of a cache. Issue 4: `keyringd uri export --reload-touch`.

const KEY = { kty: 'oct', alg: 'HS256', kid: 'a', k: 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8' }
const text = (issuer: string) =>
  ` {"${issuer}": ${JSON.stringify({ renewal_kid: 'a', keys: [KEY] })}}\n`

async function world(t: Parameters<typeof folder>[0], settings: Record<string, string> = {}) {
  const server = await listeningServer(t, {
    settings: { ROOT_KEY_ALGORITHM: 'ES256', ...settings },
  })
  const dir = folder(t)
  const env = clientEnv(server.url)
  const keyringd = (...argv: string[]) => run(argv, { env })
  await keyringd('delivery-service', 'create', 'demo', '-tenant', 'root')
  const set = (document: string) =>
    keyringd('delivery-service', 'keys', 'set', 'demo', '-file', fileIn(dir, 'in.json', document))
  const out = join(dir, 'uri_signing_demo.config')
  const remap = fileIn(dir, 'remap.config', 'map / http://origin/')
  const old = () => utimesSync(remap, 1000, 1000)
  const exported = () => keyringd('uri', 'export', 'demo', '-out', out, '--reload-touch', remap)
  const age = () => statSync(remap).mtimeMs
  return { dir, keyringd, set, out, remap, old, exported, age }
}

test('the file is byte for byte what was stored, for its owner alone, and remap.config is touched once', async (t) => {
  const { set, out, old, exported, age } = await world(t)
  await set(text('s'))
  old()
  const first = await exported()
  assert.equal(first.code, 0, first.err)
  assert.equal(readFileSync(out, 'utf8'), text('s'))
  assert.equal(statSync(out).mode & 0o777, 0o600)
  // A time of a file is set to the millisecond.
  assert.ok(Math.abs(age() - statSync(out).mtimeMs) <= 1)
  const written = statSync(out).ino
  assert.match((await exported()).out, /has these keys already/)
  assert.equal(statSync(out).ino, written)
  // As after a run that ended between the two.
  old()
  assert.match((await exported()).out, /Touched/)
  await set(text('s2'))
  assert.match((await exported()).out, /Wrote .*\nTouched/)
  assert.equal(readFileSync(out, 'utf8'), text('s2'))
})

test('a link in the place of the file is replaced, never followed', async (t) => {
  const { dir, set, out, exported, keyringd } = await world(t)
  await set(text('s'))
  const target = fileIn(dir, 'target', 'theirs')
  symlinkSync(target, out)
  assert.equal((await exported()).code, 0)
  assert.equal(readFileSync(target, 'utf8'), 'theirs')
  assert.ok(lstatSync(out).isFile())
  // Not even one to the right text.
  const twin = fileIn(dir, 'twin', text('s'))
  const other = join(dir, 'other.config')
  symlinkSync(twin, other)
  await keyringd('uri', 'export', 'demo', '-out', other)
  assert.ok(lstatSync(other).isFile())
})

test('without keys, or with keys that a cache cannot load, nothing is written and nothing is touched', async (t) => {
  const { set, out, old, exported, age } = await world(t, { URI_SIGNING_VALIDATION: 'compat' })
  old()
  const none = await exported()
  assert.deepEqual([none.code, existsSync(out), age()], [1, false, 1_000_000])
  assert.match(none.err, /keys_missing/)
  await set(text('s').replace('"oct"', '"OKP"').replace('"k":', '"crv":"Ed25519","x":'))
  const bad = await exported()
  assert.deepEqual([bad.code, existsSync(out), age()], [1, false, 1_000_000])
  assert.match(bad.err, /not supported by caches.*Nothing was written/)
  assert.ok(!bad.err.includes(KEY.k))
})

test('a file or a remap.config that cannot be written is one plain sentence', async (t) => {
  const { dir, set, keyringd } = await world(t)
  await set(text('s'))
  const file = fileIn(dir, 'file', '')
  const one = await keyringd('uri', 'export', 'demo', '-out', join(file, 'x'))
  assert.match(one.err, /^error: .*of -out, cannot be written \((ENOTDIR|EEXIST)\)\n$/)
  const two = await keyringd(
    'uri',
    'export',
    'demo',
    '-out',
    join(dir, 'x'),
    '-reload-touch',
    join(dir, 'none'),
  )
  assert.match(two.err, /^error: .*of -reload-touch, cannot be touched \(ENOENT\)\n$/)
})
