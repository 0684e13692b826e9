import type { TenantAnswer } from './answers.ts'
import { ask, type Collection, deleteCommand, listCommand, showCommand } from './collection.ts'
import { command, segment } from './command.ts'
import { json, text } from './flags.ts'
import { usage } from './io.ts'
import { localTime, record } from './table.ts'

const PATH = '/v1/tenants'

const tenants: Collection<TenantAnswer> = {
  ...{ noun: 'tenant', kind: 'tenant', flags: {}, member: 'tenants' },
  path: () => PATH,
  columns: {
    Name: ({ name }) => name,
    Parent: ({ parent }) => parent ?? '',
    'Create Time': ({ createdAt }) => localTime(createdAt),
  },
  describe: (tenant) => record({ ...tenant, createdAt: localTime(tenant.createdAt) }),
}

const create = command({
  name: 'tenant create',
  argument: 'name',
  summary: 'Makes a tenant below another',
  flags: { parent: text('NAME', 'what it is below; default: your own tenant, else root'), json },
  run(call) {
    const { parent } = call.values
    const body = { name: call.argument, ...(parent && { parent }) }
    return ask(call, ['POST', PATH, body], tenants.describe)
  },
})

const move = command({
  name: 'tenant move',
  argument: 'name',
  summary: 'Hangs a tenant, with all below it, on another one',
  flags: { parent: text('NAME', 'what it is below from now on; needed'), json },
  async run(call) {
    const { parent } = call.values
    if (!parent) throw usage('-parent is needed: what the tenant is below from now on')
    return ask(call, ['PATCH', `${PATH}/${segment(call.argument)}`, { parent }], tenants.describe)
  },
})

export const tenant = {
  create,
  list: listCommand(tenants, 'Lists your tenant and those below it'),
  show: showCommand(tenants, 'Describes a tenant'),
  move,
  delete: deleteCommand(tenants, 'Deletes a tenant that holds nothing'),
}
