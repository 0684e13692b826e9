import assert from 'node:assert/strict'
import { createPublicKey, verify } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import fc from 'fast-check'
import {
  ALGORITHM_NAMES,
  ALGORITHMS,
  type Algorithm,
  generateKeyMaterial,
  importPrivateKey,
  screenCompact,
  signCompact,
  verifyWithJose,
} from '../../src/core/index.ts'
import { isProblem } from '../../src/errors.ts'
import { createSigner } from '../../src/keyring/signer.ts'

const INPUTS = Array.from({ length: 200 }, (_, at) => `header.payload-${at}`)

async function pairOf(alg: Algorithm) {
  const privateKey = importPrivateKey((await generateKeyMaterial(alg)).privateDer)
  const { hash, options } = ALGORITHMS[alg]
  const key = { key: createPublicKey(privateKey), ...options }
  const isGood = (input: string, signature: string) =>
    verify(hash, Buffer.from(input), key, Buffer.from(signature, 'base64url'))
  return { key: { kid: alg, alg, key: privateKey }, isGood }
}

function signerOf(t: TestContext) {
  const errors: unknown[] = []
  const signer = createSigner((error) => errors.push(error))
  t.after(() => signer.close())
  return { signer, errors }
}

test('every signature belongs to its input and its key, alone and in a crowd, before and after the thread is there', async (t) => {
  const { signer, errors } = signerOf(t)
  const pairs = await Promise.all((['ES256', 'EdDSA', 'RS256', 'ES384'] as const).map(pairOf))
  for (let round = 0; round < 5; round++) {
    await Promise.all(
      INPUTS.map(async (input, at) => {
        const pair = pairs[at % 8 === 0 ? at % pairs.length : at % 2]
        assert.ok(pair?.isGood(input, await signer.sign(pair.key, input)))
      }),
    )
    for (const { key, isGood } of pairs) assert.ok(isGood('alone', await signer.sign(key, 'alone')))
  }
  assert.deepEqual(errors, [])
})

/** Asks until the thread signs: its answers come by the batch. */
async function crowd(
  signer: ReturnType<typeof createSigner>,
  key: Parameters<typeof signer.sign>[0],
) {
  for (let round = 0; round < 20; round++) {
    await Promise.all(INPUTS.map((input) => signer.sign(key, input)))
  }
}

test('one key that cannot sign spoils no other signature of its batch', async (t) => {
  const { signer, errors } = signerOf(t)
  const { key, isGood } = await pairOf('EdDSA')
  await crowd(signer, key)
  const wrong = { ...key, kid: 'wrong', alg: 'ES256' as const }
  const outcomes = await Promise.allSettled(
    INPUTS.map((input, at) => signer.sign(at % 10 === 0 ? wrong : key, input)),
  )
  for (const [at, outcome] of outcomes.entries()) {
    if (at % 10 === 0) assert.equal(outcome.status, 'rejected')
    else assert.ok(outcome.status === 'fulfilled' && isGood(INPUTS[at] ?? '', outcome.value))
  }
  assert.deepEqual(errors, [])
})

test('whoever waits for a signer that closes is refused, and it can be closed twice', async () => {
  const signer = createSigner(assert.ifError)
  const { key } = await pairOf('EdDSA')
  await crowd(signer, key)
  const waiting = Promise.allSettled(INPUTS.map((input) => signer.sign(key, input)))
  await signer.close()
  await signer.close()
  const refused = (await waiting).filter(({ status }) => status === 'rejected')
  assert.equal(refused.length, INPUTS.length)
})

test('the thread accepts what jose accepts, of every algorithm, and nothing else', async (t) => {
  const { signer, errors } = signerOf(t)
  await crowd(signer, (await pairOf('EdDSA')).key)
  const quick = ALGORITHM_NAMES.filter((alg) => ALGORITHMS[alg].verifiesQuickly)
  assert.ok(quick.includes('RS256') && quick.includes('PS512') && quick.includes('Ed25519'))
  const pairs = await Promise.all(quick.map(pairOf))
  const tokens = await Promise.all(pairs.map(({ key }) => signCompact(key, {}, { sub: 'a' })))
  const place = fc.nat({ max: quick.length - 1 })
  await fc.assert(
    fc.asyncProperty(place, place, fc.nat(), fc.nat({ max: 255 }), async (of, by, at, flip) => {
      const screened = screenCompact(tokens[of] ?? '')
      const signature = Uint8Array.from(screened.signature)
      signature[at % signature.length] = (signature[at % signature.length] ?? 0) ^ flip
      // jose reads the token, the thread its parts.
      const [header, payload] = screened.token.split('.')
      const encoded = Buffer.from(signature).toString('base64url')
      const changed = { ...screened, signature, token: `${header}.${payload}.${encoded}` }
      const key = createPublicKey(pairs[by]?.key.key ?? assert.fail())
      const [ours, theirs] = await Promise.all([
        signer.verify(changed, key),
        verifyWithJose(changed, key),
      ])
      assert.equal(ours, theirs)
      if (of === by) assert.equal(ours, flip === 0)
    }),
    { numRuns: 300 },
  )
  for (const length of [0, 1, 63, 65, 256, 600]) {
    const [header, payload] = (tokens[0] ?? '').split('.')
    const encoded = Buffer.alloc(length).toString('base64url')
    const changed = { ...screenCompact(tokens[0] ?? ''), token: `${header}.${payload}.${encoded}` }
    assert.equal(await signer.verify(changed, createPublicKey(pairs[0]?.key.key ?? '')), false)
  }
  assert.deepEqual(errors, [])
})

test('more than can be done in a while is refused, and harms nobody else', async (t) => {
  const { signer, errors } = signerOf(t)
  const { key, isGood } = await pairOf('EdDSA')
  await crowd(signer, key)
  const all = await Promise.allSettled(
    Array.from({ length: 150_000 }, (_, at) => signer.sign(key, `input-${at}`)),
  )
  const refused = all.filter(({ status }) => status === 'rejected')
  assert.equal(refused.length, 130_000)
  for (const one of refused.slice(0, 3)) {
    assert.ok(one.status === 'rejected' && isProblem(one.reason, 'overloaded'))
  }
  const last = all[19_999]
  assert.ok(last?.status === 'fulfilled' && isGood('input-19999', last.value))
  assert.ok(isGood('after', await signer.sign(key, 'after')))
  assert.deepEqual(errors, [])
})
