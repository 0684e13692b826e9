import assert from 'node:assert/strict'
import { request } from 'node:http'
import test from 'node:test'
import { exchange, listen } from '../http/setup.ts'
import { basic, CONFIGURATIONS, configuration, manageWorld, SHARED, secretsOf } from './world.ts'

// Contract sections 2, 3 and 6: who is asked when, in which format, and how it is refused.

const JSON_TYPE = 'application/json; charset=UTF-8'
const XML_TYPE = 'application/xml; charset=UTF-8'
const ERROR_KEYS = ['statusCode', 'status', 'messageCode', 'message']

test('section 2: without credentials 401 with two header lines, Digest first, one realm', async (t) => {
  const { app } = await manageWorld(t)
  const { port } = await listen(app)
  const raw = await exchange(
    port,
    `GET ${CONFIGURATIONS} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`,
  )
  assert.match(raw, /^HTTP\/1\.1 401 Unauthorized\r\n/)
  const lines = raw.split('\r\n').filter((line) => /^www-authenticate:/i.test(line))
  assert.equal(lines.length, 2)
  assert.match(lines[0] ?? '', /: Digest realm="public", qop="auth", nonce="\w+", opaque="\w{16}"$/)
  assert.match(lines[1] ?? '', /: Basic realm="public"$/)
})

test('section 2: every 401 carries a fresh nonce', async (t) => {
  const { ask } = await manageWorld(t)
  const seen = new Set<string>()
  for (let look = 0; look < 5; look++) {
    const { headers } = await ask('GET', CONFIGURATIONS, { as: null })
    seen.add(JSON.stringify(headers['www-authenticate']))
  }
  assert.equal(seen.size, 5)
})

for (const [what, asked] of [
  ['an empty body with a type, as curl --digest sends first', { type: 'application/json' }],
  ['a full body, as curl --anyauth sends first', { body: configuration('one') }],
  ['a body that cannot be read', { raw: '{"', type: 'application/json' }],
  ['a body of an odd type', { raw: 'x', type: 'text/plain' }],
  ['a body without a type', { raw: 'x', type: null }],
  ['a body that is too large', { raw: 'x'.repeat(2 ** 20 + 1), type: 'application/json' }],
  ['an odd format', {}],
] as const) {
  test(`section 2: who is nobody gets a 401, whatever the body: ${what}`, async (t) => {
    const { ask, service } = await manageWorld(t)
    const query = what === 'an odd format' ? '?format=html' : ''
    const answer = await ask('POST', `${CONFIGURATIONS}${query}`, { ...asked, as: null })
    assert.equal(answer.status, 401)
    assert.deepEqual(await service.list(), [])
  })
}

test('section 2: a wrong password is 401; a valid login without the rights is 401 with its path', async (t) => {
  const { ask } = await manageWorld(t)
  const wrong = await ask('GET', CONFIGURATIONS, {
    ...{ as: null },
    headers: {
      authorization: `Basic ${Buffer.from('admin:no').toString('base64')}`,
      accept: 'application/json',
    },
  })
  assert.equal(wrong.status, 401)
  assert.deepEqual(wrong.json.errorResponse, {
    ...{ statusCode: '401', status: 'Unauthorized', messageCode: '', message: '401 Unauthorized' },
  })
  const lacking = await ask('GET', `${CONFIGURATIONS}/one?format=json`, { as: 'nobody' })
  assert.equal(lacking.status, 401)
  assert.deepEqual(lacking.json.errorResponse, {
    ...{ statusCode: '401', status: 'Unauthorized', messageCode: '' },
    message: `You do not have credentials to access ${CONFIGURATIONS}/one .`,
  })
  assert.equal((lacking.headers['www-authenticate'] as string[]).length, 2)
})

test('section 2: every route needs the right, and a login without it changes nothing', async (t) => {
  const { ask, make, events } = await manageWorld(t)
  await make('one')
  const before = await events()
  for (const [method, path] of [
    ...[
      ['GET', CONFIGURATIONS],
      ['POST', CONFIGURATIONS],
      ['GET', 'one'],
      ['DELETE', 'one'],
    ],
    ...[
      ['GET', 'one/properties'],
      ['PUT', 'one/properties'],
      ['POST', 'one/jwt-secrets'],
    ],
    ...[
      ['PUT', 'one/jwt-secrets'],
      ['DELETE', 'one/jwt-secrets'],
      ['GET', 'one/jwt-secrets'],
    ],
    ...[['DELETE', 'one/jwt-secrets/k']],
  ] as [string, string][]) {
    for (const as of ['nobody', null]) {
      const body = method === 'GET' ? undefined : configuration('two')
      assert.equal((await ask(method, path, { as, body })).status, 401, `${method} ${path}`)
    }
  }
  assert.deepEqual(await events(), before)
})

test('section 2: HEAD /v1/ping is the same 401 without credentials, and 200 with any', async (t) => {
  const { ask } = await manageWorld(t)
  const none = await ask('HEAD', '/v1/ping', { as: null })
  assert.equal(none.status, 401)
  const challenges = none.headers['www-authenticate'] as string[]
  assert.match(challenges[0] ?? '', /^Digest /)
  assert.equal(challenges.length, 2)
  assert.equal(none.text, '')
  assert.equal((await ask('HEAD', '/v1/ping', { as: 'nobody' })).status, 200)
})

const XML_SECRETS = (keyId: string) =>
  `<external-security-properties xmlns="http://marklogic.com/manage/external-security/properties"><oauth-server><oauth-jwt-secrets><oauth-jwt-secret><oauth-jwt-key-id>${keyId}</oauth-jwt-key-id><oauth-jwt-secret-value>${SHARED}</oauth-jwt-secret-value></oauth-jwt-secret></oauth-jwt-secrets></oauth-server></external-security-properties>`
const JSON_SECRETS = (keyId: string) => JSON.stringify(secretsOf({ [keyId]: SHARED }))

const REQUESTS: [
  what: string,
  type: string | null,
  query: string,
  body: 'json' | 'xml',
  status: number,
][] = [
  ['JSON', 'application/json', '', 'json', 204],
  ['XML', 'application/xml', '', 'xml', 204],
  ['a charset', 'application/json; charset=utf-8', '', 'json', 204],
  ['a charset in quotes and capitals', 'Application/XML;Charset="UTF-8"', '', 'xml', 204],
  ['no type, format json', null, '?format=json', 'json', 204],
  ['no type, format xml', null, '?format=xml', 'xml', 204],
  ['the type before the format', 'application/json', '?format=xml', 'json', 204],
  ['the type, although the body is another', 'application/xml', '', 'json', 400],
  ['no type and no format', null, '', 'json', 415],
  ['another type', 'text/plain', '', 'json', 415],
  ['another type and a format', 'text/xml', '?format=xml', 'xml', 415],
  ['a form', 'application/x-www-form-urlencoded', '', 'json', 415],
  ['a type that is none', 'json', '', 'json', 415],
  ['another charset', 'application/json; charset=latin1', '', 'json', 415],
]

for (const [what, type, query, body, status] of REQUESTS) {
  test(`section 3: the type of the body decides: ${what}`, async (t) => {
    const { ask, make } = await manageWorld(t)
    await make('one')
    const raw = body === 'json' ? JSON_SECRETS('k') : XML_SECRETS('k')
    const answer = await ask('POST', `one/jwt-secrets${query}`, { raw, type })
    assert.equal(answer.status, status, answer.text)
  })
}

const ANSWERS: [query: string, accept: string | undefined, type: string][] = [
  ['?format=json', undefined, JSON_TYPE],
  ['?format=xml', undefined, XML_TYPE],
  ['?format=json', 'application/xml', JSON_TYPE],
  ['?format=xml', 'application/json', XML_TYPE],
  ['', 'application/json', JSON_TYPE],
  ['', 'application/xml', XML_TYPE],
  ['', '*/*', XML_TYPE],
  ['', undefined, XML_TYPE],
  ['', 'text/html', XML_TYPE],
  ['', 'text/html, application/json;q=0.5, */*;q=0.1', JSON_TYPE],
  ['', 'application/json;q=0.2, application/xml;q=0.7', XML_TYPE],
  ['', 'application/xml;q=0, application/json', JSON_TYPE],
]

for (const [query, accept, type] of ANSWERS) {
  test(`section 3: an answer to format "${query}" and Accept "${accept}" is ${type}`, async (t) => {
    const { ask, make } = await manageWorld(t)
    await make('one')
    for (const path of [CONFIGURATIONS, 'one', 'one/properties']) {
      const answer = await ask('GET', `${path}${query}`, { ...(accept && { headers: { accept } }) })
      assert.equal(answer.status, 200)
      assert.equal(answer.headers['content-type'], type)
    }
  })
}

const DEFAULTS: [method: string, path: string, type: string][] = [
  ['GET', 'two', XML_TYPE],
  ['GET', 'two/properties', XML_TYPE],
  ['DELETE', 'two', XML_TYPE],
  ['PUT', 'two/properties', JSON_TYPE],
  ['POST', 'two/jwt-secrets', JSON_TYPE],
  ['PUT', 'two/jwt-secrets', JSON_TYPE],
  ['DELETE', 'two/jwt-secrets', XML_TYPE],
  ['DELETE', 'two/jwt-secrets/k', XML_TYPE],
  ['POST', CONFIGURATIONS, XML_TYPE],
]

for (const [method, path, type] of DEFAULTS) {
  test(`section 3: an error of ${method} ${path} is ${type} where nothing says otherwise`, async (t) => {
    const { ask } = await manageWorld(t)
    const bare = await ask(method, path, { headers: { accept: '*/*' } })
    assert.ok(bare.status >= 400)
    assert.equal(bare.headers['content-type'], type)
    if (method === 'GET') return
    for (const [sent, format] of [
      ['application/json', JSON_TYPE],
      ['application/xml', XML_TYPE],
    ] as const) {
      const answer = await ask(method, path, { raw: '?', type: sent })
      assert.ok(answer.status >= 400)
      assert.equal(answer.headers['content-type'], format, 'follows the request')
      const beaten = await ask(method, `${path}?format=json`, { raw: '?', type: sent })
      assert.equal(beaten.headers['content-type'], JSON_TYPE, 'format beats it')
    }
  })
}

for (const query of [
  'format=html',
  'format=',
  'format=JSON',
  'format=json&format=xml',
  'format=text',
]) {
  test(`section 3: ${query} is 400 MANAGE-INVALIDPARAM, and nothing is done`, async (t) => {
    const { ask, make } = await manageWorld(t)
    await make('one')
    for (const method of ['GET', 'DELETE']) {
      const answer = await ask(method, `one?${query}`, { headers: { accept: 'application/json' } })
      if (query.includes('&')) assert.equal(answer.status, 400)
      assert.equal(answer.status, 400)
      assert.equal(answer.json.errorResponse.messageCode, 'MANAGE-INVALIDPARAM')
    }
    assert.equal((await ask('GET', 'one')).status, 200)
  })
}

test('section 6: the error document, in JSON with its status as text', async (t) => {
  const { ask } = await manageWorld(t)
  const { status, json, headers } = await ask('POST', CONFIGURATIONS, { body: { a: 1 } })
  assert.equal(status, 400)
  assert.equal(headers['content-type'], JSON_TYPE)
  const { message, ...rest } = json.errorResponse
  assert.deepEqual(Object.keys(json.errorResponse), ERROR_KEYS)
  assert.deepEqual(rest, {
    ...{ statusCode: '400', status: 'Bad Request', messageCode: 'MANAGE-INVALIDPAYLOAD' },
  })
  assert.ok(
    message.startsWith(
      'MANAGE-INVALIDPAYLOAD: (err:FOER0000) Payload has errors in structure, content-type or values. ',
    ),
  )
})

test('section 6: the error document, in XML', async (t) => {
  const { ask } = await manageWorld(t)
  const { text } = await ask('GET', 'a%3Cb', { headers: { accept: 'application/xml' } })
  assert.equal(
    text,
    `<?xml version="1.0" encoding="UTF-8"?>\n<error xmlns="http://marklogic.com/xdmp/error"><status-code>404</status-code><status>Not Found</status><message-code>SEC-EXTERNALSECURITYDNE</message-code><message>SEC-EXTERNALSECURITYDNE: (err:FOER0000) There is no external security &quot;a&lt;b&quot;</message></error>\n`,
  )
})

test('section 6: errors that the framework makes have the same shape', async (t) => {
  const { ask, make } = await manageWorld(t)
  await make('one')
  const accept = { headers: { accept: 'application/json' } }
  for (const [status, code, answer] of [
    [404, '', await ask('GET', '/manage', accept)],
    [404, '', await ask('GET', '/manage/v2', accept)],
    [404, '', await ask('GET', '/manage/v3/external-security', accept)],
    [404, '', await ask('GET', 'one/else', accept)],
    [404, '', await ask('PATCH', CONFIGURATIONS, { ...accept, body: {} })],
    [405, '', await ask('PATCH', 'one/jwt-secrets', { ...accept, body: {} })],
    [
      413,
      '',
      await ask('POST', CONFIGURATIONS, {
        ...accept,
        raw: 'x'.repeat(2 ** 20 + 1),
        type: 'application/json',
      }),
    ],
    [415, '', await ask('POST', CONFIGURATIONS, { ...accept, raw: 'x', type: 'text/plain' })],
    [415, '', await ask('POST', CONFIGURATIONS, { ...accept, raw: 'x', type: ';;' })],
    [400, '', await ask('GET', `${CONFIGURATIONS}/%zz`, accept)],
    [400, '', await ask('GET', `${CONFIGURATIONS}/%FF`, accept)],
    [
      400,
      'MANAGE-INVALIDPAYLOAD',
      await ask('POST', CONFIGURATIONS, { ...accept, raw: '{', type: 'application/json' }),
    ],
    [
      400,
      'MANAGE-INVALIDPAYLOAD',
      await ask('POST', CONFIGURATIONS, { ...accept, type: 'application/json' }),
    ],
  ] as const) {
    assert.equal(answer.status, status, answer.text)
    assert.deepEqual(Object.keys(answer.json.errorResponse), ERROR_KEYS, answer.text)
    assert.equal(answer.json.errorResponse.statusCode, String(status))
    assert.equal(answer.json.errorResponse.messageCode, code)
  }
})

test('section 6: a method that no router knows, and a path that is too long', async (t) => {
  const { app } = await manageWorld(t)
  const { port } = await listen(app)
  const send = (method: string, path: string) =>
    new Promise<string>((resolve, reject) => {
      const headers = { authorization: basic('admin'), accept: 'application/json' }
      const sent = request({ port, host: '127.0.0.1', method, path, headers }, (answer) => {
        const chunks: Buffer[] = []
        answer.on('data', (chunk: Buffer) => chunks.push(chunk))
        answer.on('end', () => resolve(`${answer.statusCode} ${Buffer.concat(chunks)}`))
      })
      sent.on('error', reject).end()
    })
  assert.match(
    await send('PROPFIND', `${CONFIGURATIONS}/one`),
    /^404 \{"errorResponse":\{"statusCode":"404"/,
  )
  assert.match(
    await send('GET', `${CONFIGURATIONS}/${'a'.repeat(30_000)}`),
    /^404 \{"errorResponse"/,
  )
})

test('section 6: no answer is kept by a cache', async (t) => {
  const { ask, make } = await manageWorld(t)
  await make('one')
  for (const path of ['one', 'two', CONFIGURATIONS]) {
    assert.equal((await ask('GET', path)).headers['cache-control'], 'no-store')
  }
})

test('section 6: XML that carries a DTD or an entity is 400, and names no file', async (t) => {
  const { ask, make } = await manageWorld(t)
  await make('one')
  const body = XML_SECRETS('&x;')
  for (const dtd of [
    '<!DOCTYPE a [<!ENTITY x "y">]>',
    '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    '<!DOCTYPE a SYSTEM "http://127.0.0.1:1/a.dtd">',
  ]) {
    const answer = await ask('POST', 'one/jwt-secrets', {
      raw: dtd + body,
      type: 'application/xml',
    })
    assert.equal(answer.status, 400)
    assert.match(answer.text, /<message-code>MANAGE-INVALIDPAYLOAD</)
    assert.doesNotMatch(answer.text, /passwd|root:/)
  }
})
