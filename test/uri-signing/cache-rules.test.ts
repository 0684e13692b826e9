import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  documentWith,
  KEYS,
  keyOf,
  oct,
  opened,
  publicHalf,
  refusalOf,
  STUDIO_A,
} from './key-documents.ts'

// Contract section 6.2, row by row: refused in `strict` with its reason, stored in `compat` as Traffic Ops does.

const good = oct('good')
const okp = {
  kty: 'OKP',
  alg: 'EdDSA',
  kid: 'ed',
  crv: 'Ed25519',
  x: Buffer.alloc(32, 9).toString('base64url'),
}
const secp256k1 = { ...keyOf('ES256'), kid: 'k1', alg: 'ES256K', crv: 'secp256k1' }
const directives = (value: unknown) => documentWith([good], { auth_directives: value })
const allow = (uri: unknown) => directives([{ auth: 'allow', uri }])

const ROWS: [row: string, document: unknown, reason: string][] = [
  ['kty OKP', documentWith([good, okp]), 'key type not supported by caches: ed'],
  ['kty OKP as renewal key', documentWith([okp]), 'key type not supported by caches: ed'],
  ['crv secp256k1', documentWith([good, secp256k1]), 'key type not supported by caches: k1'],
  [
    'same kid twice, the renewal_kid',
    documentWith([good, oct('good', 'HS256', 64, 9)]),
    'duplicate kid: good',
  ],
  ['same kid twice, another', documentWith([good, oct('b'), oct('b')]), 'duplicate kid: b'],
  ['k empty', documentWith([{ ...good, k: '' }]), 'k must be unpadded base64url: good'],
  ['k null', documentWith([{ ...good, k: null }]), 'k must be unpadded base64url: good'],
  [
    'k in standard base64',
    documentWith([{ ...good, k: `${'A'.repeat(62)}+/` }]),
    'k must be unpadded base64url: good',
  ],
  [
    'k padded',
    documentWith([{ ...good, k: `${'A'.repeat(63)}=` }]),
    'k must be unpadded base64url: good',
  ],
  [
    'k with line breaks',
    documentWith([{ ...good, k: `${'A'.repeat(64)}\n` }]),
    'k must be unpadded base64url: good',
  ],
  [
    'k with bits left over',
    documentWith([{ ...good, k: `${'A'.repeat(62)}B` }]),
    'k must be unpadded base64url: good',
  ],
  [
    'n padded',
    documentWith([good, { ...KEYS['RS256'], n: `${KEYS['RS256']?.['n']}==` }]),
    'n must be unpadded base64url: rs256',
  ],
  ['a bare JWK', { i: { ...good, renewal_kid: 'good' } }, 'keys must be an array'],
  [
    'keys null',
    { i: { renewal_kid: 'good', keys: [good] }, j: { keys: null } },
    'keys must be an array',
  ],
  [
    'renewal key public-only',
    documentWith([publicHalf(keyOf('ES256'))]),
    'renewal key cannot sign: es256',
  ],
  [
    'renewal key public-only, RSA',
    documentWith([publicHalf(keyOf('RS256'))]),
    'renewal key cannot sign: rs256',
  ],
  [
    'renewal key of unknown alg',
    documentWith([{ ...good, alg: 'HS1' }]),
    'renewal key cannot sign: good',
  ],
  [
    'renewal key of another alg',
    documentWith([{ ...good, alg: 'ES256' }]),
    'renewal key cannot sign: good',
  ],
  [
    'k shorter than SHA-256',
    documentWith([good, oct('s', 'HS256', 31)]),
    'k too short for HS256: s',
  ],
  [
    'k shorter than SHA-384',
    documentWith([good, oct('s', 'HS384', 47)]),
    'k too short for HS384: s',
  ],
  ['k shorter than SHA-512', documentWith([oct('s', 'HS512', 63)]), 'k too short for HS512: s'],
  ['alg unknown', documentWith([good, { ...oct('b'), alg: 'none' }]), 'alg does not fit key: b'],
  [
    'alg of a prototype',
    documentWith([good, { ...oct('b'), alg: 'toString' }]),
    'alg does not fit key: b',
  ],
  [
    'alg not fitting oct',
    documentWith([good, { ...oct('b'), alg: 'RS256' }]),
    'alg does not fit key: b',
  ],
  [
    'alg not fitting RSA',
    documentWith([good, { ...KEYS['RS256'], alg: 'HS256' }]),
    'alg does not fit key: rs256',
  ],
  [
    'alg not fitting the curve',
    documentWith([good, { ...KEYS['ES384'], alg: 'ES256' }]),
    'alg does not fit key: es384',
  ],
  ['auth_directives an object', directives({}), 'auth_directives: not an array'],
  ['auth_directives null', directives(null), 'auth_directives: not an array'],
  ['a directive that is text', directives(['allow']), 'auth_directives: entry 1 is not an object'],
  [
    'auth neither allow nor deny',
    directives([{ auth: 'Allow', uri: 'regex:a' }]),
    'auth_directives: entry 1 has an auth that is neither allow nor deny',
  ],
  [
    'auth missing',
    directives([{ auth: 'deny', uri: 'regex:a' }, { uri: 'regex:a' }]),
    'auth_directives: entry 2 has an auth that is neither allow nor deny',
  ],
  [
    'uri missing',
    directives([{ auth: 'deny' }]),
    'auth_directives: entry 1 has a uri that is not regex: and an expression',
  ],
  [
    'uri empty, which caches match with everything',
    allow(''),
    'auth_directives: entry 1 has a uri that is not regex: and an expression',
  ],
  [
    'uri no text',
    allow(1),
    'auth_directives: entry 1 has a uri that is not regex: and an expression',
  ],
  [
    'uri a hash',
    allow('hash:sha-256;x'),
    'auth_directives: entry 1 has a uri that is not regex: and an expression',
  ],
  ['regex empty', allow('regex:'), 'auth_directives: entry 1 has an empty regex'],
  [
    'regex does not compile',
    allow('regex:a('),
    'auth_directives: entry 1 has a regex that does not compile: it does not close a group',
  ],
  [
    'regex of Perl',
    allow('regex:(?:a)'),
    'auth_directives: entry 1 has a regex that does not compile: it repeats nothing',
  ],
  [
    'strip_token not boolean',
    documentWith([good], { strip_token: 'true' }),
    'strip_token must be boolean',
  ],
  ['strip_token null', documentWith([good], { strip_token: null }), 'strip_token must be boolean'],
  ['id not a string', documentWith([good], { id: 7 }), 'id must be a string'],
]

for (const [row, document, reason] of ROWS) {
  test(`section 6.2: ${row}`, () => {
    assert.equal(refusalOf(document, 'strict'), `invalid keyset: ${reason}`)
    assert.equal(refusalOf(document, 'compat'), undefined)
  })
}

// Beyond the table: what a cache's JSON parser refuses or reads differently, and keys that hold no key.

const text = JSON.stringify(documentWith([good]))
const inSet = (members: string) => text.replace('{"i":{', `{"i":{${members},`)
const es256 = keyOf('ES256')
const rs256 = keyOf('RS256')
const flipped = (value = '') => `${value.startsWith('A') ? 'B' : 'A'}${value.slice(1)}`

const BEYOND: [what: string, document: unknown, reason: string][] = [
  ['an issuer twice', text.replace('{"i"', '{"i":{"keys":[]},"i"'), 'duplicate member: i'],
  ['a duplicate member of a set', inSet('"renewal_kid":"x"'), 'duplicate member: renewal_kid'],
  [
    'a duplicate member of a key',
    text.replace('"kty"', '"kty":"oct","kty"'),
    'duplicate member: kty',
  ],
  ['a duplicate member by an escape', inSet('"\\u006beys":[]'), 'duplicate member: keys'],
  ['NUL', inSet('"x":"\\u0000"'), 'NUL in a string'],
  ['NUL in a name', inSet('"\\u0000":1'), 'NUL in a string'],
  ['half a surrogate pair', inSet('"x":"\\ud800"'), 'half of a surrogate pair in a string'],
  ['an integer beyond 64 bits', inSet('"x":9223372036854775808'), 'number out of range'],
  ['a long integer', inSet(`"x":-${'9'.repeat(100)}`), 'number out of range'],
  [
    'EC: a point off its curve',
    documentWith([good, publicHalf({ ...es256, y: flipped(es256['y']) })]),
    'key is not usable: es256',
  ],
  [
    'EC: a short coordinate',
    documentWith([good, publicHalf({ ...es256, x: 'AAAA' })]),
    'key is not usable: es256',
  ],
  [
    'EC: d of another key',
    documentWith([{ ...es256, d: flipped(es256['d']) }]),
    'key is not usable: es256',
  ],
  ['EC: d of zero', documentWith([{ ...es256, d: 'A'.repeat(43) }]), 'key is not usable: es256'],
  [
    'EC: d too long',
    documentWith([{ ...es256, d: `${'A'.repeat(44)}${es256['d']}` }]),
    'key is not usable: es256',
  ],
  ['EC: d null', documentWith([{ ...es256, d: null }]), 'd must be unpadded base64url: es256'],
  [
    'RSA: 1024 bits',
    documentWith([good, publicHalf({ ...rs256, n: `w${'A'.repeat(170)}` })]),
    'n too short for RS256: rs256',
  ],
  [
    'RSA: exponent 3',
    documentWith([good, publicHalf({ ...rs256, e: 'Aw' })]),
    'key is not usable: rs256',
  ],
  [
    'RSA: an even modulus',
    documentWith([good, publicHalf({ ...rs256, n: `${rs256['n']?.slice(0, -4)}AAAA` })]),
    'key is not usable: rs256',
  ],
  [
    'RSA: d of another key',
    documentWith([{ ...rs256, d: flipped(rs256['d']) }]),
    'key is not usable: rs256',
  ],
  [
    'RSA: p of another key',
    documentWith([{ ...rs256, p: flipped(rs256['p']) }]),
    'key is not usable: rs256',
  ],
  ['RSA: without qi', documentWith([{ ...rs256, qi: undefined }]), 'key is not usable: rs256'],
]

for (const [what, document, reason] of BEYOND) {
  test(`section 6.2, beyond: ${what}`, () => {
    assert.equal(refusalOf(document, 'strict'), `invalid keyset: ${reason}`)
    assert.equal(refusalOf(document, 'compat'), undefined)
  })
}

const LOADS: [what: string, document: unknown][] = [
  ['the document of section 6', STUDIO_A],
  ...Object.entries(KEYS).map(([alg, key]): [string, unknown] => [
    `${alg} as renewal key`,
    documentWith([key]),
  ]),
  ...['RS256', 'PS384', 'ES256', 'ES512'].map((alg): [string, unknown] => [
    `${alg} public-only`,
    documentWith([good, publicHalf(keyOf(alg))]),
  ]),
  [
    'two issuers with one renewal_kid',
    { i: { renewal_kid: 'good', keys: [good] }, j: { keys: [oct('good')] } },
  ],
  [
    'extra members',
    documentWith([{ ...good, use: 'sig', key_ops: ['sign', 'verify'], nbf: 1, exp: 2.5e9 }]),
  ],
  ['integers of 64 bits', inSet('"x":9223372036854775807,"y":-9223372036854775808')],
  ['characters by escape', inSet('"x":"\\ud83d\\ude00 \\"\\\\ \\u00e9"')],
  ['an issuer without keys', { i: { renewal_kid: 'good', keys: [good] }, j: { keys: [] } }],
  [
    'optional members',
    documentWith([good], { strip_token: true, id: 'cache', auth_directives: [] }),
  ],
  [
    'directives',
    directives([
      { auth: 'deny', uri: 'regex:^http://h/x[[:digit:]]{2,3}$' },
      { auth: 'allow', uri: 'regex:.*\\.crt$' },
    ]),
  ],
]

for (const [what, document] of LOADS) {
  test(`section 6.2, loads and works: ${what}`, () => {
    for (const set of opened(document).issuers.values()) {
      for (const key of set.keys) assert.equal(key.usable()?.kid, key.kid)
    }
  })
}
