import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { needs } from '../needs.ts'
import { follow } from './guide.ts'
import { githubClaims, kubernetesClaims, startIssuer, startKeycloak } from './guide-issuers.ts'
import { faultsIn, makeHome, start } from './process.ts'
import { CACHE_PROGRAMS, startCache } from './traffic-server.ts'

// The pages of docs/guides, followed word for word against a server that really runs.

const SERVER = 'https://keys.example.net'

/** A server that may fetch from loopback, as the pages say for internal issuers, and an empty folder. */
async function startServer(t: TestContext) {
  const settings = { ROOT_KEY_ALGORITHM: 'ES256', ALLOW_INTERNAL_HOSTS: '127.0.0.1' }
  const server = start(t, makeHome(t), { settings })
  await server.ready()
  const { url } = server
  return { server, url, folder: makeHome(t, 'guide'), env: { KEYRINGD_TOKEN: server.token() } }
}

/** One login that is no part of the page; its status. */
async function login(url: string, identityId: string, jwt: string): Promise<number> {
  const answer = await fetch(`${url}/api/v1/auth/jwt-auth/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ identityId, jwt }),
  })
  await answer.body?.cancel()
  return answer.status
}

const idIn = (text: string | undefined): string => /identity (\S+)/.exec(text ?? '')?.[1] ?? ''

test('a job of GitHub Actions logs in, and no other does', needs('curl', 'openssl'), async (t) => {
  const { server, url, folder, env } = await startServer(t)
  const asked: string[] = []
  const github = await startIssuer(t, {
    jwksPath: '/.well-known/jwks',
    async answer({ url: path = '', headers }, { sign }) {
      const { pathname, searchParams } = new URL(path, 'http://runner')
      if (pathname !== '/token' || headers.authorization !== 'bearer of-the-runner')
        return undefined
      asked.push(searchParams.get('audience') ?? '')
      const value = await sign(githubClaims(asked.at(-1) ?? ''))
      return { count: 1, value }
    },
  })
  writeFileSync(join(folder, 'jwt.txt'), await github.sign(githubClaims(url, 'dev')))
  const printed = await follow(t, {
    ...{ page: 'github-actions.md', folder },
    replace: { [SERVER]: url, 'https://token.actions.githubusercontent.com': github.url },
    env: {
      ...env,
      ACTIONS_ID_TOKEN_REQUEST_URL: `${github.url}/token?api-version=2.0`,
      ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'of-the-runner',
    },
  })
  assert.deepEqual(asked, [url])
  assert.match(printed.join(''), /^::add-mask::eyJ[^\n]+\n\{"keys":\[/m)

  const id = idIn(printed[0])
  const good = githubClaims(url)
  const sub = (text: string) => `repo:octo-org/octo-repo:${text}`
  const refused = {
    'a pull request': { ...good, sub: sub('pull_request'), event_name: 'pull_request' },
    'an environment': { ...good, sub: sub('environment:prod'), environment: 'prod' },
    'a branch with a longer name': { ...good, sub: sub('ref:refs/heads/main2') },
    'another repository': { ...good, repository: 'octo-org/other' },
    'a subject in other letters': { ...good, sub: sub('ref:refs/heads/Main') },
    'the default audience': { ...good, aud: 'https://github.com/octo-org' },
    'another issuer': { ...good, iss: 'https://token.actions.githubusercontent.com' },
  }
  assert.equal(await login(url, id, await github.sign(good)), 200)
  for (const [name, claims] of Object.entries(refused)) {
    const status = await login(url, id, await github.sign(claims))
    assert.ok(status === 401 || status === 403, `${name}: ${status}`)
  }
  assert.deepEqual(faultsIn(server.log()), [])
})

test('a pod of Kubernetes logs in, and no other does', needs('curl', 'openssl'), async (t) => {
  const { server, url, folder, env } = await startServer(t)
  const cluster = await startIssuer(t, { jwksPath: '/openid/v1/jwks' })
  const file = join(folder, 'volume', 'token')
  mkdirSync(join(folder, 'volume'))
  writeFileSync(file, await cluster.sign(kubernetesClaims(url)))
  writeFileSync(join(folder, 'jwt.txt'), await cluster.sign(kubernetesClaims(url, 'default')))
  const printed = await follow(t, {
    ...{ page: 'kubernetes.md', folder, env },
    replace: {
      [SERVER]: url,
      'https://oidc.cluster.example': cluster.url,
      '/var/run/secrets/keyringd/token': file,
    },
  })
  assert.match(printed.join(''), /\{"accessToken":"eyJ[^"]+","expiresIn":900,/)

  const id = idIn(printed[1])
  const good = kubernetesClaims(url)
  assert.equal(await login(url, id, await cluster.sign(good)), 200)
  const refused = {
    'the audience of the API server': { ...good, aud: [cluster.url] },
    'another namespace': { ...good, sub: 'system:serviceaccount:other:reports' },
    'no pod at all': { ...good, 'kubernetes.io': undefined },
  }
  for (const [name, claims] of Object.entries(refused)) {
    const status = await login(url, id, await cluster.sign(claims))
    assert.ok(status === 401 || status === 403, `${name}: ${status}`)
  }
  assert.deepEqual(faultsIn(server.log()), [])
})

test(
  'a client of an internal Keycloak with a CA of its own logs in',
  needs('curl', 'openssl'),
  async (t) => {
    const { server, url, folder, env } = await startServer(t)
    const secret = 'a secret & more=+'
    writeFileSync(join(folder, 'client-secret.txt'), secret)
    const keycloak = await startKeycloak(t, folder, secret)
    const origin = new URL(keycloak.url).origin
    const printed = await follow(t, {
      ...{ page: 'keycloak-internal.md', folder, env },
      replace: { [SERVER]: url, 'https://sso.corp.example': origin },
    })
    assert.match(printed.join(''), /^Key +State/m)
    assert.deepEqual(faultsIn(server.log()), [])
  },
)

test('a script with a static key logs in', needs('curl', 'openssl'), async (t) => {
  const { server, url, folder, env } = await startServer(t)
  const printed = await follow(t, {
    ...{ page: 'static-pem.md', folder, env },
    replace: { [SERVER]: url },
  })
  assert.match(printed.join(''), /^Key +State/m)
  assert.deepEqual(faultsIn(server.log()), [])
})

test('a client exchanges, asserts and revokes by OAuth', needs('curl', 'openssl'), async (t) => {
  const { server, url, folder, env } = await startServer(t)
  const printed = await follow(t, {
    ...{ page: 'oauth.md', folder, env },
    replace: { [SERVER]: url },
  })
  assert.match(printed.join(''), /\{"active":false\}/)
  assert.deepEqual(faultsIn(server.log()), [])
})

test(
  'a cache is given keys, answers signed URIs, and is given new ones',
  needs('curl', ...CACHE_PROGRAMS),
  async (t) => {
    const { server, url, folder, env } = await startServer(t)
    const { etc, port, origin, environment } = await startCache(t, [])
    await follow(t, {
      ...{ page: 'uri-signing.md', folder, env: { ...env, TS_RUNROOT: environment.TS_RUNROOT } },
      replace: {
        ...{ [SERVER]: url, '/etc/trafficserver': etc, '127.0.0.1:8080': `127.0.0.1:${port}` },
        'http://origin.example.net': origin,
      },
    })
    const file = join(etc, 'uri_signing_films.config')
    assert.equal(statSync(file).mode & 0o777, 0o600)
    const { studio } = JSON.parse(readFileSync(file, 'utf8'))
    assert.deepEqual([studio.keys.length, studio.renewal_kid], [2, '2026-a'])
    assert.deepEqual(faultsIn(server.log()), [])
  },
)

test(
  'database people set a key set up, and hand out secrets',
  needs('curl', 'openssl'),
  async (t) => {
    const { server, url, folder, env } = await startServer(t)
    const issuer = await startIssuer(t, { jwksPath: '/jwks.json' })
    writeFileSync(join(folder, 'jwt.txt'), await issuer.sign({ sub: 'ann' }))
    await follow(t, {
      ...{ page: 'databases.md', folder, env },
      replace: { [SERVER]: url, 'https://idp.example.net': issuer.url },
    })
    const secret = readFileSync(join(folder, 'secret.txt'), 'utf8').trim()
    assert.equal(server.stdout.includes(secret), false)
    assert.deepEqual(faultsIn(server.log()), [])
  },
)
