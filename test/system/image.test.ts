import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { needs } from '../needs.ts'
import { bounded, makeHome, request, start } from './process.ts'

// What the Dockerfile does, without an engine: its files are copied, its commands run in a temporary folder, and what
// they leave is started with its environment and its entry point.

const ROOT = join(import.meta.dirname, '../..')
/** Milliseconds that installing and building may take. */
const PATIENCE = 300_000

interface Instruction {
  name: string
  rest: string
}

/** The instructions of each stage, in their order. */
function stages(): Instruction[][] {
  const text = readFileSync(join(ROOT, 'Dockerfile'), 'utf8').replaceAll(/^\s*#.*\n/gm, '')
  const found: Instruction[][] = []
  for (const line of text.replaceAll('\\\n', ' ').split('\n')) {
    const [, name, rest] = /^([A-Z]+) +(.*)$/.exec(line) ?? []
    if (name === undefined || rest === undefined) assert.equal(line.trim(), '', 'an instruction')
    else if (name === 'FROM') found.push([{ name, rest }])
    else found.at(-1)?.push({ name, rest })
  }
  return found
}

const [build = [], final = []] = stages()

function only(name: string): string {
  const [one, ...more] = final.filter((instruction) => instruction.name === name)
  assert.ok(one && more.length === 0, `one ${name}`)
  return one.rest
}

/** The JSON form of a command, which needs no shell. */
const words = (text: string): string[] => JSON.parse(text.slice(text.indexOf('[')))

const imageEnv = (): Record<string, string> =>
  Object.fromEntries(
    only('ENV')
      .split(/\s+/)
      .map((pair): [string, string] => {
        const at = pair.indexOf('=')
        return [pair.slice(0, at), pair.slice(at + 1)]
      }),
  )

/** Copies what the build may see: .dockerignore names it, file by file. */
function makeContext(folder: string): void {
  const [everything, ...kept] = readFileSync(join(ROOT, '.dockerignore'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
  assert.equal(everything, '*')
  for (const line of kept) {
    assert.match(line, /^!/)
    cpSync(join(ROOT, line.slice(1)), join(folder, line.slice(1)), { recursive: true })
  }
}

/** Runs the first stage in `app`, with the packages that npm has kept if it has them. */
function runBuildStage(context: string, app: string): void {
  // Of an npm around this test nothing but where it gets packages from.
  const env = Object.entries(process.env).filter(
    ([name]) => !/^npm_(?!config_(?:cache|registry|userconfig)$)|^NODE_ENV$|^INIT_CWD$/.test(name),
  )
  for (const { name, rest } of build.slice(1)) {
    if (name === 'COPY') {
      const [, ...sources] = rest.split(/\s+/).reverse()
      for (const source of sources)
        cpSync(join(context, source), join(app, source), { recursive: true })
    } else if (name === 'RUN') {
      execFileSync('sh', ['-ec', rest], {
        ...{ cwd: app, timeout: PATIENCE, stdio: 'pipe' },
        env: { ...Object.fromEntries(env), npm_config_prefer_offline: 'true' },
      })
    } else assert.equal(name, 'WORKDIR')
  }
}

/** Every file with its size and time of change. */
const listing = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map(
      (name) =>
        `${name} ${statSync(join(folder, name)).size} ${statSync(join(folder, name)).mtimeMs}`,
    )
    .sort()

test('what the image copies, runs and starts works', needs('npm', 'env'), async (t) => {
  const context = makeHome(t, 'context')
  const app = makeHome(t, 'app')
  makeContext(context)
  runBuildStage(context, app)

  await t.test('nothing is left but what the server reads, readable for any user', () => {
    const expected = ['LICENSE', 'bin', 'dist', 'migrations', 'node_modules', 'openapi.yaml']
    const lock = ['package-lock.json', 'package.json']
    assert.deepEqual(readdirSync(app).sort(), [...expected, ...lock].sort())
    const { devDependencies } = JSON.parse(readFileSync(join(app, 'package.json'), 'utf8'))
    const installed = new Set(readdirSync(join(app, 'node_modules')))
    const left = Object.keys(devDependencies).filter((name) => installed.has(name))
    assert.deepEqual(left, [])
    for (const name of readdirSync(app, { recursive: true, encoding: 'utf8' })) {
      const wanted = statSync(join(app, name)).isDirectory() ? 0o555 : 0o444
      assert.equal(statSync(join(app, name)).mode & wanted, wanted, name)
    }
  })

  await t.test('it starts as the image does, is healthy, and writes to its mounts only', (t) =>
    startsLikeTheImage(t, app),
  )
})

async function startsLikeTheImage(t: TestContext, app: string): Promise<void> {
  const env = imageEnv()
  const home = makeHome(t)
  const volumes = words(only('VOLUME'))
  const inside = (path: string) => {
    assert.ok(
      volumes.some((volume) => `${path}/`.startsWith(`${volume}/`)),
      `${path} is mounted`,
    )
    return join(home, path)
  }
  assert.match(only('RUN'), new RegExp(` ${volumes.join(' ')}$`), 'the mounts are made')
  for (const volume of volumes) mkdirSync(join(home, volume), { mode: 0o700 })
  const { KEYRINGD_DATA_DIR: data = '', KEYRINGD_KEK_FILE: kek = '' } = env
  const mounted = { ...env, KEYRINGD_DATA_DIR: inside(data), KEYRINGD_KEK_FILE: inside(kek) }

  const command = [...words(only('ENTRYPOINT')), ...words(only('CMD'))]
  const begin = () => {
    const set = Object.entries(mounted).map(([name, value]) => `${name}=${value}`)
    return start(t, home, { wrap: () => ['env', `--chdir=${app}`, ...set, ...command] })
  }
  const refused = begin()
  assert.deepEqual(await bounded(refused.exited, 'the end'), { code: 1, signal: null })
  assert.match(refused.stderr, /^keyringd: [^\n]*KEYRINGD_KEK_AUTOCREATE is false[^\n]*\n$/)

  writeFileSync(mounted.KEYRINGD_KEK_FILE, randomBytes(32).toString('base64url'), { mode: 0o600 })
  const before = listing(app)
  const server = begin()
  await server.ready()
  assert.equal((await request(`${server.url}/readyz`)).status, 200)
  const token = readFileSync(join(dirname(mounted.KEYRINGD_KEK_FILE), 'management-token'), 'utf8')
  const body = { claims: { sub: 'a' }, ttl: '1m' }
  const signed = await server.call('POST', '/v1/rings/default/sign', body, token.trim())
  assert.equal(signed.status, 200, signed.text)

  const [program = '', ...args] = words(only('HEALTHCHECK'))
  const health = () =>
    spawnSync(program, args, {
      env: { PATH: process.env.PATH, ...mounted, KEYRINGD_PORT: String(server.port) },
      timeout: 20_000,
    }).status
  assert.equal(health(), 0, 'healthy while it serves')
  assert.deepEqual(await server.end(only('STOPSIGNAL') as NodeJS.Signals), {
    code: 0,
    signal: null,
  })
  assert.equal(health(), 1, 'not healthy when nobody answers')
  assert.deepEqual(listing(app), before)
}

test('the image has the Node that is tested, opens the default port, and runs as a user by number', () => {
  const { devDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  const [major] = String(devDependencies.node).split('.')
  for (const [from] of [build, final]) {
    assert.match(from?.rest ?? '', new RegExp(`^node:${major}-slim( AS build)?$`))
  }
  assert.match(only('USER'), /^[1-9]\d*:[1-9]\d*$/)
  const settings = readFileSync(join(ROOT, 'docs', 'settings.md'), 'utf8')
  assert.match(settings, new RegExp(`KEYRINGD_PORT\\b.*\\b${only('EXPOSE')}\\b`))
})
