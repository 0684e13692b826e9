import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { needs } from '../needs.ts'
import { bounded, faultsIn, filesOf, makeHome, request, start } from './process.ts'

// The server publishes before the KEK is proven, however long that takes (product.md section 3). A pipe in the place
// of the KEK file makes it take as long as the test likes.

const FAST = { ROOT_KEY_ALGORITHM: 'EdDSA' }

test(
  'keys are published before the KEK is there, and signing waits for it',
  needs('mkfifo'),
  async (t) => {
    const home = makeHome(t)
    const { kek } = filesOf(home)
    const first = start(t, home, { settings: FAST })
    await first.ready()
    const before = await request(`${first.url}/.well-known/jwks.json`)
    assert.equal((await first.end()).code, 0)
    const secret = readFileSync(kek, 'utf8')
    rmSync(kek)
    execFileSync('mkfifo', ['-m', '600', kek])

    const server = start(t, home, { settings: FAST })
    await server.listening()
    const published = await request(`${server.url}/.well-known/jwks.json`)
    assert.equal(published.status, 200)
    assert.equal(published.text, before.text)
    assert.equal((await request(`${server.url}/.well-known/openid-configuration`)).status, 200)
    assert.equal((await request(`${server.url}/healthz`)).status, 200)

    const readiness = await request(`${server.url}/readyz`)
    assert.equal(readiness.status, 503)
    assert.deepEqual(readiness.json, { status: 'waiting', waitingFor: ['the KEK'] })
    const body = { claims: { sub: 'a' }, ttl: '1m' }
    const refused = await server.call('POST', '/v1/rings/default/sign', body)
    assert.equal(refused.status, 503)
    assert.equal(refused.json.code, 'not_ready')
    for (const path of ['rotate', 'keys/0b1f4c52-7d0e-91aa-3c55-2f60a4e7d913']) {
      const method = path === 'rotate' ? 'POST' : 'DELETE'
      const { status, json } = await server.call(method, `/v1/rings/default/${path}`)
      assert.deepEqual([status, json.code], [503, 'not_ready'], path)
    }
    // The Nomad wire has its own words for it (contract section 1.5).
    const rotation = await server.call('PUT', '/v1/operator/keyring/rotate')
    assert.equal(rotation.status, 500)
    assert.equal(rotation.text, 'keyring has not been initialized yet')
    const listed = await server.call('GET', '/v1/operator/keyring/keys')
    assert.equal(listed.json.length, JSON.parse(before.text).keys.length)

    writeFileSync(kek, secret)
    await server.ready()
    assert.equal((await request(`${server.url}/readyz`)).status, 200)
    assert.equal((await server.call('POST', '/v1/rings/default/sign', body)).status, 200)
    assert.equal((await request(`${server.url}/.well-known/jwks.json`)).text, before.text)
    assert.equal((await server.end()).code, 0)
    assert.deepEqual(faultsIn(server.log()), [])
  },
)

test(
  'a first start that waits for its KEK has an empty set, and ends when asked to',
  needs('mkfifo'),
  async (t) => {
    const home = makeHome(t)
    const { kek } = filesOf(home)
    execFileSync('mkdir', ['-p', `${home}/.keyringd`])
    execFileSync('mkfifo', ['-m', '600', kek])
    const server = start(t, home, { settings: FAST })
    await server.listening()
    const empty = await request(`${server.url}/.well-known/jwks.json`)
    assert.deepEqual([empty.status, empty.json], [200, { keys: [] }])
    assert.equal(empty.headers.get('cache-control'), null)
    assert.equal((await request(`${server.url}/readyz`)).status, 503)
    assert.deepEqual(await server.end(), { code: 0, signal: null })
    assert.deepEqual(faultsIn(server.log()), [])

    rmSync(kek)
    const again = start(t, home, { settings: FAST })
    await again.ready()
    assert.equal((await again.call('GET', '/v1/status')).status, 200, 'the token of the first try')
    assert.equal((await again.end()).code, 0)
  },
)

test('a KEK that does not come within START_TIMEOUT ends the start', needs('mkfifo'), async (t) => {
  const home = makeHome(t)
  const { kek } = filesOf(home)
  const first = start(t, home, { settings: FAST })
  await first.ready()
  assert.equal((await first.end()).code, 0)
  const secret = readFileSync(kek, 'utf8')
  rmSync(kek)
  execFileSync('mkfifo', ['-m', '600', kek])
  const late = start(t, home, { settings: { ...FAST, START_TIMEOUT: '500ms' } })
  assert.deepEqual(await bounded(late.exited, 'the end'), { code: 1, signal: null })
  assert.match(late.stderr, /^keyringd: Not ready after 500ms: still waiting for the KEK\.\n$/)
  rmSync(kek)
  writeFileSync(kek, secret, { mode: 0o600 })
  const again = start(t, home, { settings: FAST })
  await again.ready()
  assert.equal((await again.end()).code, 0)
})
