import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { importPublicJwk, screenCompact, verifySignature } from '../../src/core/index.ts'
import { isProblem } from '../../src/errors.ts'
import { vectorsDir } from '../needs.ts'

// The JWS and JWK examples of RFC 7520 and of the curve 25519 cookbook. What we refuse is listed
// with the reason.

interface Example {
  input: { payload: string; key: object | object[] }
  signing?: { protected?: { alg?: string } }
  output: { compact?: string; json?: unknown }
}

const read = (...path: string[]) => JSON.parse(readFileSync(join(...path), 'utf8'))

const publicHalf = (jwk: object): object =>
  Object.fromEntries(
    Object.entries(jwk).filter(([name]) => !['d', 'p', 'q', 'dp', 'dq', 'qi'].includes(name)),
  )

async function outcomeOf({ input, output }: Example): Promise<string> {
  if (output.compact === undefined) return 'only as JSON serialization'
  try {
    const screened = screenCompact(output.compact)
    const key = importPublicJwk(publicHalf(input.key))
    const verified = await verifySignature(screened, key)
    assert.equal(Buffer.from(screened.payload).toString('utf8'), input.payload)
    return verified ? 'accepted' : 'the signature does not verify'
  } catch (error) {
    assert.ok(isProblem(error), String(error))
    return error.detail
  }
}

test('the JWS examples verify, or are refused for a stated reason', async (t) => {
  const folder = vectorsDir(t)
  if (folder === undefined) return
  const jws = join(folder, 'rfc7520', 'jws')
  const files = readdirSync(jws).map((file) => join(jws, file))
  const outcomes: Record<string, string> = {}
  for (const file of [...files.sort(), join(folder, 'rfc7520', 'curve25519', 'jws.json')]) {
    outcomes[basename(file)] = await outcomeOf(read(file))
  }
  assert.deepEqual(outcomes, {
    '4_1.rsa_v15_signature.json': 'accepted',
    '4_2.rsa-pss_signature.json': 'accepted',
    '4_3.ecdsa_signature.json': 'accepted',
    // HMAC is no way to publish a key.
    '4_4.hmac-sha2_integrity_protection.json': 'The alg is not supported',
    // Detached content, unprotected headers and several signatures have no attached compact form,
    // the only one we read.
    '4_5.signature_with_detached_content.json': 'The alg is not supported',
    '4_6.protecting_specific_header_fields.json': 'only as JSON serialization',
    '4_7.protecting_content_only.json': 'only as JSON serialization',
    '4_8.multiple_signatures.json': 'only as JSON serialization',
    'jws.json': 'accepted',
  })
})

test('the JWK examples import, or are refused for a stated reason', (t) => {
  const folder = vectorsDir(t)
  if (folder === undefined) return
  const jwk = join(folder, 'rfc7520', 'jwk')
  const outcomes: Record<string, string> = {}
  for (const file of readdirSync(jwk).sort()) {
    try {
      assert.equal(importPublicJwk(read(jwk, file)).kid, 'bilbo.baggins@hobbiton.example')
      outcomes[file] = 'accepted'
    } catch (error) {
      assert.ok(isProblem(error), String(error))
      outcomes[file] = error.detail
    }
  }
  assert.deepEqual(outcomes, {
    '3_1.ec_public_key.json': 'accepted',
    '3_2.ec_private_key.json': 'The key has private members',
    '3_3.rsa_public_key.json': 'accepted',
    '3_4.rsa_private_key.json': 'The key has private members',
    '3_5.symmetric_key_mac_computation.json': 'Symmetric keys are not accepted',
    '3_6.symmetric_key_encryption.json': 'Symmetric keys are not accepted',
  })
})
