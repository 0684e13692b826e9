import { anonymous, type Principal } from '../context.ts'
import { isProblem, type Problem } from '../errors.ts'
import type { AccessTokens, Use } from './access-tokens.ts'

// An access token as a credential: each request is one use of it.

export interface Presented {
  principal: Principal
  presented: true
  failure?: Problem
  again?(): Answer
}

type Answer = Presented | Promise<Presented>

export interface BearerParts {
  tokens: AccessTokens
  /** Whether the `access` ring has a key of this kid. */
  isOurKid(kid: string): boolean
}

const MAX_HEADER = 1024

/** The kid of what may be a JWT, unverified: it only decides who looks at it. */
function kidOf(token: string): string | undefined {
  const header = token.slice(0, token.indexOf('.'))
  if (header === '' || header.length > MAX_HEADER) return undefined
  try {
    const parsed: unknown = JSON.parse(Buffer.from(header, 'base64url').toString())
    const kid = typeof parsed === 'object' && parsed !== null && 'kid' in parsed ? parsed.kid : ''
    return typeof kid === 'string' ? kid : undefined
  } catch {
    return undefined
  }
}

export function createBearer({ tokens, isOurKid }: BearerParts) {
  const refused = (error: unknown): Presented => {
    if (!isProblem(error) || error.status >= 500) throw error
    return { principal: anonymous, presented: true, failure: error }
  }

  /** A second look, where something has changed since: the same checks, and no second use. */
  const recheck = (token: string, address: string): Promise<Presented> =>
    tokens.check(token, address).then(({ principal }) => ({ principal, presented: true }), refused)

  function presented(token: string, address: string, { principal, stillHolds }: Use): Presented {
    const again = () => (stillHolds() ? found : recheck(token, address))
    const found: Presented = { principal, presented: true, again }
    return found
  }

  /**
   * Who presents a token, from this address; undefined when it is none of ours. `digest` is its SHA-256. At once where
   * the token is remembered.
   */
  return (token: string, address: string, digest: Buffer): Answer | undefined => {
    const known = tokens.recall(digest.toString('base64'), address)
    if (known) return presented(token, address, known)
    const kid = kidOf(token)
    if (kid === undefined || !isOurKid(kid)) return undefined
    return tokens.use(token, address).then((use) => presented(token, address, use), refused)
  }
}
