import assert from 'node:assert/strict'
import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import test from 'node:test'
import { system } from '../../src/context.ts'
import { isProblem } from '../../src/errors.ts'
import {
  checkSecretValue,
  importRsaKey,
  isShortSecret,
  secretCandidates,
} from '../../src/external-security/secret-value.ts'
import { SECRETS_PAYLOAD } from './documented.ts'
import {
  CERTIFICATE,
  CONFIGURATIONS,
  configuration,
  manageWorld,
  pemOf,
  rsaPair,
  SHARED,
  secretsOf,
  type World,
} from './world.ts'

// Contract section 5: payloads of jwt-secrets and their values.

const PATH = 'one/jwt-secrets'

async function world(t: test.TestContext, server: object = {}) {
  const made = await manageWorld(t)
  await made.make('one', {}, server)
  return made
}

async function keyIds({ ask }: World, name = 'one'): Promise<string[]> {
  const { json } = await ask('GET', `${name}/properties?format=json`)
  const secrets = json['oauth-server']?.['oauth-jwt-secrets']?.['oauth-jwt-secret'] ?? []
  for (const one of secrets) assert.deepEqual(Object.keys(one), ['oauth-jwt-key-id'])
  return secrets.map((one: Record<string, string>) => one['oauth-jwt-key-id'])
}

const entry = (keyId: unknown, value: unknown = SHARED) => ({
  ...{ 'oauth-jwt-key-id': keyId, 'oauth-jwt-secret-value': value },
})
const direct = (...entries: unknown[]) => ({ 'oauth-server': { 'oauth-jwt-secret': entries } })

test('section 5: the documented payload, byte for byte', async (t) => {
  const made = await world(t)
  const raw = SECRETS_PAYLOAD
  const { status, text } = await made.ask('POST', PATH, { raw, type: 'application/json' })
  assert.deepEqual([status, text], [204, ''])
  assert.deepEqual(await keyIds(made), ['kid1'])
})

const FORMS: [what: string, body: unknown][] = [
  ['the array in oauth-server', direct(entry('k'))],
  [
    'the form of a read',
    { 'oauth-server': { 'oauth-jwt-secrets': { 'oauth-jwt-secret': [entry('k')] } } },
  ],
  ['one object for an array', { 'oauth-server': { 'oauth-jwt-secret': entry('k') } }],
  [
    'one object in the form of a read',
    { 'oauth-server': { 'oauth-jwt-secrets': { 'oauth-jwt-secret': entry('k') } } },
  ],
  ['the name of the configuration', { 'external-security-name': 'one', ...direct(entry('k')) }],
  ['its name as name', { name: 'one', ...direct(entry('k')) }],
  ['an internal id, which is ignored', direct({ ...entry('k'), 'oauth-jwt-internal-id': 'x' })],
]

for (const [what, body] of FORMS) {
  test(`section 5.1: a payload with ${what} is taken`, async (t) => {
    const made = await world(t)
    const { status, text } = await made.ask('POST', PATH, { body })
    assert.equal(status, 204, text)
    assert.deepEqual(await keyIds(made), ['k'])
  })
}

for (const [what, inner] of [
  ['with a wrapper', '<oauth-jwt-secrets><E/><F/></oauth-jwt-secrets>'],
  ['without one', '<E/><F/>'],
] as const) {
  test(`section 5.1: XML ${what}, prefixes and a PEM key in CDATA`, async (t) => {
    const made = await world(t, { 'oauth-jwt-alg': 'RS256' })
    const pem = pemOf(rsaPair().publicKey)
    const element = (id: string, value: string) =>
      `<m:oauth-jwt-secret><m:oauth-jwt-key-id>${id}</m:oauth-jwt-key-id><m:oauth-jwt-secret-value>${value}</m:oauth-jwt-secret-value></m:oauth-jwt-secret>`
    const secrets = inner
      .replaceAll('oauth', 'm:oauth')
      .replace('<E/>', element('k1', `<![CDATA[${pem}]]>`))
      .replace('<F/>', element('k2', `\n    ${pem}  `))
    const raw = `<?xml version="1.0"?>\n<m:external-security-properties xmlns:m="http://marklogic.com/manage">\n  <m:oauth-server>${secrets}</m:oauth-server>\n</m:external-security-properties>`
    const { status, text } = await made.ask('POST', PATH, { raw, type: 'application/xml' })
    assert.equal(status, 204, text)
    assert.deepEqual(await keyIds(made), ['k1', 'k2'])
  })
}

const REFUSED: [what: string, body: unknown][] = [
  [
    'both forms at once',
    {
      'oauth-server': {
        'oauth-jwt-secret': [entry('a')],
        'oauth-jwt-secrets': { 'oauth-jwt-secret': [entry('b')] },
      },
    },
  ],
  ['another name', { 'external-security-name': 'two', ...direct(entry('k')) }],
  ['another name as name', { name: 'two', ...direct(entry('k')) }],
  ['no oauth-server', {}],
  ['an empty oauth-server', { 'oauth-server': {} }],
  ['no entry', direct()],
  ['no entry in the form of a read', { 'oauth-server': { 'oauth-jwt-secrets': {} } }],
  ['101 entries', direct(...Array.from({ length: 101 }, (_, i) => entry(`k${i}`)))],
  ['an empty key id', direct(entry(''))],
  ['a key id of 513 characters', direct(entry('x'.repeat(513)))],
  ['a key id with a line end', direct(entry('a\nb'))],
  ['a key id with half a pair', direct(entry('\udc00'))],
  ['a key id that is a number', direct(entry(1))],
  ['no key id', direct({ 'oauth-jwt-secret-value': SHARED })],
  ['no value', direct({ 'oauth-jwt-key-id': 'k' })],
  ['an empty value', direct(entry('k', ''))],
  ['a value that is a number', direct(entry('k', 1))],
  ['a value that is null', direct(entry('k', null))],
  ['a value that is too long', direct(entry('k', 'x'.repeat(16385)))],
  ['an unknown member', direct({ ...entry('k'), alg: 'HS256' })],
  [
    'an unknown member in oauth-server',
    { 'oauth-server': { 'oauth-jwt-secret': [entry('k')], 'oauth-client-id': 'c' } },
  ],
  ['an unknown member at the top', { ...direct(entry('k')), description: 'd' }],
  ['text for an entry', direct('k')],
  ['one bad entry among good ones', direct(entry('a'), entry('b', ''), entry('c'))],
]

for (const [what, body] of REFUSED) {
  test(`sections 5.1 to 5.4: a payload with ${what} is 400 and changes nothing`, async (t) => {
    const made = await world(t)
    for (const method of ['POST', 'PUT']) {
      const { status, json, text } = await made.ask(method, PATH, { body })
      assert.equal(status, 400)
      assert.equal(json.errorResponse.messageCode, 'MANAGE-INVALIDPAYLOAD')
      assert.ok(!text.includes(SHARED))
    }
    assert.deepEqual(await keyIds(made), [])
    assert.equal((await made.events(/^jwt-secret/)).length, 0)
  })
}

test('section 6: who mixes names and values up finds no secret in the answer', async (t) => {
  const made = await world(t)
  for (const odd of [{ [SHARED]: 'k' }, { ...entry('k'), [SHARED]: 'x' }]) {
    const { status, text } = await made.ask('POST', PATH, { body: direct(odd) })
    assert.equal(status, 400)
    assert.ok(!text.includes(SHARED))
  }
})

test('section 5.2: the name must be that of the configuration, also when the path has its id', async (t) => {
  const made = await world(t)
  const { json } = await made.ask('GET', 'one?format=json')
  const { id } = json['external-security-default']
  const right = { ...direct(entry('k')), 'external-security-name': 'one' }
  assert.equal((await made.ask('POST', `${id}/jwt-secrets`, { body: right })).status, 204)
  const wrong = { ...direct(entry('k2')), 'external-security-name': id }
  assert.equal((await made.ask('POST', `${id}/jwt-secrets`, { body: wrong })).status, 400)
})

test('section 5.3: 100 entries, key ids of 512 characters and of any printable text', async (t) => {
  const made = await world(t)
  const many = direct(...Array.from({ length: 100 }, (_, i) => entry(`k${i}`)))
  assert.equal((await made.ask('POST', PATH, { body: many })).status, 204)
  const odd = direct(entry('x'.repeat(512)), entry('a/b+c=='), entry('ключ 🔑'), entry('<&">'))
  assert.equal((await made.ask('POST', PATH, { body: odd })).status, 204)
  assert.equal((await keyIds(made)).length, 104)
  const xml = await made.ask('GET', 'one/properties?format=xml')
  assert.match(xml.text, /<oauth-jwt-key-id>&lt;&amp;&quot;&gt;<\/oauth-jwt-key-id>/)
  // Characters, of which one may be two units of UTF-16.
  const wide = direct(entry('🔑'.repeat(512)))
  assert.equal((await made.ask('POST', PATH, { body: wide })).status, 204)
  assert.equal(
    (await made.ask('POST', PATH, { body: direct(entry('🔑'.repeat(513))) })).status,
    400,
  )
  const over = direct(...Array.from({ length: 101 }, (_, i) => entry(`m${i}`)))
  assert.equal((await made.ask('POST', PATH, { body: over })).status, 400)
  // What a read shows may come back, however many they are.
  const { text } = await made.ask('GET', 'one/properties?format=json')
  const put = { raw: text, type: 'application/json' }
  assert.equal((await made.ask('PUT', 'one/properties', put)).status, 204)
  const none = text.replace('"ключ 🔑"', '"missing"')
  assert.equal((await made.ask('PUT', 'one/properties', { ...put, raw: none })).status, 400)
})

test('section 5.4: all or nothing, in every method', async (t) => {
  const made = await world(t)
  await made.ask('POST', PATH, { body: secretsOf({ a: SHARED, b: SHARED }) })
  const rows = async () => {
    const [row] = await made.store.read.externalSecurities.list()
    return made.store.read.jwtSecrets.list(row?.id ?? '')
  }
  const before = await rows()
  for (const [method, body] of [
    ['POST', secretsOf({ c: SHARED, a: SHARED })],
    ['PUT', secretsOf({ a: 'another value of more than 32 bytes', c: SHARED })],
    ['DELETE', secretsOf({ a: undefined, c: undefined })],
  ] as const) {
    assert.equal((await made.ask(method, PATH, { body })).status, 400, method)
    assert.deepEqual(await rows(), before, method)
  }
})

test('section 5.5: POST of a key id that is there, or twice, is 400 MANAGE-CONFLICTINGCONFIG', async (t) => {
  const made = await world(t)
  await made.ask('POST', PATH, { body: secretsOf({ a: SHARED }) })
  for (const body of [secretsOf({ a: SHARED }), direct(entry('b'), entry('b'))]) {
    const { status, json, text } = await made.ask('POST', PATH, { body })
    assert.equal(status, 400)
    assert.equal(json.errorResponse.messageCode, 'MANAGE-CONFLICTINGCONFIG')
    assert.ok(!text.includes(SHARED))
  }
  assert.deepEqual(await keyIds(made), ['a'])
})

test('section 5.5: PUT replaces what it lists and nothing else; an unknown key id is 400', async (t) => {
  const made = await world(t)
  await made.ask('POST', PATH, { body: secretsOf({ a: SHARED, b: SHARED }) })
  const [row] = await made.store.read.externalSecurities.list()
  const list = () => made.store.read.jwtSecrets.list(row?.id ?? '')
  const before = await list()
  assert.equal((await made.ask('PUT', PATH, { body: secretsOf({ a: `${SHARED}!` }) })).status, 204)
  const after = await list()
  assert.deepEqual(after[1], before[1])
  assert.equal(after[0]?.id, before[0]?.id)
  assert.notDeepEqual(after[0]?.value, before[0]?.value)
  const unknown = await made.ask('PUT', PATH, { body: secretsOf({ c: SHARED }) })
  assert.equal(unknown.json.errorResponse.messageCode, 'MANAGE-INVALIDPAYLOAD')
})

test('section 5.5: DELETE ignores values; an unknown key id is 400, in the path 404', async (t) => {
  const made = await world(t)
  await made.ask('POST', PATH, { body: secretsOf({ a: SHARED, b: SHARED }) })
  const removed = await made.ask('DELETE', PATH, { body: secretsOf({ a: 'whatever' }) })
  assert.equal(removed.status, 204)
  assert.equal((await made.ask('DELETE', PATH, { body: secretsOf({ a: undefined }) })).status, 400)
  assert.equal((await made.ask('DELETE', `${PATH}/a`)).status, 404)
  assert.deepEqual(await keyIds(made), ['b'])
})

test('section 5.6: without an oauth-server 400; the last secret may be removed', async (t) => {
  const made = await world(t)
  const body = {
    'external-security-name': 'k',
    authentication: 'kerberos',
    authorization: 'internal',
  }
  assert.equal((await made.ask('POST', CONFIGURATIONS, { body })).status, 201)
  for (const method of ['POST', 'PUT', 'DELETE']) {
    const { status, json } = await made.ask(method, 'k/jwt-secrets', {
      body: secretsOf({ a: SHARED }),
    })
    assert.equal(status, 400)
    assert.equal(json.errorResponse.messageCode, 'MANAGE-INVALIDPAYLOAD')
  }
  await made.ask('POST', PATH, { body: secretsOf({ a: SHARED }) })
  assert.equal((await made.ask('DELETE', PATH, { body: secretsOf({ a: undefined }) })).status, 204)
  assert.deepEqual(await keyIds(made), [])
})

test('section 5: 20 parallel POSTs of one key id: exactly one 204', async (t) => {
  const made = await world(t)
  const all = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      made.ask('POST', PATH, { body: secretsOf({ same: `${SHARED} ${i}` }) }),
    ),
  )
  assert.equal(all.filter(({ status }) => status === 204).length, 1)
  assert.equal(all.filter(({ status }) => status === 400).length, 19)
  assert.deepEqual(await keyIds(made), ['same'])
  assert.equal((await made.events(/^jwt-secret\.added$/)).length, 1)
})

test('section 4: secrets on create, in any form; on PUT properties with a value added or replaced', async (t) => {
  const made = await manageWorld(t)
  const list = { 'oauth-jwt-secrets': { 'oauth-jwt-secret': [entry('a'), entry('b')] } }
  await made.make('one', {}, list)
  assert.deepEqual(await keyIds(made), ['a', 'b'])
  await made.make('two', {}, { 'oauth-jwt-secret': entry('z') })
  assert.deepEqual(await keyIds(made, 'two'), ['z'])
  const put = (server: object) =>
    made.ask('PUT', 'one/properties', { body: { 'oauth-server': server } })
  const mixed = [entry('a', `${SHARED}2`), { 'oauth-jwt-key-id': 'b' }, entry('c')]
  assert.equal((await put({ 'oauth-jwt-secret': mixed })).status, 204)
  assert.deepEqual(await keyIds(made), ['a', 'b', 'c'])
  assert.deepEqual(
    (await made.events(/^jwt-secret/)).map(({ type, detail }) => [type, detail]).slice(3),
    [
      ['jwt-secret.replaced', { keyId: 'a' }],
      ['jwt-secret.added', { keyId: 'c' }],
    ],
  )
  const missing = await put({ 'oauth-jwt-secret': [entry('d'), { 'oauth-jwt-key-id': 'x' }] })
  assert.equal(missing.status, 400)
  assert.deepEqual(await keyIds(made), ['a', 'b', 'c'], 'unlisted ones stay')
  const valueless = configuration('three', {}, { 'oauth-jwt-secret': { 'oauth-jwt-key-id': 'a' } })
  assert.equal((await made.ask('POST', CONFIGURATIONS, { body: valueless })).status, 400)
  assert.equal((await made.ask('GET', 'three')).status, 404)
})

test('section 4: what GET shows of properties can be put back as it is, in both formats', async (t) => {
  const made = await world(t, { 'oauth-jwt-secret': [entry('a')], 'oauth-client-secret': 'hidden' })
  for (const format of ['json', 'xml']) {
    const shown = await made.ask('GET', `one/properties?format=${format}`)
    const put = await made.ask('PUT', 'one/properties', {
      raw: shown.text,
      type: `application/${format}`,
    })
    assert.equal(put.status, 204, put.text)
    assert.equal((await made.ask('GET', `one/properties?format=${format}`)).text, shown.text)
  }
})

// Values.

const refuses = (work: () => unknown) =>
  assert.throws(work, (error) => isProblem(error, 'external_security_invalid'))

const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const small = generateKeyPairSync('rsa', { modulusLength: 1024 })
const pss = generateKeyPairSync('rsa-pss', { modulusLength: 2048 })
const { publicKey, privateKey } = rsaPair()
const spki = pemOf(publicKey)
const pkcs1 = pemOf(publicKey, 'pkcs1')

const PEMS: [what: string, pem: string][] = [
  ['PUBLIC KEY', spki],
  ['RSA PUBLIC KEY', pkcs1],
  ['with CRLF', spki.replaceAll('\n', '\r\n')],
  ['on one line', spki.replaceAll('\n', '')],
  ['on one line with blanks', spki.replaceAll('\n', ' ')],
  ['on one line with line ends written out', spki.replaceAll('\n', '\\n')],
  ['with white space around it', `\n  ${spki}\n`],
]

for (const [what, pem] of PEMS) {
  test(`section 5: RS256 takes a key ${what}`, () => {
    assert.ok(importRsaKey(pem).key.equals(publicKey))
    checkSecretValue('RS256', pem)
  })
}

test('section 5: RS256 takes a CERTIFICATE', () => {
  const { key } = importRsaKey(CERTIFICATE)
  assert.ok(key.equals(new X509Certificate(CERTIFICATE).publicKey))
})

const NO_KEYS: [what: string, pem: string][] = [
  ['a private key', privateKey.export({ format: 'pem', type: 'pkcs8' }) as string],
  ['an RSA private key', privateKey.export({ format: 'pem', type: 'pkcs1' }) as string],
  [
    'a public key beside a private one',
    spki + (privateKey.export({ format: 'pem', type: 'pkcs8' }) as string),
  ],
  [
    'a private key labelled as a public one',
    (privateKey.export({ format: 'pem', type: 'pkcs8' }) as string).replaceAll('PRIVATE', 'PUBLIC'),
  ],
  ['an EC key', pemOf(ec.publicKey)],
  ['an RSA-PSS key', pemOf(pss.publicKey)],
  ['fewer than 2048 bits', pemOf(small.publicKey)],
  ['two keys', spki + spki],
  ['words around it', `key:\n${spki}`],
  ['a word', 'ExampleJWTSecret'],
  ['nothing', ''],
  ['another label inside', spki.replace('BEGIN PUBLIC', 'BEGIN RSA PUBLIC')],
  ['cut off', spki.slice(0, 200)],
  ['more behind the key', spki.replace('-----END', 'AAAA\n-----END')],
]

for (const [what, pem] of NO_KEYS) {
  test(`section 5: RS256 refuses ${what}`, () => refuses(() => checkSecretValue('RS256', pem)))
}

test('section 5: HS256 takes any text that is not empty, but no PEM', () => {
  for (const value of ['x', 'ExampleJWTSecret', ' ', 'ключ', 'a'.repeat(16384)]) {
    checkSecretValue('HS256', value)
  }
  refuses(() => checkSecretValue('HS256', ''))
  refuses(() => checkSecretValue('HS256', spki))
})

const hex = `${'00'.repeat(31)}ff`
const CANDIDATES: [value: string, candidates: string[]][] = [
  ['ExampleJWTSecret', ['raw']],
  [hex, ['raw', 'hex', 'base64url']],
  [hex.toUpperCase(), ['raw', 'hex', 'base64url']],
  // Two digits less, with bits left over that no base64url has.
  [hex.slice(2), ['raw']],
  [Buffer.alloc(32, 1).toString('base64url'), ['raw', 'base64url']],
  [Buffer.alloc(31, 1).toString('base64url'), ['raw']],
  [Buffer.alloc(33, 0xff).toString('base64'), ['raw']],
]

for (const [value, expected] of CANDIDATES) {
  test(`section 5: what the shared secret ${value.slice(0, 20)}… of ${value.length} characters may mean`, () => {
    const decoded: Record<string, Buffer> = {
      raw: Buffer.from(value),
      hex: Buffer.from(value, 'hex'),
      base64url: Buffer.from(value, 'base64url'),
    }
    assert.deepEqual(
      secretCandidates(value),
      expected.map((name) => decoded[name]),
    )
  })
}

test('section 5: below 32 bytes a secret is stored, and the log has a warning without its value', async (t) => {
  const made = await world(t)
  await made.ask('POST', PATH, { body: secretsOf({ short: 'ExampleJWTSecret', long: SHARED }) })
  const lines = made
    .log()
    .split('\n')
    .filter((line) => line.includes('fewer than 32 bytes'))
  assert.equal(lines.length, 1)
  assert.match(lines[0] ?? '', /"keyId":"short"/)
  assert.doesNotMatch(made.log(), /ExampleJWTSecret/)
  assert.equal(isShortSecret('HS256', 'ä'.repeat(16)), false)
  assert.equal(isShortSecret('HS256', 'x'.repeat(31)), true)
  assert.equal(isShortSecret('RS256', 'x'), false)
})

test('section 5: a configuration with RS256 takes public keys only, over the wire', async (t) => {
  const made = await world(t, { 'oauth-jwt-alg': 'RS256' })
  const good = await made.ask('POST', PATH, { body: secretsOf({ k: spki, c: CERTIFICATE }) })
  assert.equal(good.status, 204, good.text)
  for (const [, pem] of NO_KEYS) {
    const { status, text } = await made.ask('PUT', PATH, { body: secretsOf({ k: pem }) })
    assert.equal(status, 400)
    if (pem.length > 20) assert.ok(!text.includes(pem.slice(-60, -30)))
  }
})

test('section 4: the algorithm cannot be changed under keys: a public key would become a shared secret', async (t) => {
  const made = await world(t, { 'oauth-jwt-alg': 'RS256' })
  await made.ask('POST', PATH, { body: secretsOf({ k: spki }) })
  const put = () =>
    made.ask('PUT', 'one/properties', { body: { 'oauth-server': { 'oauth-jwt-alg': 'HS256' } } })
  assert.equal((await put()).status, 400)
  await made.ask('DELETE', `${PATH}/k`)
  assert.equal((await put()).status, 204)
})

test('section 5: a key of this server is refused: what it signs would count as a token of the configuration', async (t) => {
  const made = await world(t, { 'oauth-jwt-alg': 'RS256' })
  const { keyring } = made
  await keyring.createRing({ name: 'rsa', algorithms: ['RS256'] }, system)
  const [own] = keyring.own.publishedKeys('rsa', Number.MAX_SAFE_INTEGER) ?? []
  assert.ok(own)
  const { status, json } = await made.ask('POST', PATH, { body: secretsOf({ k: pemOf(own.key) }) })
  assert.equal(status, 400)
  assert.match(json.errorResponse.message, /one of this server/)
})
