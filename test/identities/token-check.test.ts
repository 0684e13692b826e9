import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import { signCompact, verifyToken } from '../../src/core/index.ts'
import { isProblem } from '../../src/errors.ts'
import { createTokenCheck } from '../../src/identities/token-check.ts'

// What is remembered of a token that verified once, and for how long (identity contract, section 8).

const AUDIENCE = 'https://id.example/rings/access'
const CLAIMS = {
  ...{ jti: 'j', identityId: 'i', configurationId: 'c', authTokenType: 'identityAccessToken' },
  ...{ accessTokenTTL: 60, accessTokenMaxTTL: 0, creationEpoch: 0, iat: 0, exp: 60, aud: AUDIENCE },
}

function world() {
  const make = () => generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const first = make()
  const keys = new Map([['k', first.publicKey]])
  const state = { now: 0, audience: AUDIENCE, verified: 0 }
  const { read } = createTokenCheck({
    async verify(token, whose) {
      state.verified++
      return verifyToken(token, {
        keys: (kid) => [...keys].filter(([id]) => id === kid).map(([kid, key]) => ({ kid, key })),
        ...{ now: state.now, skew: 0, requireExp: true, typ: 'at+jwt' },
        audience: whose === 'ours' ? state.audience : undefined,
      })
    },
    keyOf: (kid) => keys.get(kid),
    audience: () => state.audience,
    now: () => state.now,
  })
  const sign = (claims: object = {}) =>
    signCompact(
      { kid: 'k', alg: 'ES256', key: first.privateKey },
      { typ: 'at+jwt' },
      { ...CLAIMS, ...claims },
    )
  const outcome = (token: string, whose?: 'any') =>
    read(token, whose).then(
      () => 'ok',
      (error: unknown) => (isProblem(error) ? error.code : Promise.reject(error)),
    )
  return { state, keys, make, first, read, sign, outcome }
}

test('one signature is checked once, and a changed token is another one', async () => {
  const { state, sign, outcome } = world()
  const token = await sign()
  for (let round = 0; round < 5; round++) assert.equal(await outcome(token), 'ok')
  assert.equal(state.verified, 1)
  const [head, payload = '', mac] = token.split('.')
  const changed = Buffer.from(payload, 'base64url').toString().replace('"i"', '"x"')
  assert.equal(
    await outcome(`${head}.${Buffer.from(changed).toString('base64url')}.${mac}`),
    'access_token_invalid',
  )
  assert.equal(await outcome(`${token}=`), 'access_token_invalid')
  assert.equal(await outcome(token.toUpperCase()), 'access_token_invalid')
})

test('what is remembered ends with exp, with the key, and with the audience', async () => {
  type World = ReturnType<typeof world>
  const ends: ((one: World) => unknown)[] = [
    ({ state }) => Object.assign(state, { now: 60 }),
    ({ keys }) => keys.delete('k'),
    ({ keys, make }) => keys.set('k', make().publicKey),
    ({ state }) => Object.assign(state, { audience: 'urn:another' }),
  ]
  for (const end of ends) {
    const one = world()
    const token = await one.sign()
    const { holds } = await one.read(token)
    assert.equal(holds(), true)
    end(one)
    assert.equal(holds(), false)
    assert.notEqual(await one.outcome(token), 'ok')
  }
})

test('a key that is withdrawn while a signature is checked has verified nothing', async () => {
  const { keys, sign, outcome } = world()
  const answer = outcome(await sign())
  keys.delete('k')
  assert.equal(await answer, 'access_token_invalid')
})

test('for any audience nothing is remembered that could count here', async () => {
  const { sign, outcome } = world()
  const exchanged = await sign({ aud: 'https://other.example', authTokenType: undefined })
  assert.equal(await outcome(exchanged, 'any'), 'ok')
  assert.equal(await outcome(exchanged), 'access_token_foreign')
  const untyped = await sign({ authTokenType: undefined })
  assert.equal(await outcome(untyped, 'any'), 'ok')
  assert.equal(await outcome(untyped), 'access_token_foreign')
})
