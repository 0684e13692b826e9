// What others may import from core/, and the entry point of the package.

export {
  ALGORITHM_NAMES,
  ALGORITHMS,
  type Algorithm,
  type AlgorithmSpec,
  fits,
  isAlgorithm,
  type KeyType,
} from './algorithms.ts'
export { type ClaimRules, checkClaims, parseClaims } from './claims.ts'
export {
  type HmacAlgorithm,
  type HmacOptions,
  isHmacAlgorithm,
  verifyHmacToken,
} from './hmac-token.ts'
export {
  generateKeyMaterial,
  importPrivateKey,
  type KeyMaterial,
  type PublicJwk,
  type PublicJwkWithoutKid,
  thumbprint,
  toPublicJwk,
} from './key.ts'
export {
  type Budget,
  literalOf,
  matches,
  type Pattern,
  parsePattern,
  splitList,
} from './pattern.ts'
export {
  type ImportedSet,
  importJwkSet,
  importPublicJwk,
  type VerificationKey,
} from './public-key.ts'
export { importPublicPem, MAX_PEM_SIZE } from './public-pem.ts'
export { createRecent, type Recent } from './recent.ts'
export {
  deriveMacKey,
  encodeFields,
  equalBytes,
  equalSecrets,
  macFields,
  openBytes,
  type SealContext,
  seal,
  sealBytes,
  unseal,
} from './seal.ts'
export {
  isBase64url,
  type JoseHeader,
  type JsonLimits,
  MAX_TOKEN_SIZE,
  parseJsonStrict,
  type Screened,
  type ScreenLimits,
  screenAnyAlgorithm,
  screenCompact,
  type UnscreenedHeader,
} from './strict.ts'
export {
  type Check,
  type CheckName,
  type CheckSignature,
  RESERVED_HEADERS,
  type SignInput,
  type SigningKey,
  signCompact,
  signInPool,
  type Verdict,
  type VerifyOptions,
  verifySignature,
  verifyToken,
  verifyWithJose,
} from './token.ts'
export { weaknessOf } from './weak-rsa.ts'
