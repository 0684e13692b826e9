import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { createLocalJWKSet, jwtVerify } from 'jose'
import { absent, needs } from '../needs.ts'
import { type Answer, makeHome, request, type Server, start } from './process.ts'

// A disk without space: what must be written fails with an error of the surface's own form and changes nothing, what
// is published stays so, all goes on when there is space again, and no answer is taken back by `kill -9`.

interface Disk {
  data: string
  fill(server: Server): void
  free(server: Server): void
}

/**
 * A file system of its own, filled to the last byte. Undefined, and the test is skipped, where nobody may mount one,
 * unless everything is required; the limit below needs no rights.
 */
function smallDisk(t: TestContext): Disk | undefined {
  const data = mkdtempSync(join(tmpdir(), 'keyringd-system-disk-'))
  try {
    const options = ['-t', 'tmpfs', '-o', 'size=4m,mode=0700', 'keyringd-test', data]
    execFileSync('mount', options, { stdio: 'pipe' })
  } catch (error) {
    rmSync(data, { recursive: true })
    t.skip(absent(`the right to mount a tmpfs (${reasonOf(error)})`))
    return undefined
  }
  t.after(() => {
    // The server may still be there.
    execFileSync('umount', ['--lazy', data])
    rmSync(data, { recursive: true })
  })
  const filler = join(data, 'filler')
  return { data, fill: () => fillUp(filler), free: () => rmSync(filler) }
}

/** The first line of what `mount` says. */
const reasonOf = (error: unknown): string =>
  String(error instanceof Error && 'stderr' in error ? error.stderr : error).split('\n', 1)[0] ?? ''

function fillUp(filler: string): void {
  const file = openSync(filler, 'w')
  try {
    for (;;) writeSync(file, Buffer.alloc(4096))
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error
  } finally {
    closeSync(file)
  }
}

/** A limit on the size of files, as a quota sets it: the log of the database cannot grow. Needs no rights. */
function limitedFiles(t: TestContext): Disk {
  const data = makeHome(t, 'disk')
  const limit = (server: Server, size: number | string) =>
    execFileSync('prlimit', ['--pid', String(server.pid), `--fsize=${size}:unlimited`])
  return {
    data,
    fill: (server) => limit(server, statSync(join(data, 'keyringd.db-wal')).size),
    free: (server) => limit(server, 'unlimited'),
  }
}

const PROBLEM = /^application\/problem\+json/
/** What must write, and the form in which each surface tells of a failure. */
const writes: { method: string; path: string; body?: unknown; form: RegExp }[] = [
  { method: 'PUT', path: '/v1/operator/keyring/rotate?force=true', form: /^text\/plain/ },
  { method: 'POST', path: '/v1/rings/default/rotate', body: {}, form: PROBLEM },
  { method: 'POST', path: '/v1/api-tokens', body: { name: 'x', role: 'member' }, form: PROBLEM },
  { method: 'POST', path: '/v1/rings', body: { name: 'x', algorithms: ['EdDSA'] }, form: PROBLEM },
]

const sign = (server: Server, ttl: string): Promise<Answer> =>
  server.call('POST', '/v1/rings/default/sign', { claims: { sub: 'a' }, ttl })

/** Everything that one of the writes above would change. Rings come in no order of their own. */
async function contents(server: Server): Promise<string[]> {
  const { json } = await server.call('GET', '/v1/rings')
  const rings = (json.rings as { name: string }[]).map(({ name }) => name).sort()
  const tokens = await server.call('GET', '/v1/api-tokens')
  const keys = await server.call('GET', '/v1/operator/keyring/keys')
  assert.deepEqual([tokens.status, keys.status], [200, 200])
  return [rings.join(), tokens.text, keys.text, String(keys.headers.get('x-nomad-index'))]
}

/** As a relying party does it, with the set as it is published. */
async function verify(server: Server, tokens: readonly string[]): Promise<void> {
  const { status, json } = await request(`${server.url}/.well-known/jwks.json`)
  assert.equal(status, 200)
  const set = createLocalJWKSet(json)
  for (const token of tokens) await jwtVerify(token, set)
}

async function goesThrough(t: TestContext, disk: Disk): Promise<void> {
  const home = makeHome(t)
  // In `nomad` mode nothing stands in the way of one rotation after another.
  const settings = { ROOT_KEY_ALGORITHM: 'EdDSA', ROTATION_MODE: 'nomad', DATA_DIR: disk.data }
  const begin = async () => {
    const server = start(t, home, { settings })
    await server.ready()
    return server
  }
  const answered: string[] = []
  const keep = ({ status, text, json }: Answer) => {
    assert.equal(status, 200, text)
    answered.push(json.token)
  }
  const server = await begin()
  keep(await sign(server, '1h'))
  const before = await contents(server)

  disk.fill(server)
  for (const { method, path, body, form } of writes) {
    const failed = await server.call(method, path, body)
    assert.ok(failed.status >= 500, `${method} ${path}: ${failed.status}`)
    assert.match(failed.headers.get('content-type') ?? '', form)
    assert.match(failed.text, /cannot be written: its disk is full or fails. Nothing was changed/)
    assert.doesNotMatch(failed.text, /SQLITE|node_modules|\n +at /, 'no insides')
  }
  // A token beyond what is promised needs a write; one within it does not.
  const refused = await sign(server, '5h')
  assert.deepEqual([refused.status, refused.json.code], [503, 'store_unwritable'])
  keep(await sign(server, '1h'))
  await verify(server, answered)
  assert.equal((await request(`${server.url}/healthz`)).status, 200)
  assert.match(server.stdout, /disk is full|disk I\/O error/, 'the log says why')
  assert.deepEqual(await contents(server), before, 'nothing is half done')

  disk.free(server)
  for (const { method, path, body } of writes) {
    const done = await server.call(method, path, body)
    assert.ok(done.status < 300, `${method} ${path}: ${done.text}`)
    keep(await sign(server, '5h'))
  }
  const after = await contents(server)
  assert.deepEqual(await server.end('SIGKILL'), { code: null, signal: 'SIGKILL' })

  const again = await begin()
  assert.deepEqual(await contents(again), after)
  assert.equal(answered.length, 2 + writes.length)
  await verify(again, answered)
  assert.deepEqual(await again.end(), { code: 0, signal: null })
}

test(
  'a full disk loses nothing that was answered, and stops no reader',
  needs('mount', 'umount'),
  async (t) => {
    const disk = smallDisk(t)
    if (disk) await goesThrough(t, disk)
  },
)

test('a limit on the size of files is borne like a full disk', needs('prlimit'), async (t) => {
  await goesThrough(t, limitedFiles(t))
})

test(
  'a start on a full disk publishes, and signs once there is space',
  needs('mount', 'umount'),
  async (t) => {
    const disk = smallDisk(t)
    if (!disk) return
    const home = makeHome(t)
    const options = { settings: { ROOT_KEY_ALGORITHM: 'EdDSA', DATA_DIR: disk.data } }
    const first = start(t, home, options)
    await first.ready()
    const before = (await sign(first, '1h')).json.token
    disk.fill(first)
    assert.deepEqual(await first.end('SIGKILL'), { code: null, signal: 'SIGKILL' })

    const second = start(t, home, options)
    await second.ready()
    await verify(second, [before])
    // What the killed process held on to has come back as free pages.
    disk.fill(second)
    assert.ok((await sign(second, '5h')).status >= 500)
    disk.free(second)
    const after = await sign(second, '5h')
    assert.equal(after.status, 200, after.text)
    await verify(second, [before, after.json.token])
  },
)
