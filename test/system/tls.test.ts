import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:https'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { needs } from '../needs.ts'
import { BOUND, bounded, faultsIn, makeHome, type Server, start } from './process.ts'

// HTTPS with files that are replaced while the server runs, as certbot and its like do, followed by SIGHUP.

/** Makes a self-signed certificate for 127.0.0.1; the name tells which. */
function makeCertificate(folder: string, name: string): { cert: string; key: string } {
  const files = { cert: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) }
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
      ...['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2'],
      ...['-keyout', files.key, '-out', files.cert],
    ],
    { stdio: 'ignore' },
  )
  return files
}

interface Reply {
  status: number | undefined
  body: string
  /** Common name of the server's certificate. */
  name: string | undefined
}

/** One HTTPS request that trusts these certificates only. */
function ask(
  port: number,
  ca: readonly string[],
  path: string,
  options: { method?: string; token?: string; agent?: Agent } = {},
): Promise<Reply> {
  const { method = 'GET', token, agent = false } = options
  const done = new Promise<Reply>((resolve, reject) => {
    const client = request(
      {
        ...{ host: '127.0.0.1', port, path, method, agent, timeout: BOUND },
        ca: ca.map((file) => readFileSync(file)),
        headers: token === undefined ? {} : { 'x-nomad-token': token },
      },
      (answer) => {
        const certificate = (answer.socket as TLSSocket).getPeerX509Certificate()
        const name = certificate && new X509Certificate(certificate.raw).subject
        text(answer).then((body) => resolve({ status: answer.statusCode, body, name }), reject)
      },
    )
    client.on('error', reject).end()
  })
  return bounded(done, path)
}

/** A server with HTTPS on both of its ports, and the files it reads. */
async function startTls(t: TestContext) {
  const home = makeHome(t, 'tls')
  const [one, two] = [makeCertificate(home, 'one'), makeCertificate(home, 'two')]
  const used = { cert: join(home, 'used.crt'), key: join(home, 'used.key') }
  const install = ({ cert, key }: { cert: string; key: string }) => {
    copyFileSync(cert, used.cert)
    copyFileSync(key, used.key)
  }
  install(one)
  const settings = {
    ...{ ROOT_KEY_ALGORITHM: 'EdDSA', PUBLIC_PORT: '0' },
    ...{ TLS_CERT_FILE: used.cert, TLS_KEY_FILE: used.key },
  }
  const server = start(t, home, { settings })
  return { home, server, one, two, used, install, settings }
}

/** Sends SIGHUP and waits for the next line that says how it went. */
async function hangup(server: Server, times: number, message: string): Promise<void> {
  server.kill('SIGHUP')
  await server.says(new RegExp(`(?:"msg":"${message}"[^]*?){${times}}`))
}

test('a renewed certificate serves new connections and drops none', needs('openssl'), async (t) => {
  const { server, one, two, used, install } = await startTls(t)
  await server.ready()
  const { port } = server
  const token = server.token()
  const publicPort = Number(server.log().find(({ msg }) => msg === 'listening')?.['publicPort'])
  const both = [one.cert, two.cert]

  assert.match(server.url, /^https:/)
  const set = await ask(port, [one.cert], '/.well-known/jwks.json')
  assert.deepEqual([set.status, set.name], [200, 'CN=one'])
  const discovery = await ask(port, both, '/.well-known/openid-configuration')
  assert.equal(JSON.parse(discovery.body).issuer, `https://127.0.0.1:${port}`)

  const agent = new Agent({ keepAlive: true })
  t.after(() => agent.destroy())
  const status = await ask(port, both, '/v1/status', { token })
  const path = `/v1/operator/keyring/keys?index=${JSON.parse(status.body).index}`
  const held = ask(port, [one.cert], path, { token, agent })
  const waiting = async () => {
    while (!/^keyringd_held_queries 1$/m.test((await ask(port, both, '/metrics')).body));
  }
  await bounded(waiting(), 'a held query')

  install(two)
  await hangup(server, 1, 'the TLS certificate was read again')
  for (const each of [port, publicPort]) {
    assert.equal((await ask(each, [two.cert], '/.well-known/jwks.json')).name, 'CN=two')
    await assert.rejects(ask(each, [one.cert], '/.well-known/jwks.json'), /self-signed/)
  }
  const rotated = await ask(port, both, '/v1/operator/keyring/rotate', { method: 'PUT', token })
  assert.equal(rotated.status, 200)
  const { status: woken, name } = await held
  assert.deepEqual([woken, name], [200, 'CN=one'], 'the connection outlived its certificate')

  // What cannot serve changes nothing: no PEM, a key of another certificate, no file.
  const broken = [
    () => writeFileSync(used.cert, 'no certificate'),
    () => install({ cert: one.cert, key: two.key }),
    () => rmSync(used.cert),
  ]
  for (const [at, spoil] of broken.entries()) {
    spoil()
    await hangup(server, at + 1, 'the TLS certificate was not replaced')
    assert.equal((await ask(port, both, '/healthz')).name, 'CN=two')
  }
  assert.equal(server.stdout.includes('PRIVATE KEY'), false)
  install(one)
  await hangup(server, 2, 'the TLS certificate was read again')
  assert.equal((await ask(port, both, '/healthz')).name, 'CN=one')
  assert.deepEqual(await server.end(), { code: 0, signal: null })
})

test('a certificate that cannot serve is refused at the start', needs('openssl'), async (t) => {
  const { home, server, used, settings } = await startTls(t)
  await server.ready()
  assert.equal((await server.end()).code, 0)
  for (const spoil of [() => writeFileSync(used.cert, 'none'), () => rmSync(used.key)]) {
    spoil()
    const refused = start(t, home, { settings })
    assert.deepEqual(await bounded(refused.exited, 'the end'), { code: 1, signal: null })
    assert.match(refused.stderr, /^keyringd: The certificate [^\n]+ cannot be used: [^\n]+\n$/)
    assert.deepEqual(faultsIn(refused.log()), [])
  }
})

test(
  'plain HTTP on the port of HTTPS is turned away, and the server goes on',
  needs('openssl'),
  async (t) => {
    const { server, one } = await startTls(t)
    await server.ready()
    await assert.rejects(fetch(`http://127.0.0.1:${server.port}/healthz`))
    assert.equal((await ask(server.port, [one.cert], '/readyz')).status, 200)
    assert.deepEqual(await server.end(), { code: 0, signal: null })
    assert.deepEqual(faultsIn(server.log()), [])
  },
)
