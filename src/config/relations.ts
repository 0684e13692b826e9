// What must hold between settings: found at the start, not at the rotation that would break a verifier.
import { dirname, sep } from 'node:path'
import type { Values } from '../config.ts'
import { type Duration, formatDuration, MINUTE } from '../time.ts'

type Some = Partial<Values>

/** The largest `max-age` that these settings can hand out, jitter included (contract section 2.4 for `nomad`). */
function largestMaxAge(maxAge: Duration | 'nomad', threshold: Duration): Duration {
  const half = threshold / 2n
  const base = maxAge !== 'nomad' ? maxAge : half > 15n * MINUTE ? half : 15n * MINUTE
  return (base * 11n) / 10n
}

/** How long after a key's publication some verifier may still not know it; undefined if a part is. */
function blindSpan(config: Some): Duration | undefined {
  const { assumedRpCache, clockSkew, jwksMaxAge, rootKeyRotationThreshold } = config
  const { jwksStaleIfError, jwksStaleWhileRevalidate } = config
  if (assumedRpCache === undefined || clockSkew === undefined) return undefined
  if (jwksMaxAge === undefined || rootKeyRotationThreshold === undefined) return undefined
  if (jwksStaleIfError === undefined || jwksStaleWhileRevalidate === undefined) return undefined
  const told = largestMaxAge(jwksMaxAge, rootKeyRotationThreshold) + jwksStaleWhileRevalidate
  const longer = told > assumedRpCache ? told - assumedRpCache : 0n
  return assumedRpCache + longer + clockSkew + jwksStaleIfError
}

/** Contradictions; settings that are faulty themselves are left out of `config`. */
export function faultsBetween(config: Some): string[] {
  const faults: string[] = []
  const { port, publicPort, oidcIssuer, rootKeyGcInterval: interval } = config
  const threshold = config.rootKeyRotationThreshold
  const span = blindSpan(config)

  if (
    'tlsCertFile' in config &&
    'tlsKeyFile' in config &&
    !config.tlsCertFile !== !config.tlsKeyFile
  )
    faults.push('KEYRINGD_TLS_CERT_FILE and KEYRINGD_TLS_KEY_FILE must be set both or not at all')
  faults.push(...adminFaults(config))
  if (port !== undefined && port !== 0 && port === publicPort)
    faults.push(`KEYRINGD_PUBLIC_PORT must differ from KEYRINGD_PORT, and both are ${port}`)
  if (threshold !== undefined && interval !== undefined && threshold <= interval)
    faults.push(
      `KEYRINGD_ROOT_KEY_ROTATION_THRESHOLD (${formatDuration(threshold)}) must be longer than KEYRINGD_ROOT_KEY_GC_INTERVAL (${formatDuration(interval)})`,
    )
  if (config.rotationMode === 'safe') {
    if (threshold !== undefined && span !== undefined && threshold <= span)
      faults.push(
        `KEYRINGD_ROOT_KEY_ROTATION_THRESHOLD (${formatDuration(threshold)}) must be longer than ${formatDuration(span)}, the time until every verifier knows the next key: the larger of KEYRINGD_ASSUMED_RP_CACHE and KEYRINGD_JWKS_MAX_AGE × 1.1 + KEYRINGD_JWKS_STALE_WHILE_REVALIDATE, plus KEYRINGD_CLOCK_SKEW, plus KEYRINGD_JWKS_STALE_IF_ERROR`,
      )
    if (oidcIssuer?.includes('?'))
      faults.push(
        `KEYRINGD_OIDC_ISSUER must have no query (OpenID Connect Discovery 1.0, section 3); only KEYRINGD_ROTATION_MODE=nomad allows it`,
      )
  }
  return faults
}

/** Who names the first user gives a password, and one that a user could have. */
function adminFaults(config: Some): string[] {
  if (!('adminUser' in config && 'adminPassword' in config)) return []
  const { adminUser, adminPassword, minPasswordLength = 0 } = config
  if (!adminUser !== !adminPassword)
    return ['KEYRINGD_ADMIN_USER and KEYRINGD_ADMIN_PASSWORD must be set both or not at all']
  const length = [...(adminPassword?.reveal().normalize('NFC') ?? '')].length
  if (!adminPassword || length >= minPasswordLength) return []
  return [
    `KEYRINGD_ADMIN_PASSWORD must have at least ${minPasswordLength} characters (KEYRINGD_MIN_PASSWORD_LENGTH)`,
  ]
}

const isLoopback = (host: string) => /^127(?:\.\d{1,3}){3}$|^::1$|^localhost$/i.test(host)

/** The issuer of the `default` ring once `port` is known; undefined where discovery is off. */
export function issuerOf(
  config: Pick<Values, 'host' | 'oidcIssuer' | 'rotationMode' | 'tlsCertFile'>,
  port: number,
): string | undefined {
  if (config.oidcIssuer !== undefined) return config.oidcIssuer
  if (config.rotationMode === 'nomad' || !isLoopback(config.host)) return undefined
  const scheme = config.tlsCertFile ? 'https' : 'http'
  return `${scheme}://${config.host === '::1' ? '[::1]' : '127.0.0.1'}:${port}`
}

/** What is legal but probably not meant; `given` holds what the user set, by name. */
export function adviceOn(config: Values, given: ReadonlyMap<string, string>): string[] {
  const advice: string[] = []
  const { oidcIssuer, kekFile, dataDir } = config
  if (oidcIssuer !== undefined && !/^https:/i.test(oidcIssuer))
    advice.push('KEYRINGD_OIDC_ISSUER is no https URL; most relying parties will refuse it')
  if (config.rotationMode === 'safe' && issuerOf(config, 0) === undefined)
    advice.push('KEYRINGD_OIDC_ISSUER is not set; discovery and /oauth answer 404')
  if (!given.has('KEK') && `${dirname(kekFile)}${sep}`.startsWith(`${dataDir}${sep}`))
    advice.push('KEYRINGD_KEK_FILE lies in KEYRINGD_DATA_DIR; who copies the data has the key too')
  if (given.has('REPLICA_STALENESS'))
    advice.push('KEYRINGD_REPLICA_STALENESS has no effect on SQLite; it counts as 0')
  return advice
}
