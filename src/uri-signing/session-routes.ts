import type { FastifyReply, FastifyRequest } from 'fastify'
import { parseJsonStrict } from '../core/index.ts'
import { isProblem, Problem } from '../errors.ts'
import type { App } from '../http/server.ts'
import { alertsBody } from './errors.ts'
import { Alerts, Pong, TrafficOpsLogin, TrafficOpsTokenLogin } from './schema.ts'
import type { Sessions } from './sessions.ts'
import { NEWEST } from './versions.ts'

/** Bytes: a name, a password, and whatever else a client puts there. */
const MAX_LOGIN = 16 * 1024
/** Clients compare this text, not the status (section 3). */
const LOGGED_IN = 'Successfully logged in.'
const open = { capability: 'public' }

/** A body as JSON, in whatever type it came; what is no object has no members. @throws Problem `malformed_body` */
function membersOf(body: unknown): Record<string, unknown> {
  try {
    return Object(parseJsonStrict(body instanceof Uint8Array ? body : '')) as Record<
      string,
      unknown
    >
  } catch (error) {
    // Never the words of JSON.parse: they quote what might be the password.
    if (isProblem(error, 'token_malformed')) throw new Problem('malformed_body', error.detail)
    throw error
  }
}

const isText = (value: unknown): value is string => typeof value === 'string' && value !== ''

const succeed = (reply: FastifyReply, text: string, cookies: readonly string[]): FastifyReply =>
  reply.header('set-cookie', cookies).type('application/json').send(alertsBody(text, 'success'))

/** `ping`, login and logout below one version (contract sections 1 and 3). */
export function sessionRoutes(app: App, prefix: string, sessions: Sessions): void {
  const isShown = prefix.endsWith(`/${NEWEST}`)
  const hidden = { hide: true }
  const shownAs = (shape: object) => (isShown ? { tags: ['traffic-ops'], ...shape } : hidden)

  /** With and without a slash at the end; the documentation shows one of them. */
  const both = (path: string, shape: object) => [
    { url: `${prefix}${path}`, schema: shownAs(shape) },
    { url: `${prefix}${path}/`, schema: hidden },
  ]

  app.get(
    `${prefix}/ping`,
    { config: open, schema: shownAs({ operationId: 'trafficOpsPing', response: { 200: Pong } }) },
    (_, reply) => reply.type('application/json').send(Buffer.from('{"ping":"pong"}')),
  )

  async function login(request: FastifyRequest, reply: FastifyReply) {
    const { u, p } = membersOf(request.body)
    if (!isText(u) || !isText(p)) {
      throw new Problem('malformed_body', 'username and password are required')
    }
    return succeed(reply, LOGGED_IN, await sessions.login(request, u, p))
  }

  async function loginByToken(request: FastifyRequest, reply: FastifyReply) {
    const { t } = membersOf(request.body)
    const cookies = await sessions.loginByToken(request, isText(t) ? t : '')
    return succeed(reply, LOGGED_IN, cookies)
  }

  const answers = { 200: Alerts, default: Alerts }
  const limited = { method: 'POST', config: open, bodyLimit: MAX_LOGIN } as const
  for (const place of both('/user/login', {
    ...{ operationId: 'trafficOpsLogin', summary: 'A password in, two cookies out' },
    ...{ body: TrafficOpsLogin, response: answers },
  })) {
    app.route({ ...limited, ...place, handler: login })
  }
  for (const place of both('/user/login/token', {
    ...{ operationId: 'trafficOpsLoginByToken', summary: 'A login token in, two cookies out' },
    ...{ body: TrafficOpsTokenLogin, response: answers },
  })) {
    app.route({ ...limited, ...place, handler: loginByToken })
  }
  const config = { capability: 'authenticated', credentials: 'traffic-ops' } as const
  for (const place of both('/user/logout', {
    ...{ operationId: 'trafficOpsLogout', summary: 'Ends the session', response: answers },
  })) {
    app.route({
      ...{ ...place, method: 'POST', config },
      handler: async (request, reply) =>
        succeed(reply, 'You are logged out.', await sessions.logout(request)),
    })
  }
}
