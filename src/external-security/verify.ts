import {
  type CheckName,
  type CheckSignature,
  type Check as CoreCheck,
  checkClaims,
  type JoseHeader,
  parseClaims,
  type Screened,
  screenAnyAlgorithm,
  type UnscreenedHeader,
  type VerificationKey,
  verifySignature,
} from '../core/index.ts'
import { isProblem } from '../errors.ts'
import type { Directory, Entry } from './directory.ts'
import { verifiesHs256 } from './secret-value.ts'
import { faultOf } from './switch-on.ts'

// Checks a Bearer token against a configuration (contract section 7), and says how each check went. Tokens that are to
// authenticate are held to more (product.md section 4).

/** Seconds of tolerance for `exp` and `nbf` (contract section 7). */
const SKEW = 60
/** Characters of a user's name that can authenticate: it stands in records and logs. */
const MAX_USER = 255

/** The core's names, and those of what only a configuration asks. */
export type ExternalCheckName = CheckName | 'configuration' | 'user' | 'roles'
export type ExternalCheck = Omit<CoreCheck, 'name'> & { name: ExternalCheckName }

export interface ExternalVerdict {
  valid: boolean
  /** What the token says of itself, as soon as it is well-formed; no proof of anything unless `valid`. */
  header?: UnscreenedHeader
  kid?: string
  /** Only once the signature has been checked; `valid` may still be false. */
  claims?: Record<string, unknown>
  /** Set when `valid`. */
  user?: string
  /** External names, as the token has them; they mean nothing without role grants. Set when `valid`. */
  roles?: readonly string[]
  /** In order. Ends at the first failure among `format configuration algorithm key signature claims`. */
  checks: ExternalCheck[]
}

/** Key sets of issuers, as `RemoteJwks` has them. */
export interface RemoteKeys {
  /** @throws Problem `jwks_unreachable`, `jwks_timeout`, `url_refused` */
  keys(
    source: { id: string; version: string; url: string },
    kid: string | undefined,
  ): Promise<readonly VerificationKey[]>
}

export interface VerifyParts {
  directory: Pick<Directory, 'secret'>
  remote: RemoteKeys
  check?: CheckSignature | undefined
}

/** The source of a configuration's `oauth-jwks-uri` among all remote ones. */
export const sourceId = (id: string): string => `external-security:${id}`

/** `own`: the rules of the contract. `authenticate`: those and the stricter ones, for who wants to act here. */
export type Strictness = 'own' | 'authenticate'

/** `now` in seconds. Never throws for what the token contains. @throws Problem `seal_broken`, `key_unusable` */
export async function verifyExternal(
  { directory, remote, check }: VerifyParts,
  entry: Entry,
  token: string,
  { now, rules }: { now: number; rules: Strictness },
): Promise<ExternalVerdict> {
  const isStrict = rules === 'authenticate'
  const screened = attempt(() => screenAnyAlgorithm(token))
  if (isProblem(screened)) {
    return { valid: false, checks: [{ name: 'format', ok: false, reason: screened.detail }] }
  }
  const { header } = screened
  const kid = typeof header.kid === 'string' ? header.kid : undefined
  const checks: ExternalCheck[] = []
  const verdict: ExternalVerdict = {
    ...{ valid: false, header, checks },
    ...(kid !== undefined && { kid }),
  }
  const passes = (name: ExternalCheckName, reason: string | undefined): boolean => {
    checks.push(reason === undefined ? { name, ok: true } : { name, ok: false, reason })
    return reason === undefined
  }

  passes('format', undefined)
  const fault = isStrict ? faultOf(entry) : unusable(entry)
  const { oauth } = entry
  if (!passes('configuration', fault) || !oauth) return verdict
  const other = header.alg === oauth.alg ? undefined : `The token is not signed with ${oauth.alg}`
  if (!passes('algorithm', other)) return verdict

  const found = await keyOf(entry, kid)
  const tooShort = isStrict && 'shared' in found && found.isShort
  const noKey = tooShort
    ? 'The secret has fewer than 32 bytes'
    : 'reason' in found
      ? found.reason
      : undefined
  if (!passes('key', noKey) || 'reason' in found) return verdict

  const signed = await verifies(screened, found)
  if (!passes('signature', signed ? undefined : 'The signature does not verify')) return verdict

  const claims = attempt(() => parseClaims(screened.payload))
  if (!passes('claims', isProblem(claims) ? claims.detail : undefined)) return verdict
  if (isProblem(claims)) return verdict
  const issuer = oauth.issuer === '' ? undefined : oauth.issuer
  const strict = isStrict && { audience: oauth.clientId, requireExp: true }
  const timed = checkClaims(header as JoseHeader, claims, { now, skew: SKEW, issuer, ...strict })
  // By its own rules, a configuration does not ask whom a token is for.
  checks.push(...timed.filter(({ name }) => isStrict || name !== 'aud'))

  const user = claims[oauth.usernameAttribute]
  passes('user', userFault(user, oauth.usernameAttribute, isStrict))
  const valid = checks.every(({ ok }) => ok)
  if (!valid || typeof user !== 'string') return { ...verdict, claims }
  // With internal authorization the roles are those of users here, not those that a token names.
  const roles = entry.authorization === 'oauth' ? rolesIn(claims[oauth.roleAttribute]) : []
  return { ...verdict, claims, user, roles, valid }

  async function keyOf({ id, version }: Entry, wanted: string | undefined): Promise<FoundKey> {
    if (wanted === undefined) return { reason: 'The token names no kid' }
    if (!oauth) return { reason: 'There is no key' }
    if (oauth.alg === 'RS256' && oauth.jwksUri !== '') {
      return remoteKey({ id: sourceId(id), version, url: oauth.jwksUri }, wanted)
    }
    const secret = await directory.secret(entry, wanted)
    if (!secret) return { reason: 'No secret of the configuration has this kid' }
    if (oauth.alg === 'HS256') return { shared: secret.shared, isShort: secret.isShort }
    return secret.rsa ? { rsa: secret.rsa } : { reason: 'The secret is no RSA key' }
  }

  async function remoteKey(
    source: { id: string; version: string; url: string },
    wanted: string,
  ): Promise<FoundKey> {
    try {
      const keys = await remote.keys(source, wanted)
      const [key, ...others] = keys.filter((one) => one.kid === wanted)
      if (!key) return { reason: 'No key of the issuer has this kid' }
      return others.length === 0
        ? { rsa: key }
        : { reason: 'Several keys of the issuer have this kid' }
    } catch (error) {
      const codes = ['jwks_unreachable', 'jwks_timeout', 'url_refused']
      if (!isProblem(error) || !codes.includes(error.code)) throw error
      return { reason: `The keys of the issuer cannot be had: ${error.detail}` }
    }
  }

  async function verifies(one: Screened<UnscreenedHeader>, key: UsableKey): Promise<boolean> {
    if ('shared' in key) return verifiesHs256(key.shared, one.signingInput, one.signature)
    const named = { ...one, header: { ...one.header, alg: 'RS256' as const } }
    return verifySignature(named, key.rsa, check)
  }
}

type UsableKey = { rsa: VerificationKey } | { shared: readonly Buffer[]; isShort: boolean }
type FoundKey = UsableKey | { reason: string }

/** Why a configuration cannot verify anything, by its own rules. */
function unusable({ oauth }: Entry): string | undefined {
  if (!oauth) return 'The configuration has no oauth-server'
  return oauth.alg === '' ? 'The configuration has no oauth-jwt-alg' : undefined
}

function userFault(user: unknown, attribute: string, isStrict: boolean): string | undefined {
  if (typeof user !== 'string' || user === '') {
    return `The claim ${attribute} is not a text that names a user`
  }
  if (isStrict && (user.length > MAX_USER || /\p{Cc}/u.test(user))) {
    return `The claim ${attribute} is too long, or has control characters`
  }
  return undefined
}

/** A list of texts, or one text; anything else names no role. */
function rolesIn(claim: unknown): string[] {
  const all: unknown[] = Array.isArray(claim) ? claim : [claim]
  return all.filter((one) => typeof one === 'string' && one !== '') as string[]
}

/** Runs what throws Problem `token_malformed` for bad input, and gives that back as a value. */
function attempt<T>(work: () => T) {
  try {
    return work()
  } catch (error) {
    if (isProblem(error, 'token_malformed')) return error
    throw error
  }
}
