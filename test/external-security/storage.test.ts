import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { isProblem } from '../../src/errors.ts'
import { CONFIGURATIONS, configuration, manageWorld, secretsOf } from './world.ts'

// Contract section 8: nothing of a secret is in the database, the log, an answer or the audit record.

const SECRETS = {
  jwt: 'JWT-secret-value-that-nobody-may-find-0001',
  second: 'JWT-secret-value-that-nobody-may-find-0002',
  client: 'oauth-client-secret-that-nobody-may-find',
  ldap: 'ldap-password-that-nobody-may-find',
  key: '-----BEGIN PRIVATE KEY-----\nsamlPrivateKeyThatNobodyMayFind\n-----END PRIVATE KEY-----',
  phrase: 'pass-phrase-that-nobody-may-find',
  header: 'header-that-nobody-may-find',
}

const forms = (secret: string): string[] => {
  const bytes = Buffer.from(secret)
  const base64 = (shift: number) =>
    Buffer.concat([Buffer.alloc(shift), bytes])
      .toString('base64')
      .slice(4, 20)
  return [
    ...[secret, bytes.toString('hex'), bytes.toString('hex').toUpperCase()],
    ...[0, 1, 2].map(base64),
    JSON.stringify(secret).slice(1, -1),
  ]
}

test('section 8: no secret is found in database, WAL, log, answers or audit record, in any form', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'keyringd-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'db.sqlite')
  const made = await manageWorld(t, { file })
  const answers: string[] = []
  const ask: typeof made.ask = async (...asked) => {
    const answer = await made.ask(...asked)
    answers.push(answer.text)
    return answer
  }
  const body = configuration(
    'one',
    {
      'ldap-password': SECRETS.ldap,
      'saml-server': { 'saml-sp-private-key': SECRETS.key },
      'http-options': { 'pass-phrase': SECRETS.phrase, headers: { 'X-Api-Key': SECRETS.header } },
    },
    { 'oauth-client-secret': SECRETS.client, 'oauth-jwt-secret': [] },
  )
  assert.equal((await ask('POST', CONFIGURATIONS, { body })).status, 201)
  await ask('POST', 'one/jwt-secrets', { body: secretsOf({ k: SECRETS.jwt }) })
  await ask('PUT', 'one/jwt-secrets', { body: secretsOf({ k: SECRETS.second }) })
  for (const bad of [secretsOf({ k: SECRETS.jwt }), { ...secretsOf({ n: SECRETS.jwt }), odd: 1 }]) {
    assert.equal((await ask('POST', 'one/jwt-secrets', { body: bad })).status, 400)
  }
  const broken = `{"oauth-server": "${SECRETS.jwt}`
  await ask('POST', 'one/jwt-secrets', { raw: broken, type: 'application/json' })
  await ask('POST', 'one/jwt-secrets', { raw: `<a>${SECRETS.jwt}`, type: 'application/xml' })
  await ask('PUT', 'one/properties', { body: { 'cache-timeout': SECRETS.jwt } })
  await ask('PUT', 'one/properties', { body: { 'ldap-bind-method': SECRETS.ldap } })
  for (const format of ['json', 'xml']) {
    for (const path of ['', '/properties']) await ask('GET', `one${path}?format=${format}`)
  }
  const events = (await made.store.read.audit.list(0n, 10_000))
    .map(({ subject, detail }) => `${subject} ${detail}`)
    .join('\n')
  const stored = ['', '-wal'].map((end) => readFileSync(`${file}${end}`))
  for (const secret of Object.values(SECRETS)) {
    for (const form of forms(secret)) {
      for (const [place, text] of [
        ...[
          ['log', made.log()],
          ['answers', answers.join('\n')],
          ['audit', events],
        ],
        ...stored.map((bytes) => ['database', bytes.toString('latin1')]),
      ] as [string, string][]) {
        assert.ok(!text.includes(form), `${form} in ${place}`)
      }
    }
  }
})

test('section 8: a sealed value opens only where it was sealed', async (t) => {
  const made = await manageWorld(t)
  for (const name of ['one', 'two']) {
    await made.make(name, {}, { 'oauth-client-secret': `secret of ${name}` })
    await made.ask('POST', `${name}/jwt-secrets`, {
      body: secretsOf({ k: `${SECRETS.jwt} ${name}` }),
    })
  }
  const [one, two] = await made.store.read.externalSecurities.list()
  assert.ok(one && two)
  const [mine] = await made.store.read.jwtSecrets.list(one.id)
  const [theirs] = await made.store.read.jwtSecrets.list(two.id)
  assert.ok(mine && theirs)
  await made.store.transaction(async (tx) => {
    await tx.jwtSecrets.replace(mine.id, theirs.value, 1)
    await tx.externalSecurities.update({ ...one, secrets: two.secrets })
    await tx.audit.append({
      type: 'external-security.changed',
      subject: 'one',
      principal: 'system',
    })
  })
  const input = `${Buffer.from('{"alg":"HS256","kid":"k"}').toString('base64url')}.e30`
  const tag = createHmac('sha256', `${SECRETS.jwt} two`).update(input).digest('base64url')
  await assert.rejects(made.service.verify('one', `${input}.${tag}`), (error) =>
    isProblem(error, 'seal_broken'),
  )
  assert.equal((await made.ask('PUT', 'one/properties', { body: {} })).status, 500)
  assert.equal((await made.ask('GET', 'one/properties')).status, 200)
})

test('section 8: secrets of a change are sealed anew, and re-sealing keeps them', async (t) => {
  const made = await manageWorld(t)
  await made.make('one', {}, { 'oauth-client-secret': 'first' })
  await made.ask('POST', 'one/jwt-secrets', { body: secretsOf({ k: SECRETS.jwt }) })
  const sealed = async () => (await made.store.read.externalSecurities.list())[0]?.secrets
  const before = await sealed()
  assert.ok(before)
  const put = (secret: string) =>
    made.ask('PUT', 'one/properties', {
      body: { 'oauth-server': { 'oauth-client-secret': secret } },
    })
  assert.equal((await put('second')).status, 204)
  assert.notDeepEqual(await sealed(), before)
  assert.equal((await put('')).status, 204)
  assert.equal(await sealed(), undefined)
})

test('section 8: the audit record names what was done, by whom and to which key ids', async (t) => {
  const made = await manageWorld(t)
  await made.make('one')
  await made.ask('POST', 'one/jwt-secrets', { body: secretsOf({ a: SECRETS.jwt, b: SECRETS.jwt }) })
  await made.ask('PUT', 'one/jwt-secrets', { body: secretsOf({ a: SECRETS.second }) })
  await made.ask('PUT', 'one/properties', {
    body: { description: 'd', 'ldap-password': 'p', 'oauth-server': { 'oauth-scope': 's' } },
  })
  await made.ask('DELETE', 'one/jwt-secrets', { body: secretsOf({ a: undefined }) })
  await made.ask('DELETE', 'one/jwt-secrets/b')
  await made.ask('DELETE', 'one')
  const events = await made.events()
  assert.ok(
    events.every(({ subject, principal }) => subject === 'one' && principal === 'user:admin'),
  )
  assert.deepEqual(
    events.map(({ type, detail }) => [
      type,
      (detail as Record<string, unknown>)['keyId'] ??
        (detail as Record<string, unknown>)['changed'],
    ]),
    [
      ['external-security.created', undefined],
      ...[
        ['jwt-secret.added', 'a'],
        ['jwt-secret.added', 'b'],
        ['jwt-secret.replaced', 'a'],
      ],
      ['external-security.changed', ['description', 'oauth-server/oauth-scope', 'ldap-password']],
      ...[
        ['jwt-secret.removed', 'a'],
        ['jwt-secret.removed', 'b'],
      ],
      ['external-security.deleted', undefined],
    ],
  )
})

test('section 3: ids are unsigned 64-bit numbers, as decimal text', async (t) => {
  const made = await manageWorld(t)
  await made.make('one')
  const id = (await made.store.read.externalSecurities.list())[0]?.id ?? ''
  assert.match(id, /^\d{1,20}$/)
  assert.ok(BigInt(id) < 2n ** 64n)
})
