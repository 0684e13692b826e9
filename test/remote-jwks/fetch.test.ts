import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import type { RequestListener } from 'node:http'
import { createServer as createTcpServer, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { isProblem, type ProblemCode } from '../../src/errors.ts'
import { closed, endpoint, limits, open, resolver } from './endpoint.ts'

/** The work must fail with this code; answers the message of the cause. */
async function fails(work: Promise<unknown>, code: ProblemCode, detail?: string): Promise<string> {
  const error = await work.then(
    () => assert.fail('it did not fail'),
    (reason: unknown) => reason,
  )
  assert.ok(isProblem(error, code), String(error))
  if (detail !== undefined) assert.equal(error.detail, detail)
  return error.cause instanceof Error ? error.cause.message : ''
}

const LOCAL = 'Local IPs not allowed as URL'
const NO_ADDRESS = 'Could not resolve hostname to any IP address'
const FAILED = 'The JWKS endpoint failed'

test('a body comes back as it was sent, over a connection of its own that is closed', async (t) => {
  const { url, seen, connections } = await endpoint(t, (_, response) => response.end('{"a":1}'))
  const { fetch } = open()
  assert.equal((await fetch({ url: `${url}?a=b#c` })).toString(), '{"a":1}')
  assert.equal((await fetch({ url })).toString(), '{"a":1}')
  await connections.closed()
  assert.equal(connections.all, 2)
  const [first] = seen
  assert.equal(first?.method, 'GET')
  assert.equal(first?.url, '/jwks.json?a=b')
  assert.equal(first?.headers.host, new URL(url).host)
  // As jwks-setup contract section 6.2 has it.
  assert.equal(first?.headers.accept, 'application/json, application/jwk-set+json')
  assert.equal(first?.headers['accept-encoding'], 'identity')
  assert.equal(first?.headers.connection, 'close')
  assert.equal(first?.headers.authorization, undefined)
})

// Addresses -----------------------------------------------------------------------------------------------

for (const host of [
  '127.0.0.1',
  '127.1',
  '0x7f.1',
  '2130706433',
  '0',
  '[::1]',
  '[::ffff:7f00:1]',
]) {
  test(`${host} is not connected to, neither at the check nor at the fetch`, async (t) => {
    const { port, connections } = await endpoint(t)
    const url = `http://${host}:${port}/`
    await fails(closed().checkUrl(url), 'url_refused', LOCAL)
    await fails(closed().fetch({ url }), 'url_refused', LOCAL)
    assert.equal(connections.all, 0)
  })
}

test('the names of this machine are refused even where its addresses are not', async (t) => {
  const { port, connections } = await endpoint(t)
  const { asked, lookup } = resolver(['127.0.0.1'])
  for (const name of ['localhost', 'LOCALHOST.', 'host.docker.internal']) {
    const guarded = open({ lookup, allowInternalHosts: [name] })
    await fails(guarded.fetch({ url: `http://${name}:${port}/` }), 'url_refused', LOCAL)
    await fails(guarded.checkUrl(`http://${name}:${port}/`), 'url_refused', LOCAL)
  }
  assert.deepEqual([asked, connections.all], [[], 0])
})

test('one internal address among public ones refuses the name', async () => {
  for (const addresses of [
    ['93.184.215.14', '10.0.0.1'],
    ['2606:4700::1111', '::1'],
    ['::ffff:8.8.8.8'],
  ]) {
    const guarded = closed(resolver(addresses))
    await fails(guarded.checkUrl('https://mixed.example/'), 'url_refused', LOCAL)
    await fails(guarded.fetch({ url: 'https://mixed.example/' }), 'url_refused', LOCAL)
  }
})

test('a name that leads nowhere is refused with its own words', async () => {
  const none = closed(resolver([]))
  await fails(none.checkUrl('https://none.example/'), 'url_refused', NO_ADDRESS)
  await fails(none.fetch({ url: 'https://none.example/' }), 'url_refused', NO_ADDRESS)
  const lookup = () => Promise.reject(new Error('ENOTFOUND'))
  await fails(closed({ lookup }).checkUrl('https://none.example/'), 'url_refused', NO_ADDRESS)
  await closed(resolver(['93.184.215.14'])).checkUrl('https://public.example/')
})

test('where it is asked for, http leads to internal addresses only, and no connection is made', async (t) => {
  const { port, seen } = await endpoint(t)
  const allowed = { allowInternalHosts: ['inside.example'] }
  const secureOutside = true
  const inside = closed({ ...resolver(['127.0.0.1']), ...allowed })
  await inside.fetch({ url: `http://inside.example:${port}/`, secureOutside })
  assert.equal(seen.length, 1)
  for (const addresses of [['93.184.215.14'], ['127.0.0.1', '93.184.215.14']]) {
    const outside = closed({ ...resolver(addresses), ...allowed })
    await fails(outside.fetch({ url: 'http://inside.example/', secureOutside }), 'url_insecure')
  }
})

test('a name that changes its address after the check gains nothing (DNS rebinding)', async (t) => {
  const { port, seen, connections } = await endpoint(t)
  const url = `http://rebinding.example:${port}/`
  // The second answer would be internal, and is never asked for: what was checked is connected to.
  const first = resolver(['127.0.0.1'], ['10.0.0.1'])
  const guarded = closed({ ...first, allowInternalHosts: ['127.0.0.1'] })
  await guarded.fetch({ url })
  assert.deepEqual(first.asked, ['rebinding.example'])
  assert.equal(seen[0]?.headers.host, `rebinding.example:${port}`)
  await fails(guarded.fetch({ url }), 'url_refused', LOCAL)
  // Public when it is written, internal when it is fetched.
  const second = resolver(['93.184.215.14'], ['127.0.0.1'])
  const strict = closed(second)
  await strict.checkUrl(url)
  await fails(strict.fetch({ url }), 'url_refused', LOCAL)
  assert.equal(connections.all, 1)
})

test('a listed name reaches its internal address, another name does not', async (t) => {
  const { port } = await endpoint(t, (_, response) => response.end('ok'))
  const guarded = closed({ ...resolver(['127.0.0.1']), allowInternalHosts: ['idp.internal'] })
  const body = await guarded.fetch({ url: `http://IDP.internal.:${port}/` })
  assert.equal(body.toString(), 'ok')
  await fails(guarded.fetch({ url: `http://other.internal:${port}/` }), 'url_refused', LOCAL)
})

test('of many addresses the first that answers is used, and few are tried', async (t) => {
  const { port } = await endpoint(t, (_, response) => response.end('ok'))
  // Nothing listens there; the port is that of 127.0.0.1 only.
  const two = open(resolver(['127.0.0.2', '127.0.0.1']))
  assert.equal((await two.fetch({ url: `http://many.example:${port}/` })).toString(), 'ok')
  const many = open(resolver(['127.0.0.2', '127.0.0.3', '127.0.0.1']))
  await fails(many.fetch({ url: `http://many.example:${port}/` }), 'jwks_unreachable', FAILED)
})

test('a proxy in the environment is not used', async (t) => {
  const { url, seen } = await endpoint(t, (_, response) => response.end('direct'))
  const module = new URL('../../src/remote-jwks/fetch.ts', import.meta.url)
  const script = `
    const { createGuardedFetch } = await import(${JSON.stringify(module.href)})
    const rules = { allowInternalIpConnections: true, allowInternalHosts: [] }
    const { fetch } = createGuardedFetch(rules)
    process.stdout.write(await fetch({ url: ${JSON.stringify(url)} }))`
  const proxy = 'http://127.0.0.1:1'
  const env = { NODE_USE_ENV_PROXY: '1', HTTP_PROXY: proxy, http_proxy: proxy, ALL_PROXY: proxy }
  const args = ['--input-type=module', '-e', script]
  const { stdout } = await promisify(execFile)(process.execPath, args, { env })
  assert.equal(stdout, 'direct')
  assert.equal(seen.length, 1)
})

// What an endpoint may answer ------------------------------------------------------------------------------

const answers: [name: string, listener: RequestListener, cause: RegExp][] = [
  ...[301, 302, 303, 307, 308, 304].map((status): (typeof answers)[number] => [
    `a redirect (${status})`,
    (_, response) => response.writeHead(status, { location: '/elsewhere' }).end(),
    /^a redirect/,
  ]),
  ...[400, 404, 500, 503].map((status): (typeof answers)[number] => [
    `status ${status}`,
    (_, response) => response.writeHead(status).end('{"keys":[],"hint":"secret-body"}'),
    /^status \d+$/,
  ]),
  [
    'two megabytes',
    (_, response) => response.end(Buffer.alloc(2 * 1024 * 1024, 'x')),
    /^a body of more than 262144 bytes$/,
  ],
  [
    'two megabytes, unannounced',
    (_, response) => {
      response.write('x')
      response.end(Buffer.alloc(2 * 1024 * 1024, 'x'))
    },
    /^a body of more than 262144 bytes$/,
  ],
  [
    'a gzip bomb',
    (_, response) =>
      response
        .writeHead(200, { 'content-encoding': 'gzip' })
        .end(gzipSync(Buffer.alloc(64 * 1024 * 1024))),
    /^an encoded body$/,
  ],
  [
    'any other encoding',
    (_, response) => response.writeHead(200, { 'content-encoding': 'identity, br' }).end('x'),
    /^an encoded body$/,
  ],
  [
    'large headers',
    (_, response) => response.writeHead(200, { 'x-large': 'x'.repeat(32 * 1024) }).end(),
    /overflow/i,
  ],
  [
    'an upgrade',
    (request) =>
      request.socket.end(
        'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n',
      ),
    /./,
  ],
  [
    'endless early hints',
    (request) => {
      const hint = 'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n'
      const more = () => request.socket.write(hint.repeat(100), (error) => error ?? more())
      more()
    },
    /^more than 4 informational answers$/,
  ],
  [
    'half a body',
    (request) => request.socket.end('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"keys":[]}'),
    /aborted/,
  ],
  ['no answer', (request) => request.socket.end(), /hang up/],
  ['no HTTP', (request) => request.socket.end('220 smtp.example ESMTP\r\n'), /Parse Error/],
  [
    'two content lengths',
    (request) =>
      request.socket.end('HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}'),
    /Parse Error/,
  ],
]

for (const [name, listener, cause] of answers) {
  test(`refused, and the connection closed: ${name}`, async (t) => {
    const { url, seen, connections } = await endpoint(t, listener)
    const reason = await fails(open().fetch({ url }), 'jwks_unreachable', FAILED)
    assert.match(reason, cause)
    assert.doesNotMatch(reason, /secret-body/)
    assert.equal(seen.length, 1, 'nothing is followed or tried again')
    await connections.closed()
  })
}

test('a body of exactly the limit passes, one byte more does not, however it is cut', async (t) => {
  const { url, answer } = await endpoint(t)
  for (const size of [1000, 1001]) {
    const chunked: RequestListener = (_, response) => {
      for (let sent = 0; sent < size; sent += 1) response.write('x')
      response.end()
    }
    const whole: RequestListener = (_, response) => response.end('x'.repeat(size))
    for (const listener of [chunked, whole]) {
      answer(listener)
      const fetched = open().fetch({ url, limits: limits({ maxBytes: 1000 }) })
      if (size === 1000) assert.equal((await fetched).toString(), 'x'.repeat(1000))
      else await fails(fetched, 'jwks_unreachable')
    }
  }
})

test('other successes are read like 200', async (t) => {
  const { url, answer } = await endpoint(t)
  answer((_, response) =>
    response.writeHead(203, { 'content-encoding': 'Identity', 'content-length': '2' }).end('{}'),
  )
  assert.equal((await open().fetch({ url })).toString(), '{}')
  answer((_, response) => response.writeHead(204).end())
  assert.equal((await open().fetch({ url })).length, 0)
})

test('nobody there is an error of the endpoint', async () => {
  await fails(open().fetch({ url: 'http://127.0.0.1:1/' }), 'jwks_unreachable', FAILED)
})

// Time -----------------------------------------------------------------------------------------------------

/** Sends a little of a text now and then, for ever. */
const drip = (socket: Socket, first: string, text: string) => {
  socket.write(first)
  const timer = setInterval(() => socket.write(text), 10)
  socket.on('close', () => clearInterval(timer))
}

const slow: [name: string, connected: (socket: Socket) => void][] = [
  ['never answers', () => {}],
  ['drips its status line', (socket) => drip(socket, 'HTTP/1.1 200 ', 'O')],
  ['drips headers', (socket) => drip(socket, 'HTTP/1.1 200 OK\r\n', 'x: y\r\n')],
  [
    'drips its body',
    (socket) => drip(socket, 'HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n{', ' '),
  ],
]

/** A server that says what it likes as soon as somebody connects. */
async function rawServer(t: TestContext, connected: (socket: Socket) => void) {
  const server = createTcpServer(connected)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : 0
  return { server, port }
}

for (const [name, connected] of slow) {
  for (const scheme of ['http', 'https']) {
    test(`an ${scheme} endpoint that ${name} is cut at the deadline`, async (t) => {
      const sockets: Socket[] = []
      const { port } = await rawServer(t, (socket) => {
        sockets.push(socket.on('error', () => {})) // it is meant to be cut
        connected(socket)
      })
      const url = `${scheme}://127.0.0.1:${port}/`
      // Over TLS, what is dripped is no handshake, which fails by itself.
      const isCut = scheme === 'http' || name === 'never answers'
      const fetched = open().fetch({ url, limits: limits({ timeoutMs: isCut ? 80 : 5000 }) })
      if (isCut) await fails(fetched, 'jwks_timeout', 'The JWKS endpoint timed out')
      else await fails(fetched, 'jwks_unreachable')
      const [socket] = sockets
      // Being cut may look like an error from that side, which `once` would throw.
      if (socket && !socket.closed) {
        await new Promise((resolve) => socket.on('close', resolve).resume())
      }
    })
  }
}

test('a resolver that never answers is given up at the deadline, and holds its turn', async (t) => {
  const { url } = await endpoint(t)
  let release = () => {}
  const lookup = (name: string) =>
    name === 'stuck.example'
      ? new Promise<never>((_, reject) => {
          release = () => reject(new Error('too late'))
        })
      : resolver(['127.0.0.1']).lookup(name)
  const { fetch, checkUrl } = open({ lookup, maxInFlight: 1 })
  const short = limits({ timeoutMs: 30 })
  await fails(fetch({ url: 'http://stuck.example/', limits: short }), 'jwks_timeout')
  await fails(fetch({ url, limits: short }), 'jwks_timeout', 'The JWKS endpoint timed out')
  const waiting = checkUrl(url)
  release()
  await waiting
  await fetch({ url })
})

test('no more than a few are fetched at once; the others wait for their turn', async (t) => {
  const { url, answer } = await endpoint(t)
  const held: (() => void)[] = []
  let most = 0
  answer((_, response) => {
    held.push(() => response.end('x'))
    most = Math.max(most, held.length)
    // All that may come at once are there: let one go, and so the next come.
    if (held.length === 3) held.shift()?.()
  })
  const { fetch } = open({ maxInFlight: 3 })
  const all = Array.from({ length: 10 }, () => fetch({ url }))
  await Promise.all(all.slice(0, 8))
  for (const end of held) end()
  await Promise.all(all)
  assert.equal(most, 3)
})
