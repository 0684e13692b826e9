// Every setting: name, kind, default, meaning. The only reader of the environment.
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import {
  audiences,
  CENTURY,
  certificates,
  conceal,
  configurationNames,
  deltaSeconds,
  discoveryExtra,
  duration,
  durationOr,
  extraHeaders,
  flag,
  integer,
  internalHosts,
  issuer,
  type Kind,
  kind,
  matching,
  networks,
  oneLine,
  oneOf,
  path,
  rate,
  remoteUrl,
  type Secret,
} from './config/kinds.ts'
import { isForeign, upperSnake } from './config/names.ts'
import { adviceOn, faultsBetween } from './config/relations.ts'
import { type ConfigFiles, type Environment, expandHome, gather, PREFIX } from './config/sources.ts'
import { Problem } from './errors.ts'
import { HOUR, SECOND } from './time.ts'

export type { Secret } from './config/kinds.ts'
export { suggest } from './config/names.ts'
export { issuerOf } from './config/relations.ts'

export const SURFACES = ['nomad', 'infisical', 'traffic-ops', 'singlestore', 'marklogic'] as const
export type Surface = (typeof SURFACES)[number]

/** Algorithms that a default set may hold: post-quantum keys are published apart, so never here. */
export const ROOT_KEY_ALGORITHMS = [
  ...(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'] as const),
  ...(['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'] as const),
] as const

const surfaces: Kind<readonly Surface[]> = kind(
  `all, none, or names of surfaces (${SURFACES.join(', ')}), separated by commas`,
  (text) => {
    if (text === 'all') return SURFACES
    if (text === 'none') return []
    const words = text.split(',').map((word) => word.trim())
    if (words.some((word) => !SURFACES.some((surface) => surface === word))) return undefined
    return SURFACES.filter((surface) => words.includes(surface))
  },
)

interface Setting<T> {
  kind: Kind<T>
  /** As text, the way a user would write it; undefined: the setting is optional. */
  default: string | undefined
  description: string
  /** Never printed. */
  secret: boolean
  /** `…_FILE` names a file that holds the value; for `KEK` that is a setting of its own. */
  twin: boolean
}

const plain = { secret: false, twin: false }
const setting = <T>(kind: Kind<T>, fallback: string, description: string): Setting<T> => ({
  ...{ kind, default: fallback, description, ...plain },
})
const optional = <T>(kind: Kind<T>, description: string): Setting<T | undefined> => ({
  ...{ kind, default: undefined, description, ...plain },
})
const secret = (kind: Kind<string>, twin: boolean, description: string) =>
  ({
    ...{ kind: kind.transform(conceal), default: undefined, description, secret: true, twin },
  }) satisfies Setting<Secret | undefined>

// biome-ignore format: one setting, one entry; the table in docs/settings.md is generated from it
export const SETTINGS = {
  config: optional(path, 'JSON file with the same names in lower case, without the prefix; the environment beats it'),
  host: setting(matching(/^[\w.:%-]+$/, 'a host name or IP address'), '127.0.0.1', 'address to listen on'),
  port: setting(integer(0, 65535), '4650', 'port to listen on; 0 takes a free one'),
  publicPort: optional(integer(0, 65535), 'second listener for `/.well-known/*`, `/rings/*/.well-known/*` and health only: no credentials, no held queries'),
  surfaces: setting(surfaces, 'all', `imitated APIs to serve, separated by commas: ${SURFACES.join(', ')}; or \`all\`, \`none\``),
  dataDir: setting(path, '~/.keyringd/data', 'folder of the database'),
  kek: secret(matching(/./s, 'text'), false, 'key-encryption key: 32 bytes as base64url text. Give either this or `KEYRINGD_KEK_FILE`'),
  kekFile: setting(path, '~/.keyringd/kek', 'file that holds the key-encryption key; keep it away from the data and back it up'),
  kekAutocreate: setting(flag, 'true', 'create that file at the first start, while the database is empty'),
  managementToken: secret(matching(/^[\x21-\x7e]{32,1024}$/, 'at least 32 characters (at most 1024) of printable ASCII without spaces'), true, 'the API token with role `admin`, at least 32 characters; without it one is made at the first start'),
  adminUser: optional(matching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'a name of 1 to 64 letters, digits, dots, dashes and underscores, the first a letter or digit'), 'a user with role `admin` that is made at the start; needs `KEYRINGD_ADMIN_PASSWORD`'),
  adminPassword: secret(matching(/^[^\p{Cc}\p{Cs}]{1,256}$/u, '1 to 256 characters of text on one line'), true, 'password of that user; another one at a later start replaces it and ends the sessions'),
  minPasswordLength: setting(integer(1, 128), '12', 'characters that a new password has at least'),
  oidcIssuer: optional(issuer, 'URL under which relying parties reach this server, used byte for byte as `iss`. Unset: on a loopback host the server\'s own address, elsewhere no discovery'),
  oidcDiscoveryExtra: optional(discoveryExtra, 'JSON object of further discovery members, such as `claims_supported`'),
  rotationMode: setting(oneOf(['safe', 'nomad']), 'safe', '`safe`: no rotation breaks a verifier; `nomad`: the imitated life cycle and wire to the letter'),
  rootKeyAlgorithm: setting(oneOf(ROOT_KEY_ALGORITHMS), 'RS256', 'algorithm of new keys in the `default` ring'),
  rootKeyRotationThreshold: setting(duration(SECOND / 1000n, CENTURY), '720h', 'how long a key signs before its successor takes over'),
  rootKeyGcThreshold: setting(duration(0n, CENTURY), '1h', 'extra age before an unused key is collected'),
  rootKeyGcInterval: setting(duration(SECOND / 100n, 168n * HOUR), '10m', 'time between two looks at what is due'),
  jwksMaxAge: setting(durationOr('nomad'), '300s', '`max-age` of JWK Sets; `nomad`: the imitated formula'),
  jwksStaleWhileRevalidate: setting(deltaSeconds, '60s', '`stale-while-revalidate` of JWK Sets'),
  jwksStaleIfError: setting(deltaSeconds, '3600s', '`stale-if-error` of JWK Sets'),
  assumedRpCache: setting(duration(), '24h', 'longest time a relying party is assumed to keep a JWK Set, whatever we tell it'),
  clockSkew: setting(duration(0n, HOUR), '60s', 'clock difference to allow for'),
  replicaStaleness: setting(duration(0n, HOUR), '60s', 'how far a replica may lag behind; counts as 0 on SQLite'),
  maxTokenTtl: setting(duration(SECOND), '24h', 'longest lifetime of a signed token, where its ring sets none'),
  maxMachineIdentityTokenAge: setting(duration(SECOND), '7776000s', 'longest lifetime of one access token; renewals may follow one another'),
  privilegeBoundary: setting(flag, 'true', 'whether changing how an identity logs in takes all the rights that the identity has'),
  loginFromDefaultRing: setting(flag, 'false', 'whether `ring:default` may be the source of keys for logins: whoever may sign with that ring can then log in'),
  rateLimitLogin: setting(rate, '200/m', 'failed verifications of one address, and of one account by addresses that failed for it; over it they are refused'),
  tokenExchangeAudiences: optional(audiences, 'audiences other than this server, separated by commas, that an access token may be exchanged for at `/oauth/token`; unset: none'),
  uriSigningValidation: setting(oneOf(['strict', 'compat']), 'strict', '`strict`: key documents that a cache cannot load, or that do not do what they say, are refused; `compat`: stored as Traffic Ops does'),
  hideForeignServices: setting(flag, 'false', 'whether delivery services of other tenants and those that there are not are answered for alike, so that nobody learns the names'),
  tlsCertFile: optional(path, 'PEM certificate chain; with `KEYRINGD_TLS_KEY_FILE` the server speaks HTTPS; both are read again on SIGHUP'),
  tlsKeyFile: optional(path, 'PEM private key of that certificate'),
  trustedProxies: optional(networks, 'addresses or CIDR ranges, separated by commas, whose `X-Forwarded-For` is believed'),
  allowInternalIpConnections: setting(flag, 'false', 'whether URLs that this server fetches, such as JWK Sets of other issuers, may lead to loopback and private addresses; the names localhost and host.docker.internal stay refused'),
  allowInternalHosts: optional(internalHosts, 'host names that may resolve to such addresses, and addresses or CIDR ranges that may be connected to, separated by commas'),
  logLevel: setting(oneOf(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']), 'info', 'least severe level that is logged'),
  blockingQueriesPerAddress: setting(integer(0, 1_000_000), '64', 'held queries of one anonymous address; over it they are answered at once'),
  blockingQueriesMax: setting(integer(0, 1_000_000), '15000', 'held queries in all'),
  region: setting(matching(/^[\w.-]{1,128}$/, 'a name of letters, digits, dot, dash and underscore'), 'global', 'our region name on the Nomad surface'),
  startTimeout: setting(duration(SECOND / 10n, 24n * HOUR), '30s', 'all keys must be unwrapped by then, or the process exits'),
  httpApiResponseHeaders: optional(extraHeaders, 'JSON object of fixed response headers to add'),
  jwksEndpoint: optional(remoteUrl, 'run-time setting `jwks_endpoint`, fixed: URL of the JWK Set that `POST /api/v2/jwks_setup` makes active'),
  jwksIssuer: optional(oneLine, 'run-time setting `jwks_issuer`, fixed: `iss` of the tokens of that set'),
  jwksUsernameField: optional(oneLine, 'run-time setting `jwks_username_field`, fixed: claim with the name of the user; `sub` where nothing sets it'),
  jwksRequireAudience: optional(oneLine, 'run-time setting `jwks_require_audience`, fixed: `aud` that those tokens must have'),
  jwksUpdateInterval: optional(integer(0, 2_678_400), 'run-time setting `jwks_update_interval`, fixed: seconds between two updates of the active set; 3600 where nothing sets it, 0: only when asked'),
  jwksSslCaCertificate: optional(certificates, 'run-time setting `jwks_ssl_ca_certificate`, fixed: PEM certificates that alone are trusted for `jwks_endpoint`'),
  jwtAuthConfigFile: optional(path, 'JSON file with keys of the data API beside that set; read at the start'),
  httpApi: optional(flag, 'run-time setting `http_api`, fixed: whether `/api/v2` and `/ping` answer'),
  httpApiPoolCapacity: optional(integer(1, 65_536), 'run-time setting `http_api_pool_capacity`, fixed: requests on `/api/v2` at once; 2048 where nothing sets it'),
  externalSecurity: optional(configurationNames, 'run-time setting `external_security`, fixed: configurations, separated by commas, whose tokens authenticate'),
  metricsPublic: setting(flag, 'true', 'whether `/metrics` answers without a credential'),
} satisfies Record<string, Setting<unknown>>

type Table = typeof SETTINGS
export type Values = { [K in keyof Table]: Table[K] extends Setting<infer T> ? T : never }

/** Durations are in nanoseconds, paths absolute, secrets concealed. */
export interface Config extends Values {
  /** Where the management token was read from, absolute; undefined when it was given itself, or not at all. */
  managementTokenFile: string | undefined
  /** What is legal but probably not meant, one sentence each, for the log at start. */
  warnings: readonly string[]
}

const entries = Object.entries(SETTINGS) as [keyof Values, Setting<unknown>][]
const NAMES = entries.flatMap(([key, { twin }]) => {
  const name = upperSnake(key)
  return twin ? [name, `${name}_FILE`] : [name]
})

/**
 * Reads all settings: the environment beats the file that `KEYRINGD_CONFIG` names, which beats the
 * defaults; an empty value counts as unset. Throws `config_invalid` with every fault, one per line.
 */
export function parseConfig(env: Environment = process.env, files: ConfigFiles = disk): Config {
  const { given, faults, readText } = gather(env, files, NAMES)
  const values: Partial<Record<keyof Values, unknown>> = {}
  for (const [key, { kind, default: fallback, secret, twin }] of entries) {
    const name = upperSnake(key)
    const file = twin ? given.get(`${name}_FILE`) : undefined
    if (file !== undefined && given.has(name)) {
      faults.push(`${PREFIX}${name} and ${PREFIX}${name}_FILE are both set`)
      continue
    }
    const text = file === undefined ? (given.get(name) ?? fallback) : readText(`${name}_FILE`, file)
    if (text === undefined) {
      if (file === undefined) values[key] = undefined
      continue
    }
    const outcome = kind.safeParse(kind === path ? expandHome(text, env) : text)
    if (outcome.success) values[key] = outcome.data
    else {
      const shown = file === undefined ? `${PREFIX}${name}` : `The text of ${PREFIX}${name}_FILE`
      faults.push(
        `${shown} ${outcome.error.issues[0]?.message}${secret ? '' : `, not ${quote(text)}`}`,
      )
    }
  }
  if (given.has('KEK') && given.has('KEK_FILE'))
    faults.push(`${PREFIX}KEK and ${PREFIX}KEK_FILE are both set`)
  const checked = values as Partial<Values>
  faults.push(...faultsBetween(checked))
  if (faults.length > 0) throw new Problem('config_invalid', faults.join('\n'))
  const config = checked as Values // every entry of the table was visited without a fault
  // One process owns an SQLite file, so no replica lags behind.
  const file = given.get('MANAGEMENT_TOKEN_FILE')
  return {
    ...{ ...config, replicaStaleness: 0n, warnings: adviceOn(config, given) },
    managementTokenFile: file === undefined ? undefined : resolve(expandHome(file, env)),
  }
}

const disk: ConfigFiles = { read: (file) => readFileSync(file, 'utf8') }
/** Repeats a bad value, shortened, and without the credentials a URL may carry. */
const quote = (text: string) => {
  const shown = text.replace(/\/\/[^/@]*@/, '//…@')
  return JSON.stringify(shown.length > 80 ? `${shown.slice(0, 80)}…` : shown)
}

/** Where the command line finds a server, and its credential. */
export function clientEnvironment(env: Environment = process.env) {
  return {
    /** Asked only where no flag says it. @throws Problem `wrong_usage` */
    address(): string {
      // In a shell that starts the server too, its port is the one that is meant. Before NOMAD_ADDR, which an operator of
      // Nomad has in every shell: that server must not be sent our credential.
      return (
        env.KEYRINGD_ADDR ||
        addressOfPort(env) ||
        env.NOMAD_ADDR ||
        `http://127.0.0.1:${SETTINGS.port.default}`
      )
    },
    token: env.KEYRINGD_TOKEN || env.NOMAD_TOKEN || undefined,
  }
}

function addressOfPort({ KEYRINGD_PORT: text = '' }: Environment): string | undefined {
  if (text === '' || isForeign('PORT', text)) return undefined
  const port = SETTINGS.port.kind.safeParse(text)
  const wrong = (why: string) => new Problem('wrong_usage', `KEYRINGD_PORT ${why}`)
  if (!port.success) throw wrong(`${port.error.issues[0]?.message}, not ${quote(text)}`)
  if (port.data === 0) {
    throw wrong('is 0, with which the server takes a free one: set KEYRINGD_ADDR to its address')
  }
  return `http://127.0.0.1:${port.data}`
}

/** The table of docs/settings.md, in Markdown. */
export function settingsTable(): string {
  const rows = entries.map(([key, { default: fallback, description, twin }]) => {
    const name = `\`${PREFIX}${upperSnake(key)}\`${twin ? ' (or `…_FILE`)' : ''}`
    return `| ${name} | ${fallback === undefined ? '' : `\`${fallback}\``} | ${description} |`
  })
  return ['| Setting | Default | Meaning |', '| --- | --- | --- |', ...rows].join('\n')
}
