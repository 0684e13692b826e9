import assert from 'node:assert/strict'
import { test } from 'node:test'
import { system } from '../../src/context.ts'
import { isProblem, Problem } from '../../src/errors.ts'
import {
  DEFINITIONS,
  Fault,
  SETTING_NAMES,
  type SettingName,
} from '../../src/settings/definitions.ts'
import { createSettings } from '../../src/settings/service.ts'
import { countingIds, memoryStore, testClock, testServer } from '../server.ts'

// Run-time settings (product.md sections 4, 6 and 7; jwks-setup contract section 8).

const PATH = '/v1/settings'

test('section 8: names and defaults are those of the imitated system', () => {
  const defaults = Object.fromEntries(
    SETTING_NAMES.map((name) => [name, DEFINITIONS[name].default]),
  )
  assert.deepEqual(defaults, {
    jwks_endpoint: '',
    jwks_issuer: '',
    jwks_username_field: 'sub',
    jwks_require_audience: '',
    jwks_ssl_ca_certificate: '',
    jwks_update_interval: 3600,
    http_api: true,
    http_api_pool_capacity: 2048,
    external_security: [],
  })
  const trust = SETTING_NAMES.filter((name) => DEFINITIONS[name].class === 'trust')
  assert.deepEqual(trust, [
    ...['jwks_endpoint', 'jwks_issuer', 'jwks_username_field', 'jwks_require_audience'],
    ...['jwks_ssl_ca_certificate', 'external_security'],
  ])
})

const VALUES: [name: SettingName, good: unknown[], bad: unknown[]][] = [
  [
    'jwks_endpoint',
    ['', 'https://id.example.net/jwks.json', 'http://127.0.0.1:8080/'],
    [
      null,
      1,
      'x',
      'file:///etc/passwd',
      'https://u:p@a.test/',
      'https://u@a.test/',
      'https://:p@a.test/',
      'https://a b/',
    ].concat([`https://a.test/${'x'.repeat(2048)}`, 'https://a.test/\n'] as never[]),
  ],
  ['jwks_issuer', ['', 'https://id.example.net/'], ['a\nb', 7, 'x'.repeat(2049), '\ud800']],
  ['jwks_username_field', ['sub', 'https://a.test/name', '__proto__'], ['', null, 'a\u0000']],
  ['jwks_require_audience', ['', 'api'], [['api'], {}]],
  [
    'jwks_ssl_ca_certificate',
    [''],
    ['x', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----', 1],
  ],
  ['jwks_update_interval', [0, 1, 3600, 2_678_400], [-1, 1.5, '3600', 2_678_401, Number.NaN, null]],
  ['http_api', [true, false], ['on', 1, null]],
  ['http_api_pool_capacity', [1, 65_536], [0, 65_537, '1']],
  [
    'external_security',
    [[], ['a', 'b']],
    ['a', [''], [1], ['a\n'], Array(101).fill('a'), ['x'.repeat(256)]],
  ],
]

test('values are read as they are written, and what is none is refused with a reason', () => {
  assert.deepEqual(VALUES.map(([name]) => name).sort(), [...SETTING_NAMES].sort())
  for (const [name, good, bad] of VALUES) {
    for (const value of good) assert.deepEqual(DEFINITIONS[name].read(value), value, name)
    for (const value of bad) {
      const read = DEFINITIONS[name].read(value)
      assert.ok(read instanceof Fault, `${name}: ${JSON.stringify(value)}`)
      assert.match(read.reason, /^Expected /)
    }
  }
  assert.deepEqual(DEFINITIONS.external_security.read(['a', 'a']), ['a'])
})

test('a setting is listed, changed, and taken back; each change is on record', async (t) => {
  const { call, store, settings } = await testServer(t)
  const seen: string[] = []
  settings.onChange((name) => seen.push(name))
  const listed = (await call('GET', PATH)).json.settings
  assert.deepEqual(
    listed.map(({ name }: { name: string }) => name),
    [...SETTING_NAMES].sort(),
  )
  const changed = await call('PUT', `${PATH}/jwks_username_field`, { value: 'login' })
  assert.deepEqual(
    [changed.status, changed.json.value, changed.json.source, changed.json.defaultValue],
    [200, 'login', 'run time', 'sub'],
  )
  assert.equal(settings.get('jwks_username_field'), 'login')
  const back = await call('DELETE', `${PATH}/jwks_username_field`)
  assert.deepEqual([back.status, back.json.value, back.json.source], [200, 'sub', 'default'])
  assert.equal((await call('DELETE', `${PATH}/jwks_username_field`)).status, 200)
  assert.deepEqual(
    seen,
    ['jwks_username_field', 'jwks_username_field'],
    'what changed nothing is none',
  )
  const rows = (await store.read.audit.list(0n, 1000)).filter(
    ({ type }) => type === 'settings.changed',
  )
  assert.deepEqual(
    rows.map(({ subject, principal, detail }) => [subject, principal, JSON.parse(detail)]),
    [
      ['jwks_username_field', 'token:management', { value: 'login' }],
      ['jwks_username_field', 'token:management', { value: 'sub' }],
    ],
  )
})

test('of an endpoint only what is no secret is on record, of certificates nothing', async (t) => {
  const { call, store } = await testServer(t)
  const url = 'https://keys.example/set?sig=0123456789'
  const put = async (name: string, value: string) =>
    assert.equal((await call('PUT', `${PATH}/${name}`, { value })).status, 200)
  await put('jwks_endpoint', url)
  await put('jwks_endpoint', 'https://keys.example/set')
  await put('jwks_endpoint', '')
  await put('jwks_ssl_ca_certificate', '')
  const rows = await store.read.audit.list(0n, 1000)
  const details = rows
    .filter(({ type }) => type === 'settings.changed')
    .map(({ detail }) => JSON.parse(detail))
  assert.deepEqual(details, [
    { value: 'https://keys.example/set', query: '…' },
    { value: 'https://keys.example/set' },
    { value: '' },
    {},
  ])
})

test('what is refused changes nothing', async (t) => {
  const { call, settings } = await testServer(t)
  const table: [method: string, name: string, body: unknown, status: number, code: string][] = [
    ['GET', 'nothing', undefined, 404, 'setting_not_found'],
    ['PUT', 'nothing', { value: 1 }, 404, 'setting_not_found'],
    ['PUT', '__proto__', { value: 1 }, 404, 'setting_not_found'],
    ['DELETE', 'nothing', undefined, 404, 'setting_not_found'],
    ['PUT', 'jwks_update_interval', { value: 'x' }, 422, 'invalid_request'],
    ['PUT', 'jwks_update_interval', {}, 422, 'invalid_request'],
    ['PUT', 'jwks_update_interval', { value: 1, more: 2 }, 422, 'invalid_request'],
    ['PUT', 'external_security', { value: ['none'] }, 422, 'invalid_request'],
  ]
  for (const [method, name, body, status, code] of table) {
    const answer = await call(method, `${PATH}/${name}`, body)
    assert.deepEqual([answer.status, answer.json.code], [status, code], `${method} ${name}`)
  }
  assert.equal(settings.get('jwks_update_interval'), 3600)
})

test('product.md 4: trust takes access-manage, the others settings', async (t) => {
  const { call, app } = await testServer(t)
  const tokenOf = async (name: string, grants: string[]) =>
    (await call('POST', '/v1/api-tokens', { name, grants })).json.token as string
  const operator = await tokenOf('operator', ['settings'])
  const manager = await tokenOf('manager', ['access-manage'])
  const nobody = await tokenOf('nobody', ['verify'])
  const ask = async (token: string, method: string, name: string, value?: unknown) =>
    (
      await app.inject({
        ...{ method: method as 'PUT', url: `${PATH}/${name}` },
        headers: { authorization: `Bearer ${token}` },
        ...(value !== undefined && { payload: { value } }),
      })
    ).statusCode
  const url = 'https://a.test/'
  assert.equal(await ask(operator, 'PUT', 'jwks_endpoint', url), 403)
  assert.equal(await ask(operator, 'DELETE', 'jwks_endpoint'), 403)
  assert.equal(await ask(operator, 'GET', 'jwks_endpoint'), 200)
  assert.equal(await ask(operator, 'PUT', 'http_api', false), 200)
  assert.equal(await ask(manager, 'PUT', 'jwks_endpoint', url), 200)
  assert.equal(await ask(manager, 'PUT', 'http_api', true), 403)
  for (const [method, name] of [
    ['GET', 'http_api'],
    ['PUT', 'http_api'],
    ['PUT', 'nothing'],
  ] as const) {
    assert.equal(await ask(nobody, method, name, method === 'PUT' ? true : undefined), 403)
  }
})

test('product.md 4: who says which tokens are believed must have all that they could give', async (t) => {
  const { call, app } = await testServer(t)
  const must = async (path: string, body: object) => {
    const { status, json } = await call('POST', path, body)
    assert.equal(status, 201, JSON.stringify(json))
    return json
  }
  await must('/v1/tenants', { name: 'east' })
  const narrow = (await must('/v1/api-tokens', { name: 'n', grants: ['access-manage'] })).token
  const eastern = (await must('/v1/api-tokens', { name: 'e', role: 'admin', tenant: 'east' })).token
  const put = async (
    token: string,
    name: string,
    value: unknown,
    method: 'PUT' | 'DELETE' = 'PUT',
  ) => {
    const answer = await app.inject({
      ...{ method, url: `${PATH}/${name}`, headers: { authorization: `Bearer ${token}` } },
      ...(method === 'PUT' && { payload: { value } }),
    })
    return [answer.statusCode, answer.json().code]
  }
  const refused = [403, 'privilege_boundary']
  const url = 'https://mine.test/'
  assert.deepEqual((await put(narrow, 'jwks_endpoint', url))[0], 200, 'nobody has tokens yet')
  assert.deepEqual(await put(eastern, 'jwks_endpoint', url), refused)
  assert.deepEqual(await put(eastern, 'external_security', []), refused)
  await must('/v1/users', { name: 'root', role: 'admin', jwt: true })
  for (const name of [
    'jwks_endpoint',
    'jwks_issuer',
    'jwks_username_field',
    'jwks_require_audience',
  ]) {
    assert.deepEqual(await put(narrow, name, 'https://other.test/'), refused, name)
    assert.deepEqual(await put(narrow, name, undefined, 'DELETE'), refused, name)
  }
  assert.deepEqual(await put(narrow, 'jwks_ssl_ca_certificate', ''), refused)
  const oauth = {
    ...{ 'oauth-vendor': 'Other', 'oauth-flow-type': 'Resource server' },
    ...{ 'oauth-client-id': 'g', 'oauth-token-type': 'JSON Web Tokens', 'oauth-jwt-alg': 'HS256' },
    ...{ 'oauth-username-attribute': 'sub', 'oauth-role-attribute': 'groups' },
  }
  await must('/manage/v2/external-security', {
    ...{ 'external-security-name': 'idp', authentication: 'oauth', authorization: 'oauth' },
    'oauth-server': oauth,
  })
  assert.deepEqual((await put(narrow, 'external_security', ['idp']))[0], 200, 'it grants nothing')
  const grant = { externalSecurity: 'idp', externalName: 'ops', role: 'admin' }
  await must('/v1/role-grants', grant)
  assert.deepEqual(await put(narrow, 'external_security', ['idp']), refused)
})

test('product.md 7: what the environment gives is read-only', async (t) => {
  const { call, settings } = await testServer(t, {
    settings: {
      ...{ JWKS_ENDPOINT: 'https://fixed.test/', JWKS_UPDATE_INTERVAL: '0' },
      ...{ EXTERNAL_SECURITY: 'a, b', HTTP_API: 'false' },
    },
  })
  assert.equal(settings.get('jwks_endpoint'), 'https://fixed.test/')
  assert.deepEqual(settings.get('external_security'), ['a', 'b'])
  assert.deepEqual([settings.get('http_api'), settings.get('jwks_update_interval')], [false, 0])
  const shown = (await call('GET', `${PATH}/jwks_endpoint`)).json
  assert.equal(shown.source, 'environment')
  for (const method of ['PUT', 'DELETE']) {
    const body = method === 'PUT' ? { value: 'https://other.test/' } : undefined
    const { status, json } = await call(method, `${PATH}/jwks_endpoint`, body)
    assert.deepEqual([status, json.code], [409, 'setting_fixed'])
    assert.match(json.detail, /KEYRINGD_JWKS_ENDPOINT/)
  }
})

test('product.md 7: what the environment gives is held to the same rules, all faults at once', async (t) => {
  const certificate = (text: string) =>
    `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----`
  const key = '-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----'
  const table: [given: Record<string, string>, expected: RegExp][] = [
    [
      { JWKS_SSL_CA_CERTIFICATE: certificate('AAAA') },
      /^KEYRINGD_JWKS_SSL_CA_CERTIFICATE: Expected PEM/,
    ],
    [
      { JWKS_SSL_CA_CERTIFICATE: `${certificate('AAAA')}\n${key}` },
      /^KEYRINGD_JWKS_SSL_CA_CERTIFICATE/,
    ],
    [
      { JWKS_ENDPOINT: 'https://[', EXTERNAL_SECURITY: Array(101).fill('a').join() },
      /^KEYRINGD_JWKS_ENDPOINT: Expected an http .*\nKEYRINGD_EXTERNAL_SECURITY: Expected a list/,
    ],
  ]
  for (const [settings, expected] of table) {
    await assert.rejects(testServer(t, { settings }), (error: unknown) => {
      assert.ok(isProblem(error, 'config_invalid'))
      assert.match(error.detail, expected)
      assert.doesNotMatch(error.detail, /MC4CAQ|AAAA/)
      return true
    })
  }
  const { settings } = await testServer(t, { settings: { EXTERNAL_SECURITY: 'a,b,a' } })
  assert.deepEqual(settings.get('external_security'), ['a', 'b'])
})

test('a change counts from its commit on, whoever asks, and the last one stays', async (t) => {
  const { call, settings, store } = await testServer(t)
  const seen: number[] = []
  const stop = store.onCommit((events) => {
    if (events.some(({ type }) => type === 'settings.changed')) {
      seen.push(settings.get('jwks_update_interval'))
    }
  })
  const values = Array.from({ length: 20 }, (_, index) => index + 1)
  const put = (value: number) => call('PUT', `${PATH}/jwks_update_interval`, { value })
  for (const { status } of await Promise.all(values.map(put))) assert.equal(status, 200)
  await call('DELETE', `${PATH}/jwks_update_interval`)
  stop()
  assert.deepEqual(
    seen.slice(0, 20).sort((a, b) => a - b),
    values,
    'each from its own commit on',
  )
  assert.equal(seen[20], 3600)
  await Promise.all(values.map(put))
  assert.equal(
    settings.get('jwks_update_interval'),
    await store.read.settings.get('jwks_update_interval'),
  )
})

test('a value is looked at again where what it depends on was changed meanwhile', async (t) => {
  const { store, log } = (await testServer(t)).context
  const touch = () =>
    store.transaction((tx) =>
      tx.audit.append({ type: 'external-security.deleted', subject: 'idp', principal: 'x' }),
    )
  let looks = 0
  let meanwhile: (look: number) => Promise<unknown> = touch
  const settings = createSettings({
    ...{ context: { store, log }, fixed: {} },
    validate: {
      async external_security() {
        await meanwhile(++looks)
      },
    },
  })
  t.after(() => settings.close())
  const set = () => settings.set(system, 'external_security', ['idp'])
  await assert.rejects(set, (error: unknown) => isProblem(error, 'overloaded'))
  assert.deepEqual([looks, settings.get('external_security')], [5, []])
  looks = 0
  meanwhile = async (look) => {
    if (look === 1) return touch()
    throw new Problem('invalid_request', 'It is gone')
  }
  await assert.rejects(set, (error: unknown) => isProblem(error, 'invalid_request'))
  assert.deepEqual([looks, settings.get('external_security')], [2, []])
  assert.equal(await store.read.settings.get('external_security'), undefined)
})

test('settings survive a restart; one that is no good any more is left out and logged', async (t) => {
  const clock = testClock()
  const store = await memoryStore(clock, countingIds())
  t.after(() => store.close())
  const first = await testServer(t, { store, clock })
  await first.call('PUT', `${PATH}/jwks_update_interval`, { value: 60 })
  await first.close()
  await store.transaction(async (tx) => {
    await tx.settings.set('http_api_pool_capacity', 'many')
    await tx.settings.set('of_another_version', true)
  })
  const second = await testServer(t, { store, clock })
  assert.equal(second.settings.get('jwks_update_interval'), 60)
  assert.equal(second.settings.get('http_api_pool_capacity'), 2048)
  assert.match(second.log.join(''), /a setting is no good/)
})
