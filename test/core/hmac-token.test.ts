import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { test } from 'node:test'
import { SignJWT } from 'jose'
import { type HmacOptions, isHmacAlgorithm, verifyHmacToken } from '../../src/core/index.ts'

// RFC 7518 section 3.2: tokens under shared secrets, where a configuration holds the secret.

const NOW = 1_800_000_000
const SECRET = Buffer.from('a shared secret of more than 32 bytes')
const OTHER = Buffer.from('another shared secret of 32 bytes or so')

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')

/** A token as it is written, whatever it says. */
function tokenOf(header: object, payload: string, hash = 'sha256', secret = SECRET): string {
  const input = `${encode(header)}.${payload}`
  return `${input}.${createHmac(hash, secret).update(input).digest('base64url')}`
}

const good = encode({ sub: 's', exp: NOW + 60 })

const verify = (token: string, over: Partial<HmacOptions> = {}) => {
  const options = { algorithms: ['HS256', 'HS384', 'HS512'], secrets: () => [SECRET], ...over }
  const { valid, checks, kid, claims } = verifyHmacToken(token, {
    ...{ now: NOW, skew: 0, requireExp: true },
    ...(options as Pick<HmacOptions, 'algorithms' | 'secrets'>),
  })
  const names = checks.map(({ name, ok }) => `${ok ? '' : '!'}${name}`)
  return { valid, names: names.join(' '), kid, claims }
}

const SIGNED = 'format key algorithm signature !claims'
const PASSED = 'format key algorithm signature claims exp nbf iss aud'

test('each of the three algorithms, as jose signs it, with a kid and without', async () => {
  for (const alg of ['HS256', 'HS384', 'HS512']) {
    for (const kid of [undefined, 'k']) {
      const header = kid === undefined ? { alg } : { alg, kid }
      const token = await new SignJWT({ sub: 's', exp: NOW + 60 })
        .setProtectedHeader(header)
        .sign(SECRET)
      const verdict = verify(token)
      assert.deepEqual([verdict.valid, verdict.names, verdict.kid], [true, PASSED, kid])
      assert.equal(verdict.claims?.['sub'], 's')
    }
  }
})

test('the algorithm, the key, the signature and the claims each have their check', () => {
  const hs256 = { alg: 'HS256' }
  const table: [what: string, token: string, over: Partial<HmacOptions>, names: string][] = [
    ['no token', 'x', {}, '!format'],
    ['an algorithm of key pairs', tokenOf({ alg: 'RS256' }, good), {}, 'format !algorithm'],
    ['none', tokenOf({ alg: 'none' }, good), {}, 'format !algorithm'],
    ['a member of every object', tokenOf({ alg: 'toString' }, good), {}, 'format !algorithm'],
    ['another of the three', tokenOf(hs256, good), { algorithms: ['HS512'] }, 'format !algorithm'],
    ['no secret', tokenOf(hs256, good), { secrets: () => [] }, 'format !key'],
    [
      'another secret',
      tokenOf(hs256, good),
      { secrets: () => [OTHER] },
      'format key algorithm !signature',
    ],
    ['the second secret', tokenOf(hs256, good), { secrets: () => [OTHER, SECRET] }, PASSED],
    [
      'a signature of another length',
      tokenOf(hs256, good, 'sha512'),
      {},
      'format key algorithm !signature',
    ],
    ['claims that are none', tokenOf(hs256, encode([])), {}, SIGNED],
    [
      'claims that repeat',
      tokenOf(hs256, Buffer.from('{"a":1,"a":2}').toString('base64url')),
      {},
      SIGNED,
    ],
    ['expired', tokenOf(hs256, encode({ exp: NOW })), {}, PASSED.replace('exp', '!exp')],
    ['without exp', tokenOf(hs256, encode({})), {}, PASSED.replace('exp', '!exp')],
  ]
  for (const [what, token, over, names] of table) {
    const verdict = verify(token, over)
    assert.deepEqual([verdict.names, verdict.valid], [names, names === PASSED], what)
  }
})

test('who is asked for the secret is told kid and algorithm, and what he throws is his', () => {
  const asked: unknown[] = []
  const secrets = (...all: unknown[]) => {
    asked.push(all)
    return [SECRET]
  }
  verify(tokenOf({ alg: 'HS384', kid: 'k' }, good, 'sha384'), { secrets })
  verify(tokenOf({ alg: 'HS256' }, good), { secrets })
  assert.deepEqual(asked, [
    ['k', 'HS384'],
    [undefined, 'HS256'],
  ])
  const broken = () => {
    throw new Error('the store is gone')
  }
  assert.throws(() => verify(tokenOf({ alg: 'HS256' }, good), { secrets: broken }), /store is gone/)
  assert.deepEqual(
    ['HS256', 'HS257', 'constructor'].map((alg) => isHmacAlgorithm(alg)),
    [true, false, false],
  )
})
