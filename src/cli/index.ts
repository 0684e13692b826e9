import { clientEnvironment } from '../config.ts'
import { isProblem } from '../errors.ts'
import { apiToken } from './api-token.ts'
import { clock } from './clock.ts'
import type { Command } from './command.ts'
import { deliveryService } from './delivery-service.ts'
import { doctor } from './doctor.ts'
import { externalSecurity } from './external-security.ts'
import { identity } from './identity.ts'
import { type Io, openProcessIo } from './io.ts'
import { keys } from './keys.ts'
import { profile } from './profile.ts'
import { ring } from './ring.ts'
import { roleGrant } from './role-grant.ts'
import { setting } from './settings.ts'
import { table } from './table.ts'
import { tenant } from './tenant.ts'
import { token } from './token.ts'
import { uri } from './uri.ts'
import { user } from './user.ts'

/** What a word leads to: a command, or the words that may follow. */
interface Words {
  [word: string]: Command | Words
}

const NOUNS: Words = {
  keys,
  token,
  'api-token': apiToken,
  user,
  tenant,
  ring,
  profile,
  identity,
  'delivery-service': deliveryService,
  uri,
  'external-security': externalSecurity,
  'role-grant': roleGrant,
  settings: setting,
  clock,
  doctor,
}

const HELP = /^(?:--?(?:h|help)|help)$/

const isCommand = (entry: Command | Words): entry is Command => typeof entry.run === 'function'

const commandsOf = (words: Words): Command[] =>
  Object.values(words).flatMap((entry) => (isCommand(entry) ? [entry] : commandsOf(entry)))

const SERVE = { name: 'serve', summary: 'Runs the server; settings are KEYRINGD_… variables' }

function overview(commands: readonly Pick<Command, 'name' | 'summary'>[]): string {
  const [first = [], ...others] = commands.map(({ name, summary }) => [`  ${name}`, summary])
  return [
    'Usage: keyringd <command> [flags]\n',
    table(first, others),
    'Each command has -help. Exit 0: done; 1: failed; 2: the command line is not right.\n',
  ].join('\n')
}

/** What to run and with which words, or what to print and how to exit. */
function find(
  argv: readonly string[],
): { command: Command; rest: readonly string[] } | { text: string; asked: boolean } {
  let words = NOUNS
  for (const [at, word] of argv.entries()) {
    const entry = Object.hasOwn(words, word) ? words[word] : undefined
    if (entry && isCommand(entry)) return { command: entry, rest: argv.slice(at + 1) }
    if (!entry) return { text: overviewOf(words), asked: HELP.test(word) }
    words = entry
  }
  return { text: overviewOf(words), asked: false }
}

const overviewOf = (words: Words): string =>
  overview([...(words === NOUNS ? [SERVE] : []), ...commandsOf(words)])

/** Errors repeat what a server said; a credential that it repeated stays here. */
function redacted(text: string, argv: readonly string[], io: Io): string {
  const given = argv.flatMap((word, at) => {
    const [, inline] = /^--?token(?:=(.*))?$/s.exec(word) ?? [undefined, null]
    return inline === null ? [] : [inline ?? argv[at + 1] ?? '']
  })
  const secrets = [...given, clientEnvironment(io.env).token ?? '']
  return secrets
    .filter((secret) => secret.length >= 8)
    .reduce((rest, secret) => rest.replaceAll(secret, '…'), text)
}

/**
 * Runs one command and returns the exit code: 0, 1 when it failed, 2 when the command line is wrong (product.md
 * section 8, which wins over the contract's 1 for that).
 */
export async function runCli(argv: readonly string[], io: Io = openProcessIo()): Promise<number> {
  const found = find(argv)
  if ('text' in found) {
    if (found.asked) io.out(found.text)
    else io.err(found.text)
    return found.asked ? 0 : 2
  }
  const { command, rest } = found
  try {
    return await command.run(rest, io)
  } catch (error) {
    if (isProblem(error, 'wrong_usage')) {
      const help = `For additional help try "keyringd ${command.name} -help"`
      io.err(redacted(`${error.detail}\n${help}\n`, rest, io))
      return 2
    }
    if (!isProblem(error, 'command_failed')) throw error
    io.err(redacted(`${error.detail}\n`, rest, io))
    return 1
  }
}
