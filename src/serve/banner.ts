import { existsSync } from 'node:fs'
import type { Config } from '../config.ts'
import type { ManagementToken } from './management-token.ts'

// What a person at the terminal reads once the server is ready.

export interface Ready {
  /** Where it listens. */
  port: number
  database: string
  token: ManagementToken
  /** This start made the first keys. */
  isFirst: boolean
}

/** Where everything is, and the first commands. The token itself goes to a terminal only, and once. */
export function printBanner(config: Config, { port, database, token, isFirst }: Ready): void {
  const scheme = config.tlsCertFile ? 'https' : 'http'
  const host = config.host === '0.0.0.0' || config.host === '::' ? '127.0.0.1' : config.host
  const url = `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`
  const { where, secret } = describeToken(config, token)
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
function describeToken(config: Config, token: ManagementToken): { where: string; secret: string } {
  const { managementTokenFile } = config
  const fromFile = (file: string) => ({ where: `in ${file}`, secret: `$(cat ${shellWord(file)})` })
  if (managementTokenFile !== undefined) return fromFile(managementTokenFile)
  const secret = '$KEYRINGD_MANAGEMENT_TOKEN'
  if (token.given) return { where: 'from KEYRINGD_MANAGEMENT_TOKEN', secret }
  if (token.isNew && process.stderr.isTTY) {
    return { ...fromFile(token.file), where: `${token.value} (kept in ${token.file})` }
  }
  return existsSync(token.file)
    ? fromFile(token.file)
    : { where: 'the one that an earlier start was given', secret }
}

const shellWord = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
