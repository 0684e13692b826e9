import assert from 'node:assert/strict'
import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import { configPath, identitiesWorld, startIssuer, type World, workload } from './setup.ts'

// Identity contract, sections 2 to 6 and 13, over the wire: attach, read, change, detach.

const PUBLIC = { ALLOW_INTERNAL_IP_CONNECTIONS: 'false' }
const jwks = { configurationType: 'jwks', jwksUrl: 'https://192.0.32.8/jwks.json', boundClaims: {} }
const UUID = /^[0-9a-f-]{36}$/

test('section 2: the resource on attach, read, change and detach', async (t) => {
  const world = await identitiesWorld(t, { settings: PUBLIC })
  const { publicPem } = await startIssuer(t)
  const id = await world.identity()
  const body = {
    ...{ configurationType: 'static', publicKeys: [`${publicPem}\n`], jwksCaCert: '' },
    ...{
      boundIssuer: ' https://issuer.example ',
      boundAudiences: 'api://a,api://b',
      boundSubject: 'svc:*',
    },
    ...{ boundClaims: { env: 'prod' }, accessTokenTTL: 3600, accessTokenMaxTTL: 86400 },
    accessTokenTrustedIps: [{ ipAddress: ' 10.20.0.0/16 ' }, { ipAddress: '2001:4860::8' }],
  }
  const attached = await world.attach(id, body)
  assert.equal(attached.status, 200, attached.text)
  const { id: configId, createdAt, updatedAt, ...rest } = attached.json.identityJwtAuth
  assert.match(configId, UUID)
  assert.equal(createdAt, updatedAt)
  assert.match(createdAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  assert.deepEqual(rest, {
    ...{ accessTokenTTL: 3600, accessTokenMaxTTL: 86400, accessTokenNumUsesLimit: 0 },
    accessTokenTrustedIps: [
      { ipAddress: '10.20.0.0', type: 'ipv4', prefix: 16 },
      { ipAddress: '2001:4860::8', type: 'ipv6' },
    ],
    ...{ identityId: id, configurationType: 'static', jwksUrl: '' },
    ...{ boundIssuer: 'https://issuer.example', boundAudiences: 'api://a, api://b' },
    ...{ boundClaims: { env: 'prod' }, boundSubject: 'svc:*', accessTokenPeriod: 0 },
    ...{ jwksCaCert: '', publicKeys: [`${publicPem}\n`] },
  })
  const read = await world.ask('GET', configPath(id))
  assert.deepEqual(read.json, attached.json)
  const { jwksCaCert, publicKeys, ...plain } = attached.json.identityJwtAuth
  const detached = await world.ask('DELETE', configPath(id))
  assert.deepEqual([detached.status, detached.json], [200, { identityJwtAuth: plain }])
  assert.deepEqual(
    (await world.events(/jwt-auth/)).map(({ type, subject, principal, detail }) => [
      type,
      subject,
      principal,
      detail,
    ]),
    [
      ...['attached', 'read', 'revoked'].map((done) => [
        `identity.jwt-auth-${done}`,
        id,
        'token:management',
        { configuration: configId },
      ]),
    ],
  )
})

test('section 2: the defaults of POST', async (t) => {
  const world = await identitiesWorld(t, { settings: PUBLIC })
  const { json, status, text } = await world.attach(await world.identity(), jwks)
  assert.equal(status, 200, text)
  const { boundIssuer, boundAudiences, boundSubject, jwksCaCert, publicKeys } = json.identityJwtAuth
  assert.deepEqual(
    [boundIssuer, boundAudiences, boundSubject, jwksCaCert, publicKeys],
    ['', '', '', '', []],
  )
  const { accessTokenTTL, accessTokenMaxTTL, accessTokenNumUsesLimit } = json.identityJwtAuth
  assert.deepEqual(
    [accessTokenTTL, accessTokenMaxTTL, accessTokenNumUsesLimit],
    [2592000, 2592000, 0],
  )
  assert.deepEqual(json.identityJwtAuth.accessTokenTrustedIps, [
    { ipAddress: '0.0.0.0', type: 'ipv4', prefix: 0 },
    { ipAddress: '::', type: 'ipv6', prefix: 0 },
  ])
})

/** What POST makes of one member: its echo, or status and message. */
async function sent(world: World, member: Record<string, unknown>): Promise<unknown> {
  const { status, json } = await world.attach(await world.identity(), { ...jwks, ...member })
  if (status !== 200)
    return [status, status === 422 ? json.message[0].path.join('.') : json.message]
  return json.identityJwtAuth[Object.keys(member)[0] ?? '']
}

test('section 2: limits at their edge and one past it', async (t) => {
  const world = await identitiesWorld(t, { settings: PUBLIC })
  const edge = { accessTokenMaxTTL: 0 }
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 1024 })
  const weak = publicKey.export({ type: 'spki', format: 'pem' })
  const rows: [Record<string, unknown>, unknown][] = [
    [{ accessTokenTTL: 315360000, ...edge }, 315360000],
    [{ accessTokenTTL: 315360001, ...edge }, [422, 'accessTokenTTL']],
    [{ accessTokenTTL: 0 }, 0],
    [{ accessTokenTTL: -1 }, [422, 'accessTokenTTL']],
    [{ accessTokenTTL: '60' }, [422, 'accessTokenTTL']],
    [{ accessTokenTTL: 1.5 }, [422, 'accessTokenTTL']],
    [{ accessTokenMaxTTL: 315360000 }, 315360000],
    [{ accessTokenMaxTTL: 315360001 }, [422, 'accessTokenMaxTTL']],
    [{ accessTokenNumUsesLimit: 1 }, 1],
    [{ accessTokenNumUsesLimit: -1 }, [422, 'accessTokenNumUsesLimit']],
    [{ accessTokenTrustedIps: [] }, [422, 'accessTokenTrustedIps']],
    [{ boundClaims: undefined }, [422, 'boundClaims']],
    [{ boundClaims: { env: ' , ,' } }, [422, 'boundClaims.env']],
    [{ boundClaims: { env: 5 } }, [422, 'boundClaims.env']],
    [{ configurationType: undefined }, [422, 'configurationType']],
    [{ jwksUrl: undefined }, [422, 'jwksUrl']],
    [{ jwksUrl: 'ftp://192.0.32.8/' }, [422, 'jwksUrl']],
    [{ jwksUrl: 'jwks.json' }, [422, 'jwksUrl']],
    [{ jwksUrl: ' https://192.0.32.8/x ' }, 'https://192.0.32.8/x'],
    [{ jwksCaCert: 'x' }, [400, 'jwksCaCert: expected PEM certificates and nothing else']],
    [{ publicKeys: [weak] }, [400, 'publicKeys[0]: The key is smaller than 2048 bits']],
    [{ boundSubject: 'a,b' }, 'a,b'],
    [{ boundSubject: '!a' }, [422, 'boundSubject']],
    [{ boundAudiences: 'a,+(b)' }, [422, 'boundAudiences']],
  ]
  for (const [member, expected] of rows) {
    const outcome = await sent(world, member)
    if (Array.isArray(outcome) && outcome[0] === 400 && 'publicKeys' in member) {
      assert.match(outcome[1], /^publicKeys\[0\]: /)
    } else assert.deepEqual(outcome, expected, JSON.stringify(member))
  }
  const none = await world.attach(await world.identity(), {
    configurationType: 'static',
    boundClaims: {},
    publicKeys: [],
  })
  assert.deepEqual([none.status, none.json.message[0].path], [422, ['publicKeys']])
})

test('section 4: URLs that are refused when they are written', async (t) => {
  const world = await identitiesWorld(t, { settings: PUBLIC })
  const local = [400, 'Local IPs not allowed as URL']
  for (const [jwksUrl, expected] of [
    [
      'https://user:pass@192.0.32.8/',
      [400, 'URLs with user credentials (e.g., user:pass@) are not allowed'],
    ],
    ...[
      'localhost',
      'LOCALHOST.',
      'host.docker.internal',
      '127.1',
      '0x7f.1',
      '2130706433',
      '[::1]',
    ].map((host) => [`http://${host}/`, local] as const),
    ...[
      '10.0.0.1',
      '100.64.0.1',
      '169.254.169.254',
      '192.0.2.1',
      '224.0.0.1',
      '[::ffff:8.8.8.8]',
      '[64:ff9b::808:808]',
    ].map((host) => [`https://${host}/`, local] as const),
  ] as const) {
    assert.deepEqual(await sent(world, { jwksUrl }), expected, jwksUrl)
  }
})

test('section 5: trusted addresses as they are echoed', async (t) => {
  const world = await identitiesWorld(t, { settings: PUBLIC })
  const bad = [400, 'The IP is not a valid IPv4, IPv6, or CIDR block']
  for (const [ipAddress, expected] of [
    ['192.168.4.9', { ipAddress: '192.168.4.9', type: 'ipv4' }],
    ['10.0.0.0/8', { ipAddress: '10.0.0.0', type: 'ipv4', prefix: 8 }],
    ['::/0', { ipAddress: '::', type: 'ipv6', prefix: 0 }],
    ...[
      '10.0.0.0/8x',
      '10.0.0.0/33',
      '10.0.0.0/8/8',
      '010.0.0.1',
      'x',
      '',
      '::/129',
      '10.0.0.0/',
    ].map((ip) => [ip, undefined] as const),
  ] as const) {
    const outcome = await sent(world, { accessTokenTrustedIps: [{ ipAddress }] })
    assert.deepEqual(outcome, expected ? [expected] : bad, ipAddress)
  }
})

test('section 6: lists are normalised as they are written, and again without effect', async (t) => {
  const world = await identitiesWorld(t, { settings: PUBLIC })
  for (const [text, normal] of [
    ['red,green ,, blue', 'red, green, blue'],
    ['team-{x,y},ops', 'team-{x,y}, ops'],
    ['{p,{q,r}}', '{p,{q,r}}'],
    ['a, {b, c', 'a, {b, c'],
    [' , ,', ''],
  ] as const) {
    assert.equal(await sent(world, { boundAudiences: text }), normal)
    assert.equal(await sent(world, { boundAudiences: normal }), normal)
    if (normal) assert.deepEqual(await sent(world, { boundClaims: { a: text } }), { a: normal })
  }
})

test('section 3: the order of the checks', async (t) => {
  const world = await identitiesWorld(t, { settings: PUBLIC })
  const nobody = await world.apiToken('nobody', { role: 'no-access' })
  const id = await world.identity()
  const path = configPath(id)
  const bad = {
    ...jwks,
    accessTokenTTL: 9,
    accessTokenMaxTTL: 8,
    accessTokenTrustedIps: [{ ipAddress: 'x' }],
    jwksUrl: 'https://10.0.0.1/',
  }
  const ask = async (method: string, where: string, body?: unknown, token?: string | null) => {
    const call = { ...(body !== undefined && { body }), ...(token !== undefined && { token }) }
    const { status, json } = await world.ask(method, where, call)
    return [status, status === 422 ? 'schema' : json.message]
  }
  const ip = [{ ipAddress: '10.0.0.0/8' }]
  const ttl = [400, 'Access token TTL cannot be greater than max TTL']
  const ips = [400, 'The IP is not a valid IPv4, IPv6, or CIDR block']
  const url = [400, 'Local IPs not allowed as URL']
  for (const method of ['POST', 'PATCH']) {
    assert.deepEqual(await ask(method, configPath('x'), {}, null), [401, 'Token missing'])
    assert.deepEqual(await ask(method, configPath('x'), {}, nobody), [422, 'schema'])
    assert.deepEqual(await ask(method, configPath('x'), bad, nobody), [
      404,
      'Failed to find identity with ID x',
    ])
    assert.deepEqual(await ask(method, path, bad, nobody), [
      403,
      'You are not allowed to edit-auth on identity',
    ])
  }
  assert.deepEqual(await ask('PATCH', path, bad), [400, 'Failed to update JWT Auth'])
  assert.deepEqual(await ask('POST', path, bad), ttl)
  assert.deepEqual(await ask('POST', path, { ...bad, accessTokenTTL: 8 }), ips)
  assert.deepEqual(
    await ask('POST', path, { ...bad, accessTokenTTL: 8, accessTokenTrustedIps: ip }),
    url,
  )
  assert.equal(
    (await ask('POST', path, { ...jwks, accessTokenTTL: 8, accessTokenMaxTTL: 8 }))[0],
    200,
  )
  assert.deepEqual(await ask('POST', path, bad), [
    400,
    'Failed to add JWT Auth to already configured identity',
  ])
  assert.deepEqual(await ask('PATCH', path, bad), ttl)
  assert.deepEqual(await ask('PATCH', path, { ...bad, accessTokenTTL: 8 }), ips)
  assert.deepEqual(
    await ask('PATCH', path, { ...bad, accessTokenTTL: 8, accessTokenTrustedIps: ip }),
    url,
  )

  assert.deepEqual(await ask('GET', configPath('x'), undefined, nobody), [
    404,
    'Failed to find identity with ID x',
  ])
  assert.deepEqual(await ask('GET', path, undefined, nobody), [
    403,
    'You are not allowed to read on identity',
  ])
  assert.deepEqual(await ask('DELETE', configPath('x'), undefined, nobody), [
    404,
    'Failed to find identity',
  ])
  assert.deepEqual(await ask('DELETE', path, undefined, nobody), [
    403,
    'You are not allowed to edit on identity',
  ])
  const editor = await world.apiToken('editor', { grants: ['identity:edit'] })
  assert.deepEqual(await ask('DELETE', path, undefined, editor), [
    403,
    'You are not allowed to revoke-auth on identity',
  ])
  assert.equal((await ask('DELETE', path))[0], 200)
  assert.deepEqual(await ask('GET', path), [400, 'The identity does not have JWT Auth attached'])
  assert.deepEqual(await ask('DELETE', path), [400, 'The identity does not have JWT auth'])
  assert.deepEqual(await ask('DELETE', path, undefined, nobody), [
    403,
    'You are not allowed to edit on identity',
  ])
  const denied = (await world.events(/^access\.denied$/)).map(
    ({ subject, principal }) => `${principal} ${subject}`,
  )
  assert.deepEqual(denied, [
    'token:nobody identity:edit-auth',
    'token:nobody identity:read',
    'token:nobody identity:edit',
    'token:editor identity:revoke-auth',
  ])
})

test('section 3: PATCH resets the source that it leaves out, keeps all else, and replaces maps and lists whole', async (t) => {
  const world = await identitiesWorld(t, { settings: PUBLIC })
  const { publicPem } = await startIssuer(t)
  const id = await world.identity()
  const full = {
    ...{ ...jwks, boundIssuer: 'i', boundAudiences: 'a', boundSubject: 's' },
    ...{ boundClaims: { a: '1', b: '2' }, publicKeys: [publicPem] },
    ...{ accessTokenTTL: 60, accessTokenMaxTTL: 120, accessTokenNumUsesLimit: 3 },
    accessTokenTrustedIps: [{ ipAddress: '10.0.0.1' }],
  }
  const before = (await world.attach(id, full)).json.identityJwtAuth
  const patch = async (body: object) => {
    const { status, json, text } = await world.ask('PATCH', configPath(id), { body })
    assert.equal(status, 200, text)
    assert.deepEqual((await world.ask('GET', configPath(id))).json, json)
    return json.identityJwtAuth
  }
  const source = { configurationType: 'jwks', jwksUrl: jwks.jwksUrl }
  const after = await patch(source)
  assert.ok(after.updatedAt > before.updatedAt)
  assert.deepEqual(after, { ...before, publicKeys: [], updatedAt: after.updatedAt })
  const fixed = await patch({
    configurationType: 'static',
    publicKeys: [publicPem],
    boundClaims: { c: '3' },
    accessTokenTrustedIps: [{ ipAddress: '::1' }],
  })
  assert.deepEqual([fixed.jwksUrl, fixed.jwksCaCert, fixed.boundClaims], ['', '', { c: '3' }])
  assert.deepEqual(fixed.accessTokenTrustedIps, [{ ipAddress: '::1', type: 'ipv6' }])
  assert.deepEqual(
    [fixed.boundIssuer, fixed.accessTokenTTL, fixed.accessTokenNumUsesLimit],
    ['i', 60, 3],
  )
  for (const body of [
    {},
    { configurationType: 'jwks' },
    { configurationType: 'static' },
    { boundIssuer: 'x' },
  ]) {
    assert.equal(
      (await world.ask('PATCH', configPath(id), { body })).status,
      422,
      JSON.stringify(body),
    )
  }
})

test('section 3: the TTL rule of PATCH is for the pair that comes of it', async (t) => {
  const world = await identitiesWorld(t, { settings: PUBLIC })
  const id = await world.identity()
  await world.attach(id, { ...jwks, accessTokenTTL: 100, accessTokenMaxTTL: 200 })
  for (const [accessTokenTTL, accessTokenMaxTTL, status] of [
    [201, undefined, 400],
    [undefined, 99, 400],
    [undefined, 100, 200],
    [0, undefined, 200],
    [undefined, 1, 200],
    [2, undefined, 400],
    [2, 0, 200],
    [300000000, undefined, 200],
  ] as const) {
    const { configurationType, jwksUrl } = jwks
    const body = { configurationType, jwksUrl, accessTokenTTL, accessTokenMaxTTL }
    assert.equal(
      (await world.ask('PATCH', configPath(id), { body })).status,
      status,
      JSON.stringify(body),
    )
  }
})

test('section 3: of two attaches at once one wins, and of many', async (t) => {
  const world = await identitiesWorld(t, { settings: PUBLIC })
  const id = await world.identity()
  const answers = await Promise.all(Array.from({ length: 20 }, () => world.attach(id, jwks)))
  const lost = answers.filter(({ status }) => status !== 200)
  assert.equal(lost.length, 19)
  for (const { status, json } of lost) {
    assert.deepEqual(
      [status, json.message],
      [400, 'Failed to add JWT Auth to already configured identity'],
    )
  }
})

test('section 13: the privilege boundary of attach, change and detach, and its switch', async (t) => {
  const rights = { role: 'identity-admin' }
  for (const boundary of ['true', 'false']) {
    const world = await identitiesWorld(t, {
      settings: { ...PUBLIC, PRIVILEGE_BOUNDARY: boundary },
    })
    const token = await world.apiToken('ida', rights)
    const config = async (method: string, id: string) => {
      const call = { token, ...(method !== 'DELETE' && { body: jwks }) }
      return world.ask(method, configPath(id), call)
    }
    const equal = await world.identity('identity-admin')
    const above = await world.identity('member')
    for (const [method, verb] of [
      ['POST', 'attach'],
      ['PATCH', 'update'],
      ['DELETE', 'revoke'],
    ] as const) {
      assert.equal((await config(method, equal)).status, 200)
      const { status, json } = await config(method, above)
      if (boundary === 'false') {
        assert.equal(status, 200)
        continue
      }
      assert.deepEqual(
        [status, json.error, json.message],
        [
          ...[
            403,
            'PermissionBoundaryError',
            `Failed to ${verb} jwt auth of identity with more privileged role`,
          ],
        ],
      )
      assert.deepEqual(json.details.missingPermissions, [
        { action: 'use', subject: 'keyring-read' },
        { action: 'READ', subject: 'DELIVERY-SERVICE' },
      ])
      await world.attach(above, jwks)
    }
  }
})

test('section 1: PermissionDenied says what was asked for', async (t) => {
  const world = await identitiesWorld(t, { settings: PUBLIC })
  const token = await world.apiToken('nobody', { role: 'no-access' })
  const { json } = await world.ask('GET', configPath(await world.identity()), { token })
  assert.equal(json.error, 'PermissionDenied')
  assert.deepEqual(json.details, [
    { action: 'read', inverted: false, subject: 'identity', conditions: {} },
  ])
})

test('no key of this server can be a static key, whichever ring has it', async (t) => {
  const world = await identitiesWorld(t)
  await world.call('POST', '/v1/rings', { name: 'ci', algorithms: ['ES256'] })
  const { id } = await workload(t, world)
  for (const ring of ['access', 'audit', 'default', 'ci']) {
    const { keys } = (await world.ask('GET', `/rings/${ring}/.well-known/jwks.json`)).json
    for (const key of keys) {
      const pem = createPublicKey({ key, format: 'jwk' }).export({ type: 'spki', format: 'pem' })
      const body = { configurationType: 'static', publicKeys: [pem] }
      const patched = await world.ask('PATCH', configPath(id), { body })
      assert.equal(patched.status, 400, ring)
      assert.match(patched.json.message, /^publicKeys\[0\]: The key is one of this server/)
      const attached = await world.attach(await world.identity(), { ...body, boundClaims: {} })
      assert.equal(attached.status, 400, ring)
    }
  }
})
