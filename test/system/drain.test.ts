import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent, type ClientRequest, type IncomingMessage, request as open } from 'node:http'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { createLocalJWKSet, jwtVerify } from 'jose'
import { bounded, faultsIn, heldQueries, makeHome, request, type Server, start } from './process.ts'

// SIGTERM: held queries are answered, open requests finish, the database is closed, exit 0 (README, Operation). RSA,
// because a batch then takes long enough to be running when the signal comes.

const SETTINGS = { ROOT_KEY_ALGORITHM: 'RS256', BLOCKING_QUERIES_PER_ADDRESS: '1000' }
const BATCH = 1000
const HELD = 200

/** Sends the head and part of a body, and leaves the rest for later. */
function upload(server: Server, agent: Agent, body: string): ClientRequest {
  const client = open(`${server.url}/v1/rings/default/sign`, {
    ...{ method: 'POST', agent },
    headers: {
      'x-nomad-token': server.token(),
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
    },
  })
  client.write(body.slice(0, 10))
  return client
}

async function answerOf(client: ClientRequest): Promise<{ status: number; text: string }> {
  const [answer] = (await bounded(once(client, 'response'), 'an answer')) as [IncomingMessage]
  return { status: answer.statusCode ?? 0, text: await text(answer) }
}

/** A connection on which nothing is ever sent, as load balancers and browsers hold in reserve. */
async function silent(t: TestContext, port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  await once(socket, 'connect')
  return socket
}

const keepingAgent = (t: TestContext) => {
  const agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY })
  t.after(() => agent.destroy())
  return agent
}

test('SIGTERM answers who waits, finishes what runs, loses nothing, and ends with 0', async (t) => {
  const home = makeHome(t)
  const server = start(t, home, { settings: SETTINGS })
  await server.ready()
  const token = server.token()
  const agent = keepingAgent(t)

  const { index } = (await server.call('GET', '/v1/status')).json
  const held = Array.from({ length: HELD }, (_, at) => {
    const path = at % 2 === 0 ? '/.well-known/jwks.json' : '/v1/operator/keyring/keys'
    const headers = { 'x-nomad-token': token }
    const client = open(`${server.url}${path}?index=${index}`, { agent, headers })
    client.end()
    return answerOf(client)
  })
  await heldQueries(server, HELD)
  const body = JSON.stringify({ claims: { sub: 'slow' }, ttl: '1h' })
  const slow = upload(server, agent, body)
  await silent(t, server.port)
  const idle = keepingAgent(t)
  open(`${server.url}/healthz`, { agent: idle }).end()
  const one = { claims: { sub: 'batch' }, ttl: '1h' }
  const batch = server.call('POST', '/v1/rings/default/sign', { batch: Array(BATCH).fill(one) })
  // The batch is signing when its first promise is on disk.
  await metric(server, /^keyringd_promise_writes_total [1-9]/m)

  server.kill('SIGTERM')
  await server.says(/"msg":"stopping"/)
  const statuses = (await Promise.all(held)).map(({ status }) => status)
  assert.deepEqual(new Set(statuses), new Set([200]))
  assert.equal(statuses.length, HELD)
  const ready = await request(`${server.url}/readyz`).then(
    ({ status }) => status,
    () => 'refused',
  )
  assert.ok(ready === 503 || ready === 'refused', `${ready}`)
  const slowAnswer = answerOf(slow)
  slow.end(body.slice(10))
  const signed = await slowAnswer
  assert.equal(signed.status, 200, signed.text)
  const signedBatch = await batch
  assert.equal(signedBatch.json.batch.length, BATCH)
  const exit = await bounded(server.exited, 'the end')
  assert.deepEqual(exit, { code: 0, signal: null }, server.stdout)
  assert.deepEqual(faultsIn(server.log()), [])

  const again = start(t, home, { settings: SETTINGS })
  await again.ready()
  const keys = createLocalJWKSet((await request(`${again.url}/.well-known/jwks.json`)).json)
  const tokens = [JSON.parse(signed.text), ...signedBatch.json.batch] as { token: string }[]
  for (const { token } of tokens) await jwtVerify(token, keys)
  assert.equal((await again.end()).code, 0)
})

/** Waits until /metrics says so. */
async function metric(server: Server, pattern: RegExp): Promise<void> {
  const look = async () => {
    for (;;) if (pattern.test((await request(`${server.url}/metrics`)).text)) return
  }
  await bounded(look(), `${pattern} in the metrics`)
}

test('writes that SIGTERM overtakes are done or refused, and what was answered is kept', async (t) => {
  const home = makeHome(t)
  const settings = { ROOT_KEY_ALGORITHM: 'EdDSA' }
  const server = start(t, home, { settings })
  await server.ready()
  const rotate = () =>
    server.call('PUT', '/v1/operator/keyring/rotate').then(
      ({ status, json }) => (status === 200 ? (json.Key.KeyID as string) : status),
      () => 'cut off',
    )
  const first = await rotate()
  const many = Array.from({ length: 40 }, rotate)
  server.kill('SIGTERM')
  const answers = await Promise.all(many)
  assert.deepEqual(await bounded(server.exited, 'the end'), { code: 0, signal: null })
  const kept = [first, ...answers].filter((answer) => /-/.test(`${answer}`))

  const again = start(t, home, { settings })
  await again.ready()
  const { json } = await again.call('GET', '/v1/rings/default/keys')
  const kids = new Set((json.keys as { kid: string }[]).map(({ kid }) => kid))
  assert.deepEqual(
    kept.filter((kid) => !kids.has(`${kid}`)),
    [],
  )
  assert.equal((await again.end('SIGINT')).code, 0, 'SIGINT is the same')
})

test('a second signal ends the server at once, with 1', async (t) => {
  const server = start(t, makeHome(t), { settings: SETTINGS })
  await server.ready()
  const client = upload(server, keepingAgent(t), '{"claims":{},"ttl":"1m"}')
  client.on('error', () => {})
  await silent(t, server.port)
  await heldQueries(server, 0)
  server.kill('SIGTERM')
  await server.says(/"msg":"stopping"/)
  assert.deepEqual(await server.end('SIGTERM'), { code: 1, signal: null })
})

test('a request that never ends is left after 10 seconds, with 1', async (t) => {
  const server = start(t, makeHome(t), { settings: SETTINGS })
  await server.ready()
  const client = upload(server, keepingAgent(t), '{"claims":{},"ttl":"1m"}')
  client.on('error', () => {})
  await heldQueries(server, 0)
  assert.deepEqual(await server.end(), { code: 1, signal: null })
  const log = server.log()
  const said = log.find(({ msg }) => msg === 'connections did not end in time')
  const stopping = log.find(({ msg }) => msg === 'stopping')
  const millis = Date.parse(String(said?.['time'])) - Date.parse(String(stopping?.['time']))
  assert.ok(millis >= 9_900 && millis < 15_000, `${millis} ms`)
})
