import { X509Certificate } from 'node:crypto'

// The run-time settings: names as the imitated systems have them (jwks-setup contract section 8). Pure.

/** Trust: whom the server believes. Changing it takes `access-manage`, all else `settings` (product.md section 4). */
export type SettingClass = 'trust' | 'operational'

/** A value that is no good, and why. */
export class Fault {
  readonly reason: string
  constructor(reason: string) {
    this.reason = reason
  }
}

export interface Definition<T = unknown> {
  class: SettingClass
  default: T
  description: string
  /** What the audit record says of a value. */
  toDetail(value: T): Readonly<Record<string, unknown>>
  read(value: unknown): T | Fault
}

const MAX_TEXT = 2048
const MAX_PEM = 64 * 1024
const MAX_INTERVAL = 31 * 86_400
const MAX_POOL = 65_536
const MAX_NAMES = 100
const MAX_NAME = 255

const text =
  (max: number, isGood: (value: string) => boolean, expected: string) =>
  (value: unknown): string | Fault =>
    typeof value === 'string' && value.length <= max && isGood(value)
      ? value
      : new Fault(`Expected ${expected}`)

const isLine = (value: string) => /^[^\p{Cc}\p{Cs}]*$/u.test(value)

const count =
  (min: number, max: number) =>
  (value: unknown): number | Fault =>
    typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max
      ? value
      : new Fault(`Expected a whole number from ${min} to ${max}`)

const flag = (value: unknown): boolean | Fault =>
  typeof value === 'boolean' ? value : new Fault('Expected true or false')

function isUrl(value: string): boolean {
  if (value === '') return true
  const url = URL.parse(value)
  if (url === null || !/^https?:$/.test(url.protocol) || /\s/.test(value)) return false
  return url.username === '' && url.password === ''
}

const BLOCK = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g

function areCertificates(value: string): boolean {
  if (value === '') return true
  const blocks = value.match(BLOCK) ?? []
  if (blocks.length === 0 || /PRIVATE KEY/.test(value)) return false
  try {
    for (const block of blocks) new X509Certificate(block)
    return true
  } catch {
    return false
  }
}

function names(value: unknown): readonly string[] | Fault {
  const isName = (one: unknown) =>
    typeof one === 'string' && one !== '' && one.length <= MAX_NAME && isLine(one)
  if (!Array.isArray(value) || value.length > MAX_NAMES || !value.every(isName)) {
    return new Fault(`Expected a list of at most ${MAX_NAMES} names`)
  }
  return [...new Set(value as string[])]
}

const define = <T>(
  settingClass: SettingClass,
  fallback: T,
  read: (value: unknown) => T | Fault,
  description: string,
  toDetail: Definition<T>['toDetail'] = (value) => ({ value }),
): Definition<T> => ({ class: settingClass, default: fallback, read, description, toDetail })

/** A query may be a credential. */
function urlDetail(value: string) {
  const url = URL.parse(value)
  return { value: url ? `${url.origin}${url.pathname}` : '', ...(url?.search && { query: '…' }) }
}

const url = text(MAX_TEXT, isUrl, 'an http or https URL without a credential, or nothing')
const line = text(MAX_TEXT, isLine, 'text on one line')

// biome-ignore format: one setting, one entry
export const DEFINITIONS = {
  jwks_endpoint: define('trust', '', url, 'URL of the JWK Set that the next POST /api/v2/jwks_setup makes active', urlDetail),
  jwks_issuer: define('trust', '', line, 'iss of the tokens of that set: with it they count on /v1, too'),
  jwks_username_field: define('trust', 'sub', text(MAX_TEXT, (value) => value !== '' && isLine(value), 'the name of a claim'), 'claim with the name of the user'),
  jwks_require_audience: define('trust', '', line, 'aud that those tokens must have; empty: any'),
  jwks_ssl_ca_certificate: define('trust', '', text(MAX_PEM, areCertificates, 'PEM certificates, or nothing'), 'certificates that alone are trusted for jwks_endpoint', () => ({})),
  jwks_update_interval: define('operational', 3600, count(0, MAX_INTERVAL), 'seconds between two updates of the active set; 0: only when asked'),
  http_api: define('operational', true, flag, 'whether /api/v2 and /ping answer'),
  http_api_pool_capacity: define('operational', 2048, count(1, MAX_POOL), 'requests on /api/v2 at once'),
  external_security: define<readonly string[]>('trust', [], names, 'external-security configurations whose tokens authenticate on /manage and /v1'),
} satisfies Record<string, Definition>

export type SettingName = keyof typeof DEFINITIONS
export type SettingValue<N extends SettingName> = (typeof DEFINITIONS)[N]['default']

export const SETTING_NAMES = Object.keys(DEFINITIONS) as readonly SettingName[]

export const isSettingName = (name: string): name is SettingName => Object.hasOwn(DEFINITIONS, name)
