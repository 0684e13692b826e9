import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type TestServer, testServer } from './server.ts'

// What `/metrics` says of the keys of a running server (issue 2: key age, seconds to the next step, signatures and
// verifications per kid).

/** The samples of one metric: labels as they are written, and the value. */
async function samples({ app }: TestServer, name: string): Promise<Record<string, number>> {
  const { body } = await app.inject('/metrics')
  const lines = body.matchAll(new RegExp(`^${name}\\{(.*)\\} (\\S+)$`, 'gm'))
  return Object.fromEntries([...lines].map(([, labels = '', value]) => [labels, Number(value)]))
}

const kidsOf = async ({ call }: TestServer, ring = 'default'): Promise<Record<string, string>> => {
  const { json } = await call('GET', `/v1/rings/${ring}/keys`)
  const named = json.keys.map(({ kid, state }: { kid: string; state: string }) => [state, kid])
  return Object.fromEntries(named)
}

const start = (t: Parameters<typeof testServer>[0]) =>
  testServer(t, { settings: { ROOT_KEY_ALGORITHM: 'ES256' } })

test('the age of each key, by ring, algorithm and kid, follows the clock', async (t) => {
  const server = await start(t)
  const { clock, call } = server
  const { active, next } = await kidsOf(server)
  const label = (kid: string | undefined) => `ring="default",alg="ES256",kid="${kid}"`
  const ages = async () => {
    const all = await samples(server, 'keyringd_key_age_seconds')
    return Object.fromEntries(Object.entries(all).filter(([key]) => key.includes('"default"')))
  }
  assert.deepEqual(await ages(), { [label(active)]: 0, [label(next)]: 0 })
  clock.advance('90s')
  assert.deepEqual(await ages(), { [label(active)]: 90, [label(next)]: 90 })
  assert.equal((await call('PUT', '/v1/operator/keyring/rotate')).status, 200)
  const fresh = (await kidsOf(server))['next']
  clock.advance('30s')
  assert.deepEqual(await ages(), { [label(active)]: 120, [label(next)]: 120, [label(fresh)]: 30 })
  assert.equal((await call('DELETE', `/v1/rings/default/keys/${active}`)).status, 204)
  assert.deepEqual(await ages(), { [label(next)]: 120, [label(fresh)]: 30 })
  const rings = Object.keys(await samples(server, 'keyringd_key_age_seconds'))
  for (const ring of ['access', 'audit']) {
    assert.equal(rings.filter((labels) => labels.includes(`ring="${ring}"`)).length, 2)
  }
})

test('the seconds to each step of a ring are those of its plan, and run down', async (t) => {
  const server = await start(t)
  const { clock, call } = server
  const seconds = () => samples(server, 'keyringd_next_step_seconds')
  const MONTH = 720 * 3600
  const steps = await seconds()
  assert.equal(steps['ring="default",step="activate"'], MONTH)
  clock.advance('1h')
  assert.equal((await seconds())['ring="default",step="activate"'], MONTH - 3600)
  // A ring with a time of its own, and after a rotation a step more.
  const made = { name: 'ci', algorithms: ['ES256'], rotationThreshold: '48h' }
  assert.equal((await call('POST', '/v1/rings', made)).status, 201)
  assert.equal((await seconds())['ring="ci",step="activate"'], 48 * 3600)
  const body = { claims: { sub: 'a' }, ttl: '1h' }
  assert.equal((await call('POST', '/v1/rings/ci/sign', body)).status, 200)
  const forced = { force: true, reason: 'test' }
  assert.equal((await call('POST', '/v1/rings/ci/rotate', forced)).status, 200)
  clock.advance('10m')
  const found = await seconds()
  const { json } = await call('GET', '/v1/rings/ci/plan')
  const now = Number(clock.now() / 1_000_000n)
  const planned = json.plan.filter(({ at }: { at: string | null }) => at !== null)
  assert.ok(planned.length >= 2, JSON.stringify(json))
  // Of two steps of one kind the earlier, which comes first.
  for (const step of new Set<string>(planned.map((one: { step: string }) => one.step))) {
    const { at } = planned.find((one: { step: string }) => one.step === step)
    const expected = Math.trunc((Date.parse(at) - now) / 1000)
    assert.equal(found[`ring="ci",step="${step}"`], expected, step)
  }
  // Past its time, and nobody looked: negative.
  clock.advance('800h')
  assert.ok(Number((await seconds())['ring="ci",step="activate"']) < 0)
})

test('verifications and signatures are counted by the kid that was meant, and go with the key', async (t) => {
  const server = await start(t)
  const { clock, call } = server
  const sign = async () => {
    const body = { claims: { sub: 'a' }, ttl: '1h' }
    return (await call('POST', '/v1/rings/default/sign', body)).json as {
      token: string
      kid: string
    }
  }
  const verify = async (token: string, ring = 'default') =>
    (await call('POST', '/v1/verify', { token, with: { ring } })).json.valid
  const counted = () => samples(server, 'keyringd_verifications_total')

  const [one, two] = [await sign(), await sign()]
  assert.deepEqual([await verify(one.token), await verify(two.token)], [true, true])
  const swapped = [...one.token.split('.').slice(0, 2), two.token.split('.')[2]].join('.')
  assert.equal(await verify(swapped), false)
  assert.equal(await verify('no.token.at-all'), false)
  assert.equal(await verify(one.token, 'audit'), false, 'no key of that ring')
  const valid = `kid="${one.kid}",result="valid"`
  const invalid = `kid="${one.kid}",result="invalid"`
  const unknown = 'kid="unknown",result="invalid"'
  assert.deepEqual(await counted(), { [valid]: 2, [invalid]: 1, [unknown]: 2 })
  const signatures = () => samples(server, 'keyringd_signatures_total')
  const ofKey = `kid="${one.kid}",ring="default",alg="ES256"`
  assert.equal((await signatures())[ofKey], 2)

  assert.equal((await call('PUT', '/v1/operator/keyring/rotate')).status, 200)
  const after = await sign()
  assert.equal(await verify(after.token), true)
  assert.equal((await counted())[`kid="${after.kid}",result="valid"`], 1)
  clock.advance('2h')
  assert.equal(await verify(after.token), false)
  assert.equal((await call('DELETE', `/v1/rings/default/keys/${one.kid}`)).status, 204)
  assert.deepEqual(await counted(), {
    [unknown]: 2,
    [`kid="${after.kid}",result="valid"`]: 1,
    [`kid="${after.kid}",result="invalid"`]: 1,
  })
  assert.equal((await signatures())[ofKey], undefined)
})
