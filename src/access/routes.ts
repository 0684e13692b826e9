import { NoContent } from '../http/fields.ts'
import type { Routes } from '../http/server.ts'
import {
  ApiToken,
  ApiTokenCreate,
  ApiTokenCreated,
  ApiTokenList,
  ApiTokenParams,
} from './schema.ts'
import type { AccessService } from './service.ts'

/** `/v1/api-tokens`; to be registered inside the scope of our own routes. Reads need `access-manage` too. */
export function accessRoutes(access: AccessService): Routes {
  const config = { capability: 'access-manage' }
  const tags = ['access']

  return async (app) => {
    app.post(
      '/v1/api-tokens',
      {
        config,
        schema: {
          ...{ tags, operationId: 'createApiToken', summary: 'Makes an API token' },
          body: ApiTokenCreate,
          response: { 201: ApiTokenCreated },
        },
      },
      async (request, reply) => {
        const created = await access.createApiToken(request.principal, request.body)
        return reply.code(201).header('cache-control', 'no-store').send(created)
      },
    )

    app.get(
      '/v1/api-tokens',
      {
        config,
        schema: {
          ...{
            tags,
            operationId: 'listApiTokens',
            summary: 'Lists API tokens, without the tokens',
          },
          response: { 200: ApiTokenList },
        },
      },
      async (request) => ({ apiTokens: await access.listApiTokens(request.principal) }),
    )

    app.get(
      '/v1/api-tokens/:name',
      {
        config,
        schema: {
          ...{ tags, operationId: 'getApiToken', summary: 'Describes one API token' },
          params: ApiTokenParams,
          response: { 200: ApiToken },
        },
      },
      async (request) => access.getApiToken(request.principal, request.params.name),
    )

    app.delete(
      '/v1/api-tokens/:name',
      {
        config,
        schema: {
          ...{ tags, operationId: 'deleteApiToken', summary: 'Deletes an API token, at once' },
          params: ApiTokenParams,
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        await access.deleteApiToken(request.principal, request.params.name)
        return reply.code(204).send()
      },
    )
  }
}
