import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import Database from 'better-sqlite3'
import { needs } from '../needs.ts'
import {
  BIN,
  bounded,
  faultsIn,
  filesOf,
  heldQueries,
  makeHome,
  request,
  start,
} from './process.ts'

// A start that fails: one plain sentence on standard error, exit code 1, and nothing is damaged. First starts, and
// what changes between two starts (product.md sections 3, 4 and 5.3).

/** Small keys: what is tested here is not their making. */
const FAST = { ROOT_KEY_ALGORITHM: 'EdDSA' }

/** Expects the start to fail with this sentence and nothing else. */
async function refuses(
  t: TestContext,
  home: string,
  settings: Record<string, string>,
  sentence: RegExp,
): Promise<string> {
  const server = start(t, home, { settings: { ...FAST, ...settings } })
  const exit = await bounded(server.exited, 'the end of a start that fails')
  assert.deepEqual(exit, { code: 1, signal: null }, server.stderr)
  assert.match(server.stderr, sentence)
  assert.match(server.stderr, /^keyringd: [^\n]+\n$/, 'one sentence, no stack')
  assert.deepEqual(faultsIn(server.log()), [], 'the log blames nobody')
  return server.stderr
}

/** Starts in `home`, looks at the keys, and ends it again. */
async function works(t: TestContext, home: string, settings: Record<string, string> = {}) {
  const server = start(t, home, { settings: { ...FAST, ...settings } })
  await server.ready()
  const token = settings['MANAGEMENT_TOKEN'] ?? server.token()
  const { json } = await server.call('GET', '/v1/rings/default/keys', undefined, token)
  const signed = await server.call(
    'POST',
    '/v1/rings/default/sign',
    { claims: { sub: 'a' }, ttl: '1m' },
    token,
  )
  assert.equal(signed.status, 200)
  assert.deepEqual(await server.end(), { code: 0, signal: null })
  assert.deepEqual(faultsIn(server.log()), [])
  return (json.keys as { kid: string }[]).map(({ kid }) => kid).sort()
}

const digest = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex')

test('an unknown setting is refused, with the name that was meant', async (t) => {
  const home = makeHome(t)
  await refuses(
    t,
    home,
    { ROTATION_MOD: 'safe' },
    /KEYRINGD_ROTATION_MOD is no setting; did you mean KEYRINGD_ROTATION_MODE\?/,
  )
  assert.equal(existsSync(join(home, '.keyringd')), false, 'nothing was made')
})

test('all faults of the settings are told together, one a line', async (t) => {
  const server = start(t, makeHome(t), {
    settings: { PORT: 'x', LOG_LEVEL: 'loud', CLOCK_SKEW: '1d', COLOUR: 'red' },
  })
  assert.deepEqual(await bounded(server.exited, 'the end'), { code: 1, signal: null })
  const lines = server.stderr.trimEnd().split('\n')
  assert.equal(lines.length, 4, server.stderr)
  for (const name of ['PORT', 'LOG_LEVEL', 'CLOCK_SKEW', 'COLOUR']) {
    assert.equal(lines.filter((line) => line.includes(`KEYRINGD_${name} `)).length, 1, name)
  }
})

test('a port in use is refused, and the keys stay', async (t) => {
  const home = makeHome(t)
  const before = await works(t, home)
  const other = createServer().listen(0, '127.0.0.1')
  t.after(() => other.close())
  await once(other, 'listening')
  const address = other.address()
  const port = address && typeof address === 'object' ? address.port : 0
  await refuses(t, home, { PORT: `${port}` }, /Cannot listen on 127\.0\.0\.1:\d+: .*already/)
  await refuses(t, home, { PUBLIC_PORT: `${port}` }, /Cannot listen on 127\.0\.0\.1:\d+/)
  assert.deepEqual(await works(t, home), before)
})

test('a data folder that cannot be made is refused', async (t) => {
  const home = makeHome(t)
  writeFileSync(join(home, 'file'), 'mine')
  await refuses(t, home, { DATA_DIR: join(home, 'file/data') }, /data folder cannot be made/)
  if (process.platform === 'linux') {
    await refuses(t, home, { DATA_DIR: '/proc/keyringd/data' }, /data folder cannot be made/)
  }
  assert.equal(readFileSync(join(home, 'file'), 'utf8'), 'mine')
  assert.equal(existsSync(filesOf(home).kek), false, 'no KEK without a database')
})

test('a file that is no database, and one of another program, are refused and not touched', async (t) => {
  const home = makeHome(t)
  const { data, database, kek } = filesOf(home)
  mkdirSync(data, { recursive: true })
  writeFileSync(database, randomBytes(8192))
  const noise = digest(database)
  await refuses(t, home, {}, /is damaged or is no SQLite database/)
  assert.equal(digest(database), noise)

  rmSync(database)
  const foreign = new Database(database)
  foreign.exec("CREATE TABLE recipes (name TEXT); INSERT INTO recipes VALUES ('soup')")
  foreign.close()
  const theirs = digest(database)
  await refuses(t, home, {}, /is a database of another program; it was not touched/)
  assert.equal(digest(database), theirs)
  assert.equal(existsSync(kek), false)
})

test('a database with a damaged page never ends in a stack trace', async (t) => {
  const home = makeHome(t)
  const { database } = filesOf(home)
  await works(t, home)
  const whole = readFileSync(database)
  const pageSize = whole.readUInt16BE(16)
  // The schema, and tables that a start reads.
  const tables = ['installation', 'migrations', 'rings', 'keys', 'root_key_wraps', 'settings']
  const roots = rootPages(database, tables)
  for (const page of [1, ...roots]) {
    const damaged = Buffer.from(whole)
    const from = page === 1 ? 100 : (page - 1) * pageSize
    damaged.fill(0xa5, from, page * pageSize)
    writeFileSync(database, damaged)
    await refuses(t, home, {}, /The database .* is damaged/)
  }
  writeFileSync(database, whole)
  await works(t, home)
})

function rootPages(file: string, tables: readonly string[]): number[] {
  const database = new Database(file, { readonly: true })
  try {
    const find = database.prepare('SELECT rootpage FROM sqlite_schema WHERE name = ?').pluck()
    return tables.map((table) => Number(find.get(table)))
  } finally {
    database.close()
  }
}

/** Runs SQL on the database of a server that does not run. */
function edit(home: string, sql: string, ...values: unknown[]): void {
  const database = new Database(filesOf(home).database)
  try {
    assert.ok(database.prepare(sql).run(...values).changes > 0, 'the edit changes something')
  } finally {
    database.close()
  }
}

test('a migration that was changed, and one that is newer, are refused', async (t) => {
  const home = makeHome(t)
  const before = await works(t, home)
  const name = '0001-init'
  const { hash } = readMigration(home, name)
  edit(home, 'UPDATE migrations SET hash = ? WHERE name = ?', '0'.repeat(64), name)
  await refuses(t, home, {}, /Migration 0001-init was changed after it was applied/)
  edit(home, 'UPDATE migrations SET hash = ? WHERE name = ?', hash, name)
  edit(home, 'INSERT INTO migrations VALUES (?, ?)', '9999-later', hash)
  await refuses(t, home, {}, /written by a newer keyringd/)
  edit(home, 'DELETE FROM migrations WHERE name = ?', '9999-later')
  assert.deepEqual(await works(t, home), before)
})

function readMigration(home: string, name: string): { hash: string } {
  const database = new Database(filesOf(home).database, { readonly: true })
  try {
    const find = database.prepare('SELECT hash FROM migrations WHERE name = ?')
    return find.get(name) as { hash: string }
  } finally {
    database.close()
  }
}

test('a second process on the same folder is refused, names the first, and disturbs nothing', async (t) => {
  const home = makeHome(t)
  const first = start(t, home, { settings: FAST })
  await first.ready()
  await refuses(t, home, {}, new RegExp(`process ${first.pid}\\b.*already uses`))
  const { status } = await first.call('PUT', '/v1/operator/keyring/rotate')
  assert.equal(status, 200)
  assert.equal((await first.end()).code, 0)
})

test('a wrong, a missing and a malformed KEK are refused; with the right one all is there again', async (t) => {
  const home = makeHome(t)
  const { kek } = filesOf(home)
  const before = await works(t, home)
  const right = readFileSync(kek, 'utf8')

  const wrong = randomBytes(32).toString('base64url')
  writeFileSync(kek, wrong)
  const text = await refuses(
    t,
    home,
    {},
    /^keyringd: KEK [0-9a-f]{16} \(from .*\) does not open the wrap of root key/,
  )
  assert.equal(text.includes(wrong), false, 'the sentence has no secret')
  writeFileSync(kek, 'not a key at all')
  await refuses(t, home, {}, /must be base64url text of exactly 32 bytes/)
  rmSync(kek)
  await refuses(t, home, {}, /restore it from a backup, or set KEYRINGD_KEK_FILE/)
  assert.equal(existsSync(kek), false, 'no new KEK is made over data that has one')
  const malformed = await refuses(
    t,
    home,
    { KEK: `${wrong}=x` },
    /KEYRINGD_KEK does not hold a KEK/,
  )
  assert.equal(malformed.includes(wrong), false)
  await refuses(
    t,
    home,
    { KEK: right.trim(), KEK_FILE: kek },
    /KEYRINGD_KEK and KEYRINGD_KEK_FILE are both set/,
  )
  assert.deepEqual(await works(t, home, { KEK: right.trim() }), before)
  writeFileSync(kek, right)
  assert.deepEqual(await works(t, home), before)
})

test('a wrong KEK ends the start also while somebody waits for the next key', async (t) => {
  const home = makeHome(t)
  const { kek } = filesOf(home)
  await works(t, home)
  rmSync(kek)
  execFileSync('mkfifo', [kek])
  const server = start(t, home, { settings: FAST })
  await server.listening()
  const index = (await request(`${server.url}/.well-known/jwks.json`)).headers.get('x-nomad-index')
  const held = request(`${server.url}/.well-known/jwks.json?index=${index}`).then(
    ({ status }) => status,
    () => 'cut off',
  )
  await heldQueries(server, 1)
  writeFileSync(kek, randomBytes(32).toString('base64url'))
  assert.deepEqual(await bounded(server.exited, 'the end'), { code: 1, signal: null })
  assert.match(server.stderr, /^keyringd: [^\n]+\n$/)
  assert.equal(await held, 200, 'held queries are answered at the end of a start, too')
})

test('KEK_AUTOCREATE=false makes no KEK, and a KEK put there serves', async (t) => {
  const home = makeHome(t)
  const { kek } = filesOf(home)
  await refuses(t, home, { KEK_AUTOCREATE: 'false' }, /KEYRINGD_KEK_AUTOCREATE is false/)
  assert.equal(existsSync(kek), false)
  writeFileSync(kek, `${randomBytes(32).toString('base64url')}\n`, { mode: 0o600 })
  assert.equal((await works(t, home, { KEK_AUTOCREATE: 'false' })).length, 2)
})

test('a management token that cannot be kept ends the first start before there are keys', async (t) => {
  const home = makeHome(t)
  const outside = makeHome(t, 'data')
  const file = join(home, 'file')
  writeFileSync(file, 'mine')
  const settings = {
    DATA_DIR: join(outside, 'data'),
    KEK: randomBytes(32).toString('base64url'),
    // Only the folder counts: the KEK itself is given.
  }
  const server = start(t, file, { settings: { ...FAST, ...settings } })
  assert.deepEqual(await bounded(server.exited, 'the end'), { code: 1, signal: null })
  assert.match(
    server.stderr,
    /^keyringd: The management token cannot be written to .*set KEYRINGD_MANAGEMENT_TOKEN.*\n$/,
  )
  const token = randomBytes(24).toString('hex')
  const keys = await works(t, file, { ...settings, MANAGEMENT_TOKEN: token })
  assert.equal(keys.length, 2)
})

test('the first start keeps its secrets to their owner', async (t) => {
  const home = makeHome(t)
  await works(t, home)
  const { kek, token, database, data } = filesOf(home)
  for (const file of [kek, token, database]) assert.equal(statSync(file).mode & 0o777, 0o600, file)
  assert.equal(statSync(data).mode & 0o777, 0o700)
})

test('another MANAGEMENT_TOKEN at a restart replaces the old one; none leaves it', async (t) => {
  const home = makeHome(t)
  const [first, second] = [randomBytes(24).toString('hex'), randomBytes(24).toString('hex')]
  const status = async (settings: Record<string, string>, ...tokens: string[]) => {
    const server = start(t, home, { settings: { ...FAST, ...settings } })
    await server.ready()
    const answers: number[] = []
    for (const token of tokens) {
      answers.push((await server.call('GET', '/v1/status', undefined, token)).status)
    }
    assert.equal((await server.end()).code, 0)
    return answers
  }
  assert.deepEqual(await status({ MANAGEMENT_TOKEN: first }, first, second), [200, 401])
  assert.equal(existsSync(filesOf(home).token), false, 'no file beside a token that was given')
  assert.deepEqual(await status({ MANAGEMENT_TOKEN: second }, first, second), [401, 200])
  assert.deepEqual(await status({}, first, second), [401, 200])
  const file = join(home, 'token')
  writeFileSync(file, `${first}\n`)
  assert.deepEqual(await status({ MANAGEMENT_TOKEN_FILE: file }, first, second), [200, 401])
})

test('a file that holds the token no more is not named, and the start says how to replace the token', async (t) => {
  const home = makeHome(t)
  const banner = async (settings: Record<string, string> = {}) => {
    const server = start(t, home, { settings: { ...FAST, ...settings } })
    await server.ready()
    assert.equal((await server.end()).code, 0)
    return server.stderr
  }
  const { token } = filesOf(home)
  assert.ok((await banner()).includes(`token  in ${token}`))
  assert.ok((await banner()).includes(`token  in ${token}`))
  await banner({ MANAGEMENT_TOKEN: randomBytes(24).toString('hex') })
  const after = await banner()
  assert.ok(!after.includes(token))
  assert.match(after, /another start with KEYRINGD_MANAGEMENT_TOKEN .* replaces it/)
})

test('a clock that was set back freezes what cannot be undone until somebody confirms it', async (t) => {
  const home = makeHome(t)
  // Everything is due at once and looked at ten times a second.
  const settings = {
    ...FAST,
    ...{ ROOT_KEY_GC_INTERVAL: '100ms', ROOT_KEY_ROTATION_THRESHOLD: '2s', CLOCK_SKEW: '0s' },
    ...{ ASSUMED_RP_CACHE: '0s', JWKS_MAX_AGE: '1s' },
    ...{
      JWKS_STALE_WHILE_REVALIDATE: '0s',
      JWKS_STALE_IF_ERROR: '0s',
      ROOT_KEY_GC_THRESHOLD: '0s',
    },
  }
  const first = start(t, home, { settings })
  await first.ready()
  await indexPast(first.url, 1n)
  assert.equal((await first.end()).code, 0)
  const inAnHour = BigInt(Date.now() + 3_600_000) * 1_000_000n
  edit(
    home,
    'UPDATE settings SET value = ? WHERE name = ?',
    JSON.stringify(String(inAnHour)),
    'clock_seen_at',
  )

  const server = start(t, home, { settings })
  await server.ready()
  await server.says(/the clock jumped: what cannot be undone waits/)
  const before = (await server.call('GET', '/v1/status')).json
  assert.ok(before.clockJump.byMs < -3_500_000, JSON.stringify(before.clockJump))
  // Many ticks later nothing has moved.
  const still = await request(
    `${server.url}/.well-known/jwks.json?index=${before.index}&wait=1500ms`,
  )
  assert.equal(still.headers.get('x-nomad-index'), before.index)
  // By hand it goes all the same, and publication goes on.
  assert.equal((await server.call('PUT', '/v1/operator/keyring/rotate')).status, 200)

  const confirmed = await server.call('POST', '/v1/clock/confirm', { reason: 'checked with NTP' })
  assert.equal(confirmed.status, 204)
  const after = (await server.call('GET', '/v1/status')).json
  assert.equal(after.clockJump, null)
  await indexPast(server.url, BigInt(after.index))
  assert.equal((await server.end()).code, 0)
  assert.deepEqual(faultsIn(server.log()), [])
})

/** Waits until the keyring moves on. */
async function indexPast(url: string, index: bigint): Promise<void> {
  const { headers } = await request(`${url}/.well-known/jwks.json?index=${index}&wait=20s`)
  assert.ok(BigInt(headers.get('x-nomad-index') ?? '0') > index, 'the timer rotates')
}

test('without a terminal the first start names the file of the token and does not print it', async (t) => {
  const home = makeHome(t)
  const server = start(t, home, { settings: FAST })
  await server.ready()
  assert.match(server.stderr, new RegExp(`token {2}in ${filesOf(home).token}`))
  assert.equal((server.stderr + server.stdout).includes(server.token()), false)
  assert.equal(
    (server.stderr + server.stdout).includes(readFileSync(filesOf(home).kek, 'utf8').trim()),
    false,
  )
})

test(
  'a terminal is shown the token at the first start, and only then',
  needs('script'),
  async (t) => {
    const home = makeHome(t)
    const onTerminal = async () => {
      const wrap = (command: readonly string[]) => [
        ...['script', '-qec', command.map((word) => `'${word}'`).join(' '), '/dev/null'],
      ]
      const server = start(t, home, { settings: FAST, wrap })
      await server.says(/"msg":"ready"/)
      // Of the server, not of the program around it, whose end the server would outlive.
      const pid = Number(readFileSync(`${filesOf(home).database}.pid`, 'utf8'))
      process.kill(pid, 'SIGTERM')
      await bounded(server.exited, 'the end').catch((error: unknown) => {
        process.kill(pid, 'SIGKILL')
        throw error
      })
      return server.stdout
    }
    const first = await onTerminal()
    const token = readFileSync(filesOf(home).token, 'utf8').trim()
    assert.ok(first.includes(`token  ${token} (kept in `), first)
    assert.equal((await onTerminal()).includes(token), false)
  },
)

test('the printed lines work as they are', needs('curl', 'bash'), async (t) => {
  // A name that a careless line would break.
  const home = join(makeHome(t), "it's a home")
  mkdirSync(home)
  const given = randomBytes(24).toString('hex')
  const file = join(home, 'given token')
  writeFileSync(file, given)
  const starts: { settings: Record<string, string>; env: Record<string, string> }[] = [
    { settings: {}, env: {} },
    { settings: { MANAGEMENT_TOKEN: given }, env: { KEYRINGD_MANAGEMENT_TOKEN: given } },
    { settings: { MANAGEMENT_TOKEN_FILE: file }, env: {} },
  ]
  for (const { settings, env } of starts) {
    const server = start(t, home, { settings: { ...FAST, ...settings } })
    await server.ready()
    const lines = server.stderr.split('\n').filter((line) => line.startsWith('  curl '))
    assert.equal(lines.length, 4)
    const answers = lines.map((line) =>
      execFileSync(
        'bash',
        ['-c', line.replace('curl', 'curl -sS --fail-with-body --max-time 20')],
        {
          ...{ encoding: 'utf8', env: { PATH: process.env.PATH, ...env } },
        },
      ),
    )
    const [set, keys, rotation, signed] = answers.map((text) => JSON.parse(text))
    assert.ok(set.keys.length >= 2)
    assert.ok(keys.length >= 2)
    // The first start rotates; later ones show when it is safe to.
    if (rotation.keys) assert.equal(rotation.keys[0].state, 'active')
    else assert.ok(rotation.plan.some(({ step }: { step: string }) => step === 'activate'))
    assert.equal(Boolean(rotation.keys), env === starts[0]?.env)
    assert.match(signed.token, /^eyJ/)
    assert.equal((await server.end()).code, 0)
  }
})

test('serve takes no arguments', () => {
  const run = () =>
    execFileSync(process.execPath, [BIN, 'serve', 'now'], { encoding: 'utf8', stdio: 'pipe' })
  assert.throws(run, (error: { status?: number; stderr?: string }) => {
    assert.equal(error.status, 2)
    return /^serve takes no arguments[^\n]*docs\/settings\.md/.test(error.stderr ?? '')
  })
})
