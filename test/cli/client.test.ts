import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { needs } from '../needs.ts'
import { MANAGEMENT_TOKEN } from '../server.ts'
import { clientEnv, fileIn, folder, listeningServer, run } from './setup.ts'

/** A server that is none of ours. */
async function other(t: TestContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('a credential that a server repeats in its error is not printed', async (t) => {
  const url = await other(t, (request, response) => {
    response.statusCode = 400
    response.end(`bad header: ${request.headers.authorization}`)
  })
  const seen = {
    code: 1,
    out: '',
    err: 'error: Unexpected response code: 400 (bad header: Bearer …)\n',
  }
  assert.deepEqual(await run(['keys', 'list'], { env: clientEnv(url) }), seen)
  const flags = ['keys', 'list', '-address', url, '-token']
  assert.deepEqual(await run([...flags, 'another-secret-0123456789']), seen)
  assert.deepEqual(await run([...flags.slice(0, -1), '--token=another-secret-0123456789']), seen)
})

test('a token that cannot go into a header is refused without being repeated', async () => {
  const ran = await run(['keys', 'list', '-token', 'secret\r\nX-Evil: 1'])
  assert.equal(ran.code, 2)
  assert.match(ran.err, /^The token must be printable ASCII without spaces\n/)
  assert.doesNotMatch(ran.err, /Evil|secret/)
})

test('a redirect is an error, and the credential goes nowhere else', async (t) => {
  let followed = false
  const elsewhere = await other(t, (_, response) => {
    followed = true
    response.end('{}')
  })
  const url = await other(t, (_, response) => {
    response.writeHead(307, { location: elsewhere }).end('moved')
  })
  const ran = await run(['keys', 'rotate', '-now'], { env: clientEnv(url) })
  assert.equal(ran.err, 'error: Unexpected response code: 307 (moved)\n')
  assert.equal(followed, false)
})

test('an answer that is no JSON, one of a stranger, an endless one and a hang-up are each one sentence', async (t) => {
  const page = await other(t, (_, response) => void response.end('<html>'))
  const env = clientEnv(page)
  assert.equal(
    (await run(['keys', 'list'], { env })).err,
    `error: ${page} did not answer in JSON; is it a keyringd?\n`,
  )
  const stranger = await other(t, (_, response) => void response.end('{"data":[]}'))
  assert.deepEqual(await run(['ring', 'list'], { env: clientEnv(stranger) }), {
    ...{ code: 1, out: '' },
    err: 'error: The answer has no rings; is it from a keyringd?\n',
  })
  const flood = await other(t, (_, response) => {
    const more = () => {
      while (!response.destroyed && response.write(Buffer.alloc(1 << 20, 'a')));
    }
    response.on('drain', more)
    more()
  })
  assert.match(
    (await run(['ring', 'list'], { env: clientEnv(flood) })).err,
    /the answer is too long/,
  )
  const silent = await other(t, (request) => void request.socket.destroy())
  assert.match(
    (await run(['ring', 'list'], { env: clientEnv(silent) })).err,
    /^error: Cannot reach .* \(connection closed without an answer\): start it/,
  )
})

test('https to a port without TLS says so, and what to try', async (t) => {
  const plain = await other(t, (_, response) => void response.end('{}'))
  const url = plain.replace('http:', 'https:')
  const { code, err } = await run(['ring', 'list'], { env: clientEnv(url) })
  assert.equal(code, 1)
  assert.equal(err, `error: Cannot reach ${url} (it does not speak TLS here): try ${plain}\n`)
})

test('an error cannot move the cursor of the terminal that shows it', async (t) => {
  const url = await other(t, (_, response) => {
    response.statusCode = 500
    response.end('\u001b[2Jgone\nsecond line\n')
  })
  const { err } = await run(['keys', 'list'], { env: clientEnv(url) })
  assert.equal(err, 'error: Unexpected response code: 500 ( [2Jgone\nsecond line)\n')
})

test('-json prints what the API answers, byte for byte, on one line', async (t) => {
  const { url } = await listeningServer(t)
  const headers = { authorization: `Bearer ${MANAGEMENT_TOKEN}` }
  const paths: [string[], string][] = [
    [['keys', 'list'], '/v1/rings/default/keys'],
    [['keys', 'plan', '-ring', 'audit'], '/v1/rings/audit/plan'],
    [['ring', 'list'], '/v1/rings'],
    [['ring', 'show', 'access'], '/v1/rings/access'],
    [['profile', 'list'], '/v1/rings/default/profiles'],
    [['api-token', 'list'], '/v1/api-tokens'],
  ]
  for (const [argv, path] of paths) {
    const answer = await fetch(`${url}${path}`, { headers })
    const ran = await run([...argv, '-json'], { env: clientEnv(url) })
    assert.deepEqual(ran, { code: 0, out: `${await answer.text()}\n`, err: '' })
  }
})

test('an address may have a path, and names in paths stay one segment of it', async (t) => {
  const seen: (string | undefined)[] = []
  const url = await other(t, (request, response) => {
    seen.push(request.url)
    response.end('{"keys":[]}')
  })
  const address = `${url}/behind/proxy/`
  for (const ring of ['..', 'a/b?c#d', '%2e']) {
    await run(['keys', 'list', '-address', address, '-ring', ring])
  }
  assert.deepEqual(
    seen,
    ['..', 'a%2Fb%3Fc%23d', '%252e'].map((ring) => `/behind/proxy/v1/rings/${ring}/keys`),
  )
})

test('an id that is the beginning of another one can be removed all the same', async (t) => {
  const deleted: (string | undefined)[] = []
  const key = { state: 'retired', createdAt: '2026-01-01T00:00:00.000Z', activatesAt: null }
  const url = await other(t, (request, response) => {
    if (request.method === 'DELETE') deleted.push(request.url)
    response.end(JSON.stringify({ keys: ['Ab', 'abc'].map((kid) => ({ kid, ...key })) }))
  })
  const ran = await run(['keys', 'remove', 'AB'], { env: clientEnv(url) })
  assert.deepEqual(ran, { code: 0, out: 'Removed encryption key Ab\n', err: '' })
  assert.deepEqual(deleted, ['/v1/rings/default/keys/Ab'])
})

test('a server is trusted by -ca-cert, and not without it', needs('openssl'), async (t) => {
  const dir = folder(t)
  const [cert, key] = [join(dir, 'server.crt'), join(dir, 'server.key')]
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
      ...['-subj', '/CN=test', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2'],
      ...['-keyout', key, '-out', cert],
    ],
    { stdio: 'ignore' },
  )
  const server = createTlsServer(
    { cert: readFileSync(cert), key: readFileSync(key) },
    (_, response) => void response.end('{"keys":[]}'),
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const address = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
  const argv = ['keys', 'list', '-address', address]
  assert.equal((await run([...argv, '-ca-cert', cert])).code, 0)
  assert.deepEqual(await run(argv), {
    code: 1,
    out: '',
    err: `error: Cannot reach ${address} (its certificate is not trusted: DEPTH_ZERO_SELF_SIGNED_CERT): name its CA with -ca-cert\n`,
  })
  const empty = fileIn(dir, 'empty.pem', 'nothing')
  assert.equal((await run([...argv, '-ca-cert', empty])).code, 1)
})

test('a file that is no UTF-8 is not read as another text', async (t) => {
  const { url } = await listeningServer(t)
  const dir = folder(t)
  const file = join(dir, 'keys.json')
  writeFileSync(file, Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]))
  for (const argv of [
    ['uri', 'lint', file],
    ['delivery-service', 'keys', 'set', 'demo', '-file', file],
  ]) {
    const { code, out, err } = await run(argv, { env: { HOME: dir, ...clientEnv(url) } })
    assert.deepEqual([code, out], [1, ''], argv.join(' '))
    assert.match(err, /is not UTF-8 text$/m)
  }
})
