import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import Database from 'better-sqlite3'
import { createLocalJWKSet, jwtVerify } from 'jose'
import { faultsIn, filesOf, makeHome, request, type Server, start } from './process.ts'

// Somebody edits the database between two runs, and the default ring has no active key any more. The next start says
// so, publishes what it can vouch for and never an empty set, keeps every row, and signs again.

interface Listed {
  kid: string
  standby: boolean
  state: string
  withheld: string | null
}

const RETIRED = `state = 'retired', standby = 0, retired_at = created_at, private_sealed = NULL`
const ACTIVE = `ring_id = 'default' AND state = 'active'`

/** Runs SQL on the database of a server that does not run, with or without its foreign keys. */
function edit(home: string, sql: string, foreignKeys: boolean): void {
  const database = new Database(filesOf(home).database)
  try {
    database.pragma(`foreign_keys = ${foreignKeys ? 'ON' : 'OFF'}`)
    assert.ok(database.prepare(sql).run().changes > 0, 'the edit changes something')
  } finally {
    database.close()
  }
}

const setOf = (server: Server) => request(`${server.url}/.well-known/jwks.json`)

async function keysOf(server: Server): Promise<Listed[]> {
  return (await server.call('GET', '/v1/rings/default/keys')).json.keys
}

async function sign(server: Server): Promise<string> {
  const body = { claims: { sub: 'a' }, ttl: '1h' }
  const answer = await server.call('POST', '/v1/rings/default/sign', body)
  assert.equal(answer.status, 200, answer.text)
  return answer.json.token
}

/** As a relying party does it, with the set as it is published. Answers the kid. */
async function verify(server: Server, token: string): Promise<string> {
  const { protectedHeader } = await jwtVerify(token, createLocalJWKSet((await setOf(server)).json))
  return String(protectedHeader.kid)
}

function begin(t: TestContext, home: string, mode: string): Server {
  return start(t, home, { settings: { ROOT_KEY_ALGORITHM: 'EdDSA', ROTATION_MODE: mode } })
}

/** Starts again, and reads the set until the server is ready: it may be refused for a moment, and is never empty. */
async function startReading(t: TestContext, home: string, mode: string): Promise<Server> {
  const server = begin(t, home, mode)
  await server.listening()
  let waiting = true
  const ready = server.ready().finally(() => {
    waiting = false
  })
  do {
    const { status, json, text } = await setOf(server)
    assert.ok(status === 503 || (status === 200 && json.keys.length > 0), text)
  } while (waiting)
  await ready
  return server
}

const edits = [
  { name: 'is retired', where: ACTIVE, mode: 'safe' },
  { name: 'is retired', where: ACTIVE, mode: 'nomad' },
  { name: 'and its standby are retired', where: "ring_id = 'default'", mode: 'safe' },
]

for (const { name, where, mode } of edits) {
  test(`the active key ${name} by hand (${mode}): it is withheld and named, and the ring signs`, async (t) => {
    const home = makeHome(t)
    const first = begin(t, home, mode)
    await first.ready()
    const before = await keysOf(first)
    const old = await sign(first)
    await first.end()
    edit(home, `UPDATE keys SET ${RETIRED} WHERE ${where}`, true)

    const second = await startReading(t, home, mode)
    assert.match(second.stdout, /"level":"warn".*"ring":"default".*no active key/)
    const after = await keysOf(second)
    const withheld = after.filter((key) => key.withheld === 'bad-mac').map(({ kid }) => kid)
    assert.ok(withheld.length > 0)
    for (const { kid } of before)
      assert.ok(
        after.some((key) => key.kid === kid),
        'no row is lost',
      )
    const readiness = await request(`${second.url}/readyz`)
    assert.equal(readiness.status, 503, 'somebody must look at this')
    for (const kid of withheld) {
      assert.ok(readiness.text.includes(`key ${kid} was changed outside this server`))
    }

    const published = (await setOf(second)).json.keys.map(({ kid }: Listed) => kid)
    assert.deepEqual(
      published.filter((kid: string) => withheld.includes(kid)),
      [],
      'nobody vouches for an edited row',
    )
    await assert.rejects(verify(second, old), { code: 'ERR_JWKS_NO_MATCHING_KEY' })
    const active = after.filter(({ state }) => state === 'active').map(({ kid }) => kid)
    assert.deepEqual([await verify(second, await sign(second))], active)
    const standby = before.find((key) => key.standby && !withheld.includes(key.kid))
    if (standby) assert.deepEqual(active, [standby.kid], 'the key that verifiers know already')
    assert.match(second.stdout, /"level":"error".*was changed outside this server/)
    assert.deepEqual(await second.end(), { code: 0, signal: null })

    // The edited row stays as evidence; the key that took over stays, too.
    const third = await startReading(t, home, mode)
    assert.doesNotMatch(third.stdout, /no active key/)
    assert.deepEqual([await verify(third, await sign(third))], active)
    const last = await keysOf(third)
    for (const { kid } of after)
      assert.ok(
        last.some((key) => key.kid === kid),
        'no row is lost',
      )
    assert.deepEqual(await third.end(), { code: 0, signal: null })
  })
}

test('the row of the active key cannot be deleted: the database refuses it', async (t) => {
  const home = makeHome(t)
  const first = begin(t, home, 'safe')
  await first.ready()
  const old = await sign(first)
  await first.end()
  assert.throws(() => edit(home, `DELETE FROM keys WHERE ${ACTIVE}`, true), {
    code: 'SQLITE_CONSTRAINT_FOREIGNKEY',
  })
  const second = await startReading(t, home, 'safe')
  assert.equal((await request(`${second.url}/readyz`)).status, 200)
  await verify(second, old)
  await second.end()
})

test('a row that is deleted against the constraints: the start says so, and signs', async (t) => {
  const home = makeHome(t)
  const first = begin(t, home, 'safe')
  await first.ready()
  const others = (await keysOf(first)).filter(({ state }) => state !== 'active')
  await first.end()
  edit(home, `DELETE FROM keys WHERE ${ACTIVE}`, false)

  const second = await startReading(t, home, 'safe')
  assert.match(second.stdout, /"level":"warn".*"ring":"default".*no active key/)
  const after = await keysOf(second)
  for (const { kid } of others)
    assert.ok(
      after.some((key) => key.kid === kid),
      'no row is lost',
    )
  const active = after.filter(({ state }) => state === 'active').map(({ kid }) => kid)
  assert.deepEqual([await verify(second, await sign(second))], active)
  // What the deleted key sealed is still open: its root key was not deleted with it.
  assert.deepEqual((await second.call('GET', '/v1/status')).json.quarantined, [])
  for (const ring of ['access', 'audit']) {
    const { json } = await second.call('GET', `/v1/rings/${ring}/keys`)
    assert.ok(
      json.keys.every(({ withheld }: Listed) => withheld === null),
      ring,
    )
  }
  assert.deepEqual(await second.end(), { code: 0, signal: null })
  assert.deepEqual(faultsIn(second.log()), [])
})
