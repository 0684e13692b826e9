import { anonymous, type Principal } from '../context.ts'
import { isProblem, type Problem } from '../errors.ts'
import type { AccessTokens } from './access-tokens.ts'

// An access token as a credential: each request is one use of it.

export interface Presented {
  principal: Principal
  presented: true
  failure?: Problem
  again?(): Presented | Promise<Presented>
}

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

  async function use(token: string, address: string): Promise<Presented> {
    const { principal, stillHolds } = await tokens.use(token, address)
    const found: Presented = {
      ...{ principal, presented: true },
      again: () => (stillHolds() ? found : recheck(token, address)),
    }
    return found
  }

  /** Who presents a token, from this address; undefined when it is none of ours. */
  return (token: string, address: string): Promise<Presented> | undefined => {
    const kid = kidOf(token)
    return kid !== undefined && isOurKid(kid) ? use(token, address).catch(refused) : undefined
  }
}
