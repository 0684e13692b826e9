import assert from 'node:assert/strict'
import { test } from 'node:test'
import { asManagement, documentOf, KEYS, key, trafficOpsWorld } from './traffic-ops.ts'

// What may be stored, on the wire: contract section 6.1 in both modes, 6.2 in `strict` only.

const RSA = {
  n: `0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw`,
  e: 'AQAB',
}
const P256 = {
  crv: 'P-256',
  x: 'MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4',
  y: '4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM',
}
const OKP = { kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' }
const set = (renewal_kid: string | undefined, ...keys: object[]) => ({ renewal_kid, keys })
const with_ = (more: object) => ({ a: { ...set('r', key('r')), ...more } })

/** Reasons of section 6.1: refused in either mode. */
const ALWAYS: [what: string, document: unknown, reason: string][] = [
  ['an issuer without a name', { '': set('r', key('r')) }, 'JSON Keyset has no issuer'],
  [
    'a key without alg',
    { a: set('r', key('r', { alg: '' })) },
    'A Key has no algorithm, alg, specified',
  ],
  ['a key without kid', { a: set('r', key('')) }, 'A Key has no key id, kid, specified'],
  ['no renewal_kid', { a: set(undefined, key('r')) }, 'No renewal_kid was found in any keyset'],
  [
    'a renewal_kid that is a number',
    with_({ renewal_kid: 1 }),
    'No renewal_kid was found in any keyset',
  ],
  ['no issuer at all', {}, 'No renewal_kid was found in any keyset'],
  ['null', null, 'No renewal_kid was found in any keyset'],
  [
    'two renewal_kids',
    { a: set('r', key('r')), b: set('s', key('s')) },
    'More than one renewal_kid was found in the keysets',
  ],
  [
    'a renewal_kid of another set',
    { a: set('s', key('r')), b: set(undefined, key('s')) },
    'No key was found with a kid that matches the renewal kid',
  ],
  [
    'a renewal_kid and no keys',
    { a: set('r') },
    'No key was found with a kid that matches the renewal kid',
  ],
]

/** Refused as no keys at all. */
const MALFORMED: [what: string, body: string | Uint8Array][] = [
  ['no JSON', '{'],
  ['nothing', ''],
  ['an array', '[]'],
  ['a text', '"x"'],
  ['an issuer that is no object', '{"a":[]}'],
  ['the document that GET gives for no keys', '{"renewal_kid":null,"keys":null}'],
  ['a key type that there is not', JSON.stringify({ a: set('r', key('r', { kty: 'XYZ' })) })],
  ['a key without its secret', JSON.stringify({ a: set('r', key('r', { k: undefined })) })],
  ['a kid that is a number', JSON.stringify({ a: set('r', key('r'), { ...key('s'), kid: 1 }) })],
  ['an alg that is a number', JSON.stringify({ a: set('r', key('r', { alg: 1 })) })],
  ['a use that is a number', JSON.stringify({ a: set('r', key('r', { use: 1 })) })],
  ['a secret that is no base64', JSON.stringify({ a: set('r', key('r', { k: '!' })) })],
  ['UTF-8 that is broken', Buffer.concat([Buffer.from('{"a\xff":', 'latin1'), Buffer.from('{}}')])],
]

/** Section 6.2: refused in `strict`, stored in `compat` as Traffic Ops does. */
const STRICT: [what: string, document: unknown, reason: string][] = [
  [
    'Ed25519',
    { a: set('r', key('r'), { ...OKP, alg: 'EdDSA', kid: 'o' }) },
    'key type not supported by caches: o',
  ],
  [
    'secp256k1',
    { a: set('r', key('r'), { kty: 'EC', alg: 'ES256K', kid: 'o', ...P256, crv: 'secp256k1' }) },
    'key type not supported by caches: o',
  ],
  ['a kid twice', { a: set('r', key('r'), key('r')) }, 'duplicate kid: r'],
  [
    'a kid twice, not the renewal_kid',
    { a: set('r', key('r'), key('s'), key('s')) },
    'duplicate kid: s',
  ],
  ['an empty secret', { a: set('r', key('r', { k: '' })) }, 'k must be unpadded base64url: r'],
  [
    'an alg that there is not',
    { a: set('r', key('r'), key('s', { alg: 'HS1' })) },
    'alg does not fit key: s',
  ],
  [
    'a padded secret',
    { a: set('r', key('r', { k: `${key('r').k}=` })) },
    'k must be unpadded base64url: r',
  ],
  [
    'a secret in standard base64',
    { a: set('r', key('r', { k: '+/ECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8' })) },
    'k must be unpadded base64url: r',
  ],
  [
    'a public renewal key',
    { a: set('r', { kty: 'RSA', alg: 'RS256', kid: 'r', ...RSA }) },
    'renewal key cannot sign: r',
  ],
  ['a short secret', { a: set('r', key('r', { k: 'AAECAw' })) }, 'k too short for HS256: r'],
  [
    'an alg that does not fit',
    { a: set('r', key('r'), { kty: 'EC', alg: 'RS256', kid: 'e', ...P256 }) },
    'alg does not fit key: e',
  ],
  ['strip_token that is no boolean', with_({ strip_token: 'yes' }), 'strip_token must be boolean'],
  ['an id that is no text', with_({ id: 7 }), 'id must be a string'],
]

test('section 6.1: what it refuses is refused in both modes, in its words', async (t) => {
  for (const mode of ['strict', 'compat']) {
    const world = await trafficOpsWorld(t, { URI_SIGNING_VALIDATION: mode })
    for (const [what, document, reason] of ALWAYS) {
      const body = JSON.stringify(document)
      const answer = await world.ask('POST', KEYS('own'), { ...asManagement, body })
      const text = `{"alerts":[{"text":"invalid keyset: ${reason}","level":"error"}]}\n`
      assert.deepEqual([answer.status, answer.text], [400, text], `${what}, ${mode}`)
    }
    for (const [what, body] of MALFORMED) {
      const answer = await world.ask('PUT', KEYS('own'), { ...asManagement, body })
      const text = '{"alerts":[{"text":"malformed JSON","level":"error"}]}\n'
      assert.deepEqual([answer.status, answer.text], [400, text], `${what}, ${mode}`)
    }
    assert.equal(
      (await world.ask('GET', KEYS('own'), asManagement)).text,
      '{"renewal_kid":null,"keys":null}',
    )
  }
})

test('section 6.2: what a cache cannot load is refused in strict, with a reason', async (t) => {
  const world = await trafficOpsWorld(t)
  for (const [what, document, reason] of STRICT) {
    const body = JSON.stringify(document)
    const answer = await world.ask('POST', KEYS('own'), { ...asManagement, body })
    assert.deepEqual([answer.status, answer.alert], [400, `invalid keyset: ${reason}`], what)
  }
  const bare = JSON.stringify({ a: { renewal_kid: 'r', keys: [key('r')] }, b: key('s') })
  const answer = await world.ask('POST', KEYS('own'), { ...asManagement, body: bare })
  assert.deepEqual([answer.status, answer.alert], [400, 'invalid keyset: keys must be an array'])
  for (const auth_directives of [
    'allow',
    [{ auth: 'maybe', uri: 'regex:^x' }],
    [{ auth: 'allow', uri: 'regex:(' }],
    [7],
  ]) {
    const body = JSON.stringify(with_({ auth_directives }))
    const other = await world.ask('POST', KEYS('own'), { ...asManagement, body })
    assert.equal(other.status, 400, body)
    assert.match(other.alert ?? '', /^invalid keyset: auth_directives: ./)
  }
})

test('section 6.2: compat stores the same documents, and adds nothing', async (t) => {
  const world = await trafficOpsWorld(t, { URI_SIGNING_VALIDATION: 'compat' })
  const more = [with_({ auth_directives: [{ auth: 'maybe', uri: 'regex:^x' }] })]
  const documents = [...STRICT.map(([, document]) => document), ...more]
  for (const document of documents) {
    const body = `  ${JSON.stringify(document)}`
    const stored = await world.ask('POST', KEYS('own'), { ...asManagement, body })
    assert.deepEqual([stored.status, stored.text], [200, body])
    assert.equal((await world.ask('GET', KEYS('own'), asManagement)).text, body)
  }
})

test('section 5: issuers with names that programs trip over are data like others, byte for byte', async (t) => {
  const world = await trafficOpsWorld(t)
  for (const issuer of [
    '__proto__',
    'constructor',
    'alerts',
    '42',
    'response',
    'ünï',
    ' ',
    '\u2028',
  ]) {
    const first = `"${issuer}":{"renewal_kid":"r","keys":[${JSON.stringify(key('r'))}]}`
    const body = `{"zz":{"keys":[]},${first},"1":{"keys":[]}}`
    const stored = await world.ask('PUT', KEYS('own'), { ...asManagement, body })
    assert.deepEqual([stored.status, stored.text], [200, body], issuer)
    const got = await world.ask('GET', KEYS('own'), asManagement)
    assert.ok(got.bytes.equals(Buffer.from(body)), issuer)
    assert.equal(got.headers['content-type'], 'application/json')
  }
})

test('section 5: a document of a megabyte is stored; one byte more is refused before it is read', async (t) => {
  const world = await trafficOpsWorld(t)
  const limit = 1024 * 1024
  const body = documentOf() + ' '.repeat(limit - documentOf().length)
  const stored = await world.ask('PUT', KEYS('own'), { ...asManagement, body })
  assert.equal(stored.status, 200)
  assert.ok((await world.ask('GET', KEYS('own'), asManagement)).bytes.equals(Buffer.from(body)))
  const over = await world.ask('PUT', KEYS('own'), { ...asManagement, body: `${body} ` })
  const text = '{"alerts":[{"text":"Request Entity Too Large","level":"error"}]}\n'
  assert.deepEqual([over.status, over.text], [413, text])
  assert.equal(over.headers['content-type'], 'application/json')
})

test('section 6.2, beyond: duplicate members are refused in strict; in compat the last one counts, as in Go', async (t) => {
  const body = `{"a":{"renewal_kid":"x","keys":[]},${documentOf('a', 'r').slice(1)}`
  const first = `{${documentOf('a', 'r').slice(1, -1)},"a":{"renewal_kid":"x","keys":[]}}`
  const strict = await trafficOpsWorld(t)
  const refused = await strict.ask('PUT', KEYS('own'), { ...asManagement, body })
  assert.deepEqual([refused.status, refused.alert], [400, 'invalid keyset: duplicate member: a'])
  const compat = await trafficOpsWorld(t, { URI_SIGNING_VALIDATION: 'compat' })
  const stored = await compat.ask('PUT', KEYS('own'), { ...asManagement, body })
  assert.deepEqual([stored.status, stored.text], [200, body])
  const unmatched = await compat.ask('PUT', KEYS('own'), { ...asManagement, body: first })
  assert.equal(
    unmatched.alert,
    'invalid keyset: No key was found with a kid that matches the renewal kid',
  )
})
