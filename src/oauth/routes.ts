import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Problem } from '../errors.ts'
import { errorHandler } from '../http/problem.ts'
import type { App, Routes } from '../http/server.ts'
import { NOT_STORED, oauthJson } from './errors.ts'
import { parseForm } from './form.ts'
import { APPENDED, isMetadataPath, type Places } from './metadata.ts'
import {
  AboutToken,
  Introspection,
  OAuthError,
  Revoked,
  ServerMetadata,
  TokenAnswer,
  TokenForm,
} from './schema.ts'
import type { OAuth } from './service.ts'

export interface OAuthRoutesParts {
  oauth: OAuth
  /** Undefined: this server has no issuer, so that there is no OAuth (product.md section 5.6). */
  places(): Places | undefined
}

const FORM = 'application/x-www-form-urlencoded'
/** Bytes: two tokens of the greatest size we read, with their company. */
const MAX_FORM = 64 * 1024
const SCHEME = /^([A-Za-z][A-Za-z\d-]{0,30})(?: |$)/

const open = { capability: 'public' }
/** RFC 7662 section 2.1: a protected resource presents a token that may verify what the `access` ring signs. */
const mayVerify = { capability: { capability: 'verify', on: () => ({ ring: 'access' }) } }
const form = { tags: ['oauth'], consumes: [FORM] }

/** `/oauth/*`: forms in, JSON out, errors of RFC 6749. */
export function oauthRoutes({ oauth, places }: OAuthRoutesParts): Routes {
  /** Parameters, and credentials before all, are in the body only (RFC 6749 sections 2.3.1 and 3.2). */
  async function before(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    reply.headers(NOT_STORED)
    if (!places()) throw new Problem('oauth_disabled')
    if (request.url.includes('?')) {
      throw new Problem('invalid_request', 'Parameters are sent in the body, not in the URL')
    }
  }

  /** private_key_jwt is in the body; who uses a header gets a challenge (RFC 6749 section 5.2). */
  async function refuseHeader({ headers }: FastifyRequest): Promise<void> {
    if (headers.authorization === undefined) return
    const scheme = SCHEME.exec(headers.authorization)?.[1] ?? 'Basic'
    const detail = 'Clients authenticate by private_key_jwt, or not at all'
    throw new Problem('invalid_client', detail, { extra: { scheme } })
  }

  function otherMethods(app: App, url: string): void {
    app.route({
      ...{ method: ['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE'], url, config: open },
      schema: { hide: true },
      onRequest: async () => {
        throw new Problem('method_not_allowed', 'POST a form')
      },
      handler: async () => undefined,
    })
  }

  return async (app) => {
    app.setErrorHandler(errorHandler(oauthJson))
    app.removeAllContentTypeParsers()
    app.addContentTypeParser<string>(
      FORM,
      { parseAs: 'string', bodyLimit: MAX_FORM },
      async (_request: FastifyRequest, text: string) => parseForm(text),
    )
    app.addHook('onRequest', before)
    for (const url of ['/oauth/token', '/oauth/introspect', '/oauth/revoke']) otherMethods(app, url)

    app.post(
      '/oauth/token',
      {
        ...{ config: open, onRequest: refuseHeader },
        schema: {
          ...{ ...form, operationId: 'oauthToken', body: TokenForm },
          summary: 'Token exchange, jwt-bearer and client_credentials',
          response: { 200: TokenAnswer, default: OAuthError },
        },
      },
      async (request) => oauth.token(request.body, request.ip),
    )

    app.post(
      '/oauth/introspect',
      {
        config: mayVerify,
        schema: {
          ...{ ...form, operationId: 'oauthIntrospect', body: AboutToken },
          summary: 'Whether an access token counts now (RFC 7662)',
          response: { 200: Introspection, default: OAuthError },
        },
      },
      async (request) => oauth.introspect(request.body.token),
    )

    app.post(
      '/oauth/revoke',
      {
        config: open,
        schema: {
          ...{ ...form, operationId: 'oauthRevoke', body: AboutToken },
          summary: 'Ends an access token and all of its family (RFC 7009)',
          response: { 200: Revoked, default: OAuthError },
        },
      },
      async (request, reply) => {
        await oauth.revoke(request.body.token)
        return reply.code(200).send()
      },
    )
  }
}

export interface MetadataParts {
  places(): Places | undefined
  /** Writes the document, or 304, as discovery does. */
  write(request: IncomingMessage, response: ServerResponse, places: Places): void
  /** The imitated wire to the letter: no HEAD. */
  strict: boolean
}

/** `/.well-known/oauth-authorization-server` (RFC 8414 section 3). */
export function metadataRoutes({ places, write, strict }: MetadataParts): Routes {
  function send(request: FastifyRequest, reply: FastifyReply): void {
    const where = places()
    if (!where) throw new Problem('oauth_disabled')
    const path = request.url.split('?', 1)[0] ?? ''
    if (!isMetadataPath(path, where)) throw new Problem('not_found')
    reply.hijack()
    write(request.raw, reply.raw, where)
  }

  const url = '/.well-known/oauth-authorization-server'
  const plain = { config: { ...open, log: false }, handler: send }
  const hidden = { ...plain, schema: { hide: true } }
  return async (app) => {
    app.route({
      ...{ ...plain, method: 'GET', url },
      schema: {
        ...{ tags: ['publication'], operationId: 'oauthMetadata' },
        summary: 'Where the endpoints are',
        response: { 200: ServerMetadata },
      },
    })
    app.route({
      ...{ ...plain, method: 'GET', url: `${url}${APPENDED}` },
      schema: {
        ...{ tags: ['publication'], operationId: 'oauthMetadataOfIssuer' },
        summary: 'The same, with the path of the issuer appended (RFC 8414 section 3.1)',
        response: { 200: ServerMetadata },
      },
    })
    // For an issuer below a path, which is appended as a whole.
    app.route({ ...hidden, method: 'GET', url: `${url}/*` })
    if (strict) return
    for (const at of [url, `${url}/*`]) app.route({ ...hidden, method: 'HEAD', url: at })
  }
}
