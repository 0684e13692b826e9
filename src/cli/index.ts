import { clientEnvironment, suggest } from '../config.ts'
import { isProblem } from '../errors.ts'
import { apiToken } from './api-token.ts'
import { clock } from './clock.ts'
import type { Command } from './command.ts'
import { deliveryService } from './delivery-service.ts'
import { doctor } from './doctor.ts'
import { externalSecurity } from './external-security.ts'
import { HARMLESS } from './flags.ts'
import { identity } from './identity.ts'
import { type Io, openProcessIo } from './io.ts'
import { keys } from './keys.ts'
import { profile } from './profile.ts'
import { ring } from './ring.ts'
import { roleGrant } from './role-grant.ts'
import { serve } from './serve.ts'
import { setting } from './settings.ts'
import { table } from './table.ts'
import { tenant } from './tenant.ts'
import { token } from './token.ts'
import { uri } from './uri.ts'
import { user } from './user.ts'
import { version } from './version.ts'

/** What a word leads to: a command, or the words that may follow. */
interface Words {
  [word: string]: Command | Words
}

const NOUNS: Words = {
  serve,
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
  version,
}

const HELP = /^(?:--?(?:h|help)|help)$/
const VERSION = /^--?version$/

const isCommand = (entry: Command | Words): entry is Command => typeof entry.run === 'function'

const commandsOf = (words: Words): Command[] =>
  Object.values(words).flatMap((entry) => (isCommand(entry) ? [entry] : commandsOf(entry)))

function listOf(words: Words): string {
  const rows = commandsOf(words).map(({ name, summary }) => [`  ${name}`, summary])
  const [first = [], ...others] = rows
  return table(first, others)
}

const overviewOf = (words: Words): string =>
  [
    'Usage: keyringd <command> [flags]\n',
    listOf(words),
    'Each command has -help. Exit 0: done; 1: failed; 2: the command line is not right.\n',
  ].join('\n')

/** Words that lead to something, each the nearest to what was typed, as far as there is a near one. */
function nearest(words: Words, [word, ...rest]: readonly string[]): string[] {
  if (word === undefined) return []
  const near = Object.hasOwn(words, word) ? word : suggest(word, Object.keys(words))
  const entry = near === undefined ? undefined : words[near]
  if (near === undefined || !entry) return []
  return [near, ...(isCommand(entry) ? [] : nearest(entry, rest))]
}

/** For when the word at `at` leads nowhere. A word that may be a secret is not repeated. */
function unknown(words: Words, argv: readonly string[], at: number): string {
  const path = argv.slice(0, at)
  const help = `For additional help try "keyringd ${[...path, '-help'].join(' ')}"\n`
  if (argv[at]?.startsWith('-')) {
    return `Flags come after the command, such as "keyringd keys list -json"\n${help}`
  }
  const meant = nearest(NOUNS, argv)
  const typed = argv.slice(0, Math.max(meant.length, at + 1))
  const what = typed.every((word) => HARMLESS.test(word)) ? ` "${typed.join(' ')}"` : ''
  const near = meant.length > at ? `; did you mean "${meant.join(' ')}"?` : ''
  const those = words === NOUNS ? `Commands: ${Object.keys(NOUNS).join(', ')}\n` : listOf(words)
  return `Unknown command${what}${near}\n\n${those}\n${help}`
}

/** What to run and with which words, or what to print and how to exit. */
function find(
  argv: readonly string[],
): { command: Command; rest: readonly string[] } | { text: string; asked: boolean } {
  let words = NOUNS
  for (const [at, word] of argv.entries()) {
    const entry = Object.hasOwn(words, word) ? words[word] : undefined
    if (entry && isCommand(entry)) return { command: entry, rest: argv.slice(at + 1) }
    if (!entry && HELP.test(word)) return { text: overviewOf(words), asked: true }
    if (!entry && at === 0 && VERSION.test(word)) return { command: version, rest: [] }
    if (!entry) return { text: unknown(words, argv, at), asked: false }
    words = entry
  }
  return { text: overviewOf(words), asked: false }
}

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
