import type { FastifyRequest } from 'fastify'
import { Problem } from '../errors.ts'
import { NoContent } from '../http/fields.ts'
import { errorHandler, notFoundHandler } from '../http/problem.ts'
import type { App, Routes } from '../http/server.ts'
import { bareText } from './errors.ts'
import { BareText, Nothing } from './schema.ts'
import type { DataApi, DataApiSettings } from './service.ts'

export interface DataApiRoutesParts {
  dataApi: Pick<DataApi, 'update'>
  settings: Pick<DataApiSettings, 'get'>
}

const MIB = 1024 * 1024
const SETUP = '/api/v2/jwks_setup'
const PONG = Buffer.from('pong')

/** `/api/v2/jwks_setup`, `/ping`, and 404 for what else there is not below `/api/` (contract sections 1 to 5). */
export function dataApiRoutes({ dataApi, settings }: DataApiRoutesParts): Routes {
  let running = 0

  /** Before who asks is looked at: what is switched off is not there at all. */
  async function isThere(): Promise<void> {
    if (!settings.get('http_api')) throw new Problem('not_found')
  }

  /** Nothing parses a body on the way, whatever it calls itself. */
  async function untyped({ raw }: FastifyRequest): Promise<void> {
    raw.headers['content-type'] = undefined
  }

  /** Of those who may, and until it is done: who may not, or does not read his answer, takes nobody's place. */
  async function inPool(work: () => Promise<void>): Promise<void> {
    if (running >= settings.get('http_api_pool_capacity')) throw new Problem('overloaded')
    running++
    try {
      await work()
    } finally {
      running--
    }
  }

  return async (app) => {
    app.setErrorHandler(errorHandler(bareText))
    app.removeAllContentTypeParsers()
    // Read to the limit and dropped.
    app.addContentTypeParser('*', { parseAs: 'buffer' }, async () => undefined)

    app.post(
      SETUP,
      {
        config: { capability: 'data-api-admin', credentials: 'data-api' },
        bodyLimit: MIB,
        onRequest: [isThere, untyped],
        schema: {
          ...{ tags: ['data-api'], operationId: 'jwksSetup' },
          summary: 'Makes the JWK Set of jwks_endpoint the active one',
          response: { 200: Nothing, default: BareText },
        },
      },
      async ({ principal }, reply) => {
        await inPool(() => dataApi.update(principal))
        return reply.code(200).send()
      },
    )

    app.get(
      '/ping',
      {
        config: { capability: 'public' },
        onRequest: isThere,
        schema: {
          ...{ tags: ['data-api'], operationId: 'ping', summary: 'The server is alive' },
          response: { 200: BareText },
        },
      },
      async (_, reply) => reply.type('text/plain').send(PONG as unknown as string),
    )

    // Of the method alone, before who asks is looked at.
    for (const method of app.supportedMethods.filter((one) => one !== 'POST')) {
      app.route({
        ...{ method, url: SETUP, schema: { hide: true }, config: { capability: 'public' } },
        onRequest: [
          isThere,
          async () => {
            throw new Problem('method_not_allowed')
          },
        ],
        handler: async () => undefined,
      })
    }

    await app.register(
      async (below: App) => {
        const nothing = notFoundHandler(bareText)
        const isSetup = ({ url }: FastifyRequest) => url.split('?', 1)[0] === SETUP
        // Before a body is read; a method of jwks_setup that the router does not know ends here, too.
        below.addHook('onRequest', async (request) => {
          const isMethod = isSetup(request) && settings.get('http_api')
          throw new Problem(isMethod ? 'method_not_allowed' : 'not_found')
        })
        below.setNotFoundHandler(nothing)
        // Issuers may have any path, so that a route for all of them would answer before the handler above.
        for (const url of ['/', '/*']) {
          const config = { capability: 'public' }
          below.route({
            ...{ method: ['GET', 'HEAD'], url, config, schema: { hide: true }, handler: nothing },
          })
        }
      },
      { prefix: '/api' },
    )
  }
}

/** Our own `DELETE /v1/data-api/keys`; to be registered inside the scope of our own routes. */
export function dataApiKeysRoutes(dataApi: Pick<DataApi, 'drop'>): Routes {
  return async (app) => {
    app.delete(
      '/v1/data-api/keys',
      {
        config: { capability: 'data-api-admin' },
        schema: {
          ...{ tags: ['data-api'], operationId: 'dropDataApiKeys' },
          summary: 'Trusts no JWK Set on the data API until the next jwks_setup',
          response: { 204: NoContent },
        },
      },
      async ({ principal }, reply) => {
        await dataApi.drop(principal)
        return reply.code(204).send()
      },
    )
  }
}
