import { Problem } from '../errors.ts'
import type { RotationRow } from '../store/uri-signing.ts'
import { fromMillis, toIso } from '../time.ts'
import type { DocumentKey, IssuerSet, KeyDocument, UsableKey } from './document.ts'
import { announcedKid, openOf, safeAtOf, signerByRotation } from './rotation-steps.ts'

// Which key signs. Pure.

/** Bytes as JSON writes them, of which a control character takes six. */
const MAX_ISSUER = 1024
const MAX_KID = 512
const bytesOf = (text: string): number => Buffer.byteLength(JSON.stringify(text)) - 2

/** A key that may sign, and what of its promises is known to be on disk. */
export interface Signer {
  issuer: string
  key: UsableKey
  /** NumericDate; 0: nothing is known. */
  until: number
  /** Seconds. */
  renewalTtl: number
}

/**
 * Finds signers in a document: of the issuer that is named, else of the one that has the renewal key; the key that is
 * named, else the one that rotations say, else the issuer's renewal key, else its first that can sign.
 * @throws Problem `issuer_not_found`, `key_not_found`, `key_rejected`, `rotation_conflict`
 */
export function createSigners(document: KeyDocument, rotations: readonly RotationRow[]) {
  const known = new Map<DocumentKey, Signer>()
  const chosen = new Map<string, Signer>()

  function choose(issuer: string | undefined, kid: string | undefined): Signer {
    const set = setOf(document, issuer)
    if (kid !== undefined) {
      checkMaySign(rotations, set.issuer, kid)
      return signerOf(set, named(set, kid))
    }
    return signerOf(set, usual(set, rotations))
  }

  function signerOf({ issuer }: IssuerSet, key: DocumentKey): Signer {
    const before = known.get(key)
    if (before) return before
    // Every token repeats them, and a batch has a thousand.
    if (bytesOf(issuer) > MAX_ISSUER || bytesOf(key.kid) > MAX_KID) {
      throw new Problem(
        'key_rejected',
        'The name of the issuer or of its key is too long to sign with',
      )
    }
    const usable = key.usable()
    if (!usable?.signingKey) {
      throw new Problem('key_rejected', `Key ${key.kid} of issuer ${issuer} cannot sign`)
    }
    const signer = { issuer, key: usable, until: 0, renewalTtl: 0 }
    known.set(key, signer)
    return signer
  }

  return (issuer: string | undefined, kid: string | undefined): Signer => {
    const asked = kid === undefined && issuer === undefined ? '' : JSON.stringify([issuer, kid])
    const before = chosen.get(asked)
    if (before) return before
    const signer = choose(issuer, kid)
    chosen.set(asked, signer)
    return signer
  }
}

function setOf({ issuers, renewal }: KeyDocument, issuer: string | undefined): IssuerSet {
  const set = issuers.get(issuer ?? renewal.issuer)
  if (!set)
    throw new Problem('issuer_not_found', `The key document has no issuer ${issuer?.slice(0, 64)}`)
  return set
}

/** A cache takes the first of several keys with one kid, and so must we. */
function named({ issuer, keys }: IssuerSet, kid: string): DocumentKey {
  const key = keys.find((one) => one.kid === kid)
  if (key) return key
  throw new Problem('key_not_found', `Issuer ${issuer} has no key ${kid.slice(0, 64)}`)
}

function usual(set: IssuerSet, rotations: readonly RotationRow[]): DocumentKey {
  const unknown = announcedKid(rotations, set.issuer)
  const canSign = (key: DocumentKey) =>
    key.kid !== unknown && key.usable()?.signingKey !== undefined
  const rotated = signerByRotation(rotations, set.issuer)
  const key =
    set.keys.find((one) => one.kid === rotated && canSign(one)) ??
    set.keys.find((one) => one.kid === set.renewalKid && canSign(one)) ??
    set.keys.find(canSign)
  if (key) return key
  throw new Problem('key_rejected', `Issuer ${set.issuer} has no key that can sign`)
}

/** Neither a key that caches may not know yet nor one that is to go signs, though it is named. */
function checkMaySign(rotations: readonly RotationRow[], issuer: string, kid: string): void {
  const rotation = openOf(rotations, issuer)
  if (!rotation) return
  if (rotation.state === 'announced' && kid === rotation.newKid) {
    const facts = { promise: undefined, longestRenewal: 0, oldRenews: false, skew: 0 }
    const safeAt = safeAtOf(rotation, facts)
    throw new Problem('rotation_unsafe', `Caches may not know key ${kid} yet`, {
      extra: safeAt === undefined ? {} : { safeAt: toIso(fromMillis(safeAt)) },
    })
  }
  if (rotation.state !== 'announced' && kid === rotation.oldKid) {
    throw new Problem('rotation_conflict', `Key ${kid} is being retired and signs no more`)
  }
}
