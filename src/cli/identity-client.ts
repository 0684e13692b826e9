import { isProblem } from '../errors.ts'
import type { IdentityAnswer, JwtAuthAnswer } from './answers.ts'
import type { Client } from './client.ts'
import { segment } from './command.ts'
import { failure, usage } from './io.ts'

// What several commands ask of the identities surface.

export const IDENTITIES = '/api/v1/identities'

export const jwtAuthPath = (id: string) => `/api/v1/auth/jwt-auth/identities/${segment(id)}`

export interface JwtAuthReply {
  identityJwtAuth: JwtAuthAnswer
}

/** Makes an identity; its ID, and the answer as it came. @throws Problem `command_failed` */
export async function createIdentity(
  client: Client,
  name: string,
  {
    role,
    hasDeleteProtection = false,
  }: { role: string | undefined; hasDeleteProtection?: boolean },
): Promise<{ id: string; text: string }> {
  // There is one organisation, but the route asks for one as the original does.
  const body = { name, organizationId: 'default', ...(role && { role }), hasDeleteProtection }
  const { value, text } = await client.json<{ identity: { id: string } }>('POST', IDENTITIES, body)
  return { id: value.identity.id, text }
}

/** What says where the keys are. */
const KEYS = ['configurationType', 'jwksUrl', 'publicKeys'] as const
/** An update writes these whole: what it leaves out of them is reset (identity contract section 3). */
const SOURCE = [...KEYS, 'jwksCaCert'] as const

/** Of the server's refusals to fetch a JWK Set: its words name no host (identity contract section 4). */
const UNRESOLVED = 'Could not resolve hostname'
const INTERNAL = 'Local IPs not allowed'

/** Adds which host it was, and what says so. */
function withHost(error: unknown, jwksUrl: unknown, flag: string): unknown {
  if (!isProblem(error, 'command_failed')) return error
  const isInternal = error.detail.includes(INTERNAL)
  const host = URL.parse(String(jwksUrl))?.hostname
  if (!host || (!isInternal && !error.detail.includes(UNRESOLVED))) return error
  const lines = [error.detail, `That is ${host}, the host of ${flag}`]
  if (isInternal) {
    lines.push('An internal host must be in KEYRINGD_ALLOW_INTERNAL_HOSTS of the server')
  }
  return failure(lines.join('\n'), error)
}

/** Seconds; the API's own default, which is the imitated one, is 30 days. */
const NEW = { boundClaims: {}, accessTokenTTL: 900 }

/**
 * Attaches a configuration, or changes the one that is attached; what is left out stays as it is, the source too where
 * nothing of it is named but its CA. `flag` is what says where the keys are. @throws Problem `command_failed`, `wrong_usage` when there is no source at all
 */
export async function saveJwtAuth(
  client: Client,
  id: string,
  given: Readonly<Record<string, unknown>>,
  flag: string,
): Promise<{ done: string; value: JwtAuthAnswer; text: string }> {
  const found = await client.json<{ identity: IdentityAnswer }>(
    'GET',
    `${IDENTITIES}/${segment(id)}`,
  )
  const path = jwtAuthPath(id)
  const save = async (method: string, body: Record<string, unknown>, done: string) => {
    const { value, text } = await client
      .json<JwtAuthReply>(method, path, body)
      .catch((error: unknown) => {
        throw withHost(error, body['jwksUrl'], flag)
      })
    return { done: `${done} identity ${id}`, value: value.identityJwtAuth, text }
  }
  const namesSource = KEYS.some((member) => member in given)
  if (!found.value.identity.identity.authMethods.includes('jwt-auth')) {
    if (!namesSource) {
      throw usage('There is no configuration to change yet: -jwks-url or -public-key is needed')
    }
    return save('POST', { ...NEW, ...given }, 'Attached JWT auth to')
  }
  const changed = 'Changed JWT auth of'
  const { identityJwtAuth } = (await client.json<JwtAuthReply>('GET', path)).value
  // The API writes the source whole. Another URL keeps the CA: without it, every root of the system would be trusted.
  const isAnother = namesSource && given['configurationType'] !== identityJwtAuth.configurationType
  const kept = isAnother ? [] : namesSource ? (['jwksCaCert'] as const) : SOURCE
  const source = Object.fromEntries(kept.map((member) => [member, identityJwtAuth[member]]))
  return save('PATCH', { ...source, ...given }, changed)
}
