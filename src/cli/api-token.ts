import type { ApiTokenAnswer } from './answers.ts'
import { ask, type Collection, deleteCommand, listCommand, showCommand } from './collection.ts'
import { command } from './command.ts'
import { json, list as repeated, roleFlag, text } from './flags.ts'
import { toDurationField } from './input.ts'
import { localTime, record } from './table.ts'

const PATH = '/v1/api-tokens'

const tokens: Collection<ApiTokenAnswer> = {
  ...{ noun: 'api-token', kind: 'API token', flags: {}, member: 'apiTokens' },
  path: () => PATH,
  columns: {
    Name: ({ name }) => name,
    Role: ({ role }) => role ?? '',
    Grants: ({ grants }) => grants.join(','),
    Tenant: ({ tenant }) => tenant ?? '',
    'Create Time': ({ createdAt }) => localTime(createdAt),
    'Expire Time': ({ expiresAt }) => localTime(expiresAt),
  },
  describe: (token) =>
    record({
      ...token,
      createdAt: localTime(token.createdAt),
      expiresAt: token.expiresAt && localTime(token.expiresAt),
    }),
}

const create = command({
  name: 'api-token create',
  argument: 'name',
  summary: 'Makes an API token and prints it, this once',
  flags: {
    role: roleFlag('default: none'),
    grant: repeated(
      'GRANT',
      'capability, alone or with @ring:NAME, @profile:RING/NAME or @delivery-service:XML_ID',
    ),
    tenant: text('NAME', 'bind it to this tenant'),
    ttl: text('DURATION', 'how long it lives, such as 720h; default: until it is deleted'),
    json,
  },
  async run(call) {
    const { role, grant, tenant, ttl } = call.values
    const body = {
      name: call.argument,
      ...(role && { role }),
      ...(grant.length > 0 && { grants: grant }),
      ...(tenant && { tenant }),
      ...(ttl && { ttl: toDurationField(ttl, '-ttl') }),
    }
    const code = await ask(
      call,
      ['POST', PATH, body],
      ({ token }: { token: string }) => `${token}\n`,
    )
    if (!role && grant.length === 0) {
      call.io.err('Without -role and -grant this token may do nothing\n')
    }
    return code
  },
})

export const apiToken = {
  create,
  list: listCommand(tokens, 'Lists API tokens, without the tokens'),
  show: showCommand(tokens, 'Describes an API token'),
  delete: deleteCommand(tokens, 'Deletes an API token; it is void at once'),
}
