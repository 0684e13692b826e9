import assert from 'node:assert/strict'
import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import {
  ALGORITHMS,
  type Algorithm,
  type CheckSignature,
  importJwkSet,
  importPublicJwk,
  openBytes,
  screenCompact,
  verifySignature,
} from '../../src/core/index.ts'
import { isProblem, Problem } from '../../src/errors.ts'
import { vectorsDir } from '../needs.ts'

// Every case of the vectors goes through the code that the server runs. Nothing `invalid` may be
// accepted. A `valid` case that is refused is listed with our reason; the lists are exact, so a
// case that starts to pass fails the test.

interface Case {
  tcId: number
  comment: string
  result: 'valid' | 'invalid' | 'acceptable'
  [name: string]: unknown
}
interface Group {
  tests: Case[]
  comment?: string
  [name: string]: unknown
}

const ACCEPTED = 'accepted'

/**
 * Runs a file; `decide` says `accepted` or why not. Gives the valid cases that were refused, by
 * reason.
 */
async function run(
  t: TestContext,
  file: string,
  decide: (each: Case, group: Group) => string | Promise<string>,
): Promise<Record<string, number[]> | undefined> {
  const folder = vectorsDir(t)
  if (folder === undefined) return undefined
  const vectors = JSON.parse(readFileSync(join(folder, 'wycheproof', file), 'utf8'))
  const refused: Record<string, number[]> = {}
  let count = 0
  for (const group of vectors.testGroups as Group[]) {
    for (const each of group.tests) {
      count += 1
      const outcome = await decide(each, group)
      if (each.result === 'valid' && outcome !== ACCEPTED) {
        refused[outcome] = [...(refused[outcome] ?? []), each.tcId]
      } else if (each.result !== 'valid') {
        // The one `acceptable` case is PKCS #1 padding without its NULL: not what RFC 8017 writes,
        // so refused.
        assert.notEqual(outcome, ACCEPTED, `${file} ${each.tcId}: ${each.comment}`)
      }
    }
  }
  assert.equal(count, vectors.numberOfTests)
  return refused
}

async function reasonOf(work: () => Promise<boolean>): Promise<string> {
  try {
    return (await work()) ? ACCEPTED : 'the signature does not verify'
  } catch (error) {
    if (isProblem(error)) return error.detail
    throw error
  }
}

const OTHER_ALGORITHM = 'The key is for another algorithm'
const SYMMETRIC = 'Symmetric keys are not accepted'

/** As a crowd's signatures are checked: the parts, without jose. */
const byBytes: CheckSignature = async ({ header, signingInput, signature }, key) => {
  const { hash, options } = ALGORITHMS[header.alg]
  return verify(hash, Buffer.from(signingInput, 'ascii'), { key, ...options }, signature)
}

test('JSON Web Signatures: nothing invalid is accepted', async (t) => {
  const refused = await run(t, 'json_web_signature_test.json', (each, group) =>
    reasonOf(async () => {
      const key = importPublicJwk(group.public ?? group.private)
      const screened = screenCompact(each.jws as string)
      const verified = await verifySignature(screened, key)
      assert.equal(await verifySignature(screened, key, byBytes), verified)
      if (screened.header.alg === key.alg) return verified
      assert.equal(verified, false)
      throw new Problem('token_invalid', OTHER_ALGORITHM)
    }),
  )
  if (refused === undefined) return
  assert.deepEqual(refused, {
    // HMAC: whoever can check such a token can make one, so no symmetric key is a verification key
    // here.
    [SYMMETRIC]: [1, 348, 352, 357, 358, 359, 372, 373, 376, 377],
    // The keys say ES521, which is no algorithm; RFC 7518 calls it ES512.
    'The alg is not supported': [347, 351],
    // The keys say PS256, the tokens PS384 (as figure 20 of RFC 7520 does); a key serves the
    // algorithm it names.
    [OTHER_ALGORITHM]: [346, 350],
  })
})

test('JSON Web Keys: nothing invalid is accepted', async (t) => {
  const refused = await run(t, 'json_web_key_test.json', (each, group) =>
    reasonOf(async () => {
      const { keys, ignored } = importJwkSet(group.public ?? group.private)
      if (keys.length === 0) throw new Error(ignored.map(({ reason }) => reason).join())
      const screened = screenCompact(each.jws as string)
      for (const key of keys) {
        const verified = await verifySignature(screened, key)
        assert.equal(await verifySignature(screened, key, byBytes), verified)
        if (verified) return true
      }
      return false
    }).catch((error: Error) => error.message),
  )
  if (refused === undefined) return
  assert.deepEqual(refused, {
    [`${SYMMETRIC},${SYMMETRIC}`]: [2],
    [SYMMETRIC]: [13, 14, 15],
  })
})

/**
 * Checks bytes as a crowd's signatures are checked, for vectors that are no tokens: the same digest
 * and options.
 */
const verifyBytes = (alg: Algorithm, key: KeyObject, message: unknown, signature: unknown) => {
  const { hash, options } = ALGORITHMS[alg]
  return verify(hash, hex(message), { key, ...options }, hex(signature)) ? ACCEPTED : 'refused'
}

const hex = (text: unknown) => Buffer.from(String(text), 'hex')

/** Checks the same bytes with jose's primitive, so that both ways are known to agree. */
async function verifyByWebCrypto(
  key: KeyObject,
  algorithm: Parameters<KeyObject['toCryptoKey']>[0] & object,
  message: unknown,
  signature: unknown,
): Promise<string> {
  const cryptoKey = key.toCryptoKey(algorithm, true, ['verify'])
  const ok = await crypto.subtle.verify(algorithm, cryptoKey, hex(signature), hex(message))
  return ok ? ACCEPTED : 'refused'
}

for (const [file, alg, algorithm] of [
  ['ed25519_test.json', 'Ed25519', { name: 'Ed25519' }],
  [
    'ecdsa_secp256r1_sha256_p1363_test.json',
    'ES256',
    { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  ],
  ['rsa_signature_2048_sha256_test.json', 'RS256', { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }],
] as const) {
  test(`${alg} signatures: every valid one and no other`, async (t) => {
    const refused = await run(t, file, async ({ msg, sig }, group) => {
      const key = createPublicKey(group.publicKeyPem as string)
      const outcome = verifyBytes(alg, key, msg, sig)
      assert.equal(outcome, await verifyByWebCrypto(key, algorithm, msg, sig))
      return outcome
    })
    if (refused) assert.deepEqual(refused, {})
  })
}

test('ML-DSA-65 signatures: every valid one and no other', async (t) => {
  const refused = await run(t, 'mldsa_65_verify_test.json', ({ msg, sig, ctx }, { publicKey }) => {
    if (ctx) return 'RFC 9964 leaves the context empty'
    try {
      const pub = hex(publicKey).toString('base64url')
      const { key } = importPublicJwk({ kty: 'AKP', alg: 'ML-DSA-65', pub })
      return verifyBytes('ML-DSA-65', key, msg, sig)
    } catch (error) {
      assert.ok(isProblem(error, 'key_rejected'))
      return error.detail
    }
  })
  if (refused) assert.deepEqual(refused, { 'RFC 9964 leaves the context empty': [3, 4] })
})

test('AES-256-GCM as sealing uses it: every valid box opens, and no other', async (t) => {
  const refused = await run(t, 'aes_gcm_test.json', ({ key, iv, aad, ct, tag, msg }, group) => {
    if (group.keySize !== 256) return 'not a 256-bit key'
    if (group.ivSize !== 96) return 'not a 96-bit nonce'
    const sealed = Buffer.concat([Buffer.of(1), hex(iv), hex(ct), hex(tag)])
    try {
      assert.deepEqual(Buffer.from(openBytes(hex(key), sealed, hex(aad))), hex(msg))
      return ACCEPTED
    } catch (error) {
      assert.ok(isProblem(error, 'seal_broken'), String(error))
      return error.detail
    }
  })
  if (!refused) return
  const counts = Object.entries(refused).map(([reason, cases]) => [reason, cases.length])
  assert.deepEqual(Object.fromEntries(counts), {
    'not a 256-bit key': 153,
    'not a 96-bit nonce': 37,
  })
})
