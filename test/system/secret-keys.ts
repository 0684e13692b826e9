import assert from 'node:assert/strict'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import type { Answer } from './process.ts'
import type { Keeper } from './secret-search.ts'
import { ok, PASSWORD } from './secret-uses.ts'

// Keys of delivery services and the logins that lead to them: every way in and out, over both wires.

type Jwk = Record<string, string>
type Document = Record<string, { renewal_kid: string; keys: Jwk[] }>

const PRIVATE = ['k', 'd', 'p', 'q', 'dp', 'dq', 'qi']
const KEYS = '/api/5.0/deliveryservices'
const OURS = '/v1/delivery-services'

const oct = (kid: string): Jwk => ({
  ...{ kty: 'oct', alg: 'HS256', kid, k: randomBytes(32).toString('base64url') },
})

function pair(alg: 'ES256' | 'RS256', kid: string): Jwk {
  const { privateKey } =
    alg === 'ES256'
      ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : generateKeyPairSync('rsa', { modulusLength: 2048 })
  return { alg, kid, ...(privateKey.export({ format: 'jwk' }) as Jwk) }
}

/** One issuer whose keys are of every kind; that of `renewal` renews. */
const documentOf = (issuer: string, renewal = oct('renews')): Document => ({
  [issuer]: {
    renewal_kid: renewal.kid ?? '',
    keys: [renewal, oct('signs'), pair('ES256', 'ec'), pair('RS256', 'rsa')],
  },
})

/** Documents that are stored, made, changed and refused, and URIs signed with them. */
export async function useKeyDocuments({ call, keep, keepToken, shows }: Keeper): Promise<void> {
  /** Remembers what is private in a document. */
  function kept(group: string, document: Document): Document {
    for (const jwk of Object.values(document).flatMap(({ keys }) => keys)) {
      keep(group, ...PRIVATE.flatMap((name) => jwk[name] ?? []))
    }
    return document
  }
  /** An answer that is the document itself. */
  const read = (answer: Answer): Document =>
    kept('URI key', shows(ok(answer), 'URI key').json as Document)

  ok(await call('POST', '/v1/tenants', { name: 'cdn' }))
  for (const name of ['stored', 'ours', 'made', 'copied']) {
    ok(await call('PUT', `${OURS}/${name}`, { tenant: 'cdn' }))
  }
  // Traffic Ops answers a write with what was written.
  for (const method of ['POST', 'PUT']) {
    read(await call(method, `${KEYS}/stored/urisignkeys`, kept('URI key', documentOf('studio'))))
  }
  ok(await call('PUT', `${OURS}/ours/keys`, kept('URI key', documentOf('studio'))))
  for (const [issuer, algorithm] of [
    ['first', 'HS256'],
    ['second', 'ES256'],
    ['third', 'RS256'],
  ]) {
    const made = ok(await call('POST', `${OURS}/made/generate`, { issuer, algorithm }))
    assert.equal(made.json.algorithm, algorithm)
    read(await call('GET', `${KEYS}/made/urisignkeys`))
    if (issuer !== 'third') ok(await call('DELETE', `${OURS}/made/keys`))
  }
  ok(await call('POST', `${OURS}/copied/copy`, { from: 'ours' }))
  ok(await call('POST', `${OURS}/made/rollback`, { version: 1 }))
  ok(await call('POST', `${OURS}/made/rotate`, { announceFor: '1h' }))
  const reloaded = { cachesReloadedAt: new Date(Date.now() + 1000).toISOString() }
  await call('POST', `${OURS}/made/attest`, reloaded)
  for (const name of ['stored', 'ours', 'made', 'copied']) {
    read(await call('GET', `${KEYS}/${name}/urisignkeys`))
    read(await call('GET', `${OURS}/${name}/cache-config`))
    read(await call('GET', `${OURS}/${name}/cache-config?public=true`))
    for (const rest of ['', '/versions', '/plan']) ok(await call('GET', `${OURS}/${name}${rest}`))
  }
  ok(await call('GET', OURS))
  await refuse()
  await sign()
  ok(await call('DELETE', `${KEYS}/stored/urisignkeys`))
  ok(await call('DELETE', `${OURS}/copied`))

  /** No answer to these repeats anything of a key, whatever is wrong with the document. */
  async function refuse(): Promise<void> {
    const whole = kept('refused URI key', documentOf('refused'))
    const [issuer] = Object.values(whole)
    const keys = issuer?.keys ?? []
    const [first, , ec, rsa] = keys
    const secret = first?.['k'] ?? ''
    const wrong: unknown[] = [
      ...[keys, secret, { refused: keys }, { refused: { renewal_kid: 'none', keys } }],
      { refused: { ...issuer, keys: [...keys, first] } },
      { refused: { ...issuer, keys: [{ ...first, alg: secret }] } },
      { refused: { ...issuer, keys: [{ ...first, kty: secret }] } },
      { refused: { ...issuer, keys: [{ ...first, k: `${secret}=` }] } },
      { refused: { ...issuer, keys: [{ ...first, k: [secret] }] } },
      { refused: { ...issuer, keys: [{ ...ec, x: ec?.['d'] }] } },
      { refused: { ...issuer, keys: [{ ...rsa, n: rsa?.['p'] }] } },
    ]
    for (const document of wrong) {
      const answers = [
        await call('PUT', `${KEYS}/stored/urisignkeys`, document),
        await call('PUT', `${OURS}/ours/keys`, document),
      ]
      for (const { status, text } of answers) assert.equal(status, 400, text)
      const { status, json } = await call('POST', `${OURS}/ours/lint`, document)
      if (status === 200) assert.equal(json.ok, false)
      else assert.equal(status, 400)
    }
    ok(await call('POST', `${OURS}/ours/lint`, whole))
    ok(await call('POST', `${OURS}/ours/lint`))
    assert.equal((await call('PUT', `${KEYS}/nowhere/urisignkeys`, whole)).status, 400)
    assert.equal((await call('PUT', `${OURS}/nowhere/keys`, whole)).status, 404)
    assert.equal((await call('POST', `${OURS}/ours/generate`, whole)).status, 422)
    assert.equal((await call('POST', `${OURS}/ours/rotate`, whole)).status, 422)
  }

  /** Tokens for the edge, by every kind of key, and what a cache would make of them. */
  async function sign(): Promise<void> {
    const uri = 'https://cdn.example/video/1.mp4'
    const asked = { uri, ttl: '1h', renewable: true, container: 'any-query' }
    for (const more of [{}, { kid: 'ec' }, { kid: 'rsa' }, { placement: 'path-segment' }]) {
      const signed = await call('POST', `${OURS}/ours/sign`, { ...asked, ...more })
      const { token, uri: found } = shows(ok(signed), 'edge token').json
      keepToken('edge token', token)
      const verdict = await call('POST', `${OURS}/ours/verify`, { uri: found })
      assert.equal(ok(verdict).json.code, 200, verdict.text)
      const renewed = await call('POST', `${OURS}/ours/verify`, { uri: found, renew: true })
      keepToken('edge token', shows(ok(renewed), 'edge token').json.renewal.token)
      ok(await call('POST', `${OURS}/ours/verify`, { uri: `${found}x` }))
      ok(await call('POST', `${OURS}/made/verify`, { uri: found }))
      const cookies = `URISigningPackage=${token}`
      ok(await call('POST', `${OURS}/ours/verify`, { uri, cookies }))
      const again = { ...asked, uri: found }
      assert.ok((await call('POST', `${OURS}/ours/sign`, again)).status < 500)
    }
  }
}

/** Who logs in for these keys: with a password, and with a token that counts once. */
export async function useLogins({ call, send, keep, keepToken, shows }: Keeper): Promise<void> {
  for (const name of ['carl', 'cora']) {
    const user = { name, password: PASSWORD, role: 'cdn-admin', tenant: 'cdn' }
    ok(await call('POST', '/v1/users', user))
  }
  const post = (path: string, body: string) =>
    send(`/api/5.0/user/${path}`, { method: 'POST', body })

  /** The cookies of a login, by name. */
  function cookiesOf(answer: Answer): { mojolicious: string; access_token: string } {
    const lines = shows(ok(answer), 'session').headers.getSetCookie()
    const cookies = Object.fromEntries(
      lines.map((line) => {
        const [pair = ''] = line.split(';', 1)
        return [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]
      }),
    )
    const { mojolicious = '', access_token = '' } = cookies
    const { sid } = JSON.parse(String(Buffer.from(access_token.split('.')[1] ?? '', 'base64url')))
    const [content = '', mac = ''] = mojolicious.split('--')
    keep('session', mojolicious, content, mac, sid)
    keepToken('session', access_token)
    return { mojolicious, access_token }
  }
  async function makeToken(name: string): Promise<string> {
    const made = ok(await call('POST', `/v1/users/${name}/login-token`, { ttl: '10m' }))
    const { token } = shows(made, 'login token').json
    keep('login token', token)
    return token
  }

  const replaced = await makeToken('carl')
  const token = await makeToken('carl')
  await makeToken('cora')
  const sessions = [
    cookiesOf(await post('login', JSON.stringify({ u: 'carl', p: PASSWORD }))),
    cookiesOf(await post('login/token', JSON.stringify({ t: token }))),
  ]
  for (const body of [
    ...[{ t: token }, { t: replaced }, { t: `${token}x` }, { t: [token] }, { u: token, p: token }],
    ...[{ u: PASSWORD, p: PASSWORD }, { u: 'carl', p: `${PASSWORD}x` }, { u: 'carl' }],
  ]) {
    const path = 't' in body ? 'login/token' : 'login'
    for (const text of [JSON.stringify(body), JSON.stringify(body).slice(0, -1)]) {
      assert.ok([400, 401].includes((await post(path, text)).status), text)
    }
  }
  const keys = `${KEYS}/ours/urisignkeys`
  for (const { mojolicious, access_token } of sessions) {
    for (const headers of [
      { cookie: `mojolicious=${mojolicious}` },
      { cookie: `access_token=${access_token}` },
      { authorization: `Bearer ${access_token}` },
    ] as Record<string, string>[]) {
      // Each answer carries the cookies again; a fresh access token among them.
      cookiesOf(shows(ok(await send(keys, { headers })), 'URI key'))
      assert.equal((await send(`${KEYS}/nowhere/urisignkeys`, { headers })).status, 400)
      assert.equal((await send('/v1/users', { headers })).status, 401)
    }
    const cookie = `mojolicious=${mojolicious.slice(0, -1)}`
    assert.equal((await send(keys, { headers: { cookie } })).status, 401)
    const headers = { cookie: `mojolicious=${mojolicious}` }
    ok(await send('/api/5.0/user/logout', { method: 'POST', headers }))
    assert.equal((await send(keys, { headers })).status, 401)
  }
  ok(await call('PATCH', '/v1/users/carl', { role: 'member' }))
  ok(await call('DELETE', '/v1/users/cora'))
}
