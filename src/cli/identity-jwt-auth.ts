import { formatDuration, fromSeconds } from '../time.ts'
import type { JwtAuthAnswer } from './answers.ts'
import { createClient } from './client.ts'
import { ask } from './collection.ts'
import { command } from './command.ts'
import { readText } from './files.ts'
import { json, list, text, type Values } from './flags.ts'
import { type JwtAuthReply, jwtAuthPath, saveJwtAuth } from './identity-client.ts'
import { parseObject, readSource, toSecondsField } from './input.ts'
import { type Io, usage } from './io.ts'
import { localTime, record } from './table.ts'

// How an identity logs in with a JWT: flags have the names of the contract's members without `bound` and `accessToken`.

const flags = {
  file: text('FILE', 'the configuration as the API has it, a JSON object; - is standard input'),
  'jwks-url': text('URL', 'JWK Set of the issuer, or ring:NAME for a ring of this server'),
  'jwks-ca-cert': text('FILE', 'PEM certificates, the only ones to trust for -jwks-url'),
  'public-key': list('FILE', 'PEM public key of the issuer, instead of -jwks-url'),
  issuer: text('ISSUER', 'the claim iss must be it'),
  subject: text('PATTERN', 'the claim sub must match it'),
  audience: list('PATTERN', 'the claim aud must match one of them'),
  claim: list('NAME=PATTERN', 'another claim must match; a dot leads into objects'),
  ttl: text('DURATION', 'lifetime of an access token, such as 15m; 0: as long as may be'),
  'max-ttl': text('DURATION', 'until when it may be renewed; 0: for ever'),
  uses: text('NUMBER', 'how many requests one access token is good for; 0: any number'),
  'trusted-ip': list('ADDRESS', 'address or CIDR block from which it may be used'),
}

/** Patterns of one claim become one list (identity contract section 6). @throws Problem `wrong_usage` */
function claimsOf(pairs: readonly string[]): Record<string, string> {
  const claims = new Map<string, string>()
  for (const pair of pairs) {
    const at = pair.indexOf('=')
    if (at < 1) throw usage('-claim is NAME=PATTERN, such as -claim env=prod')
    const [name, pattern] = [pair.slice(0, at), pair.slice(at + 1)]
    const before = claims.get(name)
    claims.set(name, before === undefined ? pattern : `${before}, ${pattern}`)
  }
  return Object.fromEntries(claims)
}

/** The members that flags name. @throws Problem `wrong_usage`, `command_failed` for a file that cannot be read */
function bodyOf(values: Values<typeof flags>): Record<string, unknown> {
  const { issuer, subject, audience, claim, ttl, uses } = values
  const { 'jwks-url': url, 'public-key': keys, 'jwks-ca-cert': ca, 'max-ttl': maxTtl } = values
  if (url !== undefined && keys.length > 0) {
    throw usage('One of -jwks-url and -public-key says where the keys are; both are given')
  }
  if (uses !== undefined && !/^\d{1,15}$/.test(uses)) throw usage('-uses must be a whole number')
  const ips = values['trusted-ip']
  return {
    ...(url !== undefined && { configurationType: 'jwks', jwksUrl: url }),
    ...(keys.length > 0 && {
      configurationType: 'static',
      publicKeys: keys.map((file) => readText(file, '-public-key')),
    }),
    ...(ca !== undefined && { jwksCaCert: ca === '' ? '' : readText(ca, '-jwks-ca-cert') }),
    ...(issuer !== undefined && { boundIssuer: issuer }),
    ...(subject !== undefined && { boundSubject: subject }),
    ...(audience.length > 0 && { boundAudiences: audience.join(', ') }),
    ...(claim.length > 0 && { boundClaims: claimsOf(claim) }),
    ...(ttl !== undefined && { accessTokenTTL: toSecondsField(ttl, '-ttl') }),
    ...(maxTtl !== undefined && { accessTokenMaxTTL: toSecondsField(maxTtl, '-max-ttl') }),
    ...(uses !== undefined && { accessTokenNumUsesLimit: Number(uses) }),
    ...(ips.length > 0 && {
      accessTokenTrustedIps: ips.map((ipAddress) => ({ ipAddress })),
    }),
  }
}

async function readBody(values: Values<typeof flags>, io: Io): Promise<Record<string, unknown>> {
  const { file } = values
  const ofFile = file ? parseObject(await readSource(file, '-file', io), '-file') : {}
  const body = { ...ofFile, ...bodyOf(values) }
  if (Object.keys(body).length === 0) throw usage('Nothing is given: use -file, or other flags')
  return body
}

const lifetime = (seconds: number): string =>
  seconds === 0 ? 'no limit' : formatDuration(fromSeconds(seconds))

const counted = (count: number, what: string) => `${count} ${what}${count === 1 ? '' : 's'}`

/** A configuration as people read it: of keys and certificates only how many, which `-json` has whole. */
export function describeJwtAuth(config: JwtAuthAnswer): string {
  const claims = Object.entries(config.boundClaims)
  const certificates = config.jwksCaCert.split('-----BEGIN ').length - 1
  const isJwks = config.configurationType === 'jwks'
  return record({
    configurationType: config.configurationType,
    ...(isJwks && { jwksUrl: config.jwksUrl }),
    ...(certificates > 0 && { jwksCaCert: counted(certificates, 'certificate') }),
    ...(!isJwks && { publicKeys: counted(config.publicKeys.length, 'key') }),
    boundIssuer: config.boundIssuer,
    boundSubject: config.boundSubject,
    boundAudiences: config.boundAudiences,
    ...(claims.length === 0 && { boundClaims: '' }),
    ...Object.fromEntries(claims.map(([path, rule]) => [`boundClaims ${path}`, rule])),
    accessTokenTTL: lifetime(config.accessTokenTTL),
    accessTokenMaxTTL: lifetime(config.accessTokenMaxTTL),
    accessTokenNumUsesLimit: String(config.accessTokenNumUsesLimit || 'no limit'),
    accessTokenTrustedIps: config.accessTokenTrustedIps
      .map(({ ipAddress, prefix }) => (prefix === undefined ? ipAddress : `${ipAddress}/${prefix}`))
      .join(', '),
    createdAt: localTime(config.createdAt),
    updatedAt: localTime(config.updatedAt),
  })
}

const set = command({
  name: 'identity jwt-auth set',
  argument: 'identity ID',
  summary: 'Says with which JWTs an identity logs in: attaches a configuration, or changes it',
  notes: [
    'What is left out stays as it is; -claim, -audience and -trusted-ip replace what was there. Flags win over the file. Without -subject, -audience and -claim every token of the issuer gets in',
    'A PATTERN is the whole value, with *, ?, [a-z] and {a,b}; a backslash takes their meaning away. Commas separate patterns, but not in -subject',
  ],
  flags: { ...flags, json },
  async run({ values, argument, io }) {
    const body = await readBody(values, io)
    const flag = values['jwks-url'] ? '-jwks-url' : 'jwksUrl'
    const { done, value, text } = await saveJwtAuth(createClient(values, io), argument, body, flag)
    io.out(values.json ? text : `${done}\n\n${describeJwtAuth(value)}`)
    return 0
  },
})

const show = command({
  name: 'identity jwt-auth show',
  argument: 'identity ID',
  summary: 'Describes with which JWTs an identity logs in',
  flags: { json },
  run: (call) =>
    ask(call, ['GET', jwtAuthPath(call.argument)], ({ identityJwtAuth }: JwtAuthReply) =>
      describeJwtAuth(identityJwtAuth),
    ),
})

const remove = command({
  name: 'identity jwt-auth remove',
  argument: 'identity ID',
  summary: 'Ends logins with a JWT; the access tokens that came of them are void at once',
  flags: {},
  async run({ values, argument, io }) {
    await createClient(values, io).call('DELETE', jwtAuthPath(argument))
    io.out(`Removed JWT auth of identity ${argument}\n`)
    return 0
  },
})

export const jwtAuth = { set, show, remove }
