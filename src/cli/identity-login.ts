import type { ExplanationAnswer } from './answers.ts'
import { createClient } from './client.ts'
import { command, segment } from './command.ts'
import { json, text } from './flags.ts'
import { readSource } from './input.ts'
import { type Io, usage } from './io.ts'
import { table } from './table.ts'

// A login, and why it passes or fails. The JWT is read from a file or from standard input alone: what stands on a
// command line, everybody on the machine can read.

const LOGIN = '/api/v1/auth/jwt-auth/login'

const jwtFile = text('FILE', 'file that holds the JWT; - is standard input; needed')

async function readJwt(file: string | undefined, io: Io): Promise<string> {
  if (!file) throw usage('-jwt-file is needed: a file with the JWT, or -')
  const jwt = (await readSource(file, '-jwt-file', io)).trim()
  if (jwt === '') throw usage('There is no JWT in what -jwt-file names')
  return jwt
}

export const login = command({
  name: 'identity login',
  argument: 'identity ID',
  summary: 'Takes the JWT of a workload and prints an access token, and nothing else',
  notes: [
    'Needs no credential. For other commands: export KEYRINGD_TOKEN=$(keyringd identity login ID -jwt-file FILE)',
  ],
  flags: { 'jwt-file': jwtFile, json },
  async run({ values, argument, io }) {
    const body = { identityId: argument, jwt: await readJwt(values['jwt-file'], io) }
    const { value, text } = await createClient(values, io).json<{ accessToken: string }>(
      ...(['POST', LOGIN, body, { anonymous: true }] as const),
    )
    io.out(values.json ? text : `${value.accessToken}\n`)
    return 0
  },
})

export const explain = command({
  name: 'identity explain',
  argument: 'identity ID',
  summary: 'Says how each check of a login goes, and exits 1 when one fails; logs nobody in',
  notes: ['Needs identity:read'],
  flags: { 'jwt-file': jwtFile, json },
  async run({ values, argument, io }) {
    const path = `/v1/identities/${segment(argument)}/explain-login`
    const body = { jwt: await readJwt(values['jwt-file'], io) }
    const client = createClient(values, io)
    const { value, text } = await client.json<ExplanationAnswer>('POST', path, body)
    const rows = value.checks.map(({ name, ok, claim = '', rule = '', reason = '' }) => [
      ...[name, ok ? 'yes' : 'no', claim, rule, reason],
    ])
    const verdict = value.ok ? 'A login passes' : 'A login is refused'
    const shown = `${table(['Check', 'OK', 'Claim', 'Rule', 'Reason'], rows)}\n${verdict}\n`
    io.out(values.json ? text : shown)
    return value.ok ? 0 : 1
  },
})
