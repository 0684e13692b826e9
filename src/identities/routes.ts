import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Principal } from '../context.ts'
import { isProblem, Problem } from '../errors.ts'
import { withIssues } from '../http/issues.ts'
import { errorHandler, notFoundHandler } from '../http/problem.ts'
import { type App, assumeJson, failsWith, type Routes } from '../http/server.ts'
import type { AccessTokens } from './access-tokens.ts'
import type { Configurations } from './configuration.ts'
import { envelope } from './errors.ts'
import type { Logins } from './login.ts'
import {
  ErrorEnvelope,
  IdentityAnswer,
  IdentityCreate,
  IdentityDetails,
  IdentityParams,
  IdentityQuery,
  IdentityUpdate,
  JwtAuthAnswer,
  JwtAuthCreate,
  JwtAuthRevoked,
  JwtAuthUpdate,
  LoginBody,
  MembershipAnswer,
  MembershipList,
  TokenAnswer,
  TokenBody,
  TokenRevoked,
} from './schema.ts'
import type { Identities } from './service.ts'

export interface IdentitiesParts {
  identities: Identities
  configurations: Configurations
  logins: Logins
  tokens: AccessTokens
  /** A known caller was refused. For the audit record. */
  onDenied(principal: Principal, needed: string): Promise<void>
}

const tags = ['identities']
// Whether the caller may is decided behind the body and the identity, as the contract has it (section 3).
const known = { config: { capability: 'authenticated', capabilityText: 'identity:*' } }
// What was issued is on record; a log line each would say it twice.
const open = { config: { capability: 'public', log: 'debug' as const } }

/** Everything below `/api/v1` (identity contract); unknown paths and broken requests have its envelope, too. */
export function identitiesRoutes(parts: IdentitiesParts): Routes {
  return async (app) => {
    app.setErrorHandler(recorded(parts))
    failsWith(app, 'application/json', ErrorEnvelope)
    const nothing = notFoundHandler(envelope)
    app.setNotFoundHandler(nothing)
    // Issuers may have any path, so that a route for all of them would answer before the handler above.
    for (const url of ['/', '/*']) {
      app.route({ method: ['GET', 'HEAD'], url, ...open, schema: { hide: true }, handler: nothing })
    }
    app.setValidatorCompiler(withIssues)
    allowEmptyBodies(app)
    authRoutes(app, parts)
    jwtAuthRoutes(app, parts)
    identityRoutes(app, parts)
  }
}

/** The envelope, once it is on record who was refused what: here handlers decide, and not the guard of every route. */
function recorded({ onDenied }: IdentitiesParts) {
  const answer = errorHandler(envelope)
  return async (error: unknown, request: FastifyRequest, reply: FastifyReply) => {
    try {
      if (isProblem(error, 'forbidden')) {
        await onDenied(request.principal, `${error.extra['subject']}:${error.extra['action']}`)
      }
    } catch (failure) {
      return answer(failure, request, reply)
    }
    return answer(error, request, reply)
  }
}

/** A content type without a body is nobody's fault; a body without one is JSON (section 1). */
function allowEmptyBodies(app: App): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  app.removeContentTypeParser('application/json')
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    // In chunks, that there is none shows only at its end.
    if (body === '') done(null, undefined)
    else void parse(request, String(body), done)
  })
  assumeJson(app)
}

const isIdentity = ({ id }: Principal) => id.startsWith('identity:')

function authRoutes(app: App, { logins, tokens }: IdentitiesParts): void {
  app.post(
    '/auth/jwt-auth/login',
    {
      ...open,
      schema: {
        ...{ tags, operationId: 'loginWithJwt', summary: 'A JWT in, an access token out' },
        body: LoginBody,
        response: { 200: TokenAnswer },
      },
    },
    async (request, reply) => {
      reply.header('cache-control', 'no-store')
      return logins.login(request.body, request.ip)
    },
  )

  app.post(
    '/auth/token/renew',
    {
      ...open,
      schema: {
        ...{ tags, operationId: 'renewAccessToken', summary: 'The same access token, longer' },
        body: TokenBody,
        response: { 200: TokenAnswer },
      },
    },
    async (request, reply) => {
      reply.header('cache-control', 'no-store')
      return tokens.renew(request.body.accessToken, request.ip)
    },
  )

  app.post(
    '/auth/token/revoke',
    {
      ...open,
      schema: {
        ...{ tags, operationId: 'revokeAccessToken', summary: 'Ends an access token' },
        body: TokenBody,
        response: { 200: TokenRevoked },
      },
    },
    async (request) => {
      await tokens.revoke(request.body.accessToken)
      return { message: 'Successfully revoked access token' }
    },
  )
}

function jwtAuthRoutes(app: App, { configurations }: IdentitiesParts): void {
  const url = '/auth/jwt-auth/identities/:identityId'
  const params = IdentityParams

  app.post(
    url,
    {
      ...known,
      schema: {
        ...{ tags, operationId: 'attachJwtAuth', summary: 'Lets an identity log in with a JWT' },
        ...{ params, body: JwtAuthCreate, response: { 200: JwtAuthAnswer } },
      },
    },
    async ({ principal, params, body }) => ({
      identityJwtAuth: await configurations.attach(principal, params.identityId, body),
    }),
  )

  app.get(
    url,
    {
      ...known,
      schema: {
        ...{ tags, operationId: 'getJwtAuth', summary: 'How an identity logs in' },
        ...{ params, response: { 200: JwtAuthAnswer } },
      },
    },
    async ({ principal, params }) => ({
      identityJwtAuth: await configurations.get(principal, params.identityId),
    }),
  )

  app.patch(
    url,
    {
      ...known,
      schema: {
        ...{ tags, operationId: 'updateJwtAuth', summary: 'Changes how an identity logs in' },
        ...{ params, body: JwtAuthUpdate, response: { 200: JwtAuthAnswer } },
      },
    },
    async ({ principal, params, body }) => ({
      identityJwtAuth: await configurations.update(principal, params.identityId, body),
    }),
  )

  app.delete(
    url,
    {
      ...known,
      schema: {
        ...{ tags, operationId: 'revokeJwtAuth', summary: 'Ends logins and their tokens' },
        ...{ params, response: { 200: JwtAuthRevoked } },
      },
    },
    async ({ principal, params }) => ({
      identityJwtAuth: await configurations.revoke(principal, params.identityId),
    }),
  )
}

function identityRoutes(app: App, { identities }: IdentitiesParts): void {
  app.post(
    '/identities',
    {
      ...known,
      schema: {
        ...{ tags, operationId: 'createIdentity', summary: 'Makes an identity' },
        ...{ body: IdentityCreate, response: { 200: IdentityAnswer } },
      },
    },
    async ({ principal, body }) => ({ identity: await identities.create(principal, body) }),
  )

  app.get(
    '/identities',
    {
      ...known,
      schema: {
        ...{ tags, operationId: 'listIdentities', summary: 'Lists identities' },
        ...{ querystring: IdentityQuery, response: { 200: MembershipList } },
      },
    },
    async ({ principal }) => identities.list(principal),
  )

  app.get(
    '/identities/details',
    {
      ...known,
      schema: {
        ...{ tags, operationId: 'identityDetails', summary: 'The organisation of the caller' },
        response: { 200: IdentityDetails },
      },
    },
    async ({ principal }) => {
      if (!isIdentity(principal)) throw new Problem('token_kind_refused')
      const { id, name, slug } = await identities.organisation()
      return { identityDetails: { organization: { id, name, slug } } }
    },
  )

  const byId = '/identities/:identityId'
  const params = IdentityParams

  app.get(
    byId,
    {
      ...known,
      schema: {
        ...{ tags, operationId: 'getIdentity', summary: 'An identity, as a member' },
        ...{ params, response: { 200: MembershipAnswer } },
      },
    },
    async ({ principal, params }) => ({
      identity: await identities.get(principal, params.identityId),
    }),
  )

  app.patch(
    byId,
    {
      ...known,
      schema: {
        ...{ tags, operationId: 'updateIdentity', summary: 'Changes an identity' },
        ...{ params, body: IdentityUpdate, response: { 200: IdentityAnswer } },
      },
    },
    async ({ principal, params, body }) => ({
      identity: await identities.update(principal, params.identityId, body),
    }),
  )

  app.delete(
    byId,
    {
      ...known,
      schema: {
        ...{ tags, operationId: 'deleteIdentity', summary: 'Deletes an identity and its tokens' },
        ...{ params, response: { 200: IdentityAnswer } },
      },
    },
    async ({ principal, params }) => ({
      identity: await identities.delete(principal, params.identityId),
    }),
  )
}
