import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { distance } from '../src/config/names.ts'
import {
  clientEnvironment,
  issuerOf,
  parseConfig,
  ROOT_KEY_ALGORITHMS,
  SETTINGS,
  settingsTable,
} from '../src/config.ts'
import { ALGORITHM_NAMES, ALGORITHMS } from '../src/core/index.ts'
import { isProblem } from '../src/errors.ts'
import { HOUR, MINUTE, SECOND } from '../src/time.ts'

const home = { HOME: '/home/me' }
const token = 'a'.repeat(32)

/** Parses `KEYRINGD_`-less names, with the files given by path. */
function parse(settings: Record<string, string>, files: Record<string, string> = {}) {
  const named = Object.entries(settings).map(([name, value]) => [`KEYRINGD_${name}`, value])
  return parseConfig(
    { ...home, ...Object.fromEntries(named) },
    {
      read(path) {
        const text = files[path]
        if (text === undefined) throw Object.assign(new Error('missing'), { code: 'ENOENT' })
        return text
      },
    },
  )
}

/** The faults, one per line. */
function faults(...args: Parameters<typeof parse>): string[] {
  try {
    parse(...args)
  } catch (error) {
    assert.ok(isProblem(error, 'config_invalid'), String(error))
    return error.detail.split('\n')
  }
  return []
}

test('with nothing set, the defaults hold and nothing is warned about', () => {
  const config = parse({})
  assert.equal(config.host, '127.0.0.1')
  assert.equal(config.port, 4650)
  assert.equal(config.publicPort, undefined)
  assert.deepEqual(config.surfaces, [
    'nomad',
    'infisical',
    'traffic-ops',
    'singlestore',
    'marklogic',
  ])
  assert.equal(config.dataDir, '/home/me/.keyringd/data')
  assert.equal(config.kekFile, '/home/me/.keyringd/kek')
  assert.equal(config.kekAutocreate, true)
  assert.equal(config.rotationMode, 'safe')
  assert.equal(config.rootKeyRotationThreshold, 720n * HOUR)
  assert.equal(config.rootKeyGcInterval, 10n * MINUTE)
  assert.equal(config.jwksMaxAge, 300n * SECOND)
  assert.equal(config.startTimeout, 30n * SECOND)
  assert.deepEqual(config.warnings, [])
})

test('durations are Go-style or whole seconds, and end in nanoseconds', () => {
  const read = (text: string) => parse({ MAX_TOKEN_TTL: text }).maxTokenTtl
  assert.equal(read('300s'), 300n * SECOND)
  assert.equal(read('300'), 300n * SECOND)
  assert.equal(read('1h30m'), 90n * MINUTE)
  assert.equal(parse({ CLOCK_SKEW: '0' }).clockSkew, 0n)
  assert.equal(parse({ CLOCK_SKEW: '1.5s' }).clockSkew, (3n * SECOND) / 2n)
  assert.equal(parse({ ROOT_KEY_GC_INTERVAL: '100ms' }).rootKeyGcInterval, SECOND / 10n)
  assert.equal(parse({ JWKS_MAX_AGE: 'nomad' }).jwksMaxAge, 'nomad')
  for (const bad of ['1d', '5 m', '-5m', 'x', '1e3', '99999999999h']) {
    assert.equal(faults({ MAX_TOKEN_TTL: bad }).length, 1, bad)
  }
  assert.equal(faults({ JWKS_MAX_AGE: '1500ms' }).length, 1)
  assert.equal(faults({ ROOT_KEY_GC_INTERVAL: '0' }).length, 1)
})

test('every fault is reported together, each naming its variable', () => {
  const found = faults({
    PORT: '65536',
    LOG_LEVEL: 'loud',
    CLOCK_SKEW: 'soon',
    ROTATION_MOD: 'safe',
    DATABASE_URL: 'postgres://u:hunter2@h/d',
    MANAGEMENT_TOKEN: 'too-short-secret',
    TLS_CERT_FILE: '/cert',
  })
  for (const name of [
    ...['PORT', 'LOG_LEVEL', 'CLOCK_SKEW', 'ROTATION_MOD', 'DATABASE_URL', 'MANAGEMENT_TOKEN'],
    'TLS_CERT_FILE',
  ]) {
    assert.equal(found.filter((line) => line.startsWith(`KEYRINGD_${name} `)).length, 1, name)
  }
  assert.equal(found.length, 7)
  assert.ok(!found.join().includes('too-short-secret'), 'a secret is not repeated')
  assert.ok(!found.join().includes('hunter2'), 'nor is what may hold one')
})

test('an unknown name is refused with the name it may have meant', () => {
  assert.match(
    faults({ ROOT_KEY_ALGORITM: 'RS256' })[0] ?? '',
    /did you mean .*ROOT_KEY_ALGORITHM\?/,
  )
  assert.match(
    faults({ MANAGMENT_TOKEN_FILE: 'x' })[0] ?? '',
    /mean KEYRINGD_MANAGEMENT_TOKEN_FILE\?/,
  )
  assert.deepEqual(faults({ XYZZYPLUGH: '1' }), ['KEYRINGD_XYZZYPLUGH is no setting'])
  assert.equal(faults({ port: '1' }).length, 1, 'names are upper case')
})

test('what comes in a later version is refused, not ignored', () => {
  for (const name of ['DATABASE_URL', 'KEYRING', 'AUDIT_SIGNATURES']) {
    const expected = `KEYRINGD_${name} is not available yet in this version`
    assert.deepEqual(faults({ [name]: 'x' }), [expected])
  }
})

test('the first user has a name and a password, or there is none', () => {
  const [user, password] = ['ann', 'correct horse battery']
  const { adminUser, adminPassword } = parse({ ADMIN_USER: user, ADMIN_PASSWORD: password })
  assert.equal(adminUser, user)
  assert.equal(adminPassword?.reveal(), password)
  assert.doesNotMatch(inspect(parse({ ADMIN_USER: user, ADMIN_PASSWORD: password })), /horse/)
  const files = { '/run/password': `${password}\n` }
  const kept = parse({ ADMIN_USER: user, ADMIN_PASSWORD_FILE: '/run/password' }, files)
  assert.equal(kept.adminPassword?.reveal(), password)

  const both = 'KEYRINGD_ADMIN_USER and KEYRINGD_ADMIN_PASSWORD must be set both or not at all'
  assert.deepEqual(faults({ ADMIN_USER: user }), [both])
  assert.deepEqual(faults({ ADMIN_PASSWORD: password }), [both])
  const tooShort = faults({ ADMIN_USER: user, ADMIN_PASSWORD: 'hunter2-xyz' })
  assert.equal(tooShort.length, 1)
  assert.match(tooShort[0] ?? '', /at least 12 characters/)
  assert.doesNotMatch(tooShort.join(), /hunter2/)
  const emoji = { ADMIN_USER: user, ADMIN_PASSWORD: '🔑'.repeat(11) }
  assert.equal(faults(emoji).length, 1, 'characters are counted, not UTF-16 units')
  assert.deepEqual(faults({ ...emoji, MIN_PASSWORD_LENGTH: '11' }), [])
  for (const bad of ['0', '129', 'long', '12.5']) {
    assert.equal(faults({ MIN_PASSWORD_LENGTH: bad }).length, 1, bad)
  }
  for (const bad of ['an/n', ' ann', '-ann', 'a'.repeat(65), 'ünn']) {
    assert.equal(faults({ ADMIN_USER: bad, ADMIN_PASSWORD: password }).length, 1, bad)
  }
  const broken = faults({ ADMIN_USER: user, ADMIN_PASSWORD: 'hunter2 \n of two lines' })
  assert.equal(broken.length, 1)
  assert.doesNotMatch(broken.join(), /hunter2/)
})

test('names of Kubernetes, the command line and the tests are ignored', () => {
  const config = parse({
    SERVICE_HOST: '10.0.0.1',
    SERVICE_PORT_HTTP: '4650',
    PORT: 'tcp://10.0.0.1:4650',
    PORT_4650_TCP: 'tcp://10.0.0.1:4650',
    PORT_4650_TCP_ADDR: '10.0.0.1',
    PORT_4650_TCP_PROTO: 'tcp',
    PUBLIC_SERVICE_HOST: '10.0.0.2',
    PUBLIC_PORT: 'tcp://10.0.0.2:80',
    ADDR: 'http://x',
    TOKEN: 'x',
    BACKUP_PASSPHRASE: 'x',
    VECTORS_DIR: '/v',
    REQUIRE_ALL: '1',
  })
  assert.equal(config.port, 4650)
  assert.equal(config.publicPort, undefined)
  assert.equal(faults({ PORT: 'http://10.0.0.1' }).length, 1, 'but not everything with a colon')
  assert.equal(faults({ PORT_4650: '1' }).length, 1)
})

test('the environment beats the file, the file beats the default, empty is unset', () => {
  const file = {
    '/k.json': JSON.stringify({
      ...{ port: 1234, region: 'file', metrics_public: false, host: '' },
      trusted_proxies: ['10.0.0.0/8', '::1'],
      oidc_discovery_extra: { claims_supported: ['sub'] },
    }),
  }
  const config = parse({ CONFIG: '/k.json', REGION: 'env', PORT: '' }, file)
  assert.equal(config.region, 'env')
  assert.equal(config.port, 1234)
  assert.equal(config.metricsPublic, false)
  assert.equal(config.host, '127.0.0.1')
  assert.deepEqual(config.trustedProxies, ['10.0.0.0/8', '::1'])
  assert.deepEqual(config.oidcDiscoveryExtra, { claims_supported: ['sub'] })
})

test('faults in the file name the variable, the member and the file', () => {
  const found = (text: string) => faults({ CONFIG: '/k.json' }, { '/k.json': text })
  assert.match(found('{"prot":1}')[0] ?? '', /KEYRINGD_PROT \("prot" in \/k\.json\).*KEYRINGD_PORT/)
  assert.match(found('{"PORT":1}')[0] ?? '', /lower case/)
  assert.match(found('{"config":"/other"}')[0] ?? '', /no setting of that file/)
  assert.match(found('{"port":"x"}')[0] ?? '', /^KEYRINGD_PORT must be/)
  assert.match(found('[1')[0] ?? '', /no JSON object/)
  assert.match(found('[1]')[0] ?? '', /no JSON object/)
  assert.match(faults({ CONFIG: '/gone' })[0] ?? '', /\/gone, which cannot be read \(ENOENT\)/)
})

test('a secret may come from a file, with one final newline, but not twice', () => {
  const read = (text: string) => parse({ MANAGEMENT_TOKEN_FILE: '~/t' }, { '/home/me/t': text })
  assert.equal(read(`${token}\n`).managementToken?.reveal(), token)
  assert.equal(read(token).managementToken?.reveal(), token)
  assert.throws(() => read(`${token}\n\n`), /KEYRINGD_MANAGEMENT_TOKEN_FILE must be/)
  const both = { MANAGEMENT_TOKEN: token, MANAGEMENT_TOKEN_FILE: '/t' }
  assert.match(faults(both, { '/t': token })[0] ?? '', /are both set/)
  assert.match(faults({ MANAGEMENT_TOKEN_FILE: '/gone' })[0] ?? '', /cannot be read/)
  assert.match(faults({ KEK: token, KEK_FILE: '/kek' })[0] ?? '', /are both set/)
})

test('printing a configuration in any way shows no secret', () => {
  const kek = 'kekkekkekkekkekkek'
  const config = parse({ MANAGEMENT_TOKEN: token, KEK: kek })
  const printed = [
    JSON.stringify(config, (_, value) => (typeof value === 'bigint' ? `${value}` : value)),
    inspect(config, { depth: 9, showHidden: true }),
    `${config.kek} ${config.managementToken}`,
    JSON.stringify({ ...config.kek }),
  ].join()
  assert.ok(!printed.includes(token))
  assert.ok(!printed.includes(kek))
  assert.equal(config.kek?.reveal(), kek)
})

test('in safe mode a key must sign longer than verifiers take to learn of the next', () => {
  const quick = {
    ...{ ASSUMED_RP_CACHE: '1s', JWKS_MAX_AGE: '1s', JWKS_STALE_WHILE_REVALIDATE: '0' },
    ...{ JWKS_STALE_IF_ERROR: '0', CLOCK_SKEW: '0', ROOT_KEY_GC_INTERVAL: '100ms' },
  }
  assert.deepEqual(faults({ ...quick, ROOT_KEY_ROTATION_THRESHOLD: '1101ms' }), [])
  const [short] = faults({ ...quick, ROOT_KEY_ROTATION_THRESHOLD: '1100ms' })
  assert.match(short ?? '', /KEYRINGD_ROOT_KEY_ROTATION_THRESHOLD .*longer than 1s100ms/)
  for (const more of ['CLOCK_SKEW', 'JWKS_STALE_IF_ERROR', 'JWKS_STALE_WHILE_REVALIDATE']) {
    const settings = { ...quick, [more]: '1s', ROOT_KEY_ROTATION_THRESHOLD: '2s' }
    assert.equal(faults(settings).length, 1, more)
    assert.deepEqual(faults({ ...settings, ROTATION_MODE: 'nomad' }), [])
  }
  assert.equal(faults({ ROOT_KEY_ROTATION_THRESHOLD: '25h' }).length, 1)
  assert.deepEqual(faults({ ROOT_KEY_ROTATION_THRESHOLD: '26h' }), [])
  assert.deepEqual(faults({ JWKS_MAX_AGE: 'nomad' }), [])
})

test('other settings that contradict each other are refused', () => {
  const nomad = { ROTATION_MODE: 'nomad' }
  assert.equal(faults({ ...nomad, ROOT_KEY_ROTATION_THRESHOLD: '10m' }).length, 1)
  assert.equal(faults({ PUBLIC_PORT: '4650' }).length, 1)
  assert.deepEqual(faults({ PUBLIC_PORT: '0', PORT: '0' }), [])
  assert.equal(faults({ TLS_KEY_FILE: '/key' }).length, 1)
  assert.deepEqual(faults({ TLS_KEY_FILE: '/key', TLS_CERT_FILE: '/cert' }), [])
})

test('an issuer must be a URL that can be one; without https it is only warned about', () => {
  assert.equal(parse({ OIDC_ISSUER: 'https://id.example/a/' }).oidcIssuer, 'https://id.example/a/')
  assert.match(parse({ OIDC_ISSUER: 'http://id.example' }).warnings[0] ?? '', /no https URL/)
  for (const bad of [
    'id.example',
    'https://',
    'https://a b',
    ' https://a',
    'https://u:p@a',
    'https://a#b',
  ]) {
    assert.equal(faults({ OIDC_ISSUER: bad }).length, 1, bad)
  }
  assert.equal(faults({ OIDC_ISSUER: 'https://a/?q' }).length, 1)
  assert.deepEqual(faults({ OIDC_ISSUER: 'https://a/?q', ROTATION_MODE: 'nomad' }), [])
})

test('without an issuer, a loopback host in safe mode is its own', () => {
  assert.equal(issuerOf(parse({}), 4711), 'http://127.0.0.1:4711')
  assert.equal(issuerOf(parse({ HOST: '::1' }), 1), 'http://[::1]:1')
  assert.equal(issuerOf(parse({ ROTATION_MODE: 'nomad' }), 1), undefined)
  const open = parse({ HOST: '0.0.0.0' })
  assert.equal(issuerOf(open, 1), undefined)
  assert.match(open.warnings[0] ?? '', /OIDC_ISSUER is not set/)
  assert.equal(issuerOf(parse({ OIDC_ISSUER: 'https://a', HOST: '0.0.0.0' }), 1), 'https://a')
  const tls = parse({ TLS_KEY_FILE: '/key', TLS_CERT_FILE: '/cert' })
  assert.equal(issuerOf(tls, 1), 'https://127.0.0.1:1')
})

test('jwks-setup contract, section 8: its settings by the same names; unset, they are for run time', () => {
  const names = [
    ...['jwksEndpoint', 'jwksIssuer', 'jwksUsernameField', 'jwksRequireAudience'],
    ...['jwksUpdateInterval', 'jwksSslCaCertificate', 'jwtAuthConfigFile'],
    ...['httpApi', 'httpApiPoolCapacity', 'externalSecurity'],
  ] as const
  const unset = parse({})
  for (const name of names) assert.equal(unset[name], undefined, name)
  const given = parse({
    ...{ JWKS_ENDPOINT: 'https://id.test/jwks.json', JWKS_ISSUER: 'https://id.test/' },
    ...{ JWKS_USERNAME_FIELD: 'login', JWKS_REQUIRE_AUDIENCE: 'api', JWKS_UPDATE_INTERVAL: '0' },
    ...{ JWT_AUTH_CONFIG_FILE: '~/keys.json', HTTP_API: 'false', HTTP_API_POOL_CAPACITY: '1' },
    EXTERNAL_SECURITY: 'a , b c',
  })
  assert.deepEqual(
    names.map((name) => given[name]),
    [
      ...['https://id.test/jwks.json', 'https://id.test/', 'login', 'api', 0, undefined],
      ...['/home/me/keys.json', false, 1, ['a', 'b c']],
    ],
  )
  const bad: Record<string, string>[] = [
    ...[{ JWKS_ENDPOINT: 'file:///etc/passwd' }, { JWKS_ENDPOINT: 'https://u:p@a.test/' }],
    ...[{ JWKS_ENDPOINT: `https://a.test/${'x'.repeat(2048)}` }, { JWKS_ISSUER: 'a\nb' }],
    ...[{ JWKS_USERNAME_FIELD: 'x'.repeat(2049) }, { JWKS_UPDATE_INTERVAL: '-1' }],
    ...[{ JWKS_UPDATE_INTERVAL: '2678401' }, { JWKS_UPDATE_INTERVAL: '1h' }],
    ...[{ JWKS_SSL_CA_CERTIFICATE: 'x' }, { HTTP_API: 'maybe' }, { HTTP_API_POOL_CAPACITY: '0' }],
    ...[{ HTTP_API_POOL_CAPACITY: '65537' }, { EXTERNAL_SECURITY: 'a,,b' }],
    { EXTERNAL_SECURITY: 'x'.repeat(256) },
  ]
  for (const settings of bad) assert.equal(faults(settings).length, 1, JSON.stringify(settings))
})

test('values with a structure are checked down to their parts', () => {
  const good = parse({
    HTTP_API_RESPONSE_HEADERS: '{"X-Frame-Options":"DENY"}',
    SURFACES: ' nomad , nomad',
    TRUSTED_PROXIES: '10.0.0.0/8, ::1',
  })
  assert.deepEqual(good.httpApiResponseHeaders, { 'X-Frame-Options': 'DENY' })
  assert.deepEqual(good.surfaces, ['nomad'])
  assert.deepEqual(good.trustedProxies, ['10.0.0.0/8', '::1'])
  assert.deepEqual(parse({ SURFACES: 'none' }).surfaces, [])
  const bad: Record<string, string>[] = [
    { HTTP_API_RESPONSE_HEADERS: '{"X":1}' },
    { HTTP_API_RESPONSE_HEADERS: '{"X":"a\\r\\nb"}' },
    { HTTP_API_RESPONSE_HEADERS: '{"X Y":"a"}' },
    { OIDC_DISCOVERY_EXTRA: '{"issuer":"https://evil"}' },
    { OIDC_DISCOVERY_EXTRA: '[]' },
    { TRUSTED_PROXIES: '10.0.0.0/33' },
    { TRUSTED_PROXIES: 'proxy.example' },
    { SURFACES: 'nomad,' },
    { ROOT_KEY_ALGORITHM: 'ML-DSA-65' },
    { ROOT_KEY_ALGORITHM: 'none' },
    { METRICS_PUBLIC: 'maybe' },
    { MANAGEMENT_TOKEN: `${token} ${token}` },
    { BLOCKING_QUERIES_MAX: '-1' },
    { DATA_DIR: 'a\0b' },
  ]
  for (const settings of bad) assert.equal(faults(settings).length, 1, JSON.stringify(settings))
})

test('audiences of exchanges are words without spaces', () => {
  const read = (text: string) => parse({ TOKEN_EXCHANGE_AUDIENCES: text }).tokenExchangeAudiences
  assert.equal(read(''), undefined)
  assert.deepEqual(read('https://a.example/x?y , urn:b'), ['https://a.example/x?y', 'urn:b'])
  for (const bad of ['a,,b', 'a b', 'a,', 'ä', 'x'.repeat(256)]) {
    assert.equal(faults({ TOKEN_EXCHANGE_AUDIENCES: bad }).length, 1, bad)
  }
})

test('internal hosts are names, addresses and networks; every word that is none is named', () => {
  const read = (text: string) => parse({ ALLOW_INTERNAL_HOSTS: text }).allowInternalHosts
  assert.equal(parse({}).allowInternalHosts, undefined)
  assert.equal(parse({}).allowInternalIpConnections, false)
  assert.equal(parse({ ALLOW_INTERNAL_IP_CONNECTIONS: 'true' }).allowInternalIpConnections, true)
  const text = ' IdP.Internal. ,keycloak, xn--bcher-kva.example,10.0.0.0/8 ,::1,fd00::/8, 10.1.2.3'
  assert.deepEqual(read(text), [
    ...['idp.internal', 'keycloak', 'xn--bcher-kva.example', '10.0.0.0/8', '::1', 'fd00::/8'],
    '10.1.2.3',
  ])
  const bad = ['localhost', 'LOCALHOST.', 'host.docker.internal', '10.0.0.0/33', '10.0.0.256', '*']
  bad.push('a.*.example', 'http://a', 'a:80', 'bücher.example', '-a', 'a..b', '127.1', '[::1]')
  const found = faults({ ALLOW_INTERNAL_HOSTS: `good.example,${bad.join(',')}`, PORT: 'x' })
  assert.equal(found.length, 2)
  const fault = found.find((line) => line.startsWith('KEYRINGD_ALLOW_INTERNAL_HOSTS '))
  const named = fault?.match(/these are none: (.*), not "/)?.[1]
  assert.equal(named, bad.map((word) => JSON.stringify(word)).join(', '))
  assert.equal(faults({ ALLOW_INTERNAL_HOSTS: 'a,,b' }).length, 1)
  assert.equal(faults({ ALLOW_INTERNAL_IP_CONNECTIONS: 'maybe' }).length, 1)
})

test('the algorithms of the default ring are those of the one table that a default set may hold', () => {
  const published = ALGORITHM_NAMES.filter((alg) => !ALGORITHMS[alg].postQuantum)
  assert.deepEqual([...ROOT_KEY_ALGORITHMS].sort(), [...published].sort())
})

test('replica staleness counts as nothing on SQLite, and setting it is pointed out', () => {
  assert.equal(parse({}).replicaStaleness, 0n)
  const config = parse({ REPLICA_STALENESS: '60s' })
  assert.equal(config.replicaStaleness, 0n)
  assert.match(config.warnings[0] ?? '', /no effect on SQLite/)
})

test('a KEK inside the data folder is pointed out', () => {
  assert.match(parse({ DATA_DIR: '/d', KEK_FILE: '/d/sub/kek' }).warnings[0] ?? '', /KEK_FILE/)
  assert.deepEqual(parse({ DATA_DIR: '/d', KEK_FILE: '/data/kek' }).warnings, [])
})

test('parsing any text gives a configuration or a config_invalid, never another error', () => {
  const names = Object.keys(SETTINGS)
    .map((key) => key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase())
    .filter((name) => name !== 'CONFIG')
  const value = fc.oneof(fc.string(), fc.json(), fc.webUrl(), fc.constantFrom('0', '1', '5m', '-1'))
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...names), value), (settings) => {
      faults(settings)
    }),
    { numRuns: 300 },
  )
})

test('the edit distance is zero for equal words only, symmetric, and at most the longer length', () => {
  assert.equal(distance('kitten', 'sitting'), 3)
  assert.equal(distance('', 'abc'), 3)
  const word = fc.stringMatching(/^[A-Z_]{0,12}$/)
  fc.assert(
    fc.property(word, word, (a, b) => {
      const steps = distance(a, b)
      assert.equal(steps === 0, a === b)
      assert.equal(steps, distance(b, a))
      assert.ok(steps <= Math.max(a.length, b.length))
    }),
  )
})

test('real files are read, and credentials in a bad URL are not repeated', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'keyringd-config-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  await writeFile(join(folder, 'token'), `${token}\n`)
  const settings = { management_token_file: join(folder, 'token') }
  await writeFile(join(folder, 'config.json'), JSON.stringify(settings))
  const config = parseConfig({ KEYRINGD_CONFIG: join(folder, 'config.json') })
  assert.equal(config.managementToken?.reveal(), token)
  const [fault] = faults({ OIDC_ISSUER: 'https://user:hunter2@id.example' })
  assert.match(fault ?? '', /^KEYRINGD_OIDC_ISSUER must be .*id\.example/)
  assert.ok(!fault?.includes('hunter2'))
})

test('jwks-setup contract section 8: ports of a proxy are refused, alone and together: there is one listener', () => {
  for (const given of [
    ['HTTP_PROXY_PORT'],
    ['HTTPS_PROXY_PORT'],
    ['HTTP_PROXY_PORT', 'HTTPS_PROXY_PORT'],
  ]) {
    const found = faults(Object.fromEntries(given.map((name) => [name, '8080'])))
    assert.deepEqual(
      found.map((fault) => fault.split(' ', 1)[0]).sort(),
      given.map((name) => `KEYRINGD_${name}`).sort(),
    )
  }
})

test('the command line takes our names before those of Nomad', () => {
  const read = (env: Record<string, string>) => {
    const { address, token } = clientEnvironment(env)
    return [address(), token]
  }
  assert.deepEqual(read({}), ['http://127.0.0.1:4650', undefined])
  const nomad = { NOMAD_ADDR: 'http://n', NOMAD_TOKEN: 'n' }
  assert.deepEqual(read(nomad), ['http://n', 'n'])
  assert.deepEqual(read({ ...nomad, KEYRINGD_PORT: '4711' }), ['http://127.0.0.1:4711', 'n'])
  const ours = { ...nomad, KEYRINGD_PORT: 'x', KEYRINGD_ADDR: 'http://k', KEYRINGD_TOKEN: 'k' }
  assert.deepEqual(read(ours), ['http://k', 'k'])
  for (const port of ['', 'tcp://10.0.0.1:4650']) {
    assert.deepEqual(read({ KEYRINGD_PORT: port }), ['http://127.0.0.1:4650', undefined])
  }
  for (const port of ['46500000', '0', 'x', '-1', 'http://k']) {
    assert.throws(
      () => read({ ...nomad, KEYRINGD_PORT: port }),
      (error) => isProblem(error, 'wrong_usage') && error.detail.startsWith('KEYRINGD_PORT '),
      port,
    )
  }
})

test('the table of settings has a row for each, its default, and no stray column', () => {
  const rows = settingsTable().split('\n')
  assert.equal(rows.length, 2 + Object.keys(SETTINGS).length)
  for (const row of rows) assert.equal(row.split('|').length, 5, row)
  assert.ok(rows.some((row) => row.startsWith('| `KEYRINGD_JWKS_MAX_AGE` | `300s` | ')))
})
