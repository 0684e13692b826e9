import type { JWK } from 'jose'
import { keyPair, publicHalf, secret } from './cdn-token.ts'

// Key documents that are no good for a cache: the rows of contract section 6.2, and what a real cache was found to trip
// over beside them.

export interface BadDocument {
  /** What is wrong with it. */
  what: string
  document: string
  /** How what the alert says after `invalid keyset: ` begins; undefined: the contract has no words for it. */
  reason?: string
  /** Whether a cache loads it all the same. */
  loads: boolean
  /** Whether it is `malformed JSON` even where we are as lenient as Traffic Ops. */
  malformed: boolean
}

const row = (loads: boolean, malformed: boolean) => {
  return (what: string, document: string, reason?: string): BadDocument => {
    return { what, document, loads, malformed, ...(reason !== undefined && { reason }) }
  }
}
const fails = row(false, false)
const loads = row(true, false)
const malformed = row(false, true)

const oct = (kid: string, more: object = {}) => ({ ...secret(kid).jwk, ...more })

/** A document with a good renewal key, and more members and keys. */
const studio = (more: object, ...keys: object[]) =>
  JSON.stringify({ studio: { renewal_kid: 'k', ...more, keys: [oct('k'), ...keys] } })

/** One with its renewal key alone. */
const renewedBy = (key: object) => JSON.stringify({ studio: { renewal_kid: 'k', keys: [key] } })

/** A good one with a member that stands there as it is written here. */
const withText = (member: string) => studio({}).replace('"keys"', () => `${member},"keys"`)

/** The rows of the contract's table, in its order. */
export async function badDocuments(): Promise<BadDocument[]> {
  const ed25519 = (await keyPair('bad', 'EdDSA')).jwk
  const p256 = publicHalf((await keyPair('k', 'ES256')).jwk)
  const secp256k1: JWK = {
    ...{ kty: 'EC', crv: 'secp256k1', alg: 'ES256K', kid: 'bad' },
    x: 'eb5mfvncu6xVoGKVzocLBwKb_NstzijZWfKBWxb4F5g',
    y: 'SDradyajxGVdpPv8DhEIqP0XtEimhVQZnEfQj_sQ1Lg',
  }
  const padded = `${secret('bad').jwk.k}==`
  const directives = (value: unknown) => studio({ auth_directives: value })
  const another = oct('bad', { alg: 'XS1' })
  const unknown = 'key type not supported by caches: bad'
  const encoding = 'k must be unpadded base64url: bad'
  const misfit = 'alg does not fit key: bad'
  const silent = 'renewal key cannot sign: k'
  const unclear = 'auth_directives: '
  return [
    fails('an Ed25519 key', studio({}, ed25519), unknown),
    fails('a secp256k1 key', studio({}, secp256k1), unknown),
    fails('the renewal key twice', studio({}, oct('k')), 'duplicate kid: k'),
    loads('another key twice', studio({}, oct('bad'), oct('bad')), 'duplicate kid: bad'),
    fails('an empty k', studio({}, oct('bad', { k: '' })), encoding),
    fails('k in standard base64', studio({}, oct('bad', { k: '+/'.repeat(32) })), encoding),
    loads('k with padding', studio({}, oct('bad', { k: padded })), encoding),
    fails('a bare JWK', renewedBy({}).replace('"keys":[{}]', bare()), 'keys must be an array'),
    loads('a public renewal key', renewedBy(p256), silent),
    loads('a renewal key of no algorithm', renewedBy({ ...another, kid: 'k' }), silent),
    loads('a short k', studio({}, secret('bad', 'HS256', 31).jwk), 'k too short for HS256: bad'),
    loads('a shorter k', studio({}, secret('bad', 'HS512', 63).jwk), 'k too short for HS512: bad'),
    loads('an unknown alg', studio({}, another), misfit),
    loads('the alg of another type', studio({}, oct('bad', { alg: 'RS256' })), misfit),
    loads('directives that are text', directives('allow'), unclear),
    loads('a directive of no auth', directives([{ auth: 'maybe', uri: 'regex:x' }]), unclear),
    loads('a directive of no regex', directives([{ auth: 'allow', uri: 'regex:(' }]), unclear),
    loads('strip_token as text', studio({ strip_token: 'yes' }), 'strip_token must be boolean'),
    loads('id as a number', studio({ id: 7 }), 'id must be a string'),
  ]
}

/** The members of a JWK, to stand where `keys` should. */
const bare = () => JSON.stringify(oct('k')).slice(1, -1)

/** What no cache loads, or lets everybody in, and the contract does not say. */
export async function worseDocuments(): Promise<BadDocument[]> {
  const point = publicHalf((await keyPair('bad', 'ES256')).jwk)
  const rsa = publicHalf((await keyPair('bad', 'RS256')).jwk)
  const ones = (length: number) => Buffer.alloc(length, 1).toString('base64url')
  const standard = Buffer.from(rsa.n ?? '', 'base64url').toString('base64')
  const directive = (value: unknown) => studio({ auth_directives: [value] })
  const three = {
    ...{ one: { renewal_kid: 'k', keys: [oct('k')] } },
    ...{ two: { keys: [oct('bad', { k: '' })] }, three: { keys: [oct('k')] } },
  }
  return [
    // Of these two a cache dies.
    fails('a directive that is no object', directive(7)),
    fails('a directive without a uri', directive({ auth: 'allow' })),
    loads('a directive for every URI', directive({ auth: 'allow', uri: '' })),
    loads('a directive whose uri is a number', directive({ auth: 'allow', uri: 7 })),
    fails('an integer beyond 64 bits', withText('"x":9223372036854775808')),
    malformed('a number beyond a double', withText('"x":1e400')),
    fails('a NUL in a text', withText('"x":"\\u0000"')),
    fails('a NUL in a name', withText('"\\u0000":1')),
    fails('half of a surrogate pair', withText('"x":"\\ud800"')),
    malformed('2,100 levels', withText(`"x":${'['.repeat(2100)}${']'.repeat(2100)}`)),
    fails('a point that is not on its curve', studio({}, { ...point, x: ones(32) })),
    fails('a coordinate that is too short', studio({}, { ...point, x: ones(31) })),
    fails('the curve of another point', studio({}, { ...point, crv: 'P-384' })),
    fails('a modulus in standard base64', studio({}, { ...rsa, n: standard })),
    malformed('a k of an impossible length', studio({}, oct('bad', { k: 'A'.repeat(45) }))),
    fails('a bad issuer between good ones', JSON.stringify(three)),
  ]
}
