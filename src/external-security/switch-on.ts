import type { Entry } from './directory.ts'
import { JSON_WEB_TOKENS, JWT_ALGORITHMS, RESOURCE_SERVER } from './fields.ts'

// What a configuration must be like so that its tokens may authenticate here (product.md section 4). Pure.

/** Why tokens of a configuration cannot authenticate here, whatever its keys; undefined: they can. */
export function faultOf({
  authentication,
  authorization,
  oauth,
}: Omit<Entry, 'id'>): string | undefined {
  if (authentication !== 'oauth') {
    return `authentication is ${authentication}; this server performs oauth only`
  }
  if (authorization !== 'oauth' && authorization !== 'internal') {
    return `authorization is ${authorization}; this server performs oauth and internal only`
  }
  if (!oauth) return 'it has no oauth-server'
  const { tokenType, flowType, alg, clientId } = oauth
  if (tokenType !== JSON_WEB_TOKENS) return `oauth-token-type is not ${JSON_WEB_TOKENS}`
  if (flowType !== RESOURCE_SERVER) return `oauth-flow-type is not ${RESOURCE_SERVER}`
  if (!(JWT_ALGORITHMS as readonly string[]).includes(alg)) return 'oauth-jwt-alg is not set'
  // Without it, a token that was meant for another service would count.
  if (clientId === '') return 'oauth-client-id is not set, and aud must hold it'
  if (oauth.usernameAttribute === '') return 'oauth-username-attribute is not set'
  return undefined
}

/** A key that is too short to authenticate with. */
export const shortFault = (keyId: string): string =>
  `the secret ${JSON.stringify(keyId.slice(0, 64))} has fewer than 32 bytes`
