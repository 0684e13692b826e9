import type { IncomingHttpHeaders } from 'node:http'
import { anonymous, type Context, type Principal } from '../context.ts'
import { equalBytes } from '../core/index.ts'
import type { Problem } from '../errors.ts'
import type { ApiTokenRow } from '../store/access.ts'
import { toMillis } from '../time.ts'
import { isRole } from './capabilities.ts'
import { hashToken, isApiToken, tokenOf } from './credential.ts'
import { grantsOf, mayAnywhere, mayWith } from './grants.ts'
import { readNames } from './names.ts'

/** The API token that MANAGEMENT_TOKEN sets; no other may have this name. */
export const MANAGEMENT = 'management'

interface Known {
  hash: Uint8Array
  principal: Principal
  /** Unix milliseconds; looked at on every use. */
  expiresAt: number | undefined
}

/** Entries; only tokens that exist get one, so a flood of guesses evicts nobody. */
const CACHE_SIZE = 10_000
/** Committed events after which a remembered principal may be wrong. */
const STALE =
  /^(?:(?:api-token|ring|profile|tenant|access)\.(?!denied$)|delivery-service\.deleted$)/

/** Credential → principal. Tokens are remembered in memory until an event says otherwise. */
export function createAuthenticator(
  { store, now }: Pick<Context, 'store' | 'now'>,
  jwt?: JwtBearer,
) {
  const remembered = new Map<string, Known>()
  /** Null: there is none; undefined: not read since the last event. */
  let management: Known | null | undefined
  let generation = 0

  const stop = store.onCommit((events) => {
    if (!events.some(({ type }) => STALE.test(type))) return
    generation++
    remembered.clear()
    management = undefined
  })

  async function toKnown(row: ApiTokenRow): Promise<Known> {
    const names = await readNames(store.read)
    const role = row.role !== undefined && isRole(row.role) ? row.role : undefined
    const tenant = names.tenantName(row.tenantId)
    const grants = grantsOf(role, names.toGrants(row.grants))
    return {
      hash: row.tokenHash,
      principal: {
        id: `token:${row.name}`,
        tenant,
        expiresAt: row.expiresAt,
        may: mayWith(grants),
        maySome: mayAnywhere(grants),
      },
      expiresAt: row.expiresAt,
    }
  }

  async function getManagement(): Promise<Known | null> {
    if (management !== undefined) return management
    const before = generation
    const row = await store.read.apiTokens.byName(MANAGEMENT)
    const found = row ? await toKnown(row) : null
    // What an event overtook may be old: answer with it, but do not keep it.
    if (before === generation) management = found
    return found
  }

  async function byHash(hash: Buffer, key: string): Promise<Known | undefined> {
    const before = generation
    const row = await store.read.apiTokens.byHash(hash)
    if (!row || !equalBytes(row.tokenHash, hash)) return undefined
    const found = await toKnown(row)
    if (before === generation) {
      const [oldest] = remembered.keys()
      if (oldest !== undefined && remembered.size >= CACHE_SIZE) remembered.delete(oldest)
      remembered.set(key, found)
    }
    return found
  }

  type Found = Known | undefined

  /**
   * Decided once, without falling through: the management token whatever it looks like, an API token by its prefix; a
   * bearer that is neither may be a JWT. What is remembered is found at once.
   */
  function find(token: string, hash: Buffer): Found | Promise<Found> {
    const others = (first: Known | null): Found | Promise<Found> => {
      if (first && equalBytes(first.hash, hash)) return first
      if (!isApiToken(token)) return undefined
      const key = hash.toString('base64')
      return remembered.get(key) ?? byHash(hash, key)
    }
    return management === undefined ? getManagement().then(others) : others(management)
  }

  const isExpired = ({ expiresAt }: Known) =>
    expiresAt !== undefined && expiresAt <= toMillis(now())

  /** `lookAgain` is called only when something has changed meanwhile. */
  function answer(known: Known, asOf: number, lookAgain: () => Answer): Authenticated {
    if (isExpired(known)) return NOBODY
    const found: Authenticated = { principal: known.principal, presented: true }
    found.again = () => (asOf === generation && !isExpired(known) ? found : lookAgain())
    return found
  }

  /**
   * Who presents these headers, from this address. A bad credential is `anonymous` with `presented`, never an error. At
   * once where the credential is remembered. `bearer`: who a JWT is of at this place, where that is no access token.
   */
  function authenticate(
    headers: IncomingHttpHeaders,
    address: string,
    bearer: JwtBearer | undefined = jwt,
  ): Answer {
    const token = tokenOf(headers)
    if (token === undefined) return { principal: anonymous, presented: false }
    if (token === '') return NOBODY
    const asOf = generation
    const hash = hashToken(token)
    const settle = (known: Known | undefined): Answer => {
      if (known) return answer(known, asOf, () => authenticate(headers, address, bearer))
      const isForJwts = !isApiToken(token) && !headers['x-nomad-token']
      return (isForJwts && bearer?.(token, address, hash)) || NOBODY
    }
    const found = find(token, hash)
    return found instanceof Promise ? found.then(settle) : settle(found)
  }

  return { authenticate, stop }
}

const NOBODY: Authenticated = { principal: anonymous, presented: true }

export interface Authenticated {
  principal: Principal
  /** A credential was there, good or not. */
  presented: boolean
  /** Why it does not count, where there is more to say than that it does not. */
  failure?: Problem
  /** A second look at the same credential, which is no second use of it. */
  again?(): Answer
}

export type Answer = Authenticated | Promise<Authenticated>

/** Who presents a JWT of ours as a bearer; undefined when it is none of ours. `digest` is its SHA-256. */
export type JwtBearer = (token: string, address: string, digest: Buffer) => Answer | undefined
