import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import { thumbprint } from '../../src/core/index.ts'
import { isProblem } from '../../src/errors.ts'
import { type IsOurs, readKeySet } from '../../src/remote-jwks/key-set.ts'
import { pairOf } from '../core/fixtures.ts'

const nobodys: IsOurs = async () => false
const read = (set: unknown, isOurs = nobodys) =>
  readKeySet(Buffer.from(typeof set === 'string' ? set : JSON.stringify(set)), isOurs)

const rsa = async (kid: string) => ({ ...(await pairOf('RS256')).publicJwk, kid })
const ec = async (kid: string) => ({ ...(await pairOf('ES256')).publicJwk, kid })
const ed = async (kid: string) => ({ ...(await pairOf('EdDSA')).publicJwk, kid })

async function refused(work: Promise<unknown>, cause: RegExp): Promise<void> {
  const error = await work.then(
    () => assert.fail('it was not refused'),
    (reason: unknown) => reason,
  )
  assert.ok(isProblem(error, 'jwks_unreachable'), String(error))
  assert.equal(error.detail, 'The JWKS endpoint failed')
  assert.match(String(error.cause), cause)
}

test('usable keys are read, all others are left out and harm nobody', async () => {
  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { keys, kids, ignored } = await read({
    keys: [
      { kty: 'oct', k: 'AAAA', kid: 'rsa' }, // shares its kid with a good key, and does not evict it
      { ...privateKey.export({ format: 'jwk' }), kid: 'private' },
      { ...weak.export({ format: 'jwk' }), kid: 'weak' },
      { ...(await rsa('encryption')), use: 'enc' },
      { ...(await rsa('encrypt')), use: undefined, key_ops: ['encrypt'] },
      { ...(await ec('off')), x: 'AAAA' },
      { ...(await ec('none')), alg: 'none' },
      { ...(await ec('hs')), alg: 'HS256' },
      { kty: 'EC', crv: 'secp256k1', x: 'AA', y: 'AA', kid: 'curve' },
      { kty: 'NEW', kid: 'new' },
      { ...(await ec('')), kid: 7 },
      ...[null, 1, 'x', [], {}],
      await rsa('rsa'),
      { ...(await ec('ec')), alg: undefined, use: undefined },
      { ...(await ed('')), kid: undefined },
    ],
  })
  assert.deepEqual(
    keys.map(({ kid, alg }) => [kid, alg]),
    [
      ['rsa', 'RS256'],
      ['ec', undefined],
      [undefined, 'EdDSA'],
    ],
  )
  assert.deepEqual([[...kids], ignored], [['rsa', 'ec'], 16])
})

test('usable keys that share a kid are both left out', async () => {
  const { keys } = await read({ keys: [await rsa('a'), await ec('a'), await ec('b')] })
  assert.deepEqual(
    keys.map(({ kid }) => kid),
    ['b'],
  )
})

test('a set without a usable key is a set', async () => {
  for (const keys of [[], [{ kty: 'oct', k: 'AAAA' }]]) {
    assert.deepEqual((await read({ keys })).keys, [])
  }
})

test('what is kept is public, and reads the same again', async () => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const pq = { ...(await pairOf('ML-DSA-44')).publicJwk, kid: 'pq' }
  const given = [
    { ...(await rsa('rsa')), x5c: ['long'], comment: 'x', x5t: 'y' },
    { ...(await ec('')), kid: undefined, alg: undefined },
    await ed('ed'),
    pq,
    privateKey.export({ format: 'jwk' }),
  ]
  const once = await read({ keys: given })
  assert.equal(once.keys.length, 4)
  const members = new Set<string>()
  for (const jwk of JSON.parse(once.text).keys)
    for (const name of Object.keys(jwk)) members.add(name)
  assert.deepEqual([...members].sort(), ['alg', 'crv', 'e', 'kid', 'kty', 'n', 'pub', 'x', 'y'])
  const twice = await read(once.text)
  assert.equal(twice.text, once.text)
  assert.deepEqual(
    twice.keys.map(({ key }) => key.export({ format: 'jwk' })),
    once.keys.map(({ key }) => key.export({ format: 'jwk' })),
  )
})

const bodies: [name: string, body: string, cause: RegExp][] = [
  ['nothing', '', /not valid/],
  ['HTML', '<html>', /not valid/],
  ['an array', '[]', /no array of keys/],
  ['no keys', '{}', /no array of keys/],
  ['keys that are no array', '{"keys":{}}', /no array of keys/],
  ['keys twice', '{"keys":[],"keys":[]}', /duplicate/],
  ['too many keys', JSON.stringify({ keys: Array(101).fill({}) }), /more than 100 keys/],
  ['too deep', `{"keys":[],"x":${'['.repeat(16)}${']'.repeat(16)}}`, /too deeply/],
  ['bad UTF-8', '{"keys":[],"x":"\uD800"}', /./],
]

for (const [name, body, cause] of bodies) {
  test(`refused as a whole: ${name}`, async () => {
    if (name !== 'bad UTF-8') return refused(read(body), cause)
    const bytes = Buffer.concat([
      Buffer.from('{"keys":[],"x":"'),
      Buffer.from([0xff]),
      Buffer.from('"}'),
    ])
    return refused(readKeySet(bytes, nobodys), /UTF-8/)
  })
}

test('no reason repeats what was read', async () => {
  await refused(read('{"keys":[]} secret-body'), /^(?!.*secret-body)/s)
})

test('a set with one of our kids or keys is refused whole, even where that key cannot be used', async () => {
  const ours = (await pairOf('ES384', 'ours')).publicJwk
  const print = thumbprint(ours)
  const isOurs: IsOurs = async (kid, its) => kid === 'ours' || its === print
  const other = await rsa('other')
  await read({ keys: [other] }, isOurs)
  for (const key of [
    ours,
    { ...ours, kid: 'renamed' },
    { ...ours, kid: undefined, alg: undefined },
    { ...ours, kid: 'renamed', use: 'enc' },
    { ...ours, kid: 'renamed', alg: 'none' },
    { ...other, kid: 'ours' },
    { kty: 'oct', k: 'AAAA', kid: 'ours' },
    { kid: 'ours' },
  ]) {
    await refused(read({ keys: [other, key] }, isOurs), /of this server/)
  }
})
