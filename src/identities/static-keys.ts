import { X509Certificate } from 'node:crypto'
import { importPublicPem, type VerificationKey } from '../core/index.ts'
import { isProblem, Problem } from '../errors.ts'

// What a configuration may hold as PEM: public keys and CA certificates (identity contract, sections 2 and 2.1). Pure.
// No error says what was in the text: people paste private keys.

/** Of one configuration. */
export const MAX_KEYS = 32
export const MAX_CERTIFICATES = 64
export const MAX_CERTIFICATES_SIZE = 128 * 1024

const CERTIFICATE_BLOCK = /-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g

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
      return importPublicPem(text)
    } catch (error) {
      if (!isProblem(error)) throw error
      throw refused(`publicKeys[${index}]: ${error.detail}`, error.cause)
    }
  })
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
