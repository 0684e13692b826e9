import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { goClient } from './go-client.ts'
import { documentOf, PASSWORD, trafficOpsWorld } from './traffic-ops.ts'

// A client as the Go libraries are, over real sockets (contract sections 1 to 5).

async function listening(t: TestContext, settings: Record<string, string> = {}) {
  const world = await trafficOpsWorld(t, settings)
  await world.app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = world.app.server.address() as AddressInfo
  return { world, url: `http://127.0.0.1:${port}` }
}

const ann = { user: 'ann', password: PASSWORD }

test('section 5: stores, reads and deletes keys, with one login for all of it', async (t) => {
  const { url } = await listening(t)
  const client = goClient(url, { ...ann, versions: ['5.0'] })
  await client.login()
  const path = 'deliveryservices/own/urisignkeys'
  const document = documentOf()
  assert.deepEqual(await client.request('POST', path, document), { status: 200, text: document })
  assert.deepEqual(await client.request('GET', path), { status: 200, text: document })
  const removed = await client.request('DELETE', path)
  assert.deepEqual(removed, {
    ...{ status: 200, text: '{"alerts":[{"text":"object deleted","level":"success"}]}\n' },
  })
  assert.equal((await client.request('GET', path)).text, '{"renewal_kid":null,"keys":null}')
  assert.equal(client.logins(), 1)
})

test('section 1: goes on with an older version on 501, and only then', async (t) => {
  const { url } = await listening(t)
  const newer = goClient(url, { ...ann, versions: ['6.0', '5.1', '5.0', '4.1'] })
  await newer.login()
  assert.equal(newer.version(), '5.0')
  const none = await newer.request('GET', 'no/such/path')
  assert.equal(none.status, 404)
  assert.equal(newer.version(), '5.0')
})

test('section 1: each library’s versions are known: v5, v4, v3', async (t) => {
  const { url } = await listening(t)
  for (const versions of [['5.0'], ['4.1', '4.0'], ['3.1', '3.0']]) {
    const client = goClient(url, { ...ann, versions })
    await client.login()
    assert.equal(client.version(), versions[0])
    assert.equal((await client.request('GET', 'deliveryservices/own/urisignkeys')).status, 200)
  }
})

test('section 3: a session that has ended is followed by one more login, and the request by itself again', async (t) => {
  const { world, url } = await listening(t)
  const client = goClient(url, { ...ann, versions: ['4.1', '4.0'] })
  await client.login()
  world.clock.advance('7h')
  assert.equal((await client.request('GET', 'deliveryservices/own/urisignkeys')).status, 200)
  assert.equal(client.logins(), 2)
})

test('section 3: the second login that every 403 brings about trips no limit', async (t) => {
  const { url } = await listening(t, { RATE_LIMIT_LOGIN: '3/m' })
  const client = goClient(url, { ...ann, versions: ['5.0'] })
  await client.login()
  for (let time = 0; time < 8; time++) {
    const { status, text } = await client.request('GET', 'deliveryservices/foreign/urisignkeys')
    assert.deepEqual([status, text], [403, '{"alerts":[{"text":"Forbidden","level":"error"}]}\n'])
  }
  assert.equal(client.logins(), 9)
  assert.equal((await client.request('GET', 'deliveryservices/own/urisignkeys')).status, 200)
})

test('section 3: logout empties the jar and ends the session for whoever copied it', async (t) => {
  const { url } = await listening(t)
  const client = goClient(url, { ...ann, versions: ['5.0'] })
  await client.login()
  assert.deepEqual([...client.jar.keys()].sort(), ['access_token', 'mojolicious'])
  const copied = new Map(client.jar)
  assert.equal((await client.request('POST', 'user/logout')).status, 200)
  assert.equal(client.jar.size, 0)
  for (const [name, value] of copied) {
    const answer = await fetch(`${url}/api/5.0/deliveryservices/own/urisignkeys`, {
      headers: { cookie: `${name}=${value}` },
    })
    assert.equal(answer.status, 401, name)
  }
})
