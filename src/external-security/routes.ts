import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Context } from '../context.ts'
import { Problem } from '../errors.ts'
import { NoContent } from '../http/fields.ts'
import { errorHandler, notFoundHandler, toProblem } from '../http/problem.ts'
import type { App, Routes } from '../http/server.ts'
import { toIso } from '../time.ts'
import { askedOf, fallbackOf, manageFormat, statusOf } from './errors.ts'
import { CONFIGURATION, type GroupField, JWT_SECRETS } from './fields.ts'
import { answerFormat, checkFormat, requestFormat, TYPES } from './format.ts'
import { isEmptyPayload, type Payload, readPayload } from './payload.ts'
import {
  ConfigurationBody,
  DefaultDocument,
  ErrorDocument,
  JwtSecretsBody,
  ListDocument,
} from './schema.ts'
import type { ExternalSecurity } from './service.ts'
import { defaultView, listView, propertiesView, type Took, uriOf } from './views.ts'

// `/manage/v2/external-security` and what is below it, and the ping with which clients fetch their challenge.

export interface ManageParts {
  context: Pick<Context, 'now' | 'monotonic'>
  externalSecurity: ExternalSecurity
  /** The values of `WWW-Authenticate`, one header line each, with a fresh nonce; `failure` is why there is a 401. */
  challenges(failure?: Problem): readonly string[]
}

const BASES = ['/manage/v2', '/manage/LATEST'] as const
/** The one that is in the documentation: the other is an alias. */
const SHOWN = '/manage/v2'
const NOTHING = Buffer.alloc(0)

const responses = { default: ErrorDocument }

export function manageRoutes(parts: ManageParts): Routes {
  const { context, externalSecurity: service, challenges } = parts
  const { secrets } = service

  /** Whatever the error, a 401 has its challenges (contract section 2). */
  function onError(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const problem = toProblem(error)
    if (statusOf(problem) === 401) reply.header('www-authenticate', [...challenges(problem)])
    return errorHandler(manageFormat)(error, request, reply)
  }

  /** Behind authentication, before any body: parameters that mean nothing, whatever the answer would be. */
  async function beforeBody(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    reply.header('cache-control', 'no-store')
    checkFormat(askedOf(request))
  }

  const bytesOf = ({ body }: FastifyRequest): Buffer => (Buffer.isBuffer(body) ? body : NOTHING)

  function bodyOf(request: FastifyRequest, table: GroupField): Payload {
    const format = requestFormat(askedOf(request))
    return readPayload(bytesOf(request), format, table)
  }

  function answer(
    request: FastifyRequest,
    reply: FastifyReply,
    view: (format: 'json' | 'xml', took: Took) => string,
    started: bigint,
  ) {
    const format = answerFormat(askedOf(request), fallbackOf(request))
    const micros = (context.monotonic() - started) / 1000n
    const at = toIso(context.now()).replace(/\.\d+Z$/, 'Z')
    const body = view(format, { at, elapsed: Number(micros) / 1e6 })
    return reply.type(TYPES[format]).send(Buffer.from(body))
  }

  async function list(request: FastifyRequest, reply: FastifyReply) {
    const started = context.monotonic()
    const listed = await service.list()
    return answer(request, reply, (format, took) => listView(listed, took, format), started)
  }

  async function get(request: FastifyRequest, reply: FastifyReply) {
    const started = context.monotonic()
    const found = await service.get(refOf(request))
    return answer(request, reply, (format, took) => defaultView(found, took, format), started)
  }

  async function properties(request: FastifyRequest, reply: FastifyReply) {
    const started = context.monotonic()
    const { id, properties: shown } = await service.get(refOf(request))
    const keyIds = await service.keyIds(id)
    const view = (format: 'json' | 'xml') => propertiesView(shown, keyIds, format)
    return answer(request, reply, view, started)
  }

  async function create(request: FastifyRequest, reply: FastifyReply) {
    const payload = bodyOf(request, CONFIGURATION)
    const { name } = await service.create(request.principal, payload)
    return reply.code(201).header('location', uriOf(name)).send()
  }

  async function change(request: FastifyRequest, reply: FastifyReply) {
    await service.change(request.principal, refOf(request), bodyOf(request, CONFIGURATION))
    return reply.code(204).send()
  }

  /**
   * A documented sample sends the payload that removes keys here, to the route that drops the whole configuration
   * (contract section 1): a body that means something is refused, and so is one that cannot be read.
   */
  async function remove(request: FastifyRequest, reply: FastifyReply) {
    const bytes = bytesOf(request)
    if (bytes.length > 0 && !isEmptyPayload(bytes, requestFormat(askedOf(request)))) {
      const reason =
        'This would delete the whole external security and takes no body; secrets are below /jwt-secrets'
      throw new Problem('external_security_invalid', reason)
    }
    await service.delete(request.principal, refOf(request))
    return reply.code(204).send()
  }

  const writesSecrets =
    (write: typeof secrets.addTo) => async (request: FastifyRequest, reply: FastifyReply) => {
      await write(request.principal, refOf(request), bodyOf(request, JWT_SECRETS))
      return reply.code(204).send()
    }

  async function removeSecret(request: FastifyRequest, reply: FastifyReply) {
    const { keyId = '' } = request.params as { keyId?: string }
    await secrets.removeOne(request.principal, refOf(request), keyId)
    return reply.code(204).send()
  }

  function mount(app: App, base: string): void {
    const isShown = base === SHOWN
    const all = `${base}/external-security`
    const one = `${all}/:ref`
    const jwtSecrets = `${one}/jwt-secrets`

    interface Route {
      fallback?: 'json' | 'xml'
      id: string
      summary: string
      body?: unknown
      response: object
    }

    function add(
      method: string,
      url: string,
      handler: (request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply>,
      { fallback = 'xml', id, summary, body, response }: Route,
    ): void {
      const shown = {
        ...{ tags: ['marklogic'], operationId: id, summary },
        ...(body !== undefined && { body }),
        response: { ...response, ...responses },
      }
      app.route({
        ...{ method, url, handler, preParsing: refuseEarly },
        schema: isShown ? shown : { hide: true },
        config: {
          ...{ capability: 'external-security', credentials: 'manage', fallbackFormat: fallback },
        },
      })
    }

    const done = { 204: NoContent }
    const written = { body: ConfigurationBody }
    add('GET', all, list, {
      ...{ id: 'listExternalSecurity', summary: 'Lists external-security configurations' },
      response: { 200: ListDocument },
    })
    add('POST', all, create, {
      ...{ id: 'createExternalSecurity', summary: 'Makes an external-security configuration' },
      ...{ ...written, response: { 201: NoContent } },
    })
    add('GET', one, get, {
      ...{ id: 'getExternalSecurity', summary: 'An external-security configuration in short' },
      response: { 200: DefaultDocument },
    })
    add('DELETE', one, remove, {
      ...{ id: 'deleteExternalSecurity', summary: 'Deletes a configuration and its secrets' },
      response: done,
    })
    add('GET', `${one}/properties`, properties, {
      ...{ id: 'getExternalSecurityProperties', summary: 'The whole configuration but secrets' },
      response: { 200: ConfigurationBody },
    })
    add('PUT', `${one}/properties`, change, {
      ...{ id: 'putExternalSecurityProperties', summary: 'Changes a configuration' },
      ...{ ...written, response: done, fallback: 'json' },
    })
    add('POST', jwtSecrets, writesSecrets(secrets.addTo), {
      ...{ id: 'addJwtSecrets', summary: 'Adds keys that tokens are verified with' },
      ...{ body: JwtSecretsBody, response: done, fallback: 'json' },
    })
    add('PUT', jwtSecrets, writesSecrets(secrets.replaceIn), {
      ...{ id: 'replaceJwtSecrets', summary: 'Replaces keys that tokens are verified with' },
      ...{ body: JwtSecretsBody, response: done, fallback: 'json' },
    })
    add('DELETE', jwtSecrets, writesSecrets(secrets.removeFrom), {
      ...{ id: 'removeJwtSecrets', summary: 'Removes keys that tokens are verified with' },
      ...{ body: JwtSecretsBody, response: done },
    })
    add('DELETE', `${jwtSecrets}/:keyId`, removeSecret, {
      ...{ id: 'removeJwtSecret', summary: 'Removes one key' },
      response: done,
    })
    refuseMethods(app, jwtSecrets, ['GET', 'HEAD', 'PATCH', 'OPTIONS'], 'POST, PUT, DELETE')
    const others = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'OPTIONS']
    refuseMethods(app, `${jwtSecrets}/:keyId`, others, 'DELETE')
  }

  /** Known callers are told that a path takes another method; nobody else is told anything. */
  function refuseMethods(app: App, url: string, methods: string[], allow: string): void {
    app.route({
      ...{ method: methods, url },
      ...{ config: { capability: 'external-security', credentials: 'manage' } },
      schema: { hide: true },
      async preParsing({ method }) {
        throw new Problem('method_not_allowed', `This takes ${allow}, not ${method}`, {
          extra: { allow },
        })
      },
      handler: async () => undefined,
    })
  }

  async function refuseEarly(request: FastifyRequest, reply: FastifyReply, payload: unknown) {
    await beforeBody(request, reply)
    return payload as never
  }

  return async (app) => {
    app.setErrorHandler(onError)
    app.removeAllContentTypeParsers()
    app.addContentTypeParser('*', { parseAs: 'buffer' }, async (_: unknown, body: Buffer) => body)
    // Schemas are for the documentation here: handlers get bytes, and say themselves what is wrong with them.
    app.setValidatorCompiler(() => (value) => ({ value }))
    app.route({
      ...{ method: 'HEAD', url: '/v1/ping' },
      config: { capability: 'authenticated', credentials: 'manage' },
      schema: { hide: true },
      handler: async (_, reply) => reply.header('cache-control', 'no-store').code(200).send(),
    })
    for (const base of BASES) mount(app, base)
    for (const url of ['/manage', '/manage/*']) {
      app.all(url, {
        ...{
          schema: { hide: true },
          config: { capability: 'authenticated', credentials: 'manage' },
        },
        // Before a body is read.
        async preParsing({ method, url: target }) {
          const path = target.split('?', 1)[0] ?? ''
          throw new Problem('not_found', `There is no ${method} ${path.slice(0, 300)} here`)
        },
        handler: async () => undefined,
      })
    }
    // Methods that the router does not know end here.
    await app.register(
      async (below) => void below.setNotFoundHandler(notFoundHandler(manageFormat)),
      { prefix: '/manage' },
    )
  }
}

/** Percent-decoded once, by the router; a plus stays one (contract section 3). */
function refOf({ params }: FastifyRequest): string {
  const { ref = '' } = params as { ref?: string }
  return ref
}
