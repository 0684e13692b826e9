import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import fc from 'fast-check'
import { parseDigest } from '../../src/access/digest-header.ts'
import { createNonces, NONCE_TTL } from '../../src/access/digest-nonce.ts'
import { type TestServerOptions, testServer } from '../server.ts'

// External-security contract, section 2: Digest (RFC 2617, MD5, auth) and Basic on /manage.

const LIST = '/manage/v2/external-security'
const PASSWORD = 'correct horse battery staple'
const md5 = (text: string) => hash('md5', text, 'hex')

interface Parts {
  username: string
  realm: string
  nonce: string
  uri: string
  nc: string
  cnonce: string
  qop: string
  response: string
  opaque?: string
}

async function digestWorld(t: TestContext, options: TestServerOptions = {}) {
  const server = await testServer(t, {
    ...options,
    settings: { ROOT_KEY_ALGORITHM: 'EdDSA', ...options.settings },
  })
  const made = await server.call('POST', '/v1/users', {
    ...{ name: 'ann', password: PASSWORD, role: 'security-admin', digest: true },
  })
  assert.equal(made.status, 201, JSON.stringify(made.json))

  async function ask(authorization?: string, method = 'GET', url = LIST) {
    const answer = await server.app.inject({
      ...{ method: method as 'GET', url },
      ...(authorization !== undefined && { headers: { authorization } }),
    })
    return { status: answer.statusCode, text: answer.body, headers: answer.headers }
  }

  async function challenge(): Promise<{ nonce: string; opaque: string }> {
    const { status, headers } = await ask()
    assert.equal(status, 401)
    const [first = ''] = [headers['www-authenticate'] ?? ''].flat()
    const [, nonce = '', opaque = ''] =
      /nonce="([^"]+)", opaque="([0-9a-f]{16})"$/.exec(first) ?? []
    assert.notEqual(nonce, '', first)
    return { nonce, opaque }
  }

  /** A credential as a client makes it, with changes that were made before or after the response was computed. */
  function credential(
    { nonce, opaque }: { nonce: string; opaque: string },
    over: Partial<Parts> & { method?: string; password?: string } = {},
    after: Partial<Parts> = {},
  ): string {
    const { method = 'GET', password = PASSWORD, ...more } = over
    const parts: Parts = {
      ...{ username: 'ann', realm: 'public', nonce, uri: LIST, nc: '00000001', cnonce: 'c' },
      ...{ qop: 'auth', response: '', opaque },
      ...more,
    }
    const ha1 = md5(`${parts.username}:${parts.realm}:${password}`)
    const ha2 = md5(`${method}:${parts.uri}`)
    const { nc, cnonce, qop } = parts
    parts.response = md5(`${ha1}:${parts.nonce}:${nc}:${cnonce}:${qop}:${ha2}`)
    return `Digest ${Object.entries({ ...parts, ...after })
      .map(([name, value]) => `${name}=${name === 'nc' ? value : `"${value}"`}`)
      .join(', ')}`
  }
  return Object.assign(server, { ask, challenge, credential })
}

test('section 2: without a credential, two challenges: Digest first, one realm, a fresh nonce', async (t) => {
  const { ask } = await digestWorld(t)
  const nonces = new Set<string>()
  for (const method of ['GET', 'POST', 'DELETE']) {
    const { status, headers } = await ask(undefined, method)
    const [digest = '', basic, ...more] = [headers['www-authenticate'] ?? []].flat()
    assert.deepEqual([status, basic, more], [401, 'Basic realm="public"', []])
    const match =
      /^Digest realm="public", qop="auth", nonce="([\w-]+)", opaque="[0-9a-f]{16}"$/.exec(digest)
    assert.ok(match, digest)
    nonces.add(match[1] ?? '')
  }
  assert.equal(nonces.size, 3)
})

test('section 2: HEAD /v1/ping is where the npm client has its challenge from', async (t) => {
  const { ask, challenge, credential } = await digestWorld(t)
  const { status, headers, text } = await ask(undefined, 'HEAD', '/v1/ping')
  assert.deepEqual([status, text, [headers['www-authenticate']].flat().length], [401, '', 2])
  const given = credential(await challenge(), { method: 'HEAD', uri: '/v1/ping' })
  assert.equal((await ask(given, 'HEAD', '/v1/ping')).status, 200)
})

test('section 2, replay: a right response gets in once; counters may come in any order, and none twice', async (t) => {
  const { ask, challenge, credential } = await digestWorld(t)
  const from = await challenge()
  const counters = ['00000003', '00000001', '0000000a', '00000002']
  for (const nc of counters) assert.equal((await ask(credential(from, { nc }))).status, 200, nc)
  for (const nc of [...counters, '0000000A', '00000000']) {
    const { status, headers } = await ask(credential(from, { nc }))
    assert.equal(status, 401, nc)
    assert.doesNotMatch(String(headers['www-authenticate']), /stale/)
  }
  const same = credential(from, { nc: '00000011' })
  const all = await Promise.all(Array.from({ length: 20 }, () => ask(same)))
  assert.equal(all.filter(({ status }) => status === 200).length, 1, 'of 20 at once, one')
})

test('section 2, stale: a nonce that has ended, or is none of ours, is stale, and nothing else is', async (t) => {
  const world = await digestWorld(t)
  const { ask, challenge, credential, clock } = world
  const from = await challenge()
  clock.advance('4m59s')
  assert.equal((await ask(credential(from))).status, 200)
  clock.advance('1s')
  const late = await ask(credential(from, { nc: '00000002' }))
  const [first, second] = [late.headers['www-authenticate'] ?? []].flat()
  assert.match(String(first), /^Digest .*opaque="[0-9a-f]{16}", stale=true$/)
  assert.deepEqual([late.status, second], [401, 'Basic realm="public"'])
  const foreign = await ask(credential({ ...from, nonce: 'x'.repeat(43) }))
  assert.match(String(foreign.headers['www-authenticate']), /stale=true/)
  // Of the future: the clock went back, and it cannot be told how old it is.
  const next = await challenge()
  clock.jump('-1h')
  assert.match(String((await ask(credential(next))).headers['www-authenticate']), /stale=true/)
  const wrong = await ask(credential(from, { password: 'wrong' }))
  assert.doesNotMatch(String(wrong.headers['www-authenticate']), /stale/)
})

test('section 2: the response is over the raw target, the method and the realm', async (t) => {
  const { ask, challenge, credential, call } = await digestWorld(t)
  await call('POST', '/v1/users', { name: 'bob', password: PASSWORD, role: 'security-admin' })
  const from = await challenge()
  const target = `${LIST}/a%20b%2Fc?format=json`
  assert.equal((await ask(credential(from, { uri: target }), 'GET', target)).status, 404)
  let nc = 1
  const next = () => (++nc).toString(16).padStart(8, '0')
  const table: [what: string, given: string][] = [
    ['another target', credential(from, { nc: next(), uri: `${LIST}/other` })],
    ['a target decoded', credential(from, { nc: next(), uri: `${LIST}?` })],
    ['another method', credential(from, { nc: next(), method: 'POST' })],
    ['another realm', credential(from, { nc: next(), realm: 'private' })],
    ['another password', credential(from, { nc: next(), password: 'x' })],
    ['nobody', credential(from, { nc: next(), username: 'nobody' })],
    ['a user without digest', credential(from, { nc: next(), username: 'bob' })],
    ['a counter that was changed', credential(from, { nc: next() }, { nc: '000000ff' })],
    ['a cnonce that was changed', credential(from, { nc: next() }, { cnonce: 'd' })],
    ['a target that was changed', credential(from, { nc: next() }, { uri: `${LIST}?x` })],
    ['another opaque', credential({ ...from, opaque: '0'.repeat(16) }, { nc: next() })],
    ['no response', credential(from, { nc: next() }, { response: '' })],
    ['another qop', credential(from, { nc: next(), qop: 'auth-int' })],
    ['no qop', credential(from, { nc: next() }).replace(', qop="auth"', '')],
    ['another algorithm', `${credential(from, { nc: next() })}, algorithm=SHA-256`],
    ['twice the user', `${credential(from, { nc: next() })}, username="root"`],
    ['nothing', 'Digest'],
    ['nonsense', 'Digest a, b, c'],
    ['64 KiB', `Digest username="${'x'.repeat(20_000)}"`],
  ]
  for (const [what, given] of table) assert.equal((await ask(given)).status, 401, what)
  const bare = `${credential(from, { nc: next() }, {}).replace('qop="auth"', 'qop=auth')}, algorithm=MD5`
  assert.equal((await ask(bare)).status, 200, 'as curl and the npm client write it')
})

test('a new password, a deletion and the loss of digest end it at once', async (t) => {
  const { ask, challenge, credential, call } = await digestWorld(t)
  const from = await challenge()
  assert.equal((await ask(credential(from))).status, 200)
  await call('PATCH', '/v1/users/ann', { password: 'another good password' })
  assert.equal((await ask(credential(from, { nc: '00000002' }))).status, 401)
  const changed = { nc: '00000003', password: 'another good password' }
  assert.equal((await ask(credential(from, changed))).status, 200)
  await call('PATCH', '/v1/users/ann', { digest: false })
  assert.equal((await ask(credential(from, { ...changed, nc: '00000004' }))).status, 401)
  const again = { digest: true, password: PASSWORD }
  assert.equal((await call('PATCH', '/v1/users/ann', again)).json.digest, true)
  assert.equal((await ask(credential(from, { nc: '00000005' }))).status, 200)
  await call('DELETE', '/v1/users/ann')
  assert.equal((await ask(credential(from, { nc: '00000006' }))).status, 401)
})

test('product.md 4: never of role admin, and what is kept of the password is sealed', async (t) => {
  const { call, store } = await digestWorld(t)
  const table: [method: string, path: string, body: object][] = [
    ['POST', '', { name: 'x', password: PASSWORD, role: 'admin', digest: true }],
    ['POST', '', { name: 'x', role: 'member', digest: true }],
    ['PATCH', '/ann', { role: 'admin' }],
    ['PATCH', '/ann', { role: 'admin', digest: true, password: PASSWORD }],
    ['PATCH', '/ann', { digest: true }],
  ]
  for (const [method, path, body] of table) {
    const { status, json } = await call(method, `/v1/users${path}`, body)
    assert.deepEqual([status, json.code], [422, 'invalid_request'], JSON.stringify(body))
  }
  const both = await call('PATCH', '/v1/users/ann', { role: 'admin', digest: false })
  assert.deepEqual([both.status, both.json.digest], [200, false])
  await call('PATCH', '/v1/users/ann', { role: 'member' })
  await call('PATCH', '/v1/users/ann', { digest: true, password: PASSWORD })
  const row = await store.read.users.byName('ann')
  const ha1 = md5(`ann:public:${PASSWORD}`)
  const sealed = Buffer.from(row?.digest?.sealed ?? [])
  assert.ok(sealed.length > 32)
  assert.equal(sealed.includes(ha1), false)
  assert.equal(sealed.includes(Buffer.from(ha1, 'hex')), false)
})

test('a value that was swapped for that of another user opens nothing', async (t) => {
  const { ask, challenge, credential, call, store } = await digestWorld(t)
  await call('POST', '/v1/users', {
    name: 'eve',
    password: 'eves own password',
    role: 'member',
    digest: true,
  })
  const [ann, eve] = [await store.read.users.byName('ann'), await store.read.users.byName('eve')]
  assert.ok(ann && eve)
  await store.transaction((tx) => tx.users.update({ ...ann, digest: eve.digest }))
  const given = credential(await challenge(), { password: 'eves own password' })
  assert.equal((await ask(given)).status, 500)
})

test('failures are counted by account and address, on record, and then refused', async (t) => {
  const { ask, challenge, credential, store, log } = await digestWorld(t, {
    settings: { RATE_LIMIT_LOGIN: '3/m' },
  })
  const from = await challenge()
  for (let nc = 1; nc <= 3; nc++) {
    assert.equal((await ask(credential(from, { nc: `0000000${nc}`, password: 'x' }))).status, 401)
  }
  const limited = await ask(credential(from, { nc: '00000009' }))
  assert.equal(limited.status, 429)
  const denied = (await store.read.audit.list(0n, 100)).filter(
    ({ type }) => type === 'login.denied',
  )
  assert.equal(denied.length, 3)
  assert.match(denied[0]?.detail ?? '', /"method":"digest"/)
  assert.equal(log.join('').includes(from.nonce), false)
})

test('Basic on /manage: the same users and others; no API token is needed', async (t) => {
  const { ask, call } = await digestWorld(t)
  await call('POST', '/v1/users', { name: 'bob', password: PASSWORD, role: 'member' })
  const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`
  assert.equal((await ask(basic(`ann:${PASSWORD}`))).status, 200)
  const member = await ask(basic(`bob:${PASSWORD}`))
  assert.equal(member.status, 401, 'a login without the rights is 401, as documented')
  assert.match(member.text, /You do not have credentials to access/)
  for (const wrong of ['ann:', 'ann', 'ann:wrong', `nobody:${PASSWORD}`]) {
    assert.equal((await ask(basic(wrong))).status, 401, wrong)
  }
})

test('used counters are forgotten once their nonce has ended', async (t) => {
  const world = await digestWorld(t)
  const from = await world.challenge()
  assert.equal((await world.ask(world.credential(from))).status, 200)
  const claim = () =>
    world.store.transaction((tx) => tx.digestUses.claim({ nonce: from.nonce, nc: 1, expiresAt: 1 }))
  await world.prune()
  assert.equal(await claim(), false)
  world.clock.advance('6m')
  await world.prune()
  // A clock that is set back within what nobody asks about makes the nonce count again.
  world.clock.jump('-90s')
  const again = await world.ask(world.credential(from))
  assert.deepEqual(
    [again.status, /stale/.test(String(again.headers['www-authenticate']))],
    [401, false],
  )
  world.clock.jump('90s')
  world.clock.advance('5m')
  await world.prune()
  assert.equal(await claim(), true)
})

test('whatever a header is, it is read or refused, and never throws', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 400 }), (text) => {
      parseDigest(`Digest ${text}`)
    }),
  )
  const value = fc.stringMatching(/^[A-Za-z0-9./_-]{1,40}$/)
  fc.assert(
    fc.property(
      value,
      value,
      value,
      fc.stringMatching(/^[0-9a-f]{32}$/),
      (user, uri, cnonce, response) => {
        const header = `Digest username="${user}", realm="public", nonce="n", uri="/${uri}", qop=auth, nc=00000001, cnonce="${cnonce}", response="${response}"`
        assert.deepEqual(parseDigest(header), {
          ...{ username: user, realm: 'public', nonce: 'n', uri: `/${uri}`, cnonce, response },
          ...{ nc: '00000001', opaque: undefined },
        })
      },
    ),
  )
})

test('a nonce is told again by its signature alone, for as long as it is good', () => {
  const nonces = createNonces(new Uint8Array(32))
  const others = createNonces(new Uint8Array(32).fill(1))
  fc.assert(
    fc.property(fc.nat(), fc.nat({ max: 2 * NONCE_TTL }), fc.nat({ max: 42 }), (made, age, at) => {
      const nonce = nonces.make(made)
      const expected = age < NONCE_TTL ? made + NONCE_TTL : undefined
      assert.equal(nonces.endOf(nonce, made + age), expected)
      assert.equal(others.endOf(nonce, made), undefined)
      const changed = `${nonce.slice(0, at)}${nonce[at] === 'A' ? 'B' : 'A'}${nonce.slice(at + 1)}`
      assert.equal(nonces.endOf(changed, made), undefined)
    }),
  )
})
