import type { Config } from '../config.ts'
import type { ManagementToken } from './management-token.ts'

// What a person at the terminal reads once the server is ready.

export interface Ready {
  /** Where it listens. */
  port: number
  database: string
  token: ManagementToken
  /** The token's file holds the one that counts. */
  isFileCurrent: boolean
  /** This start made the first keys. */
  isFirst: boolean
}

/** Where everything is, and the first commands. The token itself goes to a terminal only, and once. */
export function printBanner(config: Config, ready: Ready): void {
  const { port, database, isFirst } = ready
  const scheme = config.tlsCertFile ? 'https' : 'http'
  const host = config.host === '0.0.0.0' || config.host === '::' ? '127.0.0.1' : config.host
  const url = `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`
  const { where, secret } = describeToken(config, ready)
  const lines = [
    `keyringd serves ${url}`,
    `  data   ${database}`,
    `  KEK    ${config.kek ? 'from KEYRINGD_KEK' : config.kekFile}`,
    `  token  ${where}`,
    '',
    'Try:',
    `  curl ${url}/.well-known/jwks.json`,
    `  curl -H "X-Nomad-Token: ${secret}" ${url}/v1/operator/keyring/keys`,
    // A later rotation may be refused as too early; the plan says from when it is not.
    isFirst
      ? `  curl -X POST -H "Authorization: Bearer ${secret}" ${url}/v1/rings/default/rotate`
      : `  curl -H "Authorization: Bearer ${secret}" ${url}/v1/rings/default/plan`,
    `  curl -H "Authorization: Bearer ${secret}" --json '{"claims":{"sub":"me"},"ttl":"15m"}' ${url}/v1/rings/default/sign`,
    '',
  ]
  process.stderr.write(`${lines.join('\n')}\n`)
}

/** Where the management token is, and what a shell puts in its place. */
function describeToken(
  config: Config,
  { token, isFileCurrent }: Ready,
): { where: string; secret: string } {
  const { managementTokenFile } = config
  const fromFile = (file: string) => ({ where: `in ${file}`, secret: `$(cat ${shellWord(file)})` })
  if (managementTokenFile !== undefined) return fromFile(managementTokenFile)
  const secret = '$KEYRINGD_MANAGEMENT_TOKEN'
  if (token.given) return { where: 'from KEYRINGD_MANAGEMENT_TOKEN', secret }
  if (token.isNew && process.stderr.isTTY) {
    return { ...fromFile(token.file), where: `${token.value} (kept in ${token.file})` }
  }
  if (isFileCurrent) return fromFile(token.file)
  const how = 'another start with KEYRINGD_MANAGEMENT_TOKEN (32 characters or more) replaces it'
  return { where: `the one that an earlier start was given; ${how}`, secret }
}

const shellWord = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
