import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import Database from 'better-sqlite3'
import { SignJWT } from 'jose'
import { createAeadProvider } from '../../src/kek/aead.ts'
import { countingIds, MANAGEMENT_TOKEN, memoryStore, testClock, testServer } from '../server.ts'
import { documentText, octKey, servicesWorld } from './services.ts'

const URI = 'http://cdn.example/video/a.ts'

test('product.md 6: the answer of sign, one and many, and what is refused of them', async (t) => {
  const { ask } = await servicesWorld(t)
  const post = async (body: object) => (await ask('POST', '/demo/sign', { body })).json
  assert.equal((await post({ uri: URI, ttl: '1h' })).code, 'keys_missing')
  await ask('PUT', '/demo/keys', { raw: documentText('studio-a', 'a', 'b') })
  const one = await post({ uri: URI, ttl: '1h' })
  assert.deepEqual(Object.keys(one), ['uri', 'token', 'kid', 'exp'])
  assert.equal(one.uri, `${URI}?URISigningPackage=${one.token}`)
  assert.deepEqual([one.kid, one.exp], ['a', 1_767_225_600 + 3600])
  const { batch } = await post({
    batch: Array.from({ length: 1000 }, () => ({ uri: URI, ttl: 60, kid: 'b' })),
  })
  assert.equal(batch.length, 1000)
  assert.equal(batch[999].kid, 'b')
  const table: [object, string][] = [
    [{ uri: URI, ttl: '1h', kid: 'none' }, 'key_not_found'],
    [{ uri: URI, ttl: '1h', issuer: '__proto__' }, 'issuer_not_found'],
    [{ uri: '/relative', ttl: '1h' }, 'uri_invalid'],
    [{ uri: one.uri, ttl: '1h' }, 'uri_invalid'],
    [{ uri: URI, ttl: '8785h' }, 'ttl_too_long'],
    [{ uri: URI, ttl: '1h', renewable: true, renewalTtl: '8785h' }, 'ttl_too_long'],
    [{ uri: URI, ttl: 0 }, 'invalid_request'],
    [{ uri: URI, ttl: '1h', more: 1 }, 'invalid_request'],
    [{ batch: [] }, 'invalid_request'],
    [{ batch: Array(1001).fill({ uri: URI, ttl: '1h' }) }, 'invalid_request'],
  ]
  for (const [body, code] of table)
    assert.equal((await post(body)).code, code, JSON.stringify(body).slice(0, 80))
  const mixed = await post({
    batch: [
      { uri: URI, ttl: '1h' },
      { uri: 'x', ttl: '1h' },
    ],
  })
  assert.deepEqual([mixed.code, mixed.item], ['uri_invalid', 1])
  assert.match(mixed.detail, /^batch\/1: /)
})

test('contract 6: issuers are ordinary names, and a public-only key signs nothing', async (t) => {
  const { ask } = await servicesWorld(t)
  await ask('POST', '/demo/generate', { body: { issuer: 'x', algorithm: 'ES256', kid: 'e' } })
  const { kty, crv, x, y, alg, kid } = (await ask('GET', '/demo/cache-config')).json.x.keys[0]
  const pub = JSON.stringify({ keys: [{ kty, crv, x, y, alg, kid }] })
  const all = JSON.stringify({ keys: [octKey('k')], renewal_kid: 'k' })
  await ask('PUT', '/demo/keys', {
    raw: `{"__proto__":${all},"42":{"keys":[${JSON.stringify(octKey('n'))}]},"alerts":${pub}}`,
  })
  for (const [issuer, expected] of [
    ['__proto__', 'k'],
    ['42', 'n'],
  ]) {
    const { json } = await ask('POST', '/demo/sign', { body: { uri: URI, ttl: '1h', issuer } })
    assert.equal(json.kid, expected)
    assert.equal(
      (await ask('POST', '/demo/verify', { body: { uri: json.uri } })).json.claims.iss,
      issuer,
    )
  }
  const refused = await ask('POST', '/demo/sign', {
    body: { uri: URI, ttl: '1h', issuer: 'alerts' },
  })
  assert.equal(refused.json.code, 'key_rejected')
})

test('product.md 5.3: a promise that covers each exp is on disk before the answer, a few for many', async (t) => {
  const { ask, store } = await servicesWorld(t)
  await ask('PUT', '/demo/keys', { raw: documentText() })
  const service = await store.read.deliveryServices.byXmlId('demo')
  const promised = async () => (await store.read.uriPromises.list(service?.id ?? ''))[0]
  let writes = 0
  let last = 0
  for (let n = 0; n < 50; n++) {
    const { json } = await ask('POST', '/demo/sign', { body: { uri: URI, ttl: 3600 + n } })
    const until = (await promised())?.until ?? 0
    assert.ok(until >= json.exp, `${until} ${json.exp}`)
    if (until !== last) writes++
    last = until
  }
  assert.equal(writes, 1)
  const renewable = { uri: URI, ttl: 60, renewable: true, renewalTtl: '2h' }
  await ask('POST', '/demo/sign', { body: renewable })
  assert.deepEqual([(await promised())?.renewalTtl, (await promised())?.until], [7200, last])
  await Promise.all(
    Array.from({ length: 30 }, (_, n) =>
      ask('POST', '/demo/sign', { body: { uri: URI, ttl: 8000 + n * 700 } }),
    ),
  )
  assert.ok(((await promised())?.until ?? 0) >= 1_767_225_600 + 8000 + 29 * 700)
})

test('section 11: verify answers with the renewal of a cache, for who may sign', async (t) => {
  const { ask, store, clock, token, events } = await servicesWorld(t)
  await ask('PUT', '/demo/keys', { raw: documentText('studio-a', 'a', 'b') })
  const sign = async (more: object) =>
    (await ask('POST', '/demo/sign', { body: { uri: URI, ttl: '1h', kid: 'b', ...more } })).json.uri
  const uri = await sign({ renewable: true, renewalTtl: '2h', renewalDepth: 1 })
  const renew = (asked: object, by?: string) =>
    ask('POST', '/demo/verify', {
      body: { renew: true, ...asked },
      ...(by !== undefined && { token: by }),
    })

  const { status, json } = await renew({ uri })
  assert.deepEqual([status, json.code, json.renewal.path], [200, 200, '/video'])
  assert.equal(json.renewal.setCookie, `URISigningPackage=${json.renewal.token}; Path=/video`)
  const service = await store.read.deliveryServices.byXmlId('demo')
  const promise = await store.read.uriPromises.get(service?.id ?? '', 'studio-a', 'a')
  const now = Number(clock.now() / 1_000_000_000n)
  assert.ok(promise && promise.until >= now + 7200 && promise.renewalTtl === 7200)

  // The first token is over, and the renewed one goes on.
  clock.advance('90m')
  assert.equal((await renew({ uri })).json.renewal, null)
  const cookies = json.renewal.setCookie.split(';')[0]
  const again = await renew({ uri: URI, cookies })
  assert.equal(again.json.code, 200)
  assert.equal(Math.floor(again.json.claims.exp), now + 7200)
  assert.notEqual(again.json.renewal.token, json.renewal.token)

  assert.equal((await renew({ uri: await sign({}) })).json.renewal, null, 'it does not ask for one')
  assert.ok(!('renewal' in (await ask('POST', '/demo/verify', { body: { uri } })).json))
  const reader = await token({ grants: ['DELIVERY-SERVICE:READ@delivery-service:demo'] })
  const refused = await renew({ uri: URI, cookies }, reader)
  assert.equal(refused.json.detail, 'This needs DS-SECURITY-KEY:READ@delivery-service:demo')
  assert.equal((await events(/^access\.denied$/)).length, 1)
})

test('section 11: no renewal outlives what may be promised, nor is one made without a private key', async (t) => {
  const { ask } = await servicesWorld(t, { settings: { URI_SIGNING_VALIDATION: 'compat' } })
  await ask('PUT', '/demo/keys', { raw: documentText('studio-a', 'a') })
  const year = 366 * 86_400
  // As an owner signs, who has the key and asks nobody.
  const signed = async (cdniets: number) => {
    const token = await new SignJWT({ cdniuc: `regex:${URI}`, cdniets, cdnistt: 1, cdniv: 1 })
      .setProtectedHeader({ alg: 'HS256', kid: 'a' })
      .setIssuer('studio-a')
      .setExpirationTime(4_102_444_800)
      .sign(Buffer.from(octKey('a').k, 'base64url'))
    const body = { uri: `${URI}?URISigningPackage=${token}`, renew: true }
    return (await ask('POST', '/demo/verify', { body })).json
  }
  assert.equal((await signed(year)).renewal.path, '/')
  assert.equal((await signed(year + 1)).code, 'ttl_too_long')
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey
  const renewing = { ...pair.export({ format: 'jwk' }), alg: 'ES256', kid: 'p' }
  const raw = JSON.stringify({ 'studio-a': { renewal_kid: 'p', keys: [renewing, octKey('a')] } })
  assert.equal((await ask('PUT', '/demo/keys', { raw })).status, 200)
  const { code, renewal } = await signed(year)
  assert.deepEqual([code, renewal], [200, null])
})

test('keys that are replaced stop signing with the commit, and a signer that raced is asked again', async (t) => {
  const { ask } = await servicesWorld(t)
  await ask('PUT', '/demo/keys', { raw: documentText('s', 'a') })
  const outcomes = await Promise.all(
    Array.from({ length: 40 }, async (_, n) => {
      if (n % 10 === 5) {
        await ask('PUT', '/demo/keys', { raw: documentText('s', `k${n}`) })
        return undefined
      }
      return ask('POST', '/demo/sign', { body: { uri: URI, ttl: '1h' } })
    }),
  )
  for (const one of outcomes)
    if (one) assert.ok([200, 503].includes(one.status), String(one.status))
  const kid = (await ask('GET', '/demo/cache-config')).json.s.renewal_kid
  assert.equal((await ask('POST', '/demo/sign', { body: { uri: URI, ttl: '1h' } })).json.kid, kid)
})

const PROVIDERS = () => [createAeadProvider(new Uint8Array(32))]

test('contract 8: rows that were swapped, renamed, given away or damaged do not open', async (t) => {
  const attacks: [name: string, sql: string][] = [
    [
      'the seal of another service',
      `UPDATE uri_signing_documents SET document_sealed = (SELECT document_sealed FROM uri_signing_documents WHERE xml_id = 'theirs') WHERE xml_id = 'demo'`,
    ],
    [
      'the row of another service',
      `UPDATE uri_signing_documents SET delivery_service_id = (SELECT id FROM delivery_services WHERE xml_id = 'empty') WHERE xml_id = 'theirs'`,
    ],
    [
      'another tenant',
      `UPDATE delivery_services SET tenant_id = (SELECT id FROM tenants WHERE name = 'west') WHERE xml_id = 'demo'`,
    ],
    [
      'another tenant, in both places',
      `UPDATE delivery_services SET tenant_id = (SELECT id FROM tenants WHERE name = 'west') WHERE xml_id = 'demo'; UPDATE uri_signing_documents SET tenant_id = (SELECT id FROM tenants WHERE name = 'west') WHERE xml_id = 'demo'`,
    ],
    [
      'another name',
      `DROP TRIGGER delivery_services_keep_name; UPDATE delivery_services SET xml_id = 'x' WHERE xml_id = 'theirs'; UPDATE delivery_services SET xml_id = 'theirs' WHERE xml_id = 'demo'; UPDATE delivery_services SET xml_id = 'demo' WHERE xml_id = 'x'`,
    ],
    [
      'an earlier version',
      `UPDATE uri_signing_documents SET version = 99 WHERE xml_id = 'demo' AND version = 1`,
    ],
    [
      'a flipped bit',
      `UPDATE uri_signing_documents SET document_sealed = CAST(x'00' || substr(document_sealed, 2) AS BLOB) WHERE xml_id = 'demo'`,
    ],
  ]
  for (const [name, sql] of attacks) {
    const folder = mkdtempSync(join(tmpdir(), 'keyringd-seal-'))
    t.after(() => rmSync(folder, { recursive: true, force: true }))
    const file = join(folder, 'k.db')
    const clock = testClock()
    const store = await memoryStore(clock, countingIds(1_000_000), file)
    const before = await servicesWorld(t, { store, clock, providers: PROVIDERS() })
    for (const service of ['theirs', 'empty'])
      await before.ask('PUT', `/${service}`, { body: { tenant: 'east' } })
    await before.ask('PUT', '/demo/keys', { raw: documentText('old') })
    for (const service of ['demo', 'theirs'])
      await before.ask('PUT', `/${service}/keys`, { raw: documentText(service) })
    await before.close()
    await store.close()
    const database = new Database(file)
    database.exec(sql)
    database.close()
    const again = await memoryStore(clock, countingIds(2_000_000), file)
    const server = await testServer(t, {
      store: again,
      clock,
      providers: PROVIDERS(),
      settings: { ROOT_KEY_ALGORITHM: 'ES256' },
    })
    const victim = name === 'the row of another service' ? 'empty' : 'demo'
    const answer = await server.app.inject({
      url: `/v1/delivery-services/${victim}/cache-config`,
      headers: { authorization: `Bearer ${MANAGEMENT_TOKEN}` },
    })
    assert.deepEqual([answer.statusCode, answer.json().code], [500, 'seal_broken'], name)
    await server.close()
    await again.close()
  }
})

test('product.md 3: documents are sealed anew after a rotation of the root key, and open after it', async (t) => {
  const { ask, call, keyring, store } = await servicesWorld(t)
  await ask('PUT', '/demo/keys', { raw: documentText('one') })
  await ask('PUT', '/demo/keys', { raw: documentText('two') })
  const service = await store.read.deliveryServices.byXmlId('demo')
  const roots = async () =>
    new Set((await store.read.uriDocuments.list(service?.id ?? '')).map(({ rootKid }) => rootKid))
  const [before] = await roots()
  const { status } = await call('POST', '/v1/rings/default/rotate', { force: true, reason: 'test' })
  assert.equal(status, 200)
  await keyring.reseal.settled()
  const after = await roots()
  assert.equal(after.size, 1)
  assert.ok(!after.has(before))
  // Not from memory.
  await ask('POST', '/demo/rollback', { body: { version: 1 } })
  assert.equal((await ask('GET', '/demo/cache-config')).bytes.toString(), documentText('one'))
})
