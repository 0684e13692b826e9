import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { isProblem } from '../../src/errors.ts'
import {
  changeConfiguration,
  createConfiguration,
} from '../../src/external-security/configuration.ts'
import {
  CONFIGURATION,
  type Field,
  type Fields,
  JWT_SECRETS,
} from '../../src/external-security/fields.ts'
import { type Payload, readPayload, type Tree } from '../../src/external-security/payload.ts'
import { propertiesView } from '../../src/external-security/views.ts'
import { writeXml, type XmlNode } from '../../src/external-security/xml.ts'
import { configuration } from './world.ts'

// Contract section 4, with the closed lists opened: every documented field is kept.

const read = (body: unknown): Payload =>
  readPayload(Buffer.from(JSON.stringify(body)), 'json', CONFIGURATION)
const readXml = (inner: string, attributes = '', root = 'external-security-properties') =>
  readPayload(Buffer.from(`<${root}${attributes}>${inner}</${root}>`), 'xml', CONFIGURATION)
const create = (more: object = {}, server: object = {}) =>
  createConfiguration(read(configuration('a', more, server)))
const refuses = (work: () => unknown, code = 'external_security_invalid', words = /./) =>
  assert.throws(
    work,
    (error) => isProblem(error) && error.code === code && words.test(error.detail),
  )

test('section 4: the documented object is kept as it is', () => {
  const { name, properties, secrets } = create()
  assert.equal(name, 'a')
  assert.deepEqual(properties, configuration('a'))
  assert.equal(secrets.size, 0)
})

for (const name of ['external-security-name', 'authentication', 'authorization', 'oauth-server']) {
  test(`section 4: ${name} is required on create, and null is absent`, () => {
    refuses(() => create({ [name]: undefined }), undefined, new RegExp(name))
    refuses(() => create({ [name]: null }), undefined, new RegExp(name))
  })
}

for (const name of [
  ...['oauth-client-id', 'oauth-username-attribute', 'oauth-role-attribute', 'oauth-jwt-alg'],
]) {
  test(`section 4: ${name} is required in an oauth-server`, () => {
    for (const value of [undefined, null, '']) {
      refuses(() => create({}, { [name]: value }), undefined, new RegExp(name))
    }
  })
}

const VALUES: [path: 'top' | 'oauth', name: string, taken: unknown[], refused: unknown[]][] = [
  [
    'top',
    'external-security-name',
    ['a', 'ä/ö +%', 'x'.repeat(255), '🔑'.repeat(255), '...'],
    ['', 'x'.repeat(256), '🔑'.repeat(256), 'a\nb', 'a\0', '.', '..', 1, {}, []],
  ],
  [
    'top',
    'description',
    ['', 'a\nb', 'x'.repeat(16384)],
    ['x'.repeat(16385), 'a\u0001', '\ud800', '\uffff', 1, {}],
  ],
  [
    'top',
    'cache-timeout',
    [0, '0', '300', 4294967295, '4294967295', ''],
    [-1, 1.5, '-1', '1.5', '1e3', 4294967296, '4294967296', '0x10', ' 1', true, {}, []],
  ],
  ['top', 'authorization', ['oauth', 'internal'], ['OAuth', 'kerberos', 'none', 1]],
  ['top', 'authentication', ['oauth', 'kerberos', 'certificate'], ['OAUTH', 'basic', 'digest', 1]],
  [
    'oauth',
    'oauth-vendor',
    ['Microsoft Entra', 'Amazon Cognito', 'Ping Identity', 'Other', ''],
    ['other', 'Okta', 1],
  ],
  [
    'oauth',
    'oauth-flow-type',
    ['Resource server', 'Authorization code', 'Client credentials'],
    ['resource server', 'Implicit'],
  ],
  [
    'oauth',
    'oauth-token-type',
    ['JSON Web Tokens', 'Internally managed reference tokens'],
    ['JWT'],
  ],
  [
    'oauth',
    'oauth-jwt-alg',
    ['HS256', 'RS256'],
    ['hs256', 'none', 'HS512', 'ES256', 'RS512', 'PS256'],
  ],
  ['oauth', 'oauth-username-attribute', ['sub', 'cognito:username', 'a.b'], ['', 1, ['a']]],
  ['oauth', 'oauth-jwt-issuer-uri', ['', 'not a uri at all', 'https://idp.test/'], [1, {}]],
]

for (const [place, name, taken, refused] of VALUES) {
  const make = (value: unknown) =>
    place === 'top' ? create({ [name]: value }) : create({}, { [name]: value })
  test(`section 4: what ${name} may be`, () => {
    for (const value of taken) assert.ok(make(value), JSON.stringify(value))
    for (const value of refused) refuses(() => make(value), undefined, new RegExp(name))
  })
}

test('section 4: cache-timeout is a number or a numeric text, 300 by default, and always a number', () => {
  assert.equal(create({ 'cache-timeout': '60' }).properties['cache-timeout'], 60)
  assert.equal(create({ 'cache-timeout': undefined }).properties['cache-timeout'], 300)
})

test('section 4: the issuer is required for Entra and Cognito, and for no other', () => {
  for (const vendor of ['Microsoft Entra', 'Amazon Cognito']) {
    refuses(
      () => create({}, { 'oauth-vendor': vendor, 'oauth-jwt-issuer-uri': '' }),
      undefined,
      /issuer/,
    )
  }
  for (const vendor of ['Ping Identity', 'Other']) {
    create({}, { 'oauth-vendor': vendor, 'oauth-jwt-issuer-uri': '' })
  }
})

test('section 4: oauth-jwks-uri is https or a loopback host, else SEC-INVURI; empty is not set', () => {
  for (const uri of [
    '',
    'https://idp.test/jwks',
    'http://localhost:1/a',
    'http://127.0.0.1/',
    'http://[::1]:8/a',
  ]) {
    create({}, { 'oauth-jwks-uri': uri })
  }
  for (const uri of [
    ...[
      'http://idp.test/jwks',
      'ftp://idp.test/',
      'file:///etc/passwd',
      'idp.test',
      'https://',
      '//a',
    ],
    ...[
      'http://127.0.0.1.evil.test/',
      'http://localhost.evil.test/',
      'https://user:pass@idp.test/',
    ],
    ...['https://idp.test/ a', 'javascript:1', `https://a/${'x'.repeat(2050)}`],
  ]) {
    refuses(() => create({}, { 'oauth-jwks-uri': uri }), 'external_security_uri_invalid')
  }
})

test('section 4: a URI with credentials in it is refused wherever it stands: it would be shown', () => {
  const bad = 'https://user:hunter2@idp.test/'
  for (const body of [
    configuration('a', {}, { 'oauth-token-server-uri': bad }),
    configuration('a', { 'ldap-server-uri': 'ldap://cn:hunter2@dc/' }),
    configuration('a', { 'http-options': { proxy: 'http://u:hunter2@p:1' } }),
  ]) {
    assert.throws(
      () => createConfiguration(read(body)),
      (error) =>
        isProblem(error, 'external_security_uri_invalid') && !error.detail.includes('hunter2'),
    )
  }
})

const UNKNOWN: [where: string, body: object][] = [
  ['at the top', { else: 1 }],
  ['in oauth-server', { 'oauth-server': { 'oauth-else': 'a' } }],
  ['in ldap-server', { 'ldap-server': { 'oauth-vendor': 'Other' } }],
  ['in saml-server', { 'saml-server': { else: 'a' } }],
  ['in http-options', { 'http-options': { else: 'a' } }],
  [
    'in a secret',
    { 'oauth-server': { 'oauth-jwt-secret': [{ 'oauth-jwt-key-id': 'a', else: 1 }] } },
  ],
  ['in oauth-jwt-secrets', { 'oauth-server': { 'oauth-jwt-secrets': { else: [] } } }],
  ['in a list', { 'saml-server': { 'saml-attribute-names': { else: ['a'] } } }],
  ['called __proto__', JSON.parse('{"__proto__": {"a": 1}}')],
  ['called constructor', { constructor: 'a' }],
  ['called toString in a group', { 'ldap-server': { toString: 'a' } }],
]

for (const [where, body] of UNKNOWN) {
  test(`section 4: a name that is not known ${where} is refused`, () => {
    refuses(() =>
      read({ ...configuration('a'), ...body, ...(Object.hasOwn(body, '__proto__') && body) }),
    )
    refuses(() => readPayload(Buffer.from(JSON.stringify(body)), 'json', CONFIGURATION))
  })
}

for (const [what, body] of [
  ...[
    ['an array', '[]'],
    ['text', '"a"'],
    ['null', 'null'],
    ['nothing', ''],
    ['no JSON', '{'],
  ],
  ...[
    ['a member twice', '{"description":"a","description":"b"}'],
    ['half a pair', '{"description":"\\ud800"}'],
  ],
  ['too many levels', `{"a":${'['.repeat(20)}${']'.repeat(20)}}`],
] as [string, string][]) {
  test(`section 4: a JSON body that is ${what} is refused`, () => {
    refuses(() => readPayload(Buffer.from(body), 'json', CONFIGURATION))
  })
}

test('section 4: kinds that this server does not perform are data, with what they need', () => {
  const ldap = {
    'ldap-server-uri': 'ldap://dc1:389',
    'ldap-base': 'CN=Users',
    'ldap-attribute': 'cn',
  }
  const base = { 'external-security-name': 'a', authorization: 'internal' }
  const make = (more: object) => createConfiguration(read({ ...base, ...more }))
  make({ authentication: 'ldap', 'ldap-server': ldap })
  make({ authentication: 'ldap', ...ldap })
  make({ authentication: 'kerberos' })
  make({ authentication: 'certificate', 'ssl-require-client-certificate': true })
  make({ authentication: 'saml', 'saml-server': { 'saml-entity-id': 'https://idp.test' } })
  refuses(() => make({ authentication: 'ldap' }), undefined, /ldap-server-uri/)
  refuses(() => make({ authentication: 'ldap', 'ldap-server': { ...ldap, 'ldap-base': '' } }))
  refuses(
    () => make({ authentication: 'saml', authorization: 'saml' }),
    undefined,
    /saml-entity-id/,
  )
})

// Every field of the table, in both formats.

const SAMPLE = 'sample <&> text'

function sampleOf(name: string, field: Field): unknown {
  switch (field.kind) {
    case 'group':
      return samplesOf(field.fields)
    case 'text':
      if (name === 'oauth-jwks-uri') return 'https://idp.test/jwks?a=1&b=2'
      return field.values?.[0] ?? (field.uri ? 'ldaps://dc1.test:636' : SAMPLE)
    case 'number':
      return 42
    case 'flag':
      return true
    case 'word':
      return 'RSA-SHA256'
    case 'list':
      return { [field.item]: [SAMPLE, 'two'] }
    case 'headers':
      return { 'X-Api-Key': 'hidden-key' }
    case 'jwt-secrets':
      return name === 'oauth-jwt-secret'
        ? undefined
        : { 'oauth-jwt-secret': [{ 'oauth-jwt-key-id': 'k1', 'oauth-jwt-secret-value': 'hidden' }] }
    case 'ignored':
      return '123'
  }
}

const samplesOf = (fields: Fields): object =>
  Object.fromEntries(
    Object.entries(fields)
      .map(([name, field]) => [name, sampleOf(name, field)])
      .filter(([, value]) => value !== undefined),
  )

const isSecret = (field: Field) => 'secret' in field && field.secret === true

/** What a GET shows of a sample. */
const shownOf = (sample: Tree, fields: Fields): object =>
  Object.fromEntries(
    Object.entries(sample).flatMap(([name, value]): [string, unknown][] => {
      const field = fields[name]
      if (!field || isSecret(field) || field.kind === 'ignored') return []
      if (field.kind === 'jwt-secrets') {
        return [[name, { 'oauth-jwt-secret': [{ 'oauth-jwt-key-id': 'k1' }] }]]
      }
      return [[name, field.kind === 'group' ? shownOf(value as Tree, field.fields) : value]]
    }),
  )

const WHOLE = samplesOf(CONFIGURATION.fields) as Tree

const nodesOf = (tree: object): XmlNode[] =>
  Object.entries(tree).flatMap(([name, value]) =>
    [value].flat().map((one) => ({
      name,
      content: typeof one === 'object' && one !== null ? nodesOf(one) : String(one),
    })),
  )

const toXml = (tree: object, xmlns = 'http://marklogic.com/manage/external-security/properties') =>
  Buffer.from(
    writeXml({
      name: 'external-security-properties',
      attributes: { xmlns },
      content: nodesOf(tree),
    }),
  )

for (const format of ['json', 'xml'] as const) {
  test(`section 4: every documented field is taken, kept and shown but for secrets, as ${format}`, () => {
    const bytes = format === 'json' ? Buffer.from(JSON.stringify(WHOLE)) : toXml(WHOLE)
    const { properties, secrets } = createConfiguration(readPayload(bytes, format, CONFIGURATION))
    const expected = shownOf(WHOLE, CONFIGURATION.fields)
    assert.deepEqual(JSON.parse(propertiesView(properties, ['k1'], 'json')), expected)
    const xml = propertiesView(properties, ['k1'], 'xml')
    const again = readPayload(Buffer.from(xml), 'xml', CONFIGURATION)
    assert.deepEqual(again.properties, properties)
    for (const path of [
      ...[
        'ldap-password',
        'ldap-private-key',
        'ldap-server/ldap-password',
        'http-options/password',
      ],
      ...['oauth-server/oauth-client-secret', 'saml-server/saml-sp-private-key'],
      ...['saml-server/http-options/client-key', 'saml-server/http-options/pass-phrase'],
      ...['http-options/authentication/password', 'http-options/headers'],
    ]) {
      assert.ok(secrets.has(path), path)
    }
    for (const text of [xml, JSON.stringify(properties)]) assert.doesNotMatch(text, /hidden/)
  })
}

test('section 4: names with password, secret, private, key-, phrase in them are secrets, or are known not to be', () => {
  const open = [
    'oauth-jwt-secrets',
    'oauth-jwt-secret',
    'oauth-privilege-attribute',
    'saml-privilege-attribute-name',
  ]
  const walk = (fields: Fields): void => {
    for (const [name, field] of Object.entries(fields)) {
      if (field.kind === 'group') walk(field.fields)
      else if (/password|secret|private|client-key|phrase/.test(name) && !open.includes(name)) {
        assert.ok(isSecret(field), name)
      }
    }
  }
  walk(CONFIGURATION.fields)
})

test('section 4: XML in both namespaces and in none, with prefixes and CDATA, by local name', () => {
  const inner = '<description><![CDATA[a<b]]></description>'
  for (const attributes of [
    '',
    ' xmlns="http://marklogic.com/manage/external-security/properties"',
    ' xmlns="http://marklogic.com/manage"',
  ]) {
    assert.deepEqual(readXml(inner, attributes).properties, { description: 'a<b' })
  }
  const prefixed = readXml(
    '<m:description>x</m:description><m:oauth-server><m:oauth-client-id>c</m:oauth-client-id></m:oauth-server>',
    ' xmlns:m="http://marklogic.com/manage"',
    'm:external-security-properties',
  )
  assert.deepEqual(prefixed.properties, {
    description: 'x',
    'oauth-server': { 'oauth-client-id': 'c' },
  })
  refuses(() => readXml(inner, ' xmlns="urn:other"'), undefined, /namespace/)
  refuses(
    () => readXml('<a:description xmlns:a="urn:other">x</a:description>'),
    undefined,
    /namespace/,
  )
  refuses(() => readXml(inner, '', 'external-security'), undefined, /root/)
})

test('section 4: odd XML is refused: twice, children in text, text in groups, unknown names', () => {
  for (const inner of [
    '<description>a</description><description>b</description>',
    '<description><b>a</b></description>',
    '<oauth-server>text</oauth-server>',
    'text',
    '<else>a</else>',
    '<oauth-server><else/></oauth-server>',
    '<saml-server><saml-attribute-names><else/></saml-attribute-names></saml-server>',
    '<oauth-server/><oauth-server/>',
    '<http-options><headers><a b="c"><d/></a></headers></http-options>',
  ]) {
    refuses(() => readXml(inner))
  }
})

test('section 4: lists are taken as exports have them: wrapped, bare, empty, with ids as numbers', () => {
  const name = 'ssl-client-certificate-authorities'
  const item = 'ssl-client-certificate-authority'
  for (const [given, items] of [
    [{ [item]: ['1', '2'] }, ['1', '2']],
    [{ [item]: '1' }, ['1']],
    [
      ['1', 2],
      ['1', '2'],
    ],
    ['', []],
    [{}, []],
  ] as const) {
    assert.deepEqual(read({ [name]: given }).properties, { [name]: { [item]: items } })
  }
  for (const given of [
    true,
    1.5,
    [{}],
    [null],
    { [item]: [['1']], else: 1 },
    Array(101).fill('1'),
  ]) {
    refuses(() => read({ [name]: given }))
  }
})

test('section 4: an empty oauth-jwks-uri element is not set', () => {
  const { properties } = readXml('<oauth-server><oauth-jwks-uri/></oauth-server>')
  assert.deepEqual(properties, { 'oauth-server': { 'oauth-jwks-uri': '' } })
})

test('section 4: numbers, flags and words of a list may have white space around them in XML', () => {
  const { properties } = readXml(
    '<cache-timeout>\n 60 </cache-timeout><ldap-start-tls> true</ldap-start-tls><authentication> oauth </authentication>',
  )
  assert.deepEqual(properties, {
    'cache-timeout': 60,
    'ldap-start-tls': true,
    authentication: 'oauth',
  })
})

// Changes.

test('section 4: a change lays over what is there: absent properties stay, in groups too; lists are replaced', () => {
  const before = createConfiguration(
    read(
      configuration('a', {
        'saml-server': {
          'saml-issuer': 'i',
          'saml-attribute-names': { 'saml-attribute-name': ['x', 'y'] },
        },
      }),
    ),
  )
  const after = changeConfiguration(
    before,
    read({
      description: 'new',
      'oauth-server': { 'oauth-client-id': 'other' },
      'saml-server': {
        'saml-attribute-names': { 'saml-attribute-name': ['z'] },
        'saml-destination': 'd',
      },
    }),
  )
  assert.deepEqual(after.properties, {
    ...configuration('a', { description: 'new' }, { 'oauth-client-id': 'other' }),
    'saml-server': {
      ...{ 'saml-issuer': 'i', 'saml-attribute-names': { 'saml-attribute-name': ['z'] } },
      'saml-destination': 'd',
    },
  })
})

test('section 4: the name may be repeated; another one is refused', () => {
  const before = create()
  changeConfiguration(before, read({ 'external-security-name': 'a' }))
  refuses(() => changeConfiguration(before, read({ 'external-security-name': 'b' })))
})

test('section 4: a change must leave a whole configuration', () => {
  const before = create()
  for (const change of [
    { 'oauth-server': { 'oauth-client-id': '' } },
    { 'oauth-server': { 'oauth-vendor': 'Microsoft Entra', 'oauth-jwt-issuer-uri': '' } },
    { authorization: 'saml' },
    { authentication: 'ldap' },
  ]) {
    refuses(() => changeConfiguration(before, read(change)))
  }
})

test('section 4: secrets stay, are replaced, or go when they are empty', () => {
  const before = createConfiguration(
    read(configuration('a', { 'ldap-password': 'one' }, { 'oauth-client-secret': 'two' })),
  )
  const path = 'oauth-server/oauth-client-secret'
  assert.deepEqual([...changeConfiguration(before, read({})).secrets], [...before.secrets])
  const replaced = changeConfiguration(
    before,
    read({ 'oauth-server': { 'oauth-client-secret': 'new' } }),
  )
  assert.equal(replaced.secrets.get(path), 'new')
  assert.equal(replaced.secrets.get('ldap-password'), 'one')
  const gone = changeConfiguration(before, read({ 'oauth-server': { 'oauth-client-secret': '' } }))
  assert.equal(gone.secrets.has(path), false)
})

// Properties over the whole table.

const word = fc.stringMatching(/^[ -~äöü漢]{0,20}$/)

const arbitraryOf = (name: string, field: Field): fc.Arbitrary<unknown> => {
  switch (field.kind) {
    case 'group':
      return treeOf(field.fields)
    case 'text':
      if (name === 'oauth-jwks-uri') return fc.constantFrom('', 'https://a.test/')
      if (field.values) return fc.constantFrom(...field.values)
      return field.uri ? fc.constantFrom('', 'https://a.test/', 'ldap://dc') : word
    case 'number':
      return fc.oneof(fc.nat(), fc.nat().map(String))
    case 'flag':
      return fc.oneof(fc.boolean(), fc.constantFrom('true', 'false'))
    case 'word':
      return fc.oneof(fc.boolean(), word)
    case 'list':
      return fc.array(word, { maxLength: 3 }).map((items) => ({ [field.item]: items }))
    case 'headers':
      return fc.constant({ 'X-A': 'hidden' })
    default:
      return fc.constant(undefined)
  }
}

const treeOf = (fields: Fields): fc.Arbitrary<object> =>
  fc
    .record(
      Object.fromEntries(
        Object.entries(fields).map(([name, field]) => [
          name,
          fc.option(arbitraryOf(name, field), { nil: undefined }),
        ]),
      ),
    )
    .map((tree) => Object.fromEntries(Object.entries(tree).filter(([, one]) => one !== undefined)))

const bodies = treeOf(CONFIGURATION.fields)

test('section 4: whatever of the table is given, what is shown reads back as the same, in JSON', () => {
  fc.assert(
    fc.property(bodies, (body) => {
      const { properties } = read(body)
      const shown = JSON.parse(propertiesView(properties, [], 'json'))
      assert.deepEqual(read(shown).properties, properties)
    }),
  )
})

test('section 4: a change with what is shown changes nothing, and is the same done twice', () => {
  const base = create()
  fc.assert(
    fc.property(bodies, (body) => {
      const {
        'external-security-name': _,
        authentication: _a,
        authorization: _b,
        ...rest
      } = body as Record<string, unknown>
      const { 'oauth-server': _c, ...kept } = rest
      const change = read(kept)
      const once = changeConfiguration(base, change)
      assert.deepEqual(changeConfiguration(once, change), once)
      const shown = read(JSON.parse(propertiesView(once.properties, [], 'json')))
      assert.deepEqual(changeConfiguration(once, shown), once)
    }),
  )
})

test('section 4: no JSON at all makes anything but a payload or a problem', () => {
  fc.assert(
    fc.property(fc.json(), fc.constantFrom(CONFIGURATION, JWT_SECRETS), (json, table) => {
      try {
        readPayload(Buffer.from(json), 'json', table)
      } catch (error) {
        if (!isProblem(error)) throw error
      }
    }),
  )
})
