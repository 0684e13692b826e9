import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import { importPublicJwk, type VerificationKey } from '../core/index.ts'
import { isProblem, Problem } from '../errors.ts'

// What a configuration may hold as PEM: public keys and CA certificates (identity contract, sections 2 and 2.1). Pure.
// No error says what was in the text: people paste private keys.

/** Of one configuration. */
export const MAX_KEYS = 32
/** Characters. An RSA key of 8192 bits has about 1,500, a certificate of one with its extensions four times that. */
export const MAX_KEY_SIZE = 16 * 1024
export const MAX_CERTIFICATES = 64
export const MAX_CERTIFICATES_SIZE = 128 * 1024

/** One block and nothing but white space around it (RFC 7468): a body has no dash, so no second block hides in it. */
const KEY_BLOCK =
  /^\s*-----BEGIN (PUBLIC KEY|RSA PUBLIC KEY|CERTIFICATE)-----\s([A-Za-z0-9+/=\s]+)-----END \1-----\s*$/
const CERTIFICATE_BLOCK = /-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g
const KEY_TYPES: readonly (string | undefined)[] = ['rsa', 'ec', 'ed25519']

const refused = (reason: string, cause?: unknown) => new Problem('pem_rejected', reason, { cause })

/**
 * The keys of a static configuration, in their order, for every algorithm of their type and curve. Whether a
 * certificate is valid, or by whom, is not asked: its key is what counts. Problem `pem_rejected` with the index of the
 * first key that is not acceptable.
 */
export function parseStaticKeys(texts: readonly string[]): VerificationKey[] {
  if (texts.length > MAX_KEYS) throw refused(`publicKeys: at most ${MAX_KEYS} keys`)
  return texts.map((text, index) => {
    try {
      return parseKey(text)
    } catch (error) {
      if (!isProblem(error)) throw error
      throw refused(`publicKeys[${index}]: ${error.detail}`, error.cause)
    }
  })
}

/** Goes through the JWK, so that what is asked of a key in a set is asked of a key in PEM too. */
function parseKey(text: string): VerificationKey {
  if (text.length > MAX_KEY_SIZE) throw refused(`The text has more than ${MAX_KEY_SIZE} characters`)
  const [, label, body] = KEY_BLOCK.exec(text) ?? []
  if (label === undefined || body === undefined) {
    throw refused(
      'Expected exactly one PEM block, labelled PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE',
    )
  }
  const key = toKeyObject(label, body)
  if (!KEY_TYPES.includes(key.asymmetricKeyType)) {
    throw refused('The key type is not RSA, EC or Ed25519')
  }
  return importPublicJwk(toJwk(key))
}

/**
 * Reads by the label alone. The bytes must be the very key that came out: Node would also take a private key and derive
 * its public half, and leave aside what follows a key.
 */
function toKeyObject(label: string, body: string): KeyObject {
  const der = Buffer.from(body, 'base64')
  try {
    if (label === 'CERTIFICATE') return new X509Certificate(der).publicKey
    const type = label === 'PUBLIC KEY' ? 'spki' : 'pkcs1'
    const key = createPublicKey({ key: der, format: 'der', type })
    if (key.export({ format: 'der', type }).equals(der)) return key
  } catch {
    // Says no more than the line below, and could quote.
  }
  throw refused(`The block is no ${label.toLowerCase()}`)
}

function toJwk(key: KeyObject): object {
  try {
    return key.export({ format: 'jwk' })
  } catch (cause) {
    throw refused('The curve is not P-256, P-384 or P-521', cause)
  }
}

/**
 * Checks a `jwksCaCert`: one or more PEM certificates, each readable; words around them are allowed (RFC 7468 section
 * 5.2), other blocks are not. Problem `pem_rejected`.
 */
export function checkCaCertificates(text: string): void {
  if (text.length > MAX_CERTIFICATES_SIZE) {
    throw refused(`jwksCaCert: at most ${MAX_CERTIFICATES_SIZE} characters`)
  }
  const blocks = text.match(CERTIFICATE_BLOCK) ?? []
  const around = text.replaceAll(CERTIFICATE_BLOCK, '')
  if (blocks.length === 0 || around.includes('-----')) {
    throw refused('jwksCaCert: expected PEM certificates and nothing else')
  }
  if (blocks.length > MAX_CERTIFICATES) {
    throw refused(`jwksCaCert: at most ${MAX_CERTIFICATES} certificates`)
  }
  for (const [index, block] of blocks.entries()) {
    if (!isCertificate(block)) throw refused(`jwksCaCert: certificate ${index} cannot be read`)
  }
}

function isCertificate(block: string): boolean {
  try {
    return new X509Certificate(block).raw.length > 0
  } catch {
    return false
  }
}
