import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { createServer, type ServerOptions } from 'node:https'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { listenOn } from '../loopback.ts'
import { needs } from '../needs.ts'
import { clientEnv, fileIn, folder, run } from './setup.ts'

// The TLS flags of the command line (keyring contract section 8), over TLS, with certificates of our making.

const P256 = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256']

interface Pair {
  cert: string
  key: string
}

/** A certificate authority in a folder of its own, and files of what it issues. */
function createAuthority(t: TestContext, name: string) {
  const dir = folder(t)
  const file = (end: string) => join(dir, end)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'ignore' })
  openssl(
    ...['req', '-x509', ...P256, '-nodes', '-subj', `/CN=${name}`, '-days', '2'],
    ...['-keyout', file('ca.key'), '-out', file('ca.crt')],
  )
  return {
    cert: file('ca.crt'),
    issue(subject: string, names: string): Pair {
      const [cert, key, csr] = [file(`${subject}.crt`), file(`${subject}.key`), file('csr')]
      const extensions = fileIn(dir, 'names', `subjectAltName=${names}\n`)
      openssl('req', ...P256, '-nodes', '-subj', `/CN=${subject}`, '-keyout', key, '-out', csr)
      openssl(
        ...['x509', '-req', '-in', csr, '-CA', file('ca.crt'), '-CAkey', file('ca.key')],
        ...['-extfile', extensions, '-days', '2', '-out', cert],
      )
      return { cert, key }
    },
    encrypted(key: string): string {
      const out = file('encrypted.key')
      openssl('pkey', '-in', key, '-aes256', '-passout', 'pass:secret', '-out', out)
      return out
    },
  }
}

/** A server with a certificate for `names`, which notes the tokens and the clients it was shown; its URL. */
async function serving(t: TestContext, { cert, key }: Pair, options: ServerOptions = {}) {
  const clients: unknown[] = []
  const names: unknown[] = []
  const tls = { cert: readFileSync(cert), key: readFileSync(key), ...options }
  const server = createServer(tls, ({ socket, headers }, response) => {
    const { subject } = (socket as TLSSocket).getPeerCertificate()
    clients.push([subject?.CN, headers.authorization !== undefined])
    response.end('{"keys":[]}')
  })
  server.on('secureConnection', ({ servername }) => names.push(servername))
  const url = `https://127.0.0.1:${await listenOn(t, server)}`
  const list = (...flags: string[]) => run(['keys', 'list', ...flags], { env: clientEnv(url) })
  return { url, clients, names, list }
}

const LOCAL = 'IP:127.0.0.1'

for (const maxVersion of ['TLSv1.3', 'TLSv1.2'] as const) {
  test(
    `section 8: -client-cert and -client-key open a server that demands a certificate (${maxVersion})`,
    needs('openssl'),
    async (t) => {
      const [ours, theirs] = [createAuthority(t, 'ours'), createAuthority(t, 'theirs')]
      const ca = readFileSync(theirs.cert)
      const server = await serving(t, ours.issue('server', LOCAL), {
        ...{ ca, requestCert: true, rejectUnauthorized: true, maxVersion },
      })
      const [client, stranger] = [theirs.issue('operator', LOCAL), ours.issue('stranger', LOCAL)]
      const trust = ['-ca-cert', ours.cert]
      const shown = ({ cert, key }: Pair) => ['-client-cert', cert, '-client-key', key]

      const { code, err } = await server.list(...trust)
      assert.equal(code, 1)
      assert.match(
        err,
        /^error: Cannot reach \S+ \(it refuses the TLS connection: (?:certificate required|handshake failure)\): if it asks for a certificate, name yours with -client-cert and -client-key\n$/,
      )
      assert.equal((await server.list(...trust, ...shown(stranger))).code, 1)
      assert.deepEqual(server.clients, [], 'nobody was let in')
      const ran = await server.list(...trust, ...shown(client))
      assert.deepEqual([ran.code, ran.err], [0, ''])
      assert.deepEqual(server.clients, [['operator', true]])
      // Who shows a certificate still asks who the server is.
      assert.match((await server.list(...shown(client))).err, /its certificate is not trusted/)
    },
  )
}

test(
  'section 8: a certificate without its key, and pairs that are none, are refused before anything is sent',
  needs('openssl'),
  async (t) => {
    const authority = createAuthority(t, 'ours')
    const [one, two] = [authority.issue('one', LOCAL), authority.issue('two', LOCAL)]
    const { list, clients, names } = await serving(t, one)
    const together = {
      ...{ code: 2, out: '' },
      err: '-client-cert and -client-key are needed together\nFor additional help try "keyringd keys list -help"\n',
    }
    assert.deepEqual(await list('-client-cert', one.cert), together)
    assert.deepEqual(await list('-client-key', one.key), together)
    const dir = folder(t)
    const [empty, none] = [fileIn(dir, 'empty', ''), join(dir, 'none')]
    const rows: [string, string, string][] = [
      [
        one.cert,
        two.key,
        `${two.key}, the file of -client-key, is not the key of the certificate of -client-cert`,
      ],
      [one.key, one.key, `${one.key}, the file of -client-cert, holds no PEM certificate`],
      [empty, one.key, `${empty}, the file of -client-cert, holds no PEM certificate`],
      [
        one.cert,
        one.cert,
        `${one.cert}, the file of -client-key, holds no PEM private key that is not encrypted`,
      ],
      [one.cert, none, `${none}, the file of -client-key, cannot be read (ENOENT)`],
    ]
    const encrypted = authority.encrypted(one.key)
    rows.push([
      one.cert,
      encrypted,
      `${encrypted}, the file of -client-key, holds no PEM private key that is not encrypted`,
    ])
    for (const [cert, key, said] of rows) {
      const ran = await list('-ca-cert', authority.cert, '-client-cert', cert, '-client-key', key)
      assert.deepEqual(ran, { code: 1, out: '', err: `error: ${said}\n` })
    }
    assert.deepEqual([clients, names], [[], []])
  },
)

test(
  'section 8: -ca-path trusts what is in the files of a folder, and -ca-cert wins over it',
  needs('openssl'),
  async (t) => {
    const [ours, theirs] = [createAuthority(t, 'ours'), createAuthority(t, 'theirs')]
    const { list, clients } = await serving(t, ours.issue('server', LOCAL))
    const dir = folder(t)
    mkdirSync(join(dir, 'below'))
    const path = ['-ca-path', dir]
    const said = async (...flags: string[]) => (await list(...flags)).err
    assert.equal(await said(...path), `error: ${dir}, the folder of -ca-path, has no files\n`)
    fileIn(dir, 'a.pem', readFileSync(theirs.cert, 'utf8'))
    assert.match(await said(...path), /its certificate is not trusted/)
    fileIn(dir, 'b.pem', `Our own:\n${readFileSync(ours.cert, 'utf8')}`)
    assert.deepEqual(await list(...path), {
      code: 0,
      out: 'Key  State  Create Time  Publish Time\n',
      err: '',
    })
    assert.match(await said(...path, '-ca-cert', theirs.cert), /its certificate is not trusted/)
    const readme = fileIn(dir, 'README', 'no certificate')
    const none = `error: ${readme}, the file of -ca-path, holds no PEM certificate\n`
    assert.equal(await said(...path), none)
    const missing = join(dir, 'missing')
    const unread = `error: ${missing}, the folder of -ca-path, cannot be read (ENOENT)\n`
    assert.equal(await said('-ca-path', missing), unread)
    assert.equal(clients.length, 1)
  },
)

test(
  'section 8: -tls-server-name is asked for and must be in the certificate',
  needs('openssl'),
  async (t) => {
    const authority = createAuthority(t, 'ours')
    const named = await serving(t, authority.issue('named', 'DNS:keys.example'))
    const trust = ['-ca-cert', authority.cert]
    const { err } = await named.list(...trust)
    assert.equal(
      err,
      `error: Cannot reach ${named.url} (its certificate is not trusted: ERR_TLS_CERT_ALTNAME_INVALID): use the name that is in it, as the address or with -tls-server-name\n`,
    )
    assert.equal((await named.list(...trust, '-tls-server-name', 'other.example')).code, 1)
    assert.deepEqual(named.clients, [])
    assert.equal((await named.list(...trust, '-tls-server-name', 'keys.example')).code, 0)
    assert.equal(named.names.at(-1), 'keys.example')
    // The name alone is no trust.
    assert.match(
      (await named.list('-tls-server-name', 'keys.example')).err,
      /its certificate is not trusted/,
    )
    const byAddress = await serving(t, authority.issue('address', 'IP:192.0.2.7'))
    assert.equal((await byAddress.list(...trust)).code, 1)
    assert.equal((await byAddress.list(...trust, '-tls-server-name', '192.0.2.7')).code, 0)
    assert.equal(byAddress.names.at(-1), false, 'an address is no name that is asked for')
  },
)

test(
  'section 8: there is no way to skip the check of the certificate',
  needs('openssl'),
  async (t) => {
    const authority = createAuthority(t, 'ours')
    const { list, clients } = await serving(t, authority.issue('server', LOCAL))
    const { code, err } = await list('-tls-skip-verify')
    assert.equal(code, 2)
    assert.match(err, /^Unknown flag: -tls-skip-verify\n/)
    assert.deepEqual(clients, [])
  },
)
