import { NoContent } from '../http/fields.ts'
import type { Routes } from '../http/server.ts'
import { NameParams, Tenant, TenantCreate, TenantList, TenantMove } from './schema.ts'
import type { AccessService } from './service.ts'

/** `/v1/tenants`; to be registered inside the scope of our own routes. */
export function tenantRoutes({ tenants }: Pick<AccessService, 'tenants'>): Routes {
  const config = { capability: 'access-manage' }
  const tags = ['access']

  return async (app) => {
    app.post(
      '/v1/tenants',
      {
        config,
        schema: {
          ...{ tags, operationId: 'createTenant', summary: 'Makes a tenant below another' },
          body: TenantCreate,
          response: { 201: Tenant },
        },
      },
      async (request, reply) =>
        reply.code(201).send(await tenants.create(request.principal, request.body)),
    )

    app.get(
      '/v1/tenants',
      {
        config,
        schema: {
          ...{ tags, operationId: 'listTenants', summary: 'Lists your tenant and those below' },
          response: { 200: TenantList },
        },
      },
      async (request) => ({ tenants: await tenants.list(request.principal) }),
    )

    app.get(
      '/v1/tenants/:name',
      {
        config,
        schema: {
          ...{ tags, operationId: 'getTenant', summary: 'Describes one tenant' },
          params: NameParams,
          response: { 200: Tenant },
        },
      },
      async (request) => tenants.get(request.principal, request.params.name),
    )

    app.patch(
      '/v1/tenants/:name',
      {
        config,
        schema: {
          ...{ tags, operationId: 'moveTenant', summary: 'Hangs a tenant on another parent' },
          params: NameParams,
          body: TenantMove,
          response: { 200: Tenant },
        },
      },
      async (request) => tenants.move(request.principal, request.params.name, request.body.parent),
    )

    app.delete(
      '/v1/tenants/:name',
      {
        config,
        schema: {
          ...{ tags, operationId: 'deleteTenant', summary: 'Deletes a tenant that holds nothing' },
          params: NameParams,
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        await tenants.delete(request.principal, request.params.name)
        return reply.code(204).send()
      },
    )
  }
}
