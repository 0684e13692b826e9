import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { isProblem } from '../../src/errors.ts'
import { createAeadProvider } from '../../src/kek/aead.ts'

const wrong = (error: unknown) => isProblem(error, 'kek_wrong')
const context = { installation: 'installation-1', rootKid: 'root-1' }
const key = fc.uint8Array({ minLength: 32, maxLength: 32 })
const name = fc.string({ maxLength: 40 })

test('a data key comes back from its wrap, in its own context', async () => {
  await fc.assert(
    fc.asyncProperty(key, key, name, name, async (kek, dataKey, installation, rootKid) => {
      const provider = createAeadProvider(kek)
      const wrapped = await provider.wrap(dataKey, { installation, rootKid })
      const opened = await createAeadProvider(kek).unwrap(wrapped, { installation, rootKid })
      assert.deepEqual(Buffer.from(opened), Buffer.from(dataKey))
    }),
  )
})

test('a wrap with any bit flipped does not open', async () => {
  const provider = createAeadProvider(randomBytes(32))
  const wrapped = await provider.wrap(randomBytes(32), context)
  for (let bit = 0; bit < wrapped.length * 8; bit += 1) {
    const damaged = Buffer.from(wrapped)
    damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    await assert.rejects(provider.unwrap(damaged, context), wrong)
  }
})

test('a wrap that lost or gained bytes does not open', async () => {
  const provider = createAeadProvider(randomBytes(32))
  const wrapped = await provider.wrap(randomBytes(32), context)
  for (let length = 0; length < wrapped.length; length += 1) {
    await assert.rejects(provider.unwrap(wrapped.subarray(0, length), context), wrong)
  }
  await assert.rejects(provider.unwrap(Buffer.concat([wrapped, Buffer.of(0)]), context), wrong)
})

test('a wrap opens in no other context, however the same letters are divided', async () => {
  const provider = createAeadProvider(randomBytes(32))
  const pair = fc.record({ installation: name, rootKid: name })
  await fc.assert(
    fc.asyncProperty(pair, pair, async (made, asked) => {
      fc.pre(made.installation !== asked.installation || made.rootKid !== asked.rootKid)
      const wrapped = await provider.wrap(randomBytes(32), made)
      await assert.rejects(provider.unwrap(wrapped, asked), wrong)
    }),
  )
  const wrapped = await provider.wrap(randomBytes(32), { installation: 'ab', rootKid: 'c' })
  await assert.rejects(provider.unwrap(wrapped, { installation: 'a', rootKid: 'bc' }), wrong)
})

test('two wraps that changed places do not open', async () => {
  const provider = createAeadProvider(randomBytes(32))
  const other = { ...context, rootKid: 'root-2' }
  const first = await provider.wrap(randomBytes(32), context)
  const second = await provider.wrap(randomBytes(32), other)
  await assert.rejects(provider.unwrap(second, context), wrong)
  await assert.rejects(provider.unwrap(first, other), wrong)
})

test('another KEK does not open a wrap, and the error names the root key', async () => {
  const wrapped = await createAeadProvider(randomBytes(32)).wrap(randomBytes(32), context)
  const stranger = createAeadProvider(randomBytes(32))
  await assert.rejects(stranger.unwrap(wrapped, context), (error: unknown) => {
    assert.ok(isProblem(error, 'kek_wrong'))
    assert.match(error.detail, /root key root-1/)
    return true
  })
})

test('the same data key never gives the same wrap twice', async () => {
  const provider = createAeadProvider(randomBytes(32))
  const dataKey = randomBytes(32)
  const wraps = new Set<string>()
  for (let round = 0; round < 100; round += 1) {
    wraps.add(Buffer.from(await provider.wrap(dataKey, context)).toString('hex'))
  }
  assert.equal(wraps.size, 100)
})

test('the id of a KEK is stable, its own, and no prefix of the KEK or its hash', () => {
  const kek = randomBytes(32)
  const { id, kekId } = createAeadProvider(kek)
  assert.equal(id, 'aead')
  assert.match(kekId, /^[0-9a-f]{16}$/)
  assert.equal(createAeadProvider(Buffer.from(kek)).kekId, kekId)
  assert.notEqual(createAeadProvider(randomBytes(32)).kekId, kekId)
  assert.ok(!kek.toString('hex').includes(kekId))
  assert.ok(!createHash('sha256').update(kek).digest('hex').startsWith(kekId))
})

test('a wrap written by version 1 still opens', async () => {
  const provider = createAeadProvider(Buffer.alloc(32, 7))
  assert.equal(provider.kekId, '78d5340e3088ca39')
  const opened = await provider.unwrap(
    Buffer.from(
      '019e3b0a64d5dc151426e528a0e4d00029e884c65b866ccaa927ec6617ebff13b667d370c1fab2edd8044e79bdbc3bccfc8e61d9f6fd0d09a942b4807e',
      'hex',
    ),
    context,
  )
  assert.deepEqual(Buffer.from(opened), Buffer.alloc(32, 1))
})

test('a KEK of any other length is refused', () => {
  for (const length of [0, 16, 31, 33, 64]) {
    assert.throws(() => createAeadProvider(new Uint8Array(length)), wrong)
  }
})
