import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { createAeadProvider } from '../../src/kek/aead.ts'
import { createDirectory } from '../../src/uri-signing/directory.ts'
import { createHistory } from '../../src/uri-signing/history.ts'
import { countingIds, memoryStore, testClock } from '../server.ts'
import { documentText, octKey, servicesWorld, type World } from './services.ts'

const URI = 'http://cdn.example/video/a.ts'
const MIB = 1024 * 1024

test('RFC 9110 13.1: each write looks at its conditions, however the document is made', async (t) => {
  const { ask } = await servicesWorld(t)
  await ask('PUT', '/source', { body: { tenant: 'east' } })
  await ask('PUT', '/source/keys', { raw: documentText('theirs') })
  const generate = (headers: Record<string, string>) =>
    ask('POST', '/demo/generate', { body: { issuer: 'made' }, headers })
  const copy = (headers: Record<string, string>) =>
    ask('POST', '/demo/copy', { body: { from: 'source' }, headers })
  const rollback = (headers: Record<string, string>) =>
    ask('POST', '/demo/rollback', { body: { version: 1 }, headers })
  const refused = [412, 'precondition_failed']
  // There is nothing yet that could match.
  for (const write of [generate, copy]) {
    const { status, json } = await write({ 'if-match': '*' })
    assert.deepEqual([status, json.code], refused)
  }
  const first = await generate({ 'if-none-match': '*' })
  assert.equal(first.status, 200)
  const stale = { 'if-match': '"00000000-0000-4000-8000-000000000000"' }
  for (const write of [generate, copy, rollback]) {
    for (const headers of [stale, { 'if-none-match': '*' }]) {
      const { status, json } = await write(headers)
      assert.deepEqual([status, json.code], refused)
    }
  }
  // With the ETag that it has, what there is may be replaced.
  const second = await copy({ 'if-match': first.json.etag })
  assert.equal(second.status, 200)
  assert.equal((await ask('GET', '/demo/cache-config')).bytes.toString(), documentText('theirs'))
  const third = await generate({ 'if-match': second.json.etag })
  assert.deepEqual([third.status, third.json.version], [200, 3])
  const none = { headers: { 'if-none-match': '*' } }
  assert.equal((await ask('DELETE', '/demo/keys', none)).status, 412)
})

test('product.md 4: who may only make keys replaces none, whatever condition he names', async (t) => {
  const { ask, token, events } = await servicesWorld(t)
  await ask('PUT', '/source', { body: { tenant: 'east' } })
  for (const name of ['demo', 'source']) {
    await ask('PUT', `/${name}/keys`, { raw: documentText(name) })
  }
  const grants = ['DS-SECURITY-KEY:CREATE', 'DS-SECURITY-KEY:READ']
  const caller = await token({ grants, tenant: 'east' })
  for (const [path, body] of [
    ['/demo/generate', { issuer: 'i' }],
    ['/demo/copy', { from: 'source' }],
  ] as const) {
    const headers = { 'if-match': '*' }
    const { status, json } = await ask('POST', path, { body, headers, token: caller })
    assert.deepEqual(
      [status, json.detail],
      [403, 'This needs DS-SECURITY-KEY:UPDATE@delivery-service:demo'],
    )
    assert.equal((await ask('POST', path, { body, token: caller })).json.code, 'keys_exist')
  }
  assert.equal((await ask('GET', '/demo/cache-config')).bytes.toString(), documentText('demo'))
  const denied = await events(/^access\.denied$/)
  assert.deepEqual(
    denied.map(({ subject }) => subject),
    ['DS-SECURITY-KEY:UPDATE@delivery-service:demo'],
  )
})

test('contract 5: of a write, a removal and a rollback with one ETag one wins', async (t) => {
  const { ask } = await servicesWorld(t)
  for (let round = 0; round < 4; round++) {
    const { json } = await ask('PUT', '/demo/keys', { raw: documentText(`round-${round}`) })
    const headers = { 'if-match': json.etag }
    const answers = await Promise.all([
      ask('PUT', '/demo/keys', { raw: documentText('x'), headers }),
      ask('DELETE', '/demo/keys', { headers }),
      ask('POST', '/demo/rollback', { body: { version: json.version }, headers }),
      ask('POST', '/demo/generate', { body: { issuer: 'i' }, headers }),
    ])
    const statuses = answers.map(({ status }) => status).sort()
    assert.ok([200, 204].includes(statuses[0] ?? 0), String(statuses))
    assert.deepEqual(statuses.slice(1), [412, 412, 412])
  }
})

test('contract 8: nothing of a deleted service is good for the one that has its name', async (t) => {
  const { ask, token } = await servicesWorld(t)
  const old = (await ask('PUT', '/demo/keys', { raw: documentText('old') })).json.etag
  const edge = await token({ grants: ['DS-SECURITY-KEY:READ@delivery-service:demo'] })
  assert.equal((await ask('GET', '/demo/cache-config', { token: edge })).status, 200)
  await ask('DELETE', '/demo')
  await ask('PUT', '/demo', { body: { tenant: 'west' } })
  const { json } = await ask('PUT', '/demo/keys', { raw: documentText('old') })
  assert.equal(json.version, 1)
  assert.notEqual(json.etag, old)
  const match = { headers: { 'if-match': old } }
  assert.equal((await ask('PUT', '/demo/keys', { raw: documentText(), ...match })).status, 412)
  assert.equal((await ask('DELETE', '/demo/keys', match)).status, 412)
  const headers = { 'if-none-match': old }
  assert.equal((await ask('GET', '/demo/cache-config', { headers })).status, 200)
  // The grant was on the other one.
  for (const path of ['/demo/cache-config', '/demo/cache-config?public=true']) {
    assert.equal((await ask('GET', path, { token: edge })).status, 403)
  }
  const body = { uri: URI, ttl: '1h' }
  assert.equal((await ask('POST', '/demo/sign', { body, token: edge })).status, 403)
})

/** One database file, opened by one server after the other. */
function onDisk(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'keyringd-documents-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const clock = testClock()
  let opened = 0
  return async <T>(work: (world: World) => Promise<T>): Promise<T> => {
    const store = await memoryStore(clock, countingIds(++opened * 1_000_000), join(folder, 'k.db'))
    const providers = [createAeadProvider(new Uint8Array(32))]
    const world = await servicesWorld(t, { store, clock, providers })
    try {
      return await work(world)
    } finally {
      await world.close()
      await store.close()
    }
  }
}

test('product.md 5.3: documents, versions and promises survive a restart', async (t) => {
  const run = onDisk(t)
  const signing = { body: { uri: URI, ttl: '1h', renewable: true, renewalTtl: '2h' } }
  const promisesOf = async ({ store }: World) => {
    const service = await store.read.deliveryServices.byXmlId('demo')
    return store.read.uriPromises.list(service?.id ?? '')
  }
  const before = await run(async (world) => {
    const { ask } = world
    await ask('PUT', '/demo/keys', { raw: documentText('first') })
    const { etag } = (await ask('PUT', '/demo/keys', { raw: documentText() })).json
    const { exp, uri } = (await ask('POST', '/demo/sign', signing)).json
    const versions = (await ask('GET', '/demo/versions')).json
    return { etag, exp, uri, versions, promises: await promisesOf(world) }
  })
  const [promise] = before.promises
  assert.ok(promise && promise.until >= before.exp && promise.renewalTtl === 7200)
  await run(async (world) => {
    const { ask } = world
    assert.deepEqual(await promisesOf(world), before.promises)
    assert.deepEqual((await ask('GET', '/demo/versions')).json, before.versions)
    const got = await ask('GET', '/demo/cache-config')
    assert.deepEqual([got.bytes.toString(), got.headers['etag']], [documentText(), before.etag])
    const verdict = await ask('POST', '/demo/verify', { body: { uri: before.uri } })
    assert.equal(verdict.json.code, 200)
    // A short token does not shorten what the restart has forgotten.
    await ask('POST', '/demo/sign', { body: { uri: URI, ttl: '1s' } })
    assert.deepEqual(await promisesOf(world), before.promises)
  })
})

test('abuse: 10,000 keys of one issuer are kept, found, signed with and linted', async (t) => {
  const { ask } = await servicesWorld(t)
  const keys = Array.from({ length: 10_000 }, (_, at) => octKey(`${at}`))
  const text = JSON.stringify({ s: { renewal_kid: '9999', keys } })
  assert.ok(text.length < MIB)
  assert.equal((await ask('PUT', '/demo/keys', { raw: text })).status, 200)
  assert.equal((await ask('GET', '/demo/cache-config')).bytes.toString(), text)
  const batch = Array.from({ length: 1000 }, (_, at) => ({ uri: URI, ttl: 60, kid: `${at * 10}` }))
  const signed = await ask('POST', '/demo/sign', { body: { batch } })
  assert.deepEqual(
    signed.json.batch.map(({ kid }: { kid: string }) => kid),
    batch.map(({ kid }) => kid),
  )
  for (const { uri } of [signed.json.batch[0], signed.json.batch[999]]) {
    assert.equal((await ask('POST', '/demo/verify', { body: { uri } })).json.code, 200)
  }
  assert.equal((await ask('POST', '/demo/lint')).json.ok, true)
})

test('contract 6.2: compat stores, serves and copies what caches cannot load; strict refuses', async (t) => {
  const { ask } = await servicesWorld(t, { settings: { URI_SIGNING_VALIDATION: 'compat' } })
  const okp = { kty: 'OKP', crv: 'Ed25519', alg: 'EdDSA', kid: 'o', x: 'A'.repeat(43) }
  const text = JSON.stringify({ s: { renewal_kid: 'o', keys: [okp, octKey('a')] } })
  assert.equal((await ask('PUT', '/demo/keys', { raw: text })).status, 200)
  assert.equal((await ask('GET', '/demo/cache-config')).bytes.toString(), text)
  const edge = await ask('GET', '/demo/cache-config?public=true')
  assert.deepEqual([edge.status, edge.json.code], [400, 'keyset_invalid'])
  assert.equal((await ask('POST', '/demo/lint')).json.ok, false)
  const named = await ask('POST', '/demo/sign', { body: { uri: URI, ttl: 60, kid: 'o' } })
  assert.equal(named.json.code, 'key_rejected')
  // The renewal key cannot; another of the issuer can.
  assert.equal((await ask('POST', '/demo/sign', { body: { uri: URI, ttl: 60 } })).json.kid, 'a')
  await ask('PUT', '/other', { body: { tenant: 'east' } })
  assert.equal((await ask('POST', '/other/copy', { body: { from: 'demo' } })).status, 200)
  for (const raw of ['{"renewal_kid":null,"keys":null}', 'null', '{}', '']) {
    assert.equal((await ask('PUT', '/demo/keys', { raw })).status, 400, raw)
  }
})

test('keys are opened once, again after a commit that changed them, and never more than fit', async (t) => {
  const { ask, context, store, keyring } = await servicesWorld(t)
  let unsealed = 0
  const seals = {
    ...keyring.own,
    unseal(...place: Parameters<typeof keyring.own.unseal>) {
      unsealed++
      return keyring.own.unseal(...place)
    },
  }
  const history = createHistory({
    ...{ context, seals, isReady: () => true, clockInDoubt: () => false },
    clockBehind: () => 0n,
  })
  const directory = createDirectory({ context: { store } }, history)
  t.after(directory.close)
  const opens = async (name: string) => {
    const before = unsealed
    assert.ok((await directory.find(name))?.current)
    return unsealed - before
  }
  await ask('PUT', '/demo/keys', { raw: documentText() })
  assert.deepEqual([await opens('demo'), await opens('demo')], [1, 0])
  // A read is on record, too; it changes nothing.
  await ask('GET', '/demo/cache-config')
  assert.equal(await opens('demo'), 0)
  await ask('PUT', '/demo/keys', { raw: documentText('other') })
  assert.deepEqual([await opens('demo'), await opens('demo')], [1, 0])
  await ask('PUT', '/demo', { body: { tenant: 'west' } })
  assert.equal((await directory.find('demo'))?.service.tenant, 'west')
  // Eight documents of the greatest length are all that is kept.
  const long = documentText().padEnd(MIB)
  for (let n = 0; n < 9; n++) {
    await ask('PUT', `/long-${n}`, { body: { tenant: 'east' } })
    await ask('PUT', `/long-${n}/keys`, { raw: long })
    assert.equal(await opens(`long-${n}`), 1)
  }
  assert.equal(await opens('long-8'), 0)
  assert.equal(await opens('demo'), 1)
  assert.equal(await opens('long-0'), 1)
})
