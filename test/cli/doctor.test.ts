import assert from 'node:assert/strict'
import { chmodSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { clientEnv, fileIn, folder, listeningServer, run } from './setup.ts'

const linesOf = (text: string, level: string) =>
  text.split('\n').filter((line) => line.startsWith(level))

async function answering(
  t: TestContext,
  answers: (url: string) => Record<string, unknown>,
): Promise<string> {
  const server = createServer((request, response) => {
    const body = answers(url)[request.url ?? '']
    assert.equal(request.headers.authorization, undefined, 'the issuer never sees the credential')
    response.statusCode = body === undefined ? 404 : 200
    response.end(JSON.stringify(body ?? {}))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return url
}

test('a server that waits fails, with every reason', async (t) => {
  const { url } = await listeningServer(t, { open: false })
  const { code, out } = await run(['doctor'], { env: clientEnv(url) })
  assert.equal(code, 1)
  assert.match(linesOf(out, 'fail')[0] ?? '', /is not ready: it waits for .+ — see its log$/)
})

test('what answers but is no keyringd fails, and gets no credential', async (t) => {
  const url = await answering(t, () => ({}))
  const { code, out } = await run(['doctor'], { env: clientEnv(url) })
  assert.equal(code, 1)
  assert.deepEqual(linesOf(out, 'fail'), [
    `fail  ${url} answers, but not as a keyringd does — set its address with -address or KEYRINGD_ADDR`,
  ])
})

const DISCOVERY = '/.well-known/openid-configuration'

test('an issuer that leads elsewhere, is stale, or is down fails', async (t) => {
  const wrong = await answering(t, () => ({ [DISCOVERY]: { issuer: 'https://other.example' } }))
  const stale = await answering(t, (url) => ({
    [DISCOVERY]: { issuer: url, jwks_uri: `${url}/keys` },
    '/keys': { keys: [{ kid: 'old' }] },
  }))
  const keyless = await answering(t, (url) => ({
    [DISCOVERY]: { issuer: url, jwks_uri: 'ftp://127.0.0.1/keys' },
  }))
  const issuers: Record<string, RegExp> = {
    [wrong]: /does not name .+ as its issuer \(200\) — make .+ lead to this server$/,
    [stale]: /does not hold the same keys as .+ — make .+ lead to this server/,
    [keyless]: /^fail {2}The jwks_uri ftp:.+ cannot be read \(no http or https URL\)/,
    'http://127.0.0.1:1': /cannot be read \(connection refused\) — make .+ lead to this server$/,
  }
  for (const [issuer, expected] of Object.entries(issuers)) {
    const { url } = await listeningServer(t, { issuer })
    const { code, out } = await run(['doctor'], { env: clientEnv(url) })
    assert.equal(code, 1, out)
    assert.equal(linesOf(out, 'fail').length, 1, out)
    assert.match(linesOf(out, 'fail')[0] ?? '', expected)
  }
})

test('discovery that is off is a warning', async (t) => {
  const { url } = await listeningServer(t, { issuer: 'none' })
  const { code, out } = await run(['doctor'], { env: clientEnv(url) })
  assert.equal(code, 0, out)
  assert.match(out, /^warn {2}Discovery is switched off: the server has no issuer — set /m)
})

test('a token that may not look is a warning, not a failure', async (t) => {
  const { url, call } = await listeningServer(t)
  const { json } = await call('POST', '/v1/api-tokens', { name: 'blind', grants: ['verify'] })
  const env = { ...clientEnv(url), KEYRINGD_TOKEN: json.token }
  const { code, out } = await run(['doctor'], { env })
  assert.equal(code, 0)
  assert.match(out, /^warn {2}The server does not show its state to this token \(403\) — /m)
})

test('without the identities surface there is nothing to say of identities', async (t) => {
  const { url } = await listeningServer(t, { settings: { SURFACES: 'nomad' } })
  const { code, out } = await run(['doctor'], { env: clientEnv(url) })
  assert.equal(code, 0, out)
  assert.doesNotMatch(out, /identit/)
})

test('the mode of the KEK file and of its folder is looked at, its text never shown', async (t) => {
  const dir = folder(t)
  const text = 'c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I'
  const file = fileIn(dir, 'kek', `${text}\n`)
  const env = { KEYRINGD_KEK_FILE: file, KEYRINGD_DATA_DIR: `${dir}/data` }
  const kek = async () => {
    const { out } = await run(['doctor', '-address', 'http://127.0.0.1:1'], { env })
    assert.ok(!out.includes(text))
    return out.split('\n').filter((line) => line.includes('KEK file'))
  }
  chmodSync(dir, 0o700)
  assert.deepEqual(await kek(), [`ok    The KEK file ${file} is its owner's alone`])
  chmodSync(file, 0o640)
  chmodSync(dir, 0o777)
  assert.deepEqual(await kek(), [
    `warn  The KEK file ${file} is open to others than its owner — chmod 600 ${file}`,
    `warn  Others may replace the KEK file in ${dir} — chmod 700 ${dir}`,
  ])
})

test('data without its KEK fails', async (t) => {
  const dir = folder(t)
  fileIn(dir, 'keyringd.db', '')
  const env = { KEYRINGD_KEK_FILE: '/nonexistent/kek', KEYRINGD_DATA_DIR: dir }
  const { code, out } = await run(['doctor', '-address', 'http://127.0.0.1:1'], { env })
  assert.equal(code, 1)
  assert.match(out, /^fail {2}The KEK file \/nonexistent\/kek does not exist, but the database /m)
})
