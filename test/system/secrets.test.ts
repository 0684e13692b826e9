import assert from 'node:assert/strict'
import { generateKeyPairSync, hash, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { SignJWT } from 'jose'
import { type Answer, filesOf, makeHome, request, type Server, start } from './process.ts'

// After a full session no secret is anywhere but where it belongs: not in the log, not in an answer, and in the
// database neither as it is nor in another writing.

/** Base64 of bytes in the middle of others: what does not depend on the neighbours, for each of three offsets. */
function base64Middles(bytes: Buffer): string[] {
  return [0, 1, 2].map((offset) => {
    const text = Buffer.concat([Buffer.alloc(offset), bytes]).toString('base64')
    const spoiled = (offset + bytes.length) % 3 === 0 ? 0 : 4
    return text.slice(offset === 0 ? 0 : 4, text.length - spoiled)
  })
}

/** A secret in every writing that we look for. */
function writings(secret: Buffer): Buffer[] {
  const base64 = base64Middles(secret)
  const base64url = base64.map((text) => text.replaceAll('+', '-').replaceAll('/', '_'))
  const hex = secret.toString('hex')
  const texts = [...base64, ...base64url, hex, hex.toUpperCase()]
  return [secret, ...texts.map((text) => Buffer.from(text))]
}

const holds = (place: Buffer, secret: Buffer): boolean =>
  writings(secret).some((writing) => place.includes(writing))

/** What the PKCS #8 encoding of every private key of a kind begins with, after its length (RFC 5208, RFC 5958). */
const PKCS8 = {
  RSA: Buffer.from('020100300d06092a864886f70d0101010500', 'hex'),
  'P-256': Buffer.from('020100301306072a8648ce3d020106082a8648ce3d030107', 'hex'),
  Ed25519: Buffer.from('302e020100300506032b657004220420', 'hex'),
}

/** A secret as text, and the bytes that it stands for. */
const bothOf = (text: string): Buffer[] => [
  Buffer.from(text),
  Buffer.from(text.replace(/^krd_/, ''), 'base64url'),
]

test('the search finds what it is meant to find', () => {
  const secret = Buffer.from('0123456789abcdef0123456789abcdef', 'hex')
  for (const before of ['', 'a', 'ab']) {
    const inside = Buffer.from(`${before}${secret.toString('latin1')}tail`, 'latin1')
    for (const encoding of ['latin1', 'base64', 'base64url', 'hex'] as const) {
      const place = Buffer.from(inside.toString(encoding), 'latin1')
      assert.equal(holds(place, secret), true, `${encoding} at ${before.length}`)
    }
  }
  assert.equal(holds(Buffer.alloc(100), secret), false)
  const made: Record<keyof typeof PKCS8, Buffer> = {
    RSA: der(generateKeyPairSync('rsa', { modulusLength: 2048 })),
    'P-256': der(generateKeyPairSync('ec', { namedCurve: 'P-256' })),
    Ed25519: der(generateKeyPairSync('ed25519')),
  }
  for (const [kind, prefix] of Object.entries(PKCS8)) {
    assert.equal(holds(made[kind as keyof typeof PKCS8], prefix), true, kind)
  }
})

const der = (pair: { privateKey: { export(o: { type: 'pkcs8'; format: 'der' }): Buffer } }) =>
  pair.privateKey.export({ type: 'pkcs8', format: 'der' })

test('no secret is in the log, the database or an answer', async (t) => {
  const home = makeHome(t)
  const { kek, data } = filesOf(home)
  const server = start(t, home, { settings: { LOG_LEVEL: 'trace', ROOT_KEY_ALGORITHM: 'RS256' } })
  await server.ready()
  const management = server.token()
  const answers: Answer[] = []
  const call = async (...args: Parameters<Server['call']>) => {
    const answer = await server.call(...args)
    answers.push(answer)
    return answer
  }

  const tokens = await session(call)
  const stored = await databases(server, call)
  // Credentials in places where careless clients put them.
  for (const secret of [management, ...tokens]) {
    const places = [`/v1/rings?token=${secret}`, `/${secret}`, `/v1/api-tokens/${secret}`]
    for (const path of places) answers.push(await request(`${server.url}${path}`))
    for (const path of places) await call('GET', path)
    const headers = { authorization: `Basic ${Buffer.from(`a:${secret}`).toString('base64')}` }
    answers.push(await request(`${server.url}/v1/status`, { headers }))
    await call('GET', '/v1/status', undefined, `${secret}x`)
    await call('POST', '/v1/rings/default/sign', { claims: {}, ttl: secret })
    await call('POST', '/v1/verify', { token: secret, with: { ring: 'default' } })
  }

  const secrets: [string, Buffer][] = [management, ...tokens, readFileSync(kek, 'utf8').trim()]
    .flatMap(bothOf)
    .map((secret, at) => [`secret ${at >> 1}`, secret])
  secrets.push(...stored)
  secrets.push(...Object.entries(PKCS8), ['PEM', Buffer.from('PRIVATE KEY')])
  const check = (place: string, bytes: Buffer) => {
    for (const [name, secret] of secrets) {
      assert.equal(holds(bytes, secret), false, `${name} is in ${place}`)
    }
  }
  const checkData = (when: string) => {
    for (const file of readdirSync(data)) check(`${file}, ${when}`, readFileSync(join(data, file)))
  }
  const wal = readFileSync(`${filesOf(home).database}-wal`)
  assert.ok(wal.length > 100_000, 'the journal has the whole session')
  checkData('while the server runs')
  assert.deepEqual(await server.end(), { code: 0, signal: null })
  checkData('after its end')
  check('the log', Buffer.from(server.stdout))
  check('standard error', Buffer.from(server.stderr))
  assert.ok(server.log().length > 30)
  for (const { status, headers, text } of answers) {
    // What a request says about itself may come back to who asked; nothing else may.
    const echo = status === 404 || status === 422
    const bytes = Buffer.from(`${JSON.stringify([...headers])}\n${text}`)
    if (!echo) check(`an answer: ${status} ${text.slice(0, 100)}`, bytes)
    assert.equal(/"(?:d|p|q|dp|dq|qi|k|priv)":/.test(text), false, 'a private member of a JWK')
  }
})

/** Uses everything that has to do with secrets; answers the API tokens that it made. */
async function session(call: Server['call']): Promise<string[]> {
  const ok = (answer: Answer): Answer => {
    assert.ok(answer.status < 300, `${answer.status} ${answer.text}`)
    return answer
  }
  const made: string[] = []
  for (const grants of [['sign@ring:default'], ['keyring-read', 'verify']]) {
    const body = { name: `t${made.length}`, grants, ttl: '1h' }
    const answer = ok(await call('POST', '/v1/api-tokens', body))
    made.push(answer.json.token)
    // Shown this once.
    answer.text = ''
  }
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
  return made
}

const PASSWORD = 'correct horse battery staple'
const CONFIGURATIONS = '/manage/v2/external-security'

/** Every kind of secret that the database surfaces take, used well and badly; by name. */
async function databases(
  { url }: Pick<Server, 'url'>,
  call: Server['call'],
): Promise<[name: string, secret: Buffer][]> {
  const text = (name: string) => `${name}-${randomBytes(24).toString('hex')}`
  const secrets = {
    'shared secret': text('shared'),
    'replaced secret': text('replaced'),
    'refused secret': text('refused'),
    'client secret': text('client'),
    'LDAP password': text('ldap'),
    password: PASSWORD,
  }
  const must = async (...args: Parameters<Server['call']>) => {
    const answer = await call(...args)
    assert.ok(answer.status < 300, `${args[0]} ${args[1]}: ${answer.status} ${answer.text}`)
    return answer
  }
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
    for (const place of [`${url}${CONFIGURATIONS}`, `${url}/api/v2/jwks_setup`]) {
      const method = place.endsWith('setup') ? 'POST' : 'GET'
      await (await fetch(place, { method, headers: { authorization } })).text()
    }
  }
  const ha1 = hash('md5', `ann:public:${PASSWORD}`, 'hex')
  return [
    ...Object.entries(secrets).map(([name, secret]): [string, Buffer] => [
      name,
      Buffer.from(secret),
    ]),
    ['HA1', Buffer.from(ha1)],
    ['the bytes of HA1', Buffer.from(ha1, 'hex')],
    ['a token', Buffer.from(good)],
  ]
}
