import type { Routes } from '../http/server.ts'
import type { Logins } from './login.ts'
import { ExplainBody, Explanation, IdParams } from './schema.ts'
import type { Identities } from './service.ts'

/** Why a login passes or fails, in our own API; to be registered inside the scope of our own routes. */
export function explainRoutes({
  identities,
  logins,
}: {
  identities: Identities
  logins: Logins
}): Routes {
  return async (app) => {
    app.post(
      '/v1/identities/:id/explain-login',
      {
        config: { capability: 'identity:read' },
        schema: {
          ...{ tags: ['identities'], operationId: 'explainLogin' },
          summary: 'Every check of a login, pass or fail; issues nothing',
          ...{ params: IdParams, body: ExplainBody, response: { 200: Explanation } },
        },
      },
      async (request, reply) => {
        const { id } = request.params
        // Who may not see the identity does not learn what it is bound to.
        await identities.get(request.principal, id)
        reply.header('cache-control', 'no-store')
        const { ok, checks } = await logins.explain(id, request.body.jwt)
        return {
          ok,
          checks: checks.map(({ name, ok, claim, rule, reason }) => ({
            ...{ name, ok },
            ...(claim !== undefined && { claim }),
            ...(rule !== undefined && { rule }),
            ...(reason !== undefined && { reason }),
          })),
        }
      },
    )
  }
}
