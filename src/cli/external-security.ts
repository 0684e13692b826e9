import type { ExternalSecurityAnswer, ExternalSecurityListAnswer } from './answers.ts'
import { createClient } from './client.ts'
import { ask } from './collection.ts'
import { command, segment } from './command.ts'
import { jwtSecret } from './external-security-secret.ts'
import { json, text, type Values } from './flags.ts'
import { parseObject, readSource } from './input.ts'
import { type Io, usage } from './io.ts'
import { record, table } from './table.ts'

// Configurations of the MarkLogic surface, by the API that its own clients speak.

export const CONFIGURATIONS = '/manage/v2/external-security'

const propertiesOf = (name: string) => `${CONFIGURATIONS}/${segment(name)}/properties`

/** Flags for what an OAuth configuration needs; what else there is goes into a file. */
const flags = {
  file: text('FILE', 'the configuration as the API has it, a JSON object; - is standard input'),
  description: text('TEXT', 'what it is for'),
  'client-id': text('ID', 'oauth-client-id: what aud must hold, where it authenticates here'),
  issuer: text('URL', 'oauth-jwt-issuer-uri: the claim iss must be it'),
  alg: text('ALG', 'RS256 or HS256; the only algorithm of its tokens'),
  'jwks-uri': text('URL', 'JWK Set of the issuer, instead of secrets'),
  'username-attribute': text('CLAIM', 'claim with the name of the user'),
  'role-attribute': text('CLAIM', 'claim with the external roles'),
}

/** What the flags for a new configuration do not say. */
const NEW = {
  ...{ authentication: 'oauth', authorization: 'oauth', 'cache-timeout': 300 },
  'oauth-server': {
    ...{ 'oauth-vendor': 'Other', 'oauth-flow-type': 'Resource server' },
    'oauth-token-type': 'JSON Web Tokens',
  },
}

function oauthOf(values: Values<typeof flags>): Record<string, string> {
  const given = {
    'oauth-client-id': values['client-id'],
    'oauth-jwt-issuer-uri': values.issuer,
    'oauth-jwt-alg': values.alg,
    'oauth-jwks-uri': values['jwks-uri'],
    'oauth-username-attribute': values['username-attribute'],
    'oauth-role-attribute': values['role-attribute'],
  }
  return Object.fromEntries(
    Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  )
}

/** File first, then flags. @throws Problem `wrong_usage`, `command_failed` */
async function readBody(values: Values<typeof flags>, io: Io): Promise<Record<string, unknown>> {
  const { file, description } = values
  const ofFile = file ? parseObject(await readSource(file, '-file', io), '-file') : {}
  const oauth = oauthOf(values)
  const server = ofFile['oauth-server']
  return {
    ...ofFile,
    ...(description !== undefined && { description }),
    ...(Object.keys(oauth).length > 0 && {
      'oauth-server': { ...(typeof server === 'object' ? server : {}), ...oauth },
    }),
  }
}

function describe(configuration: ExternalSecurityAnswer): string {
  const { 'oauth-server': server = {}, ...rest } = configuration
  const { 'oauth-jwt-secrets': secrets, ...plain } = server
  const ids = secrets?.['oauth-jwt-secret'] ?? []
  const cells = Object.entries({ ...rest, ...plain }).map(([name, value]) => [
    name,
    typeof value === 'string' ? value : JSON.stringify(value),
  ])
  return record({
    ...Object.fromEntries(cells),
    ...(ids.length > 0 && {
      'key ids': ids.map((one) => one['oauth-jwt-key-id']).join(', '),
    }),
  })
}

const list = command({
  name: 'external-security list',
  summary: 'Lists external-security configurations',
  flags: { json },
  run: (call) =>
    ask(call, ['GET', `${CONFIGURATIONS}?format=json`], (answer: ExternalSecurityListAnswer) =>
      table(
        ['Name', 'ID'],
        answer['external-security-default-list']['list-items']['list-item'].map((one) => [
          one.nameref,
          one.idref,
        ]),
      ),
    ),
})

const show = command({
  name: 'external-security show',
  argument: 'name',
  summary: 'Describes an external-security configuration; of secrets only the key ids',
  flags: { json },
  run: (call) => ask(call, ['GET', `${propertiesOf(call.argument)}?format=json`], describe),
})

const create = command({
  name: 'external-security create',
  argument: 'name',
  summary: 'Makes an external-security configuration',
  notes: [
    'With flags it is one that verifies JWTs; -client-id, -alg, -username-attribute and -role-attribute are needed then',
    'It authenticates nobody before "settings set external_security" names it',
  ],
  flags,
  async run({ values, argument, io }) {
    const given = await readBody(values, io)
    if (Object.keys(given).length === 0) throw usage('Nothing is given: use -file, or other flags')
    const server = given['oauth-server']
    const body = values.file
      ? { 'external-security-name': argument, ...given }
      : {
          ...{ 'external-security-name': argument, ...NEW, ...given },
          'oauth-server': { ...NEW['oauth-server'], ...(typeof server === 'object' && server) },
        }
    await createClient(values, io).call('POST', CONFIGURATIONS, body)
    io.out(`Created external security ${argument}\n`)
    return 0
  },
})

const set = command({
  name: 'external-security set',
  argument: 'name',
  summary: 'Changes an external-security configuration; what is left out stays as it is',
  flags,
  async run({ values, argument, io }) {
    const body = await readBody(values, io)
    if (Object.keys(body).length === 0) throw usage('Nothing is given: use -file, or other flags')
    await createClient(values, io).call('PUT', propertiesOf(argument), body)
    io.out(`Changed external security ${argument}\n`)
    return 0
  },
})

const remove = command({
  name: 'external-security delete',
  argument: 'name',
  summary: 'Deletes an external-security configuration, with its secrets and role grants',
  flags: {},
  async run({ values, argument, io }) {
    await createClient(values, io).call('DELETE', `${CONFIGURATIONS}/${segment(argument)}`)
    io.out(`Deleted external security ${argument}\n`)
    return 0
  },
})

export const externalSecurity = { create, list, show, set, delete: remove, secret: jwtSecret }
