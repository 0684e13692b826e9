import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  ACCESS_TOKEN,
  API,
  BEARER,
  CLIENT_ASSERTION,
  EXCHANGE,
  FORM,
  JWT,
  oauthWorld,
  outcome,
  URN,
} from './setup.ts'

// Every error of the token endpoint, by the section that it comes from.

const exchange = { grant_type: EXCHANGE, subject_token: 'x', subject_token_type: ACCESS_TOKEN }
const bearer = { grant_type: BEARER, assertion: 'x', client_id: 'x' }
const credentials = {
  ...{ grant_type: 'client_credentials', client_id: 'x' },
  ...{ client_assertion_type: CLIENT_ASSERTION, client_assertion: 'x' },
}

const SYNTAX: [why: string, form: Record<string, string> | string, expected: string][] = [
  ['RFC 6749 5.2: no grant_type', {}, '400 invalid_request'],
  ['RFC 6749 3.2: empty is left out', { grant_type: '' }, '400 invalid_request'],
  ['RFC 6749 5.2: unknown grant', { grant_type: 'password' }, '400 unsupported_grant_type'],
  [
    'RFC 6749 3.2: a parameter twice',
    `${new URLSearchParams(credentials)}&client_id=x`,
    '400 invalid_request',
  ],
  [
    'RFC 6749 3.2: a parameter twice, once empty',
    `grant_type=&${new URLSearchParams(exchange)}`,
    '400 invalid_request',
  ],
  [
    'RFC 8693 2.1: two audiences',
    `${new URLSearchParams(exchange)}&audience=a&audience=b`,
    '400 invalid_request',
  ],
  ['RFC 6749 3.3: a scope', { ...bearer, scope: 'read' }, '400 invalid_scope'],
  ['RFC 6749 3.3: a scope of an exchange', { ...exchange, scope: 'read' }, '400 invalid_scope'],
  ['RFC 6749 2.3.1: a client secret', { ...bearer, client_secret: 's' }, '400 invalid_client'],
  [
    'RFC 6749 5.2: no client authentication',
    { grant_type: 'client_credentials', client_id: 'x' },
    '400 invalid_client',
  ],
  [
    'RFC 7521 4.2: another client_assertion_type',
    { ...credentials, client_assertion_type: 'saml' },
    '400 invalid_client',
  ],
  [
    'RFC 7521 4.2: no client_assertion_type',
    { ...credentials, client_assertion_type: '' },
    '400 invalid_request',
  ],
  [
    'RFC 7521 4.2: no client_assertion',
    { ...credentials, client_assertion: '' },
    '400 invalid_request',
  ],
  ['RFC 7523 2.1: no assertion', { ...bearer, assertion: '' }, '400 invalid_request'],
  ['RFC 7523 2.1: no client_id', { ...bearer, client_id: '' }, '400 invalid_request'],
  ['RFC 7521 4.1.1: unknown client', bearer, '400 invalid_client'],
  ['RFC 7521 4.2.1: unknown client', credentials, '400 invalid_client'],
  [
    'RFC 6749 5.2: a long client_id',
    { ...bearer, client_id: 'x'.repeat(129) },
    '400 invalid_client',
  ],
  [
    'RFC 8707 2: an audience outside an exchange',
    { ...bearer, audience: API },
    '400 invalid_target',
  ],
  ['RFC 8707 2: a resource', { ...exchange, resource: API }, '400 invalid_target'],
  [
    'RFC 8693 2.2.2: an audience not listed',
    { ...exchange, audience: 'https://other' },
    '400 invalid_target',
  ],
  ['RFC 8693 2.1: no subject_token', { ...exchange, subject_token: '' }, '400 invalid_request'],
  [
    'RFC 8693 2.1: no subject_token_type',
    { ...exchange, subject_token_type: '' },
    '400 invalid_request',
  ],
  [
    'RFC 8693 3: another subject_token_type',
    { ...exchange, subject_token_type: `${URN}:token-type:saml2` },
    '400 invalid_request',
  ],
  ['RFC 8693 2.1: an actor_token', { ...exchange, actor_token: 'x' }, '400 invalid_request'],
  [
    'RFC 8693 2.1: an actor_token_type',
    { ...exchange, actor_token_type: JWT },
    '400 invalid_request',
  ],
  [
    'RFC 8693 2.1: a refresh token is asked for',
    { ...exchange, requested_token_type: `${URN}:token-type:refresh_token` },
    '400 invalid_request',
  ],
  ['RFC 8693 2.2.2: a bad subject_token', exchange, '400 invalid_request'],
  [
    'RFC 8693 2.1: a JWT without client_id',
    { ...exchange, subject_token_type: JWT },
    '400 invalid_request',
  ],
]

test('what the token endpoint refuses', async (t) => {
  const world = await oauthWorld(t, { settings: { RATE_LIMIT_LOGIN: '1000/m' } })
  const client = await world.client()

  for (const [why, form, expected] of SYNTAX) {
    await t.test(why, async () => {
      const answer = await world.token(form)
      assert.equal(outcome(answer), expected, answer.text)
      assert.equal(answer.headers['content-type'], 'application/json')
      assert.equal(answer.headers['cache-control'], 'no-store')
      assert.equal(answer.headers['pragma'], 'no-cache')
      assert.equal(answer.headers['www-authenticate'], undefined)
      assert.match(answer.json.error_description, /^[\x20\x21\x23-\x5b\x5d-\x7e]+$/)
      assert.deepEqual(Object.keys(answer.json), ['error', 'error_description'])
    })
  }

  const requests: [
    why: string,
    method: string,
    path: string,
    headers: Record<string, string>,
    body: string | undefined,
    expected: string,
  ][] = [
    [
      'a JSON body',
      'POST',
      '/oauth/token',
      { 'content-type': 'application/json' },
      '{"grant_type":"client_credentials"}',
      '400 invalid_request',
    ],
    [
      'a multipart body',
      'POST',
      '/oauth/token',
      { 'content-type': 'multipart/form-data; boundary=x' },
      'x',
      '400 invalid_request',
    ],
    ['a body without a type', 'POST', '/oauth/token', {}, 'grant_type=x', '400 invalid_request'],
    ['no body', 'POST', '/oauth/token', {}, undefined, '400 invalid_request'],
    [
      'a body of 1 MB',
      'POST',
      '/oauth/token',
      { 'content-type': FORM },
      `assertion=${'x'.repeat(1 << 20)}`,
      '413 invalid_request',
    ],
    [
      'a body of 64 KiB and a byte',
      'POST',
      '/oauth/token',
      { 'content-type': FORM },
      `a=${'x'.repeat(65535)}`,
      '413 invalid_request',
    ],
    ['GET', 'GET', '/oauth/token', {}, undefined, '405 invalid_request'],
    ['PUT', 'PUT', '/oauth/token', { 'content-type': FORM }, 'grant_type=x', '405 invalid_request'],
    [
      'parameters in the URL',
      'POST',
      '/oauth/token?client_secret=x',
      { 'content-type': FORM },
      'grant_type=x',
      '400 invalid_request',
    ],
    [
      'GET of introspection',
      'GET',
      '/oauth/introspect?token=x',
      {},
      undefined,
      '400 invalid_request',
    ],
    [
      'introspection without credentials',
      'POST',
      '/oauth/introspect',
      { 'content-type': FORM },
      'token=x',
      '401 invalid_token',
    ],
    [
      'revocation without a token',
      'POST',
      '/oauth/revoke',
      { 'content-type': FORM },
      'x=y',
      '400 invalid_request',
    ],
  ]
  for (const [why, method, path, headers, body, expected] of requests) {
    await t.test(`RFC 6749 3.2, 5.2: ${why}`, async () => {
      const call = { token: null, headers, ...(body !== undefined && { body }) }
      const answer = await world.ask(method, path, call)
      assert.equal(outcome(answer), expected, answer.text)
      assert.equal(answer.headers['cache-control'], 'no-store')
      if (answer.status === 405) assert.equal(answer.headers['allow'], 'POST')
    })
  }

  await t.test(
    'RFC 6749 3.2: parameters that nobody knows are ignored, a charset is allowed',
    async () => {
      const form = { ...(await client.credentials()), colour: 'blue', __proto__x: 'y' }
      const answer = await world.ask('POST', '/oauth/token', {
        ...{ token: null, body: `${new URLSearchParams(form)}&__proto__=z` },
        headers: { 'content-type': `${FORM.toUpperCase()}; charset=UTF-8` },
      })
      assert.equal(answer.status, 200, answer.text)
    },
  )

  for (const [header, scheme] of [
    ['Basic Y2xpZW50OnNlY3JldA==', 'Basic'],
    ['Bearer whatever', 'Bearer'],
    ['"odd', 'Basic'],
  ]) {
    await t.test(
      `RFC 6749 5.2: who authenticates by a header is challenged: ${scheme}`,
      async () => {
        const answer = await world.ask('POST', '/oauth/token', {
          ...{ token: null, body: `${new URLSearchParams(await client.credentials())}` },
          headers: { 'content-type': FORM, authorization: header ?? '' },
        })
        assert.equal(outcome(answer), '401 invalid_client')
        assert.equal(answer.headers['www-authenticate'], `${scheme} realm="keyringd"`)
      },
    )
  }
})

test('RFC 6585 4: failures are counted, and over the limit the answer says when to come again', async (t) => {
  const world = await oauthWorld(t, { settings: { RATE_LIMIT_LOGIN: '3/m' } })
  const client = await world.client()
  const other = await world.client()
  const form = async () => ({ ...bearer, client_id: client.id, assertion: await other.assertion() })
  for (let failure = 0; failure < 3; failure++) {
    assert.equal(outcome(await world.token(await form())), '400 invalid_grant')
  }
  const refused = await world.token(await form())
  assert.equal(outcome(refused), '429 temporarily_unavailable')
  assert.equal(refused.headers['retry-after'], '60')
  const good = { ...bearer, client_id: client.id, assertion: await client.assertion() }
  assert.equal(outcome(await world.token(good)), '429 temporarily_unavailable')
  assert.equal((await world.token(good, '198.51.100.9')).status, 200)
  world.clock.advance('61s')
  const later = { ...good, assertion: await client.assertion() }
  assert.equal((await world.token(later)).status, 200)
})

test('refusals that are nobody else’s to count are counted, too: replays and foreign audiences', async (t) => {
  const world = await oauthWorld(t, { settings: { RATE_LIMIT_LOGIN: '3/m' } })
  const client = await world.client()
  const token = await client.login()
  const form = await client.credentials()
  assert.equal((await world.token(form)).status, 200)
  assert.equal(outcome(await world.token(form)), '400 invalid_client')
  assert.equal(outcome(await world.exchange(token, { audience: 'x' })), '400 invalid_target')
  assert.equal(outcome(await world.exchange('junk')), '400 invalid_request')
  assert.equal(outcome(await world.exchange(token)), '429 temporarily_unavailable')
})

test('RFC 6749 5.2 has no word for keys that cannot be had: 503, and the client may come again', async (t) => {
  const world = await oauthWorld(t)
  const client = await world.client({
    ...{ configurationType: 'jwks', publicKeys: [], jwksUrl: 'http://127.0.0.1:9/none.json' },
  })
  const form = { ...bearer, client_id: client.id, assertion: await client.assertion() }
  assert.equal(outcome(await world.token(form)), '503 temporarily_unavailable')
  const none = await world.client({ boundSubject: 'x' })
  await world.ask('DELETE', `/api/v1/auth/jwt-auth/identities/${none.id}`)
  const gone = { ...bearer, client_id: none.id, assertion: await none.assertion() }
  assert.equal(outcome(await world.token(gone)), '400 invalid_client')
})

test('without an issuer there is no OAuth: 404, whatever is asked and however', async (t) => {
  const world = await oauthWorld(t, { settings: { OIDC_ISSUER: '' } })
  const client = await world.client()
  assert.equal(typeof (await client.login()), 'string')
  for (const path of ['/oauth/token', '/oauth/introspect', '/oauth/revoke']) {
    for (const method of ['POST', 'GET']) {
      const answer = await world.ask(method, path)
      assert.equal(answer.status, 404, `${method} ${path}`)
      assert.equal(answer.json.code, 'oauth_disabled')
    }
  }
})
