import {
  type Algorithm,
  generateKeyMaterial,
  importPrivateKey,
  importPublicJwk,
  type PublicJwk,
  type SigningKey,
  toPublicJwk,
  type VerificationKey,
} from '../../src/core/index.ts'
import { isProblem, type Problem } from '../../src/errors.ts'

export interface Pair {
  signing: SigningKey
  verification: VerificationKey
  publicJwk: PublicJwk
}

const pairs = new Map<string, Promise<Pair>>()

/** A key pair, made once per test file, algorithm and kid. */
export function pairOf(alg: Algorithm, kid = `${alg}-1`): Promise<Pair> {
  const known = pairs.get(kid)
  if (known) return known
  const made = generateKeyMaterial(alg).then((material) => {
    const publicJwk = toPublicJwk(material.publicJwk, alg, kid)
    const key = importPrivateKey(material.privateDer)
    return { signing: { kid, alg, key }, verification: importPublicJwk(publicJwk), publicJwk }
  })
  pairs.set(kid, made)
  return made
}

/** The Problem that work throws; anything else, or nothing, fails the test. */
export function problemOf(work: () => unknown): Problem {
  try {
    work()
  } catch (error) {
    if (isProblem(error)) return error
    throw error
  }
  throw new Error('expected a Problem')
}

export const detailOf = (work: () => unknown): string => problemOf(work).detail

export const encode = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
