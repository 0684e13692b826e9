import type { UserAnswer } from './answers.ts'
import { ask, type Collection, deleteCommand, listCommand, showCommand } from './collection.ts'
import { command, segment } from './command.ts'
import { readText } from './files.ts'
import { json, roleFlag, text, toggle } from './flags.ts'
import { toDurationField } from './input.ts'
import { type Io, usage } from './io.ts'
import { localTime, record } from './table.ts'

const PATH = '/v1/users'

const users: Collection<UserAnswer> = {
  ...{ noun: 'user', kind: 'user', flags: {}, member: 'users' },
  path: () => PATH,
  columns: {
    Name: ({ name }) => name,
    Role: ({ role }) => role,
    Tenant: ({ tenant }) => tenant ?? '',
    Password: ({ hasPassword }) => (hasPassword ? 'yes' : 'no'),
    JWT: ({ jwt }) => (jwt ? 'yes' : 'no'),
    Digest: ({ digest }) => (digest ? 'yes' : 'no'),
    'Create Time': ({ createdAt }) => localTime(createdAt),
  },
  describe: (user) =>
    record({
      ...user,
      createdAt: localTime(user.createdAt),
      updatedAt: localTime(user.updatedAt),
    }),
}

/** Never an argument: those are seen by everybody on the machine, and stay in the shell's history. */
const PASSWORD = 'file with the password and nothing else; "-": standard input'

/** Without the end of its line. @throws Problem `wrong_usage`; it repeats nothing of the text */
async function readPassword(file: string, io: Io): Promise<string> {
  const given = file === '-' ? await io.password() : readText(file, '-password-file')
  const password = given.replace(/\r?\n$/, '')
  if (password === '' && file === '-') {
    throw usage('No password came on standard input; send one, or use -password-file')
  }
  if (password === '') throw usage('The password is empty')
  if (/[\r\n]/.test(password)) throw usage('The password is more than one line')
  return password
}

const create = command({
  name: 'user create',
  argument: 'name',
  summary: 'Makes a user',
  notes: ['Without -password-file no password opens the account; "user set-password" gives it one'],
  flags: {
    role: roleFlag('default: no-access'),
    tenant: text('NAME', 'bind them to this tenant and those below it'),
    'password-file': text('FILE', PASSWORD),
    jwt: toggle('JWTs of a trusted set may be theirs'),
    digest: toggle('they log in on /manage by HTTP Digest, too; needs -password-file'),
    json,
  },
  async run(call) {
    const { role = 'no-access', tenant, jwt, digest, 'password-file': file } = call.values
    const body = {
      ...{ name: call.argument, role },
      ...(tenant && { tenant }),
      ...(file && { password: await readPassword(file, call.io) }),
      ...(jwt && { jwt }),
      ...(digest && { digest }),
    }
    return ask(call, ['POST', PATH, body], users.describe)
  },
})

const setPassword = command({
  name: 'user set-password',
  argument: 'name',
  summary: 'Gives a user another password and ends their sessions',
  notes: [
    'Without -password-file the password is read from standard input; a terminal does not show it',
  ],
  flags: { 'password-file': text('FILE', PASSWORD), json },
  async run(call) {
    const { 'password-file': file = '-' } = call.values
    const body = { password: await readPassword(file, call.io) }
    return ask(call, ['PATCH', `${PATH}/${segment(call.argument)}`, body], users.describe)
  },
})

const setRole = command({
  name: 'user set-role',
  argument: 'name',
  summary: 'Gives a user another role',
  flags: { role: roleFlag('needed'), json },
  async run(call) {
    const { role } = call.values
    if (!role) throw usage('-role is needed')
    return ask(call, ['PATCH', `${PATH}/${segment(call.argument)}`, { role }], users.describe)
  },
})

const loginToken = command({
  name: 'user login-token',
  argument: 'name',
  summary: 'Makes a token with which a user logs in once, and prints it',
  notes: [
    'It is for POST /api/5.0/user/login/token, and voids the one made before; another password, role or tenant voids it',
  ],
  flags: {
    ttl: text('DURATION', 'how long it may wait to be used, at most 24h; default: 1h'),
    json,
  },
  run(call) {
    const { ttl } = call.values
    const body = { ...(ttl && { ttl: toDurationField(ttl, '-ttl') }) }
    return ask(
      call,
      ['POST', `${PATH}/${segment(call.argument)}/login-token`, body],
      ({ token }: { token: string }) => `${token}\n`,
    )
  },
})

export const user = {
  create,
  list: listCommand(users, 'Lists users'),
  show: showCommand(users, 'Describes a user'),
  'set-password': setPassword,
  'set-role': setRole,
  'login-token': loginToken,
  delete: deleteCommand(users, 'Deletes a user and ends their sessions'),
}
