// Key documents for tests: the one of contract section 6, and keys of every type, made once.
import { generateKeyPairSync } from 'node:crypto'
import { checkDocument, type KeyDocument, type UsableKey } from '../../src/uri-signing/document.ts'

export type Jwk = Record<string, string>

export const bytesOf = (value: unknown): Uint8Array =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value))

const secret = (from: number, length: number): string =>
  Buffer.from(Array.from({ length }, (_, at) => (from + at) % 256)).toString('base64url')

export const oct = (kid: string, alg = 'HS256', length = 64, from = 0): Jwk => ({
  ...{ kty: 'oct', alg, kid, k: secret(from, length) },
})

/** Contract section 6: secrets 0x00–0x1f and 0x20–0x3f. */
export const STUDIO_A = {
  'studio-a': {
    renewal_kid: '2026-b',
    keys: [oct('2026-a', 'HS256', 32, 0), oct('2026-b', 'HS256', 32, 32)],
  },
}

function pair(alg: string, kid: string): Jwk {
  const curve = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' }[alg]
  const { privateKey } = curve
    ? generateKeyPairSync('ec', { namedCurve: curve })
    : generateKeyPairSync('rsa', { modulusLength: 2048 })
  const { kty = '', ...rest } = privateKey.export({ format: 'jwk' })
  return { kty, alg, kid, ...(rest as Jwk) }
}

const rsa = pair('RS256', 'rsa')
export const RSA_KEY = rsa
export const KEYS: Readonly<Record<string, Jwk>> = {
  ...{ HS256: oct('hs256'), HS384: oct('hs384', 'HS384'), HS512: oct('hs512', 'HS512') },
  ...Object.fromEntries(
    ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'].map((alg) => [
      alg,
      { ...rsa, alg, kid: alg.toLowerCase() },
    ]),
  ),
  ...Object.fromEntries(
    ['ES256', 'ES384', 'ES512'].map((alg) => [alg, pair(alg, alg.toLowerCase())]),
  ),
}

export const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi']

export const publicHalf = (jwk: Jwk): Jwk =>
  Object.fromEntries(Object.entries(jwk).filter(([name]) => !PRIVATE_MEMBERS.includes(name)))

export const keyOf = (alg: string): Jwk => {
  const key = KEYS[alg]
  if (!key) throw new Error(`No key for ${alg}`)
  return key
}

/** One issuer `i`, whose first key is the renewal key. */
export const documentWith = (keys: readonly unknown[], members: object = {}): object => ({
  i: { renewal_kid: (keys[0] as Jwk | undefined)?.['kid'], keys, ...members },
})

/** Accepted, or the test fails. */
export function opened(value: unknown, mode: 'strict' | 'compat' = 'strict'): KeyDocument {
  const checked = checkDocument(bytesOf(value), mode)
  if ('refusal' in checked) throw new Error(checked.refusal)
  return checked.document
}

export function usableOf(document: KeyDocument, issuer: string, kid: string): UsableKey {
  const key = document.issuers.get(issuer)?.keys.find((each) => each.kid === kid)
  const usable = key?.usable()
  if (!usable) throw new Error(`No usable key ${issuer}/${kid}`)
  return usable
}

/** The text of the refusal; undefined where the document is accepted. */
export function refusalOf(value: unknown, mode: 'strict' | 'compat'): string | undefined {
  const checked = checkDocument(bytesOf(value), mode)
  return 'refusal' in checked ? checked.refusal : undefined
}
