import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type Config, issuerOf, parseConfig } from '../config.ts'
import { isProblem } from '../errors.ts'
import { type Finding, fail, ok, warn } from './finding.ts'
import { codeOf } from './io.ts'

// What `doctor` finds in this environment, server or not: settings, the KEK's file, the issuer.

const SET_ISSUER =
  'set KEYRINGD_OIDC_ISSUER to the https URL under which relying parties reach the server'

/** What to do about an advice of config.ts, by how it begins. */
const ADVICE: readonly [RegExp, string][] = [
  [/^KEYRINGD_OIDC_ISSUER/, SET_ISSUER],
  [/^KEYRINGD_KEK_FILE/, 'move the KEK to a folder of its own, and back it up apart from the data'],
]

const adviceFor = (warning: string): string =>
  ADVICE.find(([pattern]) => pattern.test(warning))?.[1] ?? 'change it, unless it is meant'

/** Undefined configuration: it has faults, and they are among the findings. */
export function checkSettings(env: Record<string, string | undefined> | undefined): {
  config: Config | undefined
  findings: Finding[]
} {
  try {
    const config = parseConfig(env)
    const findings = config.warnings.map((warning) => warn(warning, adviceFor(warning)))
    return { config, findings: [ok('The settings of this environment are valid'), ...findings] }
  } catch (error) {
    if (!isProblem(error, 'config_invalid')) throw error
    const faults = error.detail.split('\n')
    const findings = faults.map((fault) => fail(fault, 'correct it; the server will not start'))
    return { config: undefined, findings }
  }
}

/** What the issuer would be; for when no server can be asked. */
export function checkIssuer(config: Config): Finding[] {
  const issuer = issuerOf(config, config.port)
  if (issuer !== undefined) return [aboutIssuer(issuer)]
  if (config.rotationMode !== 'nomad') return [] // config.ts has said so already
  return [warn('KEYRINGD_OIDC_ISSUER is not set, so discovery answers 404', SET_ISSUER)]
}

/** Whether others can use an issuer: tokens name it, and verifiers look for keys there. */
export function aboutIssuer(issuer: string): Finding {
  const { hostname, protocol } = new URL(issuer)
  if (/^(?:127\.[\d.]+|\[::1\]|localhost|.*\.localhost)$/.test(hostname)) {
    return warn(`Tokens name the issuer ${issuer}, which only its machine reaches`, SET_ISSUER)
  }
  return protocol === 'https:'
    ? ok(`Tokens name the issuer ${issuer}`)
    : warn(`Most relying parties refuse the issuer ${issuer}: it is no https URL`, SET_ISSUER)
}

/** Mode, place and form of the KEK's file; never its text. */
export function checkKek({ kek, kekFile, kekAutocreate, dataDir }: Config): Finding[] {
  if (kek !== undefined) return [ok('The KEK comes from KEYRINGD_KEK')]
  const database = join(dataDir, 'keyringd.db')
  let text: string
  let mode: number
  try {
    mode = statSync(kekFile).mode
    text = readFileSync(kekFile, 'utf8')
  } catch (error) {
    const code = codeOf(error)
    if (code !== 'ENOENT') {
      const why = `The KEK file ${kekFile} cannot be read (${code})`
      return [fail(why, 'run this as the user that the server has, or correct owner and mode')]
    }
    if (existsSync(database)) {
      const why = `The KEK file ${kekFile} does not exist, but the database ${database} does`
      return [fail(why, 'restore it from a backup, or set KEYRINGD_KEK_FILE to where it is')]
    }
    return kekAutocreate
      ? [ok(`The KEK file ${kekFile} does not exist; the first start makes it`)]
      : [
          fail(
            `The KEK file ${kekFile} does not exist and KEYRINGD_KEK_AUTOCREATE is false`,
            'put 32 random bytes there as base64url text',
          ),
        ]
  }
  const findings: Finding[] = []
  if (!/^[\w-]{43}=?\r?\n?$/.test(text)) {
    const why = `The file ${kekFile} does not hold a KEK: 43 characters of base64url`
    findings.push(fail(why, 'restore it from a backup'))
  }
  if ((mode & 0o077) !== 0) {
    findings.push(
      warn(`The KEK file ${kekFile} is open to others than its owner`, `chmod 600 ${kekFile}`),
    )
  }
  const folder = dirname(kekFile)
  if ((statSync(folder).mode & 0o022) !== 0) {
    findings.push(warn(`Others may replace the KEK file in ${folder}`, `chmod 700 ${folder}`))
  }
  return findings.length > 0 ? findings : [ok(`The KEK file ${kekFile} is its owner's alone`)]
}
