import assert from 'node:assert/strict'
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { needs } from '../needs.ts'
import { folder } from './setup.ts'

// The real command, as a process of its own, against a real server that is another one.

const BIN = new URL('../../bin/keyringd.js', import.meta.url).pathname

/** Nothing of the environment of the tests but where programs are. */
function start(
  t: TestContext,
  argv: string[],
  env: Record<string, string>,
): ChildProcessWithoutNullStreams {
  const child = spawn(process.execPath, [BIN, ...argv], {
    env: { PATH: process.env.PATH ?? '', TZ: 'UTC', ...env },
  })
  t.after(() => child.kill('SIGKILL'))
  return child
}

async function textUntil(stream: Readable, pattern: RegExp): Promise<string> {
  let text = ''
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    text += chunk
    if (pattern.test(text)) return text
  }
  return assert.fail(`${pattern} never came: ${text}`)
}

async function serving(t: TestContext) {
  const home = folder(t)
  const server = start(t, ['serve'], { HOME: home, KEYRINGD_PORT: '0', KEYRINGD_LOG_LEVEL: 'warn' })
  const banner = await textUntil(server.stderr, /keyringd serves \S+\n[\s\S]*sign\n/)
  server.stderr.resume()
  const address = /serves (\S+)/.exec(banner)?.[1] ?? ''
  const token = readFileSync(join(home, '.keyringd', 'management-token'), 'utf8').trim()
  return { server, env: { HOME: home, KEYRINGD_ADDR: address, KEYRINGD_TOKEN: token } }
}

async function finished(child: ChildProcessWithoutNullStreams, stdin = '') {
  let [out, err] = ['', '']
  child.stdout.on('data', (chunk) => {
    out += chunk
  })
  child.stderr.on('data', (chunk) => {
    err += chunk
  })
  child.stdin.end(stdin)
  const [code] = await once(child, 'close')
  return { code, out, err }
}

test('the command as a process: output, exit codes, standard input, the environment', async (t) => {
  const { env } = await serving(t)
  const run = (argv: string[], more = {}, stdin = '') =>
    finished(start(t, argv, { ...env, ...more }), stdin)

  const listed = await run(['keys', 'list'])
  assert.equal(listed.code, 0, listed.err)
  assert.match(
    listed.out,
    /^Key {7}State {3}Create Time {11}Publish Time\n(?:.+\n)?\w{8} {2}active {2}\S+Z {2}<none>\n/,
  )

  const signed = await run(['token', 'sign', '-sub', 'job-1', '-ttl', '5m'])
  const verified = await run(['token', 'verify', '-'], {}, signed.out)
  assert.equal(verified.code, 0, verified.out)
  assert.equal((await run(['token', 'verify', '-'], {}, 'x.y.z')).code, 1)

  const wrong = await run(['keys', 'list', 'x'])
  assert.deepEqual([wrong.code, wrong.out], [2, ''])
  const { KEYRINGD_ADDR, KEYRINGD_TOKEN } = env
  const nomad = { NOMAD_ADDR: KEYRINGD_ADDR, NOMAD_TOKEN: KEYRINGD_TOKEN }
  assert.equal(
    (await run(['ring', 'list'], { KEYRINGD_ADDR: '', KEYRINGD_TOKEN: '', ...nomad })).code,
    0,
  )
  const lost = await run(['keys', 'list'], { KEYRINGD_ADDR: 'http://127.0.0.1:1' })
  assert.equal(lost.code, 1)
  assert.match(
    lost.err,
    /^error: Cannot reach http:\/\/127\.0\.0\.1:1 \(connection refused\): .+\n$/,
  )

  const doctor = await run(['doctor'])
  assert.equal(doctor.code, 0, doctor.out)
  assert.match(doctor.out, /^ok {4}The KEK file \S+ is its owner's alone$/m)
})

test('version and the help of serve need no server', async (t) => {
  const { version } = JSON.parse(
    readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
  )
  for (const word of ['version', '-version', '--version']) {
    const ran = await finished(start(t, [word], {}))
    assert.deepEqual(ran, { code: 0, out: `keyringd ${version}\n`, err: '' }, word)
  }
  const help = await finished(start(t, ['serve', '-help'], {}))
  assert.deepEqual([help.code, help.err], [0, ''])
  assert.match(help.out, /KEYRINGD_CONFIG[\s\S]*docs\/settings\.md/)
  const extra = await finished(start(t, ['serve', 'extra'], {}))
  assert.deepEqual([extra.code, extra.out], [2, ''])
  assert.match(extra.err, /docs\/settings\.md/)
})

test('a password that is typed at a terminal is not shown', needs('script'), async (t) => {
  const { env } = await serving(t)
  await finished(start(t, ['user', 'create', 'bob'], env))
  const command = `${process.execPath} ${BIN} user set-password bob`
  const child = spawn('script', ['-qefc', command, '/dev/null'], {
    env: { PATH: process.env.PATH ?? '', TZ: 'UTC', ...env },
  })
  t.after(() => child.kill('SIGKILL'))
  const prompt = await textUntil(child.stdout, /Password: /)
  child.stdin.write('correct horse battery\r')
  const rest = await textUntil(child.stdout, /updatedAt/)
  assert.match(rest, /hasPassword {2}true/)
  assert.doesNotMatch(prompt + rest, /horse/)
})

test('-watch ends on SIGINT with exit code 0', async (t) => {
  const { env } = await serving(t)
  const child = start(t, ['keys', 'list', '-watch'], env)
  await textUntil(child.stdout, /active/)
  const rotated = await finished(start(t, ['keys', 'rotate', '-now'], env))
  assert.equal(rotated.code, 0, rotated.err)
  await textUntil(child.stdout, /retired/)
  child.kill('SIGINT')
  assert.deepEqual(await once(child, 'exit'), [0, null])
})

test('a reader that goes away ends the command without a stack', async (t) => {
  const { env } = await serving(t)
  const child = start(t, ['keys', 'list', '-watch'], env)
  await textUntil(child.stdout, /active/)
  child.stdout.destroy()
  const ended = finished(child)
  await finished(start(t, ['keys', 'rotate', '-now'], env))
  const { code, err } = await ended
  assert.deepEqual([code, err], [1, ''])
})
