import assert from 'node:assert/strict'
import { hash, randomBytes } from 'node:crypto'
import { SignJWT } from 'jose'
import type { Answer } from './process.ts'
import { type Keeper, toSecret } from './secret-search.ts'

// Uses of everything that has to do with secrets, good and bad, surface by surface.

export const ok = (answer: Answer): Answer => {
  assert.ok(answer.status < 300, `${answer.status} ${answer.text}`)
  return answer
}

/** API tokens, rings, rotations. */
export async function useKeyring({ call, keep, shows }: Keeper): Promise<void> {
  const made: string[] = []
  for (const grants of [['sign@ring:default'], ['keyring-read', 'verify']]) {
    const body = { name: `t${made.length}`, grants, ttl: '1h' }
    const answer = shows(ok(await call('POST', '/v1/api-tokens', body)), 'API token')
    made.push(answer.json.token)
  }
  keep('API token', ...made)
  for (const algorithm of ['ES256', 'EdDSA', 'PS256']) {
    const name = algorithm.toLowerCase()
    ok(await call('POST', '/v1/rings', { name, algorithms: [algorithm] }))
    ok(await call('POST', `/v1/rings/${name}/rotate`, { force: true, reason: 'a test' }))
    const signed = ok(await call('POST', `/v1/rings/${name}/sign`, { claims: {}, ttl: '1m' }))
    const verify = { token: signed.json.token, with: { ring: name } }
    assert.equal(ok(await call('POST', '/v1/verify', verify)).json.valid, true)
  }
  for (const query of ['', '?full=true', '']) {
    ok(await call('PUT', `/v1/operator/keyring/rotate${query}`))
  }
  const profile = { sub: 'job-*', maxTtl: '5m' }
  ok(await call('PUT', '/v1/rings/default/profiles/ci', profile))
  for (const path of ['/v1/status', '/v1/rings/default/keys', '/v1/api-tokens', '/metrics']) {
    ok(await call('GET', path))
  }
  for (const path of ['/.well-known/jwks.json', '/v1/rings/default/plan', '/openapi.yaml']) {
    ok(await call('GET', path))
  }
  assert.equal((await call('GET', '/v1/status', undefined, made[0])).status, 403)
}

export const PASSWORD = 'correct horse battery staple'
const CONFIGURATIONS = '/manage/v2/external-security'

/** Every kind of secret that the database surfaces take. */
export async function useDatabases({ call, send, secrets: kept }: Keeper): Promise<void> {
  const text = (name: string) => `${name}-${randomBytes(24).toString('hex')}`
  const secrets = {
    'shared secret': text('shared'),
    'replaced secret': text('replaced'),
    'refused secret': text('refused'),
    'client secret': text('client'),
    'LDAP password': text('ldap'),
    password: PASSWORD,
  }
  const must = async (...args: Parameters<Keeper['call']>) => ok(await call(...args))
  await must('POST', '/v1/users', {
    ...{ name: 'ann', password: PASSWORD, role: 'security-admin', digest: true, jwt: true },
  })
  await must('PATCH', '/v1/users/ann', { password: PASSWORD })
  const oauth = {
    ...{ 'oauth-vendor': 'Other', 'oauth-flow-type': 'Resource server' },
    ...{ 'oauth-client-id': 'gateway', 'oauth-client-secret': secrets['client secret'] },
    ...{ 'oauth-token-type': 'JSON Web Tokens', 'oauth-jwt-alg': 'HS256' },
    ...{ 'oauth-username-attribute': 'sub', 'oauth-role-attribute': 'groups' },
  }
  await must('POST', CONFIGURATIONS, {
    ...{ 'external-security-name': 'idp', authentication: 'oauth', authorization: 'oauth' },
    ...{ 'oauth-server': oauth, 'ldap-password': secrets['LDAP password'] },
  })
  const body = (keyId: string, value: string) => ({
    'oauth-server': {
      'oauth-jwt-secret': [{ 'oauth-jwt-key-id': keyId, 'oauth-jwt-secret-value': value }],
    },
  })
  const path = `${CONFIGURATIONS}/idp/jwt-secrets`
  await must('POST', path, body('k', secrets['replaced secret']))
  await must('PUT', path, body('k', secrets['shared secret']))
  const answers = [
    await call('POST', path, body('k', secrets['refused secret'])),
    await call('PUT', path, body('unknown', secrets['refused secret'])),
    await call('POST', path, { more: secrets['refused secret'] }),
    await call('POST', CONFIGURATIONS, { 'ldap-password': secrets['refused secret'] }),
    await call('PUT', `${CONFIGURATIONS}/idp/properties`, {
      'cache-timeout': secrets['refused secret'],
    }),
  ]
  for (const { status } of answers) assert.equal(status, 400)
  await must('PUT', '/v1/settings/external_security', { value: ['idp'] })
  for (const place of [
    CONFIGURATIONS,
    `${CONFIGURATIONS}/idp`,
    `${CONFIGURATIONS}/idp/properties`,
  ]) {
    for (const format of ['json', 'xml']) await must('GET', `${place}?format=${format}`)
  }
  const signed = (secret: string) =>
    new SignJWT({ sub: 'ann', aud: 'gateway' })
      .setProtectedHeader({ alg: 'HS256', kid: 'k' })
      .setExpirationTime('1h')
      .sign(Buffer.from(secret))
  const good = await signed(secrets['shared secret'])
  const verdict = await must('POST', '/v1/verify', {
    token: good,
    with: { externalSecurity: 'idp' },
  })
  assert.equal(verdict.json.valid, true)
  const basic = (password: string) => `Basic ${Buffer.from(`ann:${password}`).toString('base64')}`
  for (const authorization of [
    ...[`Bearer ${good}`, `Bearer ${await signed(secrets['refused secret'])}`],
    ...[basic(PASSWORD), basic(secrets['refused secret']), `Digest username="${PASSWORD}"`],
  ]) {
    for (const place of [CONFIGURATIONS, '/api/v2/jwks_setup']) {
      const method = place.endsWith('setup') ? 'POST' : 'GET'
      await send(place, { method, headers: { authorization } })
    }
  }
  const ha1 = hash('md5', `ann:public:${PASSWORD}`, 'hex')
  const more: [string, Buffer][] = [
    ['HA1', Buffer.from(ha1)],
    ['the bytes of HA1', Buffer.from(ha1, 'hex')],
    ['a token of an issuer', Buffer.from(good)],
  ]
  for (const [name, secret] of Object.entries(secrets)) more.push([name, Buffer.from(secret)])
  for (const secret of more) kept.push(toSecret(...secret))
}

/** A workload that logs in with a JWT: every end that an access token comes to. */
export async function useIdentities({ call, send, keepToken, shows }: Keeper): Promise<void> {
  ok(await call('POST', '/v1/rings', { name: 'ci', algorithms: ['ES256'] }))
  const made = ok(
    await call('POST', '/api/v1/identities', { name: 'ci', organizationId: 'any', role: 'member' }),
  )
  const identityId: string = made.json.identity.id
  const trust = {
    configurationType: 'jwks',
    jwksUrl: 'ring:ci',
    boundSubject: 'job',
    boundClaims: {},
  }
  ok(await call('POST', `/api/v1/auth/jwt-auth/identities/${identityId}`, trust))
  async function jwtFor(sub: string): Promise<string> {
    const claims = { claims: { sub, aud: 'any' }, ttl: '5m' }
    const { json } = shows(ok(await call('POST', '/v1/rings/ci/sign', claims)), 'login JWT')
    keepToken('login JWT', json.token)
    return json.token
  }
  const jwt = await jwtFor('job')
  const login = (body: object) =>
    send('/api/v1/auth/jwt-auth/login', {
      ...{ method: 'POST', headers: { 'content-type': 'application/json' } },
      body: JSON.stringify(body),
    })
  const opened = shows(ok(await login({ identityId, jwt })), 'access token')
  const token: string = opened.json.accessToken
  keepToken('access token', token)
  for (const refused of [
    { identityId, jwt: await jwtFor('another') },
    { identityId, jwt: `${jwt}x` },
    { identityId: `${identityId.slice(0, -1)}z`, jwt },
    { identityId, jwt: token },
    { identityId, jwt: [jwt] },
  ]) {
    assert.ok((await login(refused)).status >= 400)
  }
  ok(await call('POST', `/v1/identities/${identityId}/explain-login`, { jwt }))
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  const use = (path: string, body?: object) =>
    send(path, {
      ...{ method: body ? 'POST' : 'GET', headers },
      ...(body && { body: JSON.stringify(body) }),
    })
  ok(await use(`/api/v1/identities/${identityId}`))
  assert.equal((await use('/v1/users')).status, 403)
  const path = '/api/v1/auth/token'
  const renewed = shows(ok(await use(`${path}/renew`, { accessToken: token })), 'access token')
  keepToken('access token', renewed.json.accessToken)
  ok(await call('POST', '/v1/verify', { token, with: { ring: 'access' } }))
  ok(await use(`${path}/revoke`, { accessToken: token }))
  assert.ok((await use(`/api/v1/identities/${identityId}`)).status >= 400)
  assert.ok((await use(`${path}/renew`, { accessToken: token })).status >= 400)
}
