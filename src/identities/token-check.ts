import { hash, type KeyObject } from 'node:crypto'
import type { Verdict } from '../core/index.ts'
import { Problem } from '../errors.ts'
import { type AccessClaims, faultOf, isComplete, TEXTS, TOKEN_TYPE } from './token-claims.ts'

// Whether an access token is one of ours and in time. A signature takes longer to check than all else that a request
// asks of its token, so what verified once is remembered, for as long as the same key would say so again.

/** `any`: also a token for another audience, which counts nowhere here but can be looked at and revoked. */
export type Whose = 'ours' | 'any'

export interface TokenCheckParts {
  /** Checks signature, type, issuer, `exp`, and that it is for this server unless any audience will do. */
  verify(token: string, audience: Whose): Promise<Verdict>
  /** The key of the `access` ring that verifies under this kid now; undefined once it is withdrawn or revoked. */
  keyOf(kid: string): KeyObject | undefined
  /** Of the tokens for this server. */
  audience(): string
  /** Unix seconds. */
  now(): number
}

export interface Checked {
  claims: AccessClaims
  /** Whether signature, audience and `exp` would still pass. */
  holds(): boolean
}

/** Entries of about 2 KiB; only tokens that verified get one, so a flood of others evicts nobody. */
const CACHE_SIZE = 4096

const invalid = (detail: string) => new Problem('access_token_invalid', detail)

/** A signature of ours without the claims of an access token (section 8). */
export const incomplete = () =>
  new Problem(
    'access_token_revoked',
    'Invalid identity access token claims, please re-authenticate',
  )

export function createTokenCheck({ verify, keyOf, audience, now }: TokenCheckParts) {
  const remembered = new Map<string, Checked>()

  function remember(id: string, checked: Checked): void {
    const [oldest] = remembered.keys()
    if (oldest !== undefined && remembered.size >= CACHE_SIZE) remembered.delete(oldest)
    remembered.set(id, checked)
  }

  /** The claims of a token that our key signed for this purpose, and their key. */
  async function verified(token: string, whose: Whose) {
    const { kid, checks, claims = {}, valid } = await verify(token, whose)
    const failure = checks.find(({ ok }) => !ok)
    if (failure?.name === 'typ' || failure?.name === 'aud') {
      throw new Problem('access_token_foreign')
    }
    if (failure) throw invalid(textOf(failure.name, token))
    // A key that is withdrawn while its signature is checked counts no more.
    const key = kid === undefined ? undefined : keyOf(kid)
    if (!valid || kid === undefined || !key) throw invalid(TEXTS.signature)
    if (whose === 'ours' && claims['authTokenType'] !== TOKEN_TYPE) {
      throw new Problem('access_token_foreign')
    }
    if (!isComplete(claims)) throw incomplete()
    return { kid, key, claims }
  }

  const recall = (digest: string): Checked | undefined => {
    const known = remembered.get(digest)
    return known?.holds() ? known : undefined
  }

  /**
   * The claims of a token of ours that is in time. Whether it was revoked is not asked.
   * @throws Problem `access_token_invalid`; `access_token_foreign` for one that our key signed and that is no access
   * token of an identity for this server; `access_token_revoked` for one without the claims it needs; `not_ready`
   */
  async function read(token: string, whose: Whose = 'ours'): Promise<Checked> {
    // Never the token itself: the memory would hold them all.
    const id = hash('sha256', token, 'base64')
    const known = recall(id)
    if (known) return known
    remembered.delete(id)

    const verifiedFor = audience()
    const { kid, key, claims } = await verified(token, whose)
    const holds = () => now() < claims.exp && keyOf(kid) === key && audience() === verifiedFor
    const checked: Checked = { claims, holds }
    if (whose === 'ours') remember(id, checked)
    return checked
  }

  return {
    read,
    /** What is known of the token with this SHA-256, as base64; undefined: read it. */
    recall,
  }
}

function textOf(check: string, token: string): string {
  if (check === 'exp') return TEXTS.expired
  if (check === 'algorithm') return TEXTS.algorithm
  if (check === 'claims') return TEXTS.malformed
  // What no reader of ours takes for a JWS: of another algorithm, or malformed in some way.
  if (check === 'format' && faultOf(token) !== TEXTS.algorithm) return TEXTS.malformed
  return check === 'format' ? TEXTS.algorithm : TEXTS.signature
}
