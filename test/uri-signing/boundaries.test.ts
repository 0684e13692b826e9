import assert from 'node:assert/strict'
import { test } from 'node:test'
import { containerFault } from '../../src/uri-signing/container.ts'
import { compileEre } from '../../src/uri-signing/ere.ts'
import { createTurns } from '../../src/uri-signing/turns.ts'
import { iso, rotating } from './rotating.ts'
import { documentText, servicesWorld } from './services.ts'

// Product.md section 4: what a narrow right does not reach, and what an expression does not cost.

test('a service with keys is moved by who may read them: the other tenant will', async (t) => {
  const { ask, token, events } = await servicesWorld(t)
  await ask('PUT', '/demo/keys', { raw: documentText() })
  const mover = await token({ grants: ['DELIVERY-SERVICE:UPDATE@delivery-service:demo'] })
  const move = (tenant: string, by?: string) =>
    ask('PUT', '/demo', { body: { tenant }, ...(by !== undefined && { token: by }) })
  const refused = await move('west', mover)
  assert.deepEqual(
    [refused.status, refused.json.detail],
    [403, 'This needs DS-SECURITY-KEY:READ@delivery-service:demo'],
  )
  const denied = await events(/^access\.denied$/)
  assert.deepEqual(
    denied.map(({ subject }) => subject),
    ['DS-SECURITY-KEY:READ@delivery-service:demo'],
  )
  assert.equal((await ask('GET', '/demo')).json.tenant, 'east')
  assert.equal((await move('east', mover)).status, 200, 'it does not move')
  const reader = await token({
    grants: ['DELIVERY-SERVICE:UPDATE', 'DS-SECURITY-KEY:READ'].map(
      (one) => `${one}@delivery-service:demo`,
    ),
  })
  assert.equal((await move('west', reader)).status, 200)
  // What is removed can be brought back.
  await ask('DELETE', '/demo/keys')
  assert.equal((await move('east', mover)).status, 403)
  await ask('PUT', '/bare', { body: { tenant: 'east' } })
  const bare = await token({ grants: ['DELIVERY-SERVICE:UPDATE@delivery-service:bare'] })
  assert.equal((await ask('PUT', '/bare', { body: { tenant: 'west' }, token: bare })).status, 200)
})

test('a grant names no service of another tenant, and does not tell that there is one', async (t) => {
  const { ask, token, app } = await servicesWorld(t)
  await ask('PUT', '/secret-name', { body: { tenant: 'west' } })
  const eastern = await token({ role: 'admin', tenant: 'east' })
  const grant = async (name: string, by = eastern) => {
    const answer = await app.inject({
      ...{ method: 'POST', url: '/v1/api-tokens', headers: { authorization: `Bearer ${by}` } },
      payload: {
        ...{ name: `t-${name}`, tenant: 'east' },
        grants: [`DS-SECURITY-KEY:READ@delivery-service:${name}`],
      },
    })
    const { code, detail } = answer.json()
    return [answer.statusCode, code, detail?.replace(name, 'NAME')]
  }
  const unknown = [422, 'invalid_request', 'There is no delivery service NAME']
  assert.deepEqual(await grant('secret-name'), unknown)
  assert.deepEqual(await grant('nothing'), unknown)
  assert.equal((await grant('demo'))[0], 201)
})

test('a word about others that is no date is refused, and stops no plan', async (t) => {
  const world = await rotating(t, { announceFor: '1s', automatic: false })
  const { ask, clock } = world
  clock.advance('1h')
  for (const step of ['sign', 'renew']) {
    assert.equal((await ask('POST', '/demo/rotate', { body: { step } })).status, 200)
  }
  const attest = (othersUntil: number) =>
    ask('POST', '/demo/attest', { body: { cachesReloadedAt: iso(world), othersUntil } })
  for (const bad of [Number.MAX_SAFE_INTEGER, 253_402_300_800, -1, 0.5]) {
    assert.equal((await attest(bad)).json.code, 'invalid_request', String(bad))
  }
  assert.equal((await attest(253_402_300_799)).status, 200)
  assert.equal((await ask('GET', '/demo/plan')).status, 200)
  assert.equal((await ask('POST', '/demo/rotate', { body: { step: 'remove' } })).status, 409)
})

test('an expression is too large before it is compiled, and for a text that is too long', () => {
  const tooLarge = { fault: 'is too large' }
  for (const pattern of [
    '((a?){30}){30}'.repeat(72),
    '((((a{255}){255}){255}){255})',
    '(ab){255}'.repeat(9),
  ]) {
    assert.deepEqual(compileEre(pattern), tooLarge, pattern.slice(0, 40))
  }
  const known = compileEre('(ab){20}')
  assert.ok('size' in known && known.size > 40 && known.size < 200)
  const wide = `regex:^http://h/${'(.*){100}'.repeat(4)}[#!]$`
  assert.match(containerFault(wide, `http://h/${'a'.repeat(7000)}`) ?? '', /too large for a URI/)
  assert.equal(containerFault(wide, 'http://h/a'), 'The URI is not in the container')
  assert.equal(containerFault(wide, 'http://h/a!'), undefined)
})

test('so many at a time, by turns of their owners; what fails gives its turn back', async () => {
  const inTurn = createTurns(2)
  const log: string[] = []
  const gates = Array.from('aaaaabc', (whose) => ({ whose, ...Promise.withResolvers<void>() }))
  const all = gates.map(({ whose, promise }, at) =>
    inTurn(whose, async () => {
      log.push(`${whose}${at}`)
      await promise
      if (at === 1) throw new Error('it fails')
      return at
    }),
  )
  const outcomes = Promise.allSettled(all)
  await Promise.resolve()
  assert.deepEqual(log, ['a0', 'a1'])
  for (const { resolve } of gates) resolve()
  assert.deepEqual(
    (await outcomes).map(({ status }) => status),
    gates.map((_, at) => (at === 1 ? 'rejected' : 'fulfilled')),
  )
  assert.deepEqual(log, ['a0', 'a1', 'a2', 'b5', 'c6', 'a3', 'a4'])
  assert.equal(await inTurn('a', async () => 'again'), 'again')
})

test('a name that every token would repeat a thousand times signs nothing', async (t) => {
  const { ask } = await servicesWorld(t, { settings: { URI_SIGNING_VALIDATION: 'compat' } })
  const sign = async (issuer: string, kid: string) => {
    await ask('PUT', '/demo/keys', { raw: documentText(issuer, kid) })
    return (await ask('POST', '/demo/sign', { body: { uri: 'http://h/a', ttl: '1h' } })).json
  }
  assert.equal((await sign('i'.repeat(1024), 'k'.repeat(512))).kid, 'k'.repeat(512))
  for (const [issuer, kid] of [
    ['i'.repeat(1025), 'k'],
    ['i', 'k'.repeat(513)],
  ] as const) {
    assert.equal((await sign(issuer, kid)).code, 'key_rejected')
  }
})

test('an item that a key pair cannot sign refuses its batch, and nothing else', async (t) => {
  const { ask } = await servicesWorld(t)
  const made = await ask('POST', '/demo/generate', {
    body: { issuer: 'studio-a', algorithm: 'ES256', kid: 'a' },
  })
  assert.equal(made.status, 200, JSON.stringify(made.json))
  const good = { uri: 'http://h/a', ttl: '1h' }
  // Refused while the batch still waits for its own next turn: no rejection may be left to nobody.
  for (const length of [1, 63, 64, 200, 1000]) {
    const batch = [{ ...good, uri: 'nonsense' }, ...Array(length - 1).fill(good)]
    const refused = await ask('POST', '/demo/sign', { body: { batch } })
    assert.deepEqual([refused.status, refused.json.code], [422, 'uri_invalid'], String(length))
    assert.match(refused.json.detail, /batch\/0/)
  }
  assert.equal((await ask('POST', '/demo/sign', { body: good })).status, 200)
})
