import { randomBytes } from 'node:crypto'
import { generateKeyMaterial, importPrivateKey } from '../core/index.ts'
import { HMAC, isHmac, type UriAlgorithm } from './algorithms.ts'
import type { NewKey } from './edit.ts'
import { createTurns } from './turns.ts'

/** RSA pairs take a thread up to seconds. */
const inTurn = createTurns(1)

/** A new JWK with its secret, as a key document has it; pairs are made off the event loop, by turns of tenants. */
export async function generateKey(
  alg: UriAlgorithm,
  kid: string,
  tenantId: string,
): Promise<NewKey> {
  if (isHmac(alg)) {
    return { kty: 'oct', alg, kid, k: randomBytes(HMAC[alg].bytes).toString('base64url') }
  }
  const { privateDer } = await inTurn(tenantId, () => generateKeyMaterial(alg))
  const { kty = '', ...material } = importPrivateKey(privateDer).export({ format: 'jwk' })
  return { kty, alg, kid, ...(material as Record<string, string>) }
}

/** A kid that no other key has: 64 random bits of an id. Short, because every URI carries it. */
export const newKid = (id: string): string => id.replaceAll('-', '').slice(0, 16)
