import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { SignJWT } from 'jose'
import { KEY_IDS_PAYLOAD, SECRETS_PAYLOAD } from '../external-security/documented.ts'
import { listenOn } from '../loopback.ts'
import { needs } from '../needs.ts'
import { bounded, faultsIn, makeHome, type Server, start } from './process.ts'

// The database surfaces with the clients that people have: curl as the vendors document it, and their npm packages.

const load = createRequire(import.meta.url)
const CONFIGURATIONS = '/manage/v2/external-security'
const USER = { name: 'admin', password: 'admin', role: 'security-admin', digest: true }

const configuration = (name: string) => ({
  ...{ 'external-security-name': name, description: 'tokens from our IdP' },
  ...{ authentication: 'oauth', 'cache-timeout': 300, authorization: 'oauth' },
  'oauth-server': {
    ...{ 'oauth-vendor': 'Other', 'oauth-flow-type': 'Resource server' },
    ...{ 'oauth-client-id': 'gateway', 'oauth-jwt-issuer-uri': 'https://idp.test/' },
    ...{ 'oauth-token-type': 'JSON Web Tokens', 'oauth-jwt-alg': 'HS256' },
    ...{ 'oauth-username-attribute': 'preferred_username', 'oauth-role-attribute': 'groups' },
  },
})

async function startServer(t: TestContext, settings: Record<string, string> = {}): Promise<Server> {
  const server = start(t, makeHome(t), {
    settings: {
      ...{ ROOT_KEY_ALGORITHM: 'EdDSA', MIN_PASSWORD_LENGTH: '1' },
      ...{ ALLOW_INTERNAL_HOSTS: '127.0.0.1', ...settings },
    },
  })
  await server.ready()
  return server
}

async function must(server: Server, method: string, path: string, body?: unknown): Promise<void> {
  const { status, text } = await server.call(method, path, body)
  assert.ok(status < 300, `${method} ${path}: ${status} ${text}`)
}

/** The last answer that curl got: status, headers in lower case, body. */
async function curl(...args: string[]) {
  const { stdout } = await promisify(execFile)('curl', ['-s', '-S', '-i', '-m', '30', ...args])
  const answers = stdout.split(/^(?=HTTP\/1\.1 )/m).filter((part) => part !== '')
  const [head = '', ...body] = (answers.at(-1) ?? '').split('\r\n\r\n')
  const [first = '', ...lines] = head.split('\r\n')
  return {
    status: Number(first.split(' ')[1]),
    headers: lines.map((line) => line.toLowerCase()),
    body: body.join('\r\n\r\n'),
    statuses: answers.map((answer) => Number(answer.split(' ')[1])),
  }
}

/** An issuer on loopback, with one key at a time. */
async function startIssuer(t: TestContext) {
  let keys: object[] = []
  const server = createServer((_, response) => response.end(JSON.stringify({ keys })))
  const port = await listenOn(t, server)
  return {
    url: `http://127.0.0.1:${port}/jwks.json`,
    publish(kid: string) {
      const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      keys = [{ ...publicKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' }]
      return (claims: Record<string, unknown>) =>
        new SignJWT(claims)
          .setProtectedHeader({ alg: 'ES256', kid })
          .setExpirationTime('1h')
          .sign(privateKey)
    },
  }
}

test(
  'external security, section 9: curl adds, replaces and removes secrets as documented',
  needs('curl'),
  async (t) => {
    const server = await startServer(t)
    await must(server, 'POST', '/v1/users', USER)
    const file = join(server.home, 'JWTSecretsPayload.json')
    writeFileSync(file, SECRETS_PAYLOAD)
    for (const [at, flag] of ['--anyauth', '--digest', '--basic'].entries()) {
      const name = `documented-${at}`
      await must(server, 'POST', CONFIGURATIONS, configuration(name))
      const ask = (method: string) =>
        curl(
          ...['-X', method, flag, '-u', 'admin:admin', '-H', 'Content-Type:application/json'],
          ...['-d', `@${file}`, `${server.url}${CONFIGURATIONS}/${name}/jwt-secrets`],
        )
      for (const method of ['POST', 'PUT', 'DELETE']) {
        const { status, body, statuses } = await ask(method)
        assert.deepEqual([status, body], [204, ''], `${flag} ${method}`)
        const expected = flag === '--basic' ? [204] : [401, 204]
        assert.deepEqual(statuses, expected, `${flag} ${method}`)
      }
      assert.equal((await ask('POST')).status, 204)
      const again = await ask('POST')
      assert.equal(again.status, 400)
      assert.match(again.body, /MANAGE-CONFLICTINGCONFIG/)
      assert.doesNotMatch(again.body, /ExampleJWTSecret/)
    }
    assert.deepEqual(faultsIn(server.log()), [])
    assert.doesNotMatch(server.stdout + server.stderr, /ExampleJWTSecret/)
  },
)

test(
  'external security, section 1: the documented DELETE, which names the configuration, deletes nothing',
  needs('curl'),
  async (t) => {
    const server = await startServer(t)
    await must(server, 'POST', '/v1/users', USER)
    const place = `${CONFIGURATIONS}/MyExternalName`
    await must(server, 'POST', CONFIGURATIONS, configuration('MyExternalName'))
    await must(server, 'POST', `${place}/jwt-secrets`, JSON.parse(SECRETS_PAYLOAD))
    const file = join(server.home, 'JWTSecretsPayload.json')
    writeFileSync(file, KEY_IDS_PAYLOAD)
    const ask = (path: string) =>
      curl(
        ...[
          '-X',
          'DELETE',
          '--anyauth',
          '-u',
          'admin:admin',
          '-H',
          'Content-Type:application/json',
        ],
        ...['-d', `@${file}`, `${server.url}${path}`],
      )
    assert.equal((await ask(place)).status, 400)
    const { json } = await server.call('GET', `${place}/properties?format=json`)
    assert.deepEqual(json['oauth-server']['oauth-jwt-secrets'], {
      'oauth-jwt-secret': [{ 'oauth-jwt-key-id': 'kid1' }],
    })
    await must(server, 'POST', `${place}/jwt-secrets`, {
      'oauth-server': {
        'oauth-jwt-secret': [{ 'oauth-jwt-key-id': 'kid2', 'oauth-jwt-secret-value': 'x' }],
      },
    })
    assert.equal((await ask(`${place}/jwt-secrets`)).status, 204)
    const left = await server.call('GET', `${place}/properties?format=json`)
    assert.doesNotMatch(left.text, /kid/)
  },
)

interface MarkLogic {
  createDatabaseClient(connection: object): {
    internal: {
      sendRequest(
        path: string,
        options: (options: { method: string; headers: Record<string, string> }) => void,
        operation: (operation: Record<string, unknown>) => void,
      ): { result(): Promise<unknown> }
    }
    release(): void
  }
}

test('external security, section 9: the npm client works through its Digest handshake', async (t) => {
  const server = await startServer(t)
  await must(server, 'POST', '/v1/users', USER)
  await must(server, 'POST', CONFIGURATIONS, configuration('gateway'))
  const marklogic = load('marklogic') as MarkLogic
  const client = marklogic.createDatabaseClient({
    ...{ host: '127.0.0.1', port: server.port, user: 'admin', password: 'admin' },
    authType: 'digest',
  })
  t.after(() => client.release())
  const send = (method: string, path: string, body?: unknown) =>
    bounded(
      client.internal
        .sendRequest(
          `${CONFIGURATIONS}/gateway${path}`,
          (options) => {
            options.method = method
            options.headers = {
              ...{ 'Content-Type': 'application/json', Accept: 'application/json' },
              // Without it Node sends the body of a DELETE bare, as if it were the next request.
              'Content-Length': String(Buffer.byteLength(JSON.stringify(body))),
            }
          },
          (operation) => {
            if (body !== undefined) operation['requestBody'] = JSON.stringify(body)
          },
        )
        .result(),
      `${method} ${path}`,
    )
  await send('POST', '/jwt-secrets', JSON.parse(SECRETS_PAYLOAD))
  const shown = async () => {
    const { json } = await server.call('GET', `${CONFIGURATIONS}/gateway/properties?format=json`)
    return json['oauth-server']['oauth-jwt-secrets']
  }
  assert.deepEqual(await shown(), { 'oauth-jwt-secret': [{ 'oauth-jwt-key-id': 'kid1' }] })
  // The second request goes on with the same nonce.
  await send('PUT', '/jwt-secrets', JSON.parse(SECRETS_PAYLOAD))
  await send('DELETE', '/jwt-secrets', JSON.parse(SECRETS_PAYLOAD))
  await assert.rejects(send('DELETE', '/jwt-secrets', JSON.parse(SECRETS_PAYLOAD)), /400/)
  assert.deepEqual(faultsIn(server.log()), [])
})

test(
  'jwks_setup, sections 1 and 10: the documented call over TLS changes who gets in',
  needs('curl', 'openssl'),
  async (t) => {
    const home = makeHome(t, 'ca')
    const files = makeCertificates(home)
    const issuer = await startIssuer(t)
    const server = await startServer(t, { TLS_CERT_FILE: files.cert, TLS_KEY_FILE: files.key })
    const url = `https://hostname:${server.port}`
    const trusting = ['--cacert', files.ca, '--resolve', `hostname:${server.port}:127.0.0.1`]
    const own = (method: string, path: string, body: unknown) =>
      curl(
        ...[...trusting, '-X', method, '-H', `X-Nomad-Token: ${server.token()}`],
        ...['-H', 'Content-Type: application/json', '-d', JSON.stringify(body), `${url}${path}`],
      )
    const root = { name: 'root', password: 'YourPassword', role: 'security-admin' }
    assert.equal((await own('POST', '/v1/users', root)).status, 201)
    const user = { name: 'ann', role: 'security-admin', jwt: true }
    assert.equal((await own('POST', '/v1/users', user)).status, 201)
    const endpoint = { value: issuer.url }
    assert.equal((await own('PUT', '/v1/settings/jwks_endpoint', endpoint)).status, 200)

    const setup = (...more: string[]) =>
      curl(...trusting, '-X', 'POST', ...more, `${url}/api/v2/jwks_setup`)
    const asRoot = ['-u', 'root:YourPassword']
    const first = issuer.publish('a')
    const documented = await setup(...asRoot)
    assert.deepEqual([documented.status, documented.body], [200, ''])
    assert.ok(documented.headers.includes('content-length: 0'))
    assert.ok(!documented.headers.some((line) => line.startsWith('content-type')))
    const second = issuer.publish('b')
    const enters = async (sign: typeof first) =>
      (await setup('-H', `Authorization: Bearer ${await sign({ sub: 'ann' })}`)).status
    assert.equal(await enters(second), 401, 'served, but not set up')
    assert.equal(await enters(first), 200)
    assert.deepEqual([await enters(first), await enters(second)], [401, 200], 'set up now')
    for (const more of [
      ['-d', ''],
      ['-H', 'Content-Type: application/json'],
      ['-d', 'x'.repeat(2048)],
    ]) {
      assert.equal((await setup(...asRoot, ...more)).status, 200, String(more).slice(0, 40))
    }
    const anonymous = await setup()
    const challenges = anonymous.headers.filter((line) => line.startsWith('www-authenticate'))
    assert.deepEqual([anonymous.status, challenges.length], [401, 2])
    assert.deepEqual(faultsIn(server.log()), [])
  },
)

/** A CA and a certificate of its for `hostname`. */
function makeCertificates(home: string): { ca: string; cert: string; key: string } {
  const at = (name: string) => join(home, name)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'ignore' })
  const fresh = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  openssl(
    ...['req', '-x509', ...fresh, '-subj', '/CN=Test CA', '-days', '2'],
    ...['-keyout', at('ca.key'), '-out', at('ca.crt')],
  )
  openssl(
    ...['req', '-x509', ...fresh, '-subj', '/CN=hostname', '-days', '2'],
    ...['-addext', 'subjectAltName=DNS:hostname', '-addext', 'basicConstraints=critical,CA:FALSE'],
    ...['-CA', at('ca.crt'), '-CAkey', at('ca.key')],
    ...['-keyout', at('server.key'), '-out', at('server.crt')],
  )
  return { ca: at('ca.crt'), cert: at('server.crt'), key: at('server.key') }
}

interface HttpClient {
  ApiClient: new () => {
    basePath: string
    authentications: Record<string, { type: string; username?: string; password?: string }>
    callApi(...args: unknown[]): Promise<{ response: { status: number; text: string } }>
  }
}

test('jwks_setup, section 10: the npm client calls it, and finds the server alive', async (t) => {
  const issuer = await startIssuer(t)
  issuer.publish('a')
  const server = await startServer(t)
  await must(server, 'POST', '/v1/users', {
    ...{ name: 'root', password: 'YourPassword', role: 'security-admin' },
  })
  await must(server, 'PUT', '/v1/settings/jwks_endpoint', { value: issuer.url })
  const { ApiClient } = load('@singlestore/http-client') as HttpClient
  const client = new ApiClient()
  client.basePath = server.url
  client.authentications['BasicAuth'] = {
    ...{ type: 'basic', username: 'root', password: 'YourPassword' },
  }
  const call = (path: string, method: string, accepts: string[]) =>
    bounded(
      client.callApi(
        ...[path, method, {}, {}, {}, {}, null, ['BasicAuth'], [], accepts, null, null],
      ),
      path,
    )
  const { response } = await call('/api/v2/jwks_setup', 'POST', ['application/json'])
  assert.deepEqual([response.status, response.text], [200, ''])
  const ping = await call('/ping', 'GET', ['text/plain'])
  assert.deepEqual([ping.response.status, ping.response.text], [200, 'pong'])
  assert.deepEqual(faultsIn(server.log()), [])
})
