import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { Agent, request as open } from 'node:http'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { bounded, faultsIn, heldQueries, makeHome, request, type Server, start } from './process.ts'
import { dial } from './raw.ts'

// Clients that send too much, too slowly, or nonsense: each gets a clear answer, the server stays ready and loses no
// key, and its log blames nobody but them.

const MIB = 2 ** 20
/** Bytes of resident memory that a server may have after all of this. */
const MEMORY = 400 * MIB
const ADDRESSES = 80
const PER_ADDRESS = 80
/** BLOCKING_QUERIES_PER_ADDRESS, its default. */
const LIMIT = 64

interface Kid {
  kid: string
}

const kidsOf = async (server: Server): Promise<string[]> =>
  ((await server.call('GET', '/v1/rings/default/keys')).json.keys as Kid[])
    .map(({ kid }) => kid)
    .sort()

/** The status line's number of what came back on a raw connection; undefined when nothing did. */
const statusOf = (received: string): number | undefined => {
  const [, status] = /^HTTP\/1\.1 (\d{3}) /.exec(received) ?? []
  return status === undefined ? undefined : Number(status)
}

test('abuse is answered, and leaves nothing behind', async (t) => {
  const server = start(t, makeHome(t), { settings: { ROOT_KEY_ALGORITHM: 'EdDSA' } })
  await server.ready()
  const keys = await kidsOf(server)
  const signPath = '/v1/rings/default/sign'

  await t.test('bodies over the limit: 413', async (t) => {
    const large = JSON.stringify({ claims: { sub: 'a'.repeat(2 * MIB) }, ttl: '1m' })
    const told = await server.call('POST', signPath, JSON.parse(large))
    assert.deepEqual([told.status, told.json.code], [413, 'body_too_large'])
    const raw = await dial(t, server.port)
    raw.send(`POST ${signPath} HTTP/1.1\r\nHost: a\r\nX-Nomad-Token: ${server.token()}\r\n`)
    raw.send('Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n')
    raw.send(`${large.length.toString(16)}\r\n${large}\r\n0\r\n\r\n`)
    assert.equal(statusOf(await raw.received(/body_too_large/)), 413)
  })

  await t.test('1 MB of header, in one line, in many, in the path: 431', async (t) => {
    const heads = [
      `GET /healthz HTTP/1.1\r\nHost: a\r\nX-Long: ${'a'.repeat(MIB)}`,
      `GET /healthz HTTP/1.1\r\nHost: a\r\n${'X-Many: b\r\n'.repeat(MIB / 11)}`,
      `GET /${'c'.repeat(MIB)} HTTP/1.1\r\nHost: a`,
    ]
    for (const head of heads) {
      const raw = await dial(t, server.port)
      raw.send(`${head}\r\n\r\n`)
      const received = await raw.closed()
      assert.equal(statusOf(received), 431, head.slice(0, 40))
      assert.match(received, /headers_too_large/)
    }
  })

  await t.test('a token of 1 MB is refused, however it comes', async (t) => {
    const huge = `${'a'.repeat(333_000)}.${'b'.repeat(333_000)}.${'c'.repeat(333_000)}`
    const verdict = await server.call('POST', '/v1/verify', {
      ...{ token: huge, with: { ring: 'default' } },
    })
    assert.deepEqual([verdict.status, verdict.json.valid], [200, false], verdict.text)
    const over = await server.call('POST', '/v1/verify', {
      ...{ token: 'a'.repeat(MIB), with: { ring: 'default' } },
    })
    assert.equal(over.status, 413)
    const raw = await dial(t, server.port)
    raw.send(
      `GET /v1/rings/default/auth HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${huge}\r\n\r\n`,
    )
    assert.equal(statusOf(await raw.closed()), 431)
    const headers = { authorization: `Bearer ${huge.slice(0, 20_000)}` }
    const auth = await request(`${server.url}/v1/rings/default/auth`, { headers })
    assert.equal(auth.status, 401)
    assert.equal((await request(`${server.url}/v1/status`, { headers })).status, 401)
  })

  await t.test('bodies that are no sense: 400 or 422', async () => {
    const bodies = [
      ...['', 'null', '[]', '{', '{"claims":{},"ttl":"1m"}x', '\u0000', '"a"', 'NaN'],
      ...['{"__proto__":{"a":1}}', '{"claims":{"__proto__":{"a":1}},"ttl":"1m"}'],
      ...[`${'['.repeat(100_000)}`, `{"claims":${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}}`],
      JSON.stringify({ batch: Array(1001).fill({ claims: {}, ttl: '1m' }) }),
      Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d]),
    ]
    for (const body of bodies) {
      const headers = { 'x-nomad-token': server.token(), 'content-type': 'application/json' }
      const answer = await request(`${server.url}${signPath}`, { method: 'POST', headers, body })
      assert.ok(
        [400, 422].includes(answer.status),
        `${answer.status} for ${String(body).slice(0, 40)}`,
      )
      assert.match(answer.headers.get('content-type') ?? '', /^application\/problem\+json$/)
    }
  })

  await t.test('bytes that are no HTTP: 400, or the end', async (t) => {
    const hello = '16030100a5010000a10303'
    const nonsense = [
      ...[
        randomBytes(4096),
        Buffer.from(hello, 'hex'),
        Buffer.alloc(2048),
        'SSH-2.0-OpenSSH_9.2\r\n',
      ],
      ...['GET / HTTP/9.9\r\n\r\n', 'GET  HTTP/1.1\r\n\r\n', '\r\n\r\n\r\nGET\r\n\r\n'],
      'GET / HTTP/1.1\r\nHost: a\r\nBad Header\r\n\r\n',
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd',
      'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    ]
    for (const bytes of nonsense) {
      const raw = await dial(t, server.port)
      raw.send(bytes)
      const status = statusOf(await raw.closed())
      assert.ok(status === undefined || (status >= 400 && status < 500), `${status}`)
    }
    const odd = [
      '/%',
      '/%zz',
      '/v1/rings/%E0%A4%A/keys',
      '//',
      '/../../etc/passwd',
      '/v1/rings/..%2f..',
    ]
    for (const path of odd) {
      const raw = await dial(t, server.port)
      raw.send(`GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)
      const status = statusOf(await raw.closed()) ?? 0
      assert.ok(status >= 400 && status < 500, `${status} for ${path}`)
    }
  })

  await t.test('a thousand requests in one breath are answered in order', async (t) => {
    const raw = await dial(t, server.port)
    const get = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: a\r\n${more}\r\n`
    const pair = get('/.well-known/jwks.json') + get('/nowhere')
    raw.send(pair.repeat(500) + get('/healthz', 'Connection: close\r\n'))
    const received = await raw.closed()
    const statuses = [...received.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => status)
    assert.deepEqual(statuses, [...Array(500).fill(['200', '404']).flat(), '200'])
  })

  await t.test('clients that hang up in the middle', async (t) => {
    const head = `Host: a\r\nX-Nomad-Token: ${server.token()}\r\nContent-Type: application/json\r\n`
    const { index } = (await server.call('GET', '/v1/status')).json
    const batch = JSON.stringify({
      batch: Array(1000).fill({ claims: { sub: 'a'.repeat(400) }, ttl: '1m' }),
    })
    for (let time = 0; time < 20; time++) {
      // Of a body, of a held query, of a long answer.
      const body = await dial(t, server.port)
      body.send(`POST ${signPath} HTTP/1.1\r\n${head}Content-Length: 1000\r\n\r\n{"claims"`)
      const held = await dial(t, server.port)
      held.send(`GET /v1/operator/keyring/keys?index=${index} HTTP/1.1\r\n${head}\r\n`)
      const long = await dial(t, server.port)
      long.send(
        `POST ${signPath} HTTP/1.1\r\n${head}Content-Length: ${batch.length}\r\n\r\n${batch}`,
      )
      await heldQueries(server, 1)
      await long.received(/^HTTP/)
      for (const raw of [body, held, long]) {
        if (time % 2 === 0) raw.socket.destroy()
        else raw.socket.resetAndDestroy()
      }
      await heldQueries(server, 0)
    }
  })

  await t.test('10,000 unknown paths: 404, and the metrics do not grow', async (t) => {
    const agent = new Agent({ keepAlive: true, maxSockets: 20 })
    t.after(() => agent.destroy())
    const get = (path: string) =>
      new Promise<number | undefined>((resolve, reject) => {
        open(`${server.url}${path}`, { agent }, (answer) => {
          answer.resume().once('end', () => resolve(answer.statusCode))
        })
          .on('error', reject)
          .end()
      })
    const places = ['/', '/v1/', '/rings/', '/.well-known/', '/v1/rings/']
    await get('/nowhere')
    const before = (await request(`${server.url}/metrics`)).text.length
    for (let from = 0; from < 10_000; from += 500) {
      const paths = Array.from({ length: 500 }, (_, at) => {
        const place = places[at % places.length]
        return `${place}${randomBytes(8).toString('hex')}/${from + at}`
      })
      const statuses = await bounded(Promise.all(paths.map(get)), '500 answers')
      assert.deepEqual(new Set(statuses), new Set([404]))
    }
    const after = (await request(`${server.url}/metrics`)).text.length
    assert.ok(after < before + 4096, `the metrics went from ${before} to ${after} characters`)
  })

  await t.test(
    '6,400 queries, of which 5,120 are held together: those over the limit of an address are answered at once',
    async (t) => {
      await holdMany(t, server)
    },
  )

  await t.test('afterwards the server is as it was', async () => {
    assert.equal((await request(`${server.url}/readyz`)).status, 200)
    await heldQueries(server, 0)
    const now = await kidsOf(server)
    assert.deepEqual(
      keys.filter((kid) => !now.includes(kid)),
      [],
    )
    const { text } = await request(`${server.url}/metrics`)
    const resident = Number(/^process_resident_memory_bytes (\S+)$/m.exec(text)?.[1])
    assert.ok(resident > 0 && resident < MEMORY, `${resident / MIB} MiB`)
    assert.deepEqual(await server.end(), { code: 0, signal: null })
    assert.deepEqual(faultsIn(server.log()), [])
    assert.equal(/^ +at /m.test(server.stdout + server.stderr), false, 'no stack')
    const longest = Math.max(...server.stdout.split('\n').map((line) => line.length))
    assert.ok(longest < 2048, `a line of the log has ${longest} characters`)
  })
})

/** Held queries of many addresses, ended by a rotation. */
async function holdMany(t: TestContext, server: Server): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY })
  t.after(() => agent.destroy())
  const { index } = (await server.call('GET', '/v1/status')).json
  const answered: string[] = []
  const early = ADDRESSES * (PER_ADDRESS - LIMIT)
  const refused = Promise.withResolvers<void>()
  const query = (localAddress: string) =>
    new Promise<number | undefined>((resolve, reject) => {
      const path = `/.well-known/jwks.json?index=${index}`
      open(`${server.url}${path}`, { agent, localAddress }, async (answer) => {
        const { keys } = JSON.parse(await text(answer)) as { keys: unknown[] }
        assert.ok(keys.length > 0)
        if (answered.push(String(answer.headers['x-nomad-index'])) === early) refused.resolve()
        resolve(answer.statusCode)
      })
        .on('error', reject)
        .end()
    })
  const addresses = Array.from({ length: ADDRESSES }, (_, at) => `127.0.0.${at + 10}`)
  const all = addresses.flatMap((address) =>
    Array.from({ length: PER_ADDRESS }, () => query(address)),
  )
  await heldQueries(server, ADDRESSES * LIMIT)
  await bounded(refused.promise, 'the answers over the limit')
  assert.equal(answered.length, early)
  assert.deepEqual(new Set(answered), new Set([index]), 'as it is now, not later')
  assert.equal((await request(`${server.url}/readyz`)).status, 200)

  const rotated = await server.call('PUT', '/v1/operator/keyring/rotate')
  assert.equal(rotated.status, 200)
  const statuses = await bounded(Promise.all(all), 'the held queries')
  assert.deepEqual([statuses.length, ...new Set(statuses)], [ADDRESSES * PER_ADDRESS, 200])
  const later = answered.slice(early)
  assert.deepEqual(new Set(later), new Set([rotated.headers.get('x-nomad-index')]))
  await heldQueries(server, 0)
}

test('heads that come a byte at a time keep nobody waiting, and end with 408', async (t) => {
  const server = start(t, makeHome(t), { settings: { ROOT_KEY_ALGORITHM: 'EdDSA' } })
  await server.ready()
  const slow = await Promise.all(Array.from({ length: 100 }, () => dial(t, server.port)))
  for (const raw of slow) raw.send('GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: ')
  const drip = setInterval(() => {
    for (const { socket } of slow) if (socket.writable) socket.write('a')
  }, 250)
  t.after(() => clearInterval(drip))
  assert.equal((await request(`${server.url}/.well-known/jwks.json`)).status, 200)
  assert.equal((await request(`${server.url}/readyz`)).status, 200)
  // A minute for a head, and Node looks every half minute.
  for (const raw of slow) {
    const received = await raw.closed(120_000)
    assert.equal(statusOf(received), 408)
    assert.match(received, /request_timeout/)
  }
  assert.deepEqual(await server.end(), { code: 0, signal: null })
  assert.deepEqual(faultsIn(server.log()), [])
})
