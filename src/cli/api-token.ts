import type { ApiTokenAnswer } from './answers.ts'
import { createClient } from './client.ts'
import { command, segment } from './command.ts'
import { list as repeated, text, toggle } from './flags.ts'
import { toDurationField } from './input.ts'
import { localTime, record, table } from './table.ts'

const PATH = '/v1/api-tokens'
const json = toggle("the API's answer as it is")

const create = command({
  name: 'api-token create',
  argument: 'name',
  summary: 'Makes an API token and prints it, this once',
  flags: {
    role: text('ROLE', 'such as admin, operator or member'),
    grant: repeated('GRANT', 'capability, capability@ring:NAME or capability@profile:RING/NAME'),
    tenant: text('NAME', 'bind it to this tenant'),
    ttl: text('DURATION', 'how long it lives, such as 720h; default: until it is deleted'),
    json,
  },
  async run({ values, argument, io }) {
    const { role, grant, tenant, ttl } = values
    const { value, text } = await createClient(values, io).json<{ token: string }>('POST', PATH, {
      name: argument,
      ...(role && { role }),
      ...(grant.length > 0 && { grants: grant }),
      ...(tenant && { tenant }),
      ...(ttl && { ttl: toDurationField(ttl, '-ttl') }),
    })
    io.out(values.json ? text : `${value.token}\n`)
    return 0
  },
})

const list = command({
  name: 'api-token list',
  summary: 'Lists API tokens, without the tokens',
  flags: { json },
  async run({ values, io }) {
    const { value, text } = await createClient(values, io).json<{ apiTokens: ApiTokenAnswer[] }>(
      'GET',
      PATH,
    )
    const rows = value.apiTokens.map(({ name, role, grants, tenant, createdAt, expiresAt }) => [
      ...[name, role ?? '', grants.join(','), tenant ?? ''],
      ...[localTime(createdAt), localTime(expiresAt)],
    ])
    const head = ['Name', 'Role', 'Grants', 'Tenant', 'Create Time', 'Expire Time']
    io.out(values.json ? text : table(head, rows))
    return 0
  },
})

const show = command({
  name: 'api-token show',
  argument: 'name',
  summary: 'Describes an API token',
  flags: { json },
  async run({ values, argument, io }) {
    const client = createClient(values, io)
    const { value, text } = await client.json<ApiTokenAnswer>('GET', `${PATH}/${segment(argument)}`)
    const times = {
      createdAt: localTime(value.createdAt),
      expiresAt: value.expiresAt && localTime(value.expiresAt),
    }
    io.out(values.json ? text : record({ ...value, ...times }))
    return 0
  },
})

const remove = command({
  name: 'api-token delete',
  argument: 'name',
  summary: 'Deletes an API token; it is void at once',
  flags: {},
  async run({ values, argument, io }) {
    await createClient(values, io).call('DELETE', `${PATH}/${segment(argument)}`)
    io.out(`Deleted API token ${argument}\n`)
    return 0
  },
})

export const apiToken = { create, list, show, delete: remove }
