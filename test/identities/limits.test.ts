import assert from 'node:assert/strict'
import { createHmac, generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import { configPath, identitiesWorld, secondsOf, startIssuer, workload } from './setup.ts'

// Who fails too often, and what is never written down (identity contract, sections 7 and 14).

const SETTINGS = { RATE_LIMIT_LOGIN: '5/m' }

test('an address that fails too often is refused for the rest of the minute; what succeeds counts nowhere', async (t) => {
  const world = await identitiesWorld(t, { settings: SETTINGS })
  const { id, jwt } = await workload(t, world)
  for (let round = 0; round < 20; round++)
    assert.equal((await world.login(id, await jwt())).status, 200)
  for (let round = 0; round < 5; round++) assert.equal((await world.login(id, 'x')).status, 401)
  world.clock.advance('20s')
  const { status, json, headers } = await world.login(id, await jwt())
  assert.deepEqual(
    [status, json.error, json.message],
    [429, 'RateLimitExceeded', 'Rate limit exceeded. Please try again in 40 seconds'],
  )
  assert.equal(headers['retry-after'], '40')
  const other = await workload(t, world)
  assert.equal(
    (await world.login(other.id, await other.jwt())).status,
    429,
    'the address, on every account',
  )
  assert.equal(
    (await world.login(id, await jwt(), '192.0.2.8')).status,
    200,
    'others are not locked out',
  )
  world.clock.advance('40s')
  assert.equal((await world.login(id, await jwt())).status, 200)
})

test('an account under attack from many addresses refuses those who failed for it, and nobody else', async (t) => {
  const world = await identitiesWorld(t, { settings: SETTINGS })
  const { id, jwt } = await workload(t, world)
  for (let at = 1; at <= 5; at++)
    assert.equal((await world.login(id, 'x', `198.51.100.${at}`)).status, 401)
  assert.equal((await world.login(id, await jwt(), '198.51.100.1')).status, 429)
  assert.equal((await world.login(id, await jwt(), '192.0.2.1')).status, 200)
})

test('one /64 is one caller, and ids that are nobody’s count', async (t) => {
  const world = await identitiesWorld(t, { settings: SETTINGS })
  for (let at = 1; at <= 5; at++) {
    assert.equal((await world.login(`id-${at}`, 'x', `2001:db8:1:2::${at}`)).status, 404)
  }
  assert.equal((await world.login('id-6', 'x', '2001:db8:1:2:9::1')).status, 429)
  assert.equal((await world.login('id-6', 'x', '2001:db8:1:3::1')).status, 404)
  assert.deepEqual(await world.events(/^login\./), [], 'a made-up id is in no record')
})

test('section 14: no token, JWT, PEM or claim value is in the log, the record or an answer', async (t) => {
  const world = await identitiesWorld(t)
  const issuer = await startIssuer(t)
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const privatePem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  const secrets = new Set<string>(['claim-value-hunter2', 'subject-hunter3', 'audience-hunter4'])
  const answers: string[] = []
  const line = (pem: string) => pem.split('\n')[1] ?? pem
  const id = await world.identity('member')
  const fixed = { configurationType: 'static', publicKeys: [issuer.publicPem] }
  const bounds = { boundClaims: { env: 'prod' }, boundSubject: 'svc:*', boundAudiences: 'a' }

  secrets.add(line(privatePem))
  for (const publicKeys of [
    [privatePem],
    [`${issuer.publicPem}${privatePem}`],
    ['claim-value-hunter2'],
  ]) {
    answers.push((await world.attach(id, { ...fixed, ...bounds, publicKeys })).text)
    answers.push((await world.attach(id, { ...fixed, ...bounds, jwksCaCert: privatePem })).text)
  }
  secrets.add(line(issuer.publicPem))
  await world.attach(id, { ...fixed, ...bounds })

  const exp = secondsOf(world) + 60
  const values = { sub: 'subject-hunter3', aud: 'audience-hunter4', env: 'claim-value-hunter2' }
  const hmac = `${Buffer.from('{"alg":"HS256"}').toString('base64url')}.e30`
  for (const jwt of [
    await issuer.sign({ ...values, exp }),
    await issuer.sign({ ...values, sub: 'svc:a', exp }),
    await issuer.sign({ ...values, sub: 'svc:a', aud: 'a', exp }),
    await issuer.sign({ ...values, exp: exp - 120 }),
    await (await startIssuer(t)).sign(values),
    `${hmac}.${createHmac('sha256', issuer.publicPem).update(hmac).digest('base64url')}`,
    'claim-value-hunter2.subject-hunter3.audience-hunter4',
  ]) {
    const denied = await world.login(id, jwt)
    assert.ok(denied.status === 401 || denied.status === 403)
    secrets.add(jwt)
    answers.push(denied.text)
    const explained = await world.ask('POST', `/v1/identities/${id}/explain-login`, {
      body: { jwt },
    })
    answers.push(explained.text)
  }
  const good = await issuer.sign({ sub: 'svc:a', aud: 'a', env: 'prod', exp })
  const { accessToken } = (await world.login(id, good)).json
  for (const secret of [good, accessToken])
    for (const part of secret.split('.').slice(1)) secrets.add(part)
  const call = (what: string) =>
    world.ask('POST', `/api/v1/auth/token/${what}`, { body: { accessToken }, token: null })
  secrets.add((await call('renew')).json.accessToken)
  await world.ask('GET', '/api/v1/identities', { token: accessToken })
  await call('revoke')
  answers.push((await world.ask('GET', '/api/v1/identities', { token: accessToken })).text)
  answers.push((await call('renew')).text)
  await world.ask('GET', configPath(id))

  const record = JSON.stringify(await world.events())
  const log = world.log.join('')
  for (const secret of secrets) {
    for (const [where, text] of [
      ['record', record],
      ['log', log],
      ['answers', answers.join('')],
    ] as const) {
      assert.ok(!text.includes(secret), `${secret.slice(0, 20)}… is in the ${where}`)
    }
  }
  const reasons = (await world.events(/^login\.denied$/)).map(({ detail }) => detail['reason'])
  assert.deepEqual(reasons, [
    ...['subject_not_allowed', 'audience_not_allowed', 'claim_mismatch'],
    ...[
      'jwt_verification_failed',
      'jwt_verification_failed',
      'jwt_verification_failed',
      'invalid_jwt',
    ],
  ])
})
