import assert from 'node:assert/strict'
import { argon2Sync } from 'node:crypto'
import { test } from 'node:test'
import { createPasswords, isPassword, MAX_PASSWORD } from '../../src/access/passwords.ts'
import { createWorkQueue } from '../../src/access/work-queue.ts'

const QUEUE = { atOnce: 2, waiting: 64, perCaller: 64 }
const passwords = createPasswords(createWorkQueue(QUEUE))
const PASSWORD = 'correct horse battery'

test('a password is kept as a PHC string of argon2id with a salt of its own (RFC 9106, OWASP)', async () => {
  const [one, two] = [await passwords.hash(PASSWORD, 'a'), await passwords.hash(PASSWORD, 'a')]
  assert.match(one, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$[\w+/]{22}\$[\w+/]{43}$/)
  assert.notEqual(one, two)
  const [salt = '', tag = ''] = one.split('$').slice(4)
  const made = argon2Sync('argon2id', {
    ...{ message: PASSWORD, nonce: Buffer.from(salt, 'base64'), tagLength: 32 },
    ...{ memory: 19_456, passes: 2, parallelism: 1 },
  })
  assert.equal(made.toString('base64').replace(/=+$/, ''), tag)
})

test('only the password that was hashed is right, by table', async () => {
  const hashed = await passwords.hash('pässword ☃ 1234', 'a')
  const table: [password: string, isRight: boolean][] = [
    ['pässword ☃ 1234', true],
    // As another keyboard composes it (RFC 8265 section 4.2.2).
    ['pa\u0308ssword ☃ 1234', true],
    ['pässword ☃ 1234 ', false],
    ['PÄSSWORD ☃ 1234', false],
    ['pässword ☃ 123', false],
    ['', false],
    ['\ud800', false],
    ['x'.repeat(MAX_PASSWORD + 1), false],
  ]
  for (const [password, isRight] of table) {
    assert.equal(await passwords.verify(password, hashed, 'a'), isRight, password.slice(0, 20))
  }
})

test('a hash of other parameters is checked with its own', async () => {
  const salt = Buffer.alloc(16, 7)
  const tag = argon2Sync('argon2id', {
    ...{ message: PASSWORD, nonce: salt, tagLength: 24, memory: 64, passes: 3, parallelism: 2 },
  })
  const unpadded = (bytes: Buffer) => bytes.toString('base64').replace(/=+$/, '')
  const phc = `$argon2id$v=19$m=64,t=3,p=2$${unpadded(salt)}$${unpadded(tag)}`
  assert.equal(await passwords.verify(PASSWORD, phc, 'a'), true)
  assert.equal(await passwords.verify(`${PASSWORD}.`, phc, 'a'), false)
})

test('what is no hash of ours opens nothing and costs no more than one', async () => {
  const good = await passwords.hash(PASSWORD, 'a')
  const table = [
    undefined,
    '',
    PASSWORD,
    good.replace('argon2id', 'argon2i'),
    good.replace('v=19', 'v=16'),
    good.replace('m=19456', 'm=9999999'),
    good.replace('m=19456', 'm=0'),
    good.replace('t=2', 't=99'),
    good.replace('p=1', 'p=0'),
    good.replace(/\$[^$]*$/, '$'),
    `${good}\n`,
  ]
  for (const hashed of table) {
    assert.equal(await passwords.verify(PASSWORD, hashed, 'a'), false, hashed ?? 'none')
  }
})

test('an account without a password takes as long as one with another password', async () => {
  const hashed = await passwords.hash(PASSWORD, 'a')
  const cost = async (against: string | undefined) => {
    const before = process.cpuUsage()
    for (let n = 0; n < 5; n++) await passwords.verify('something else', against, 'a')
    const { user, system } = process.cpuUsage(before)
    return user + system
  }
  await cost(hashed)
  const [known, unknown] = [await cost(hashed), await cost(undefined)]
  // Skipping the hash would be hundreds of times less; the rest is the noise of a busy machine.
  assert.ok(unknown > known / 3, `${unknown} µs against ${known} µs`)
})

test('text that no keyboard makes, and what is too long, is no password', () => {
  assert.equal(isPassword('x'.repeat(MAX_PASSWORD)), true)
  assert.equal(isPassword('x'.repeat(MAX_PASSWORD + 1)), false)
  assert.equal(isPassword('🔑'.repeat(MAX_PASSWORD)), true, 'characters are code points')
  assert.equal(isPassword('🔑'.repeat(MAX_PASSWORD + 1)), false)
  assert.equal(isPassword(''), false)
  assert.equal(isPassword('\udc00 alone'), false)
})
