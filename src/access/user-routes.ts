import { addressKey } from '../http/address.ts'
import { NoContent } from '../http/fields.ts'
import type { Routes } from '../http/server.ts'
import {
  LoginToken,
  LoginTokenCreate,
  NameParams,
  PasswordChange,
  User,
  UserCreate,
  UserList,
  UserPatch,
} from './schema.ts'
import type { AccessService } from './service.ts'

/** Bytes: names and passwords, and no more. */
const MAX_BODY = 16 * 1024

/** `/v1/users`; to be registered inside the scope of our own routes. */
export function userRoutes({
  users,
  loginTokens,
}: Pick<AccessService, 'users' | 'loginTokens'>): Routes {
  const config = { capability: 'access-manage' }
  const tags = ['access']

  return async (app) => {
    app.post(
      '/v1/users',
      {
        config,
        bodyLimit: MAX_BODY,
        schema: {
          ...{ tags, operationId: 'createUser', summary: 'Makes a user' },
          body: UserCreate,
          response: { 201: User },
        },
      },
      async (request, reply) =>
        reply.code(201).send(await users.create(request.principal, request.body)),
    )

    app.get(
      '/v1/users',
      {
        config,
        schema: {
          ...{
            tags,
            operationId: 'listUsers',
            summary: 'Lists the users of your tenant and below',
          },
          response: { 200: UserList },
        },
      },
      async (request) => ({ users: await users.list(request.principal) }),
    )

    app.get(
      '/v1/users/:name',
      {
        config,
        schema: {
          ...{ tags, operationId: 'getUser', summary: 'Describes one user' },
          params: NameParams,
          response: { 200: User },
        },
      },
      async (request) => users.get(request.principal, request.params.name),
    )

    app.patch(
      '/v1/users/:name',
      {
        config,
        bodyLimit: MAX_BODY,
        schema: {
          ...{ tags, operationId: 'updateUser', summary: 'Changes password, role or tenant' },
          params: NameParams,
          body: UserPatch,
          response: { 200: User },
        },
      },
      async (request) => users.update(request.principal, request.params.name, request.body),
    )

    app.delete(
      '/v1/users/:name',
      {
        config,
        schema: {
          ...{ tags, operationId: 'deleteUser', summary: 'Deletes a user, and ends its sessions' },
          params: NameParams,
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        await users.delete(request.principal, request.params.name)
        return reply.code(204).send()
      },
    )

    app.post(
      '/v1/users/:name/login-token',
      {
        config,
        bodyLimit: MAX_BODY,
        schema: {
          ...{ tags, operationId: 'createLoginToken' },
          summary: 'Makes a token with which a user logs in once, instead of the one before',
          params: NameParams,
          body: LoginTokenCreate.nullish(),
          response: { 201: LoginToken },
        },
      },
      async ({ principal, params, body }, reply) =>
        reply.code(201).send(await loginTokens.make(principal, params.name, body?.ttl)),
    )

    app.put(
      '/v1/users/:name/password',
      {
        // The current password is the credential.
        config: { capability: 'public' },
        bodyLimit: MAX_BODY,
        schema: {
          ...{ tags, operationId: 'changePassword', summary: 'Changes your own password' },
          params: NameParams,
          body: PasswordChange,
          response: { 204: NoContent },
        },
      },
      async ({ params, body, ip }, reply) => {
        const account = await users.verifyPassword(params.name, body.currentPassword, ip)
        await users.changeOwnPassword(account, body.password, addressKey(ip))
        return reply.code(204).send()
      },
    )
  }
}
