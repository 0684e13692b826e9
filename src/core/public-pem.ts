import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import { Problem } from '../errors.ts'
import { importPublicJwk, type VerificationKey } from './public-key.ts'

// A public key as PEM text. No error says what was in the text: people paste private keys.

/** Characters. An RSA key of 8192 bits has about 1,500, a certificate of one with its extensions four times that. */
export const MAX_PEM_SIZE = 16 * 1024

/** One block and nothing but white space around it (RFC 7468): a body has no dash, so no second block hides in it. */
const KEY_BLOCK =
  /^\s*-----BEGIN (PUBLIC KEY|RSA PUBLIC KEY|CERTIFICATE)-----\s([A-Za-z0-9+/=\s]+)-----END \1-----\s*$/
const KEY_TYPES: readonly (string | undefined)[] = ['rsa', 'ec', 'ed25519']

const refused = (reason: string, cause?: unknown) => new Problem('pem_rejected', reason, { cause })

/**
 * The key of one PEM block, for every algorithm of its type and curve. Whether a certificate is valid, or by whom, is not
 * asked: its key is what counts. It goes through the JWK, so that what is asked of a key in a set is asked of a key in
 * PEM too. @throws Problem `pem_rejected`, `key_rejected`
 */
export function importPublicPem(text: string): VerificationKey {
  if (text.length > MAX_PEM_SIZE) throw refused(`The text has more than ${MAX_PEM_SIZE} characters`)
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
