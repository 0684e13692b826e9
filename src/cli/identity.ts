import type { IdentityAnswer } from './answers.ts'
import { createClient } from './client.ts'
import { type Collection, deleteCommand, listCommand, showCommand } from './collection.ts'
import { command } from './command.ts'
import { json, roleFlag, toggle } from './flags.ts'
import { createIdentity, IDENTITIES } from './identity-client.ts'
import { jwtAuth } from './identity-jwt-auth.ts'
import { explain, login } from './identity-login.ts'
import { trust } from './identity-trust.ts'
import { localTime, record } from './table.ts'

const identities: Collection<IdentityAnswer, Record<never, never>, { identity: IdentityAnswer }> = {
  ...{ noun: 'identity', kind: 'identity', argument: 'identity ID', flags: {} },
  ...{ member: 'identities', path: () => IDENTITIES },
  columns: {
    ID: ({ id }) => id,
    Name: ({ identity }) => identity.name,
    Role: ({ role }) => role,
    Login: ({ identity }) => identity.authMethods.join(','),
    'Last Login': ({ lastLoginTime }) => localTime(lastLoginTime),
  },
  describe({ identity: { id, role, metadata, identity, ...times } }) {
    const { name, hasDeleteProtection, authMethods } = identity
    return record({
      ...{ id, name, role, hasDeleteProtection, authMethods: authMethods.join(', ') },
      ...Object.fromEntries(metadata.map(({ key, value }) => [`metadata.${key}`, value])),
      createdAt: localTime(times.createdAt),
      updatedAt: localTime(times.updatedAt),
      lastLoginTime: localTime(times.lastLoginTime),
    })
  },
}

const create = command({
  name: 'identity create',
  argument: 'name',
  summary: 'Makes an identity for a workload and prints its ID',
  notes: [
    'It cannot log in yet: "keyringd identity trust" or "keyringd identity jwt-auth set" lets it',
  ],
  flags: {
    role: roleFlag('default: no-access'),
    'delete-protection': toggle('refuse to delete it, until the API changes that'),
    json,
  },
  async run({ values, argument, io }) {
    const { role, 'delete-protection': hasDeleteProtection } = values
    const client = createClient(values, io)
    const { id, text } = await createIdentity(client, argument, { role, hasDeleteProtection })
    io.out(values.json ? text : `${id}\n`)
    return 0
  },
})

export const identity = {
  create,
  list: listCommand(identities, 'Lists identities and how they log in'),
  show: showCommand(identities, 'Describes an identity'),
  delete: deleteCommand(identities, 'Deletes an identity; its tokens are void at once'),
  'jwt-auth': jwtAuth,
  login,
  explain,
  trust,
}
