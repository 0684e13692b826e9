import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { rootCertificates } from 'node:tls'
import { promisify } from 'node:util'
import { isProblem } from '../../src/errors.ts'
import { createGuardedFetch } from '../../src/remote-jwks/fetch.ts'
import { listenOn } from '../loopback.ts'
import { needs } from '../needs.ts'

// Key sets fetched over TLS from servers with certificates of our making.

const P256 = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']

interface Authority {
  pem: string
  /** A certificate for a server, and its key; `dates` are openssl's options for its life. */
  issue(names: string, dates?: string[]): { cert: Buffer; key: Buffer }
}

/** A certificate authority of its own, in a folder of its own. */
function createAuthority(t: TestContext, name: string): Authority {
  const folder = mkdtempSync(join(tmpdir(), 'keyringd-ca-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const file = (end: string) => join(folder, end)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'ignore' })
  openssl(
    ...['req', '-x509', ...P256, '-subj', `/CN=${name}`, '-days', '2'],
    ...['-keyout', file('ca.key'), '-out', file('ca.crt')],
  )
  return {
    pem: readFileSync(file('ca.crt'), 'utf8'),
    issue(names, dates = ['-days', '2']) {
      writeFileSync(file('names'), `subjectAltName=${names}\n`)
      openssl(
        ...['req', ...P256, '-subj', '/CN=endpoint', '-keyout', file('key'), '-out', file('csr')],
      )
      openssl(
        ...['x509', '-req', '-in', file('csr'), '-CA', file('ca.crt'), '-CAkey', file('ca.key')],
        ...['-extfile', file('names'), '-out', file('crt'), ...dates],
      )
      return { cert: readFileSync(file('crt')), key: readFileSync(file('key')) }
    },
  }
}

/** An HTTPS endpoint on loopback; counts requests, and tells the names it was asked for. */
async function endpoint(t: TestContext, tls: object) {
  const names: unknown[] = []
  let requests = 0
  const server = createServer(tls, (_, response) => {
    requests += 1
    response.end('{"keys":[]}')
  })
  server.on('secureConnection', (socket) => names.push(socket.servername))
  const port = await listenOn(t, server)
  return { port, names, requests: () => requests }
}

const { fetch } = createGuardedFetch({
  ...{ allowInternalIpConnections: true, allowInternalHosts: [] },
  lookup: async () => [{ address: '127.0.0.1', family: 4 }],
})

/** The request must fail; answers the code of the cause. */
async function reasonOf(work: Promise<unknown>): Promise<unknown> {
  const error = await work.then(
    () => assert.fail('it did not fail'),
    (reason: unknown) => reason,
  )
  assert.ok(isProblem(error, 'jwks_unreachable'), String(error))
  const { cause } = error
  return cause instanceof Error && 'code' in cause ? cause.code : cause
}

test(
  'the given CA is the only anchor; without one, a private CA is none',
  needs('openssl'),
  async (t) => {
    const [own, other] = [createAuthority(t, 'own'), createAuthority(t, 'other')]
    const { port, names, requests } = await endpoint(t, own.issue('DNS:idp.example,IP:127.0.0.1'))
    const url = `https://idp.example:${port}/`
    const ask = (caCert?: string, at = url) => fetch({ url: at, caCert })

    assert.equal((await ask(own.pem)).toString(), '{"keys":[]}')
    assert.equal(
      (await ask(`${other.pem}\n${own.pem}`)).toString(),
      '{"keys":[]}',
      'one of several',
    )
    assert.equal((await ask(own.pem, `https://IDP.example.:${port}/`)).length, 11)
    assert.equal((await ask(own.pem, `https://127.0.0.1:${port}/`)).length, 11)
    assert.deepEqual(names, ['idp.example', 'idp.example', 'idp.example', false])
    const before = requests()

    // Other anchors, a private one and a public root among them, vouch for nothing here.
    for (const caCert of [undefined, '', other.pem, rootCertificates[0]]) {
      const code = String(await reasonOf(ask(caCert)))
      assert.match(code, /^(?:UNABLE_TO_|SELF_SIGNED_CERT_IN_CHAIN)/)
    }
    await reasonOf(ask('no certificate'))
    await reasonOf(ask('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----'))
    assert.equal(
      requests(),
      before,
      'nothing was asked of an endpoint that is not who it should be',
    )
  },
)

test(
  'a root that every process trusts is not trusted when a CA is given',
  needs('openssl'),
  async (t) => {
    const [system, own] = [createAuthority(t, 'system'), createAuthority(t, 'own')]
    const { port, requests } = await endpoint(t, system.issue('IP:127.0.0.1'))
    const folder = mkdtempSync(join(tmpdir(), 'keyringd-roots-'))
    t.after(() => rmSync(folder, { recursive: true }))
    const roots = join(folder, 'roots.pem')
    writeFileSync(roots, system.pem)
    const module = new URL('../../src/remote-jwks/fetch.ts', import.meta.url).href
    const script = `
    const { createGuardedFetch } = await import(${JSON.stringify(module)})
    const rules = { allowInternalIpConnections: true, allowInternalHosts: [] }
    const { fetch } = createGuardedFetch(rules)
    const url = 'https://127.0.0.1:${port}/'
    for (const caCert of [undefined, ${JSON.stringify(own.pem)}]) {
      const answer = await fetch({ url, caCert }).then(String, (error) => error.code)
      process.stdout.write(answer + '\\n')
    }`
    const run = async (env: Record<string, string>) => {
      const args = ['--no-warnings', '--input-type=module', '-e', script]
      return (await promisify(execFile)(process.execPath, args, { env })).stdout
    }
    const trusted = await run({ NODE_EXTRA_CA_CERTS: roots })
    assert.equal(trusted, '{"keys":[]}\njwks_unreachable\n')
    // Nor does the environment switch verification off.
    const untrusted = await run({ NODE_TLS_REJECT_UNAUTHORIZED: '0' })
    assert.equal(untrusted, 'jwks_unreachable\njwks_unreachable\n')
    assert.equal(requests(), 1)
  },
)

test(
  'a certificate for another name, or an expired one, is refused',
  needs('openssl'),
  async (t) => {
    const own = createAuthority(t, 'own')
    const past = ['-days', '-1']
    const table: [names: string, dates: string[] | undefined, host: string, code: string][] = [
      ['DNS:idp.example', undefined, 'other.example', 'ERR_TLS_CERT_ALTNAME_INVALID'],
      ['DNS:idp.example', undefined, 'a.idp.example', 'ERR_TLS_CERT_ALTNAME_INVALID'],
      ['DNS:*.idp.example', undefined, 'a.b.idp.example', 'ERR_TLS_CERT_ALTNAME_INVALID'],
      ['DNS:endpoint', undefined, '127.0.0.1', 'ERR_TLS_CERT_ALTNAME_INVALID'],
      ['DNS:127.0.0.1', undefined, '127.0.0.1', 'ERR_TLS_CERT_ALTNAME_INVALID'],
      ['DNS:idp.example', past, 'idp.example', 'CERT_HAS_EXPIRED'],
    ]
    for (const [names, dates, host, code] of table) {
      const { port, requests } = await endpoint(t, own.issue(names, dates))
      const asked = fetch({ url: `https://${host}:${port}/`, caCert: own.pem })
      assert.equal(await reasonOf(asked), code, `${names} as ${host}`)
      assert.equal(requests(), 0)
    }
  },
)

test('TLS before 1.2 is not spoken, and plain HTTP is no TLS', needs('openssl'), async (t) => {
  const own = createAuthority(t, 'own')
  const tls = own.issue('IP:127.0.0.1')
  const ask = (port: number) => fetch({ url: `https://127.0.0.1:${port}/`, caCert: own.pem })
  const oldest = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }
  const old = await endpoint(t, { ...tls, ...oldest })
  await reasonOf(ask(old.port))
  assert.equal(old.requests(), 0)
  const two = await endpoint(t, { ...tls, maxVersion: 'TLSv1.2' })
  assert.equal((await ask(two.port)).length, 11)
  const plain = createTcpServer((socket) => socket.end('HTTP/1.1 200 OK\r\n\r\n'))
  plain.listen(0, '127.0.0.1')
  await once(plain, 'listening')
  t.after(() => plain.close())
  await reasonOf(ask((plain.address() as AddressInfo).port))
})
