import { STATUS_CODES } from 'node:http'
import type { FastifyRequest } from 'fastify'
import type { Problem } from '../errors.ts'
import type { Format } from '../http/problem.ts'
import { isKnownVersion, namesPermissions, versionOf } from './versions.ts'

// Problems, and what else has no document, in the words of Traffic Ops: alerts (contract sections 1 to 6).

export type Level = 'success' | 'info' | 'warning' | 'error'

/** Go's encoder escapes these, so that JSON in a page is harmless. */
const ESCAPED = /[<>&\u2028\u2029]/g
const escaped = (char: string) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`

/** An alerts object with its newline (section 2). */
export const alertsBody = (text: string, level: Level): Buffer =>
  Buffer.from(
    `${JSON.stringify({ alerts: [{ text, level }] }).replace(ESCAPED, escaped)}\n`,
    'utf8',
  )

/** What an answer repeats of a request is cut: names and paths may be as long as the head of a request. */
const MAX_ECHO = 1000
const cut = (text: string) => (text.length > MAX_ECHO ? `${text.slice(0, MAX_ECHO)}…` : text)

const pathOf = ({ url }: FastifyRequest): string => url.split('?', 1)[0] ?? ''

interface Words {
  status?: number
  text: string
  headers?: Record<string, string>
}

const PLEASE = 'unauthorized, please log in'
const NOT_IMPLEMENTED =
  'The requested api version is not implemented by this server. If you are using a newer client with an older server, you will need to use an older client version or upgrade your server.'

/** The name in the path, as `xmlIdOf` has it. */
export function xmlIdOf({ params }: FastifyRequest): string {
  const { xmlId } = params as { xmlId?: unknown }
  if (typeof xmlId !== 'string') return ''
  return xmlId.endsWith('.json') ? xmlId.slice(0, -'.json'.length) : xmlId
}

/** Whether the request is about a key document, where the key store has a name of its own. */
const isAboutKeys = (path: string) => path.endsWith('/urisignkeys')

/** By code; what is not listed has the standard text of its status (section 2). */
const WORDS: Record<string, (problem: Problem, request: FastifyRequest) => Words> = {
  not_found(_, request) {
    const path = pathOf(request)
    const version = versionOf(path)
    return version === undefined || isKnownVersion(version)
      ? { status: 404, text: `The requested path '${cut(path)}' does not exist.` }
      : { status: 501, text: NOT_IMPLEMENTED }
  },
  unauthenticated: () => ({ text: `${PLEASE}.` }),
  session_forged: () => ({ text: `bad signature - ${PLEASE}` }),
  session_expired: () => ({ text: `signature expired - ${PLEASE}` }),
  session_orphaned: () => ({ text: 'user not found' }),
  cross_site: () => ({ text: 'Forbidden.' }),
  forbidden({ extra }, request) {
    const missing = Array.isArray(extra['missing']) ? extra['missing'].join(', ') : ''
    const named = missing !== '' && namesPermissions(versionOf(pathOf(request)) ?? '')
    return { text: named ? `missing required Permissions: ${missing}` : 'Forbidden.' }
  },
  credentials_wrong: () => ({ status: 401, text: 'Invalid username or password.' }),
  login_token_wrong: () => ({ text: 'Invalid token. Please contact your administrator.' }),
  malformed_body: ({ detail }) => ({ text: detail }),
  rate_limited: ({ detail, extra }) => ({
    text: detail,
    headers: { 'retry-after': String(extra['retryAfter'] ?? 1) },
  }),
  delivery_service_not_found: (_, request) => ({
    ...{ status: 400, text: `no such deliveryservice: '${cut(xmlIdOf(request))}'` },
  }),
  tenant_forbidden: () => ({ status: 403, text: 'Forbidden' }),
  keyset_invalid: ({ detail }) => ({ status: 400, text: cut(detail) }),
  not_ready(_, request) {
    if (!isAboutKeys(pathOf(request))) return { text: 'Service Unavailable' }
    // The original's typing error (section 4).
    const the = request.method === 'DELETE' ? 'rhe' : 'the'
    return { text: `${the} Traffic Vault service is unavailable` }
  },
  // Go's words for it.
  body_too_large: () => ({ text: 'Request Entity Too Large' }),
}

export const alerts: Format = (problem, request) => {
  const words = WORDS[problem.code]?.(problem, request)
  const status = words?.status ?? problem.status
  return {
    ...{ status, type: 'application/json' },
    body: alertsBody(words?.text ?? STATUS_CODES[status] ?? 'Internal Server Error', 'error'),
    headers: { 'cache-control': 'no-store', ...words?.headers },
  }
}
