import { NoContent } from '../http/fields.ts'
import type { Routes } from '../http/server.ts'
import type { createRoleGrants } from './role-grants.ts'
import { RoleGrant, RoleGrantCreate, RoleGrantList, RoleGrantParams } from './schema.ts'

/** `/v1/role-grants`; to be registered inside the scope of our own routes. */
export function roleGrantRoutes(roleGrants: ReturnType<typeof createRoleGrants>): Routes {
  const config = { capability: 'access-manage' }
  const tags = ['access']

  return async (app) => {
    app.post(
      '/v1/role-grants',
      {
        config,
        schema: {
          ...{ tags, operationId: 'createRoleGrant' },
          summary: 'Gives a role to those whose tokens name an external role',
          body: RoleGrantCreate,
          response: { 201: RoleGrant },
        },
      },
      async (request, reply) =>
        reply.code(201).send(await roleGrants.create(request.principal, request.body)),
    )

    app.get(
      '/v1/role-grants',
      {
        config,
        schema: {
          ...{
            tags,
            operationId: 'listRoleGrants',
            summary: 'Lists which external roles mean what',
          },
          response: { 200: RoleGrantList },
        },
      },
      async (request) => ({ roleGrants: await roleGrants.list(request.principal) }),
    )

    app.delete(
      '/v1/role-grants/:id',
      {
        config,
        schema: {
          ...{ tags, operationId: 'deleteRoleGrant', summary: 'Takes a role away again' },
          params: RoleGrantParams,
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        await roleGrants.delete(request.principal, request.params.id)
        return reply.code(204).send()
      },
    )
  }
}
