import type { RoleGrantAnswer } from './answers.ts'
import { ask, type Collection, deleteCommand, listCommand } from './collection.ts'
import { command } from './command.ts'
import { json, roleFlag, text } from './flags.ts'
import { usage } from './io.ts'
import { localTime, record } from './table.ts'

const PATH = '/v1/role-grants'

const grants: Collection<RoleGrantAnswer> = {
  ...{ noun: 'role-grant', kind: 'role grant', flags: {}, member: 'roleGrants', argument: 'id' },
  path: () => PATH,
  columns: {
    ID: ({ id }) => id,
    'External Security': ({ externalSecurity }) => externalSecurity,
    'External Name': ({ externalName }) => externalName,
    Role: ({ role }) => role,
    Tenant: ({ tenant }) => tenant ?? '',
    'Create Time': ({ createdAt }) => localTime(createdAt),
  },
  describe: (grant) => record({ ...grant, createdAt: localTime(grant.createdAt) }),
}

const create = command({
  name: 'role-grant create',
  argument: 'external name',
  summary: 'Gives a role to those whose tokens name an external role',
  notes: ['Without a grant an external role means nothing here, whatever it is called'],
  flags: {
    'external-security': text('NAME', 'the configuration that the tokens verify against; needed'),
    role: roleFlag('needed'),
    tenant: text('NAME', 'bind them to this tenant and those below it'),
    json,
  },
  run(call) {
    const { role, tenant, 'external-security': externalSecurity } = call.values
    if (!externalSecurity || !role) throw usage('-external-security and -role are needed')
    const body = {
      ...{ externalSecurity, externalName: call.argument, role },
      ...(tenant && { tenant }),
    }
    return ask(call, ['POST', PATH, body], grants.describe)
  },
})

export const roleGrant = {
  create,
  list: listCommand(grants, 'Lists which external roles mean what'),
  delete: deleteCommand(grants, 'Takes a role away again'),
}
