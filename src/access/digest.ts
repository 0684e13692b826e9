import { createHmac, hash, randomBytes } from 'node:crypto'
import { anonymous, type Context, type Principal } from '../context.ts'
import { equalSecrets } from '../core/index.ts'
import { isProblem, Problem } from '../errors.ts'
import { type Place, type Seals, sealOwner } from '../store/sealed.ts'
import type { Tx } from '../store/store.ts'
import type { UserRow } from '../store/users.ts'
import { toMillis } from '../time.ts'
import type { Authenticated } from './authenticate.ts'
import { type DigestCredential, parseDigest } from './digest-header.ts'
import { createNonces, NONCE_TTL, type Nonces } from './digest-nonce.ts'
import type { Limiter } from './logins.ts'

// HTTP Digest (RFC 2617, MD5 and `auth`): what the imitated server offers, so what its clients speak. What is kept of a
// password for it is as good as the password, so it is sealed, and only of users that were made for it.

export const REALM = 'public'

export interface DigestParts {
  context: Pick<Context, 'store' | 'now'>
  seals: Pick<Seals, 'unseal'>
  /** What nonces are signed with. @throws Problem `not_ready` */
  secret(): Promise<Uint8Array>
  limiter: Limiter
  principalOf(userId: string): Promise<Principal | undefined>
}

/** What of a request the digest is over. */
export interface DigestAsked {
  method: string
  /** The request target as it came. */
  rawUrl: string
  authorization: string
  address: string
}

interface Known {
  userId: string
  /** Hexadecimal. */
  ha1: string
}

const CACHE_SIZE = 10_000
const MAX_NAME = 64

const md5 = (text: string): string => hash('md5', text, 'hex')

const placeOf = ({ id, name }: Pick<UserRow, 'id' | 'name'>): Place => ({
  ...{ table: 'users', id, column: 'digest_ha1_sealed', owner: sealOwner(name) },
})

/** HA1, sealed for this user's row. @throws Problem `not_ready` */
export const sealHa1 = (
  seals: Seals,
  tx: Tx,
  user: Pick<UserRow, 'id' | 'name'>,
  password: string,
): Promise<{ rootKid: string; sealed: Uint8Array }> =>
  seals.seal(
    tx,
    placeOf(user),
    Buffer.from(md5(`${user.name}:${REALM}:${password.normalize('NFC')}`)),
  )

export function createDigest(parts: DigestParts) {
  const { context, seals, limiter, principalOf } = parts
  const { store } = context
  const now = () => toMillis(context.now())
  const key = randomBytes(32)
  const remembered = new Map<string, Known>()
  let generation = 0
  let nonces: Nonces | undefined

  const stop = store.onCommit((events) => {
    if (!events.some(({ type }) => type.startsWith('user.'))) return
    generation++
    remembered.clear()
  })

  async function prepare(): Promise<Nonces> {
    nonces ??= createNonces(await parts.secret())
    return nonces
  }

  const rowOf = async (name: string): Promise<UserRow | undefined> =>
    name.length <= MAX_NAME ? store.read.users.byName(name) : undefined

  async function find(name: string): Promise<Known | undefined> {
    const known = remembered.get(name)
    if (known) return known
    const before = generation
    const row = await rowOf(name)
    if (!row?.digest) return undefined
    const { sealed, rootKid } = row.digest
    const ha1 = Buffer.from(seals.unseal(rootKid, placeOf(row), sealed)).toString()
    const found = { userId: row.id, ha1 }
    if (before === generation) {
      const [oldest] = remembered.keys()
      if (oldest !== undefined && remembered.size >= CACHE_SIZE) remembered.delete(oldest)
      remembered.set(name, found)
    }
    return found
  }

  /** Somebody whom there is not: what is computed takes as long, and what is counted fills no memory. */
  const nobody = (name: string) => createHmac('sha256', key).update(name).digest('hex')

  async function isRight(asked: DigestAsked, given: DigestCredential, known: Known | undefined) {
    const account = known?.userId ?? `nobody ${nobody(given.username).slice(0, 3)}`
    limiter.check(account, asked.address)
    const ha1 = known?.ha1 ?? nobody(given.username).slice(0, 32)
    const ha2 = md5(`${asked.method}:${given.uri}`)
    const expected = md5(`${ha1}:${given.nonce}:${given.nc}:${given.cnonce}:auth:${ha2}`)
    const isEqual = equalSecrets(expected, given.response)
    if (isEqual && known && given.uri === asked.rawUrl && given.realm === REALM) return true
    limiter.failed(account, asked.address)
    await store.grouped((tx) =>
      tx.audit.append({
        ...{ type: 'login.denied', principal: 'anonymous' },
        subject: known ? given.username : 'unknown user',
        detail: { method: 'digest', address: asked.address },
      }),
    )
    return false
  }

  async function enter(asked: DigestAsked): Promise<Authenticated> {
    const given = parseDigest(asked.authorization)
    if (!given) return NOBODY
    const { make: _, endOf, opaque } = await prepare()
    limiter.check('', asked.address)
    const isRemembered = remembered.has(given.username)
    const known = await find(given.username)
    let isHe = false
    try {
      isHe = await isRight(asked, given, known)
    } finally {
      // A name that there is not was looked up: one that is remembered takes as long.
      if (!isHe && isRemembered) await rowOf(given.username)
    }
    if (!isHe || !known) return NOBODY
    if (given.opaque !== undefined && given.opaque !== opaque) return NOBODY
    const expiresAt = endOf(given.nonce, now())
    if (expiresAt === undefined) return STALE
    const use = { nonce: given.nonce, nc: Number.parseInt(given.nc, 16), expiresAt }
    if (use.nc === 0 || !(await store.grouped((tx) => tx.digestUses.claim(use)))) return NOBODY
    const principal = await principalOf(known.userId)
    return principal ? entered(principal, given.username, known) : NOBODY
  }

  /** A second look is no second use: it asks whether the user still has this password. */
  function entered(principal: Principal, name: string, { userId, ha1 }: Known): Authenticated {
    const asOf = generation
    const found: Authenticated = { principal, presented: true }
    found.again = async () => {
      if (asOf === generation) return found
      const known = await find(name)
      if (known?.userId !== userId || known.ha1 !== ha1) return NOBODY
      const current = await principalOf(userId)
      return current ? entered(current, name, known) : NOBODY
    }
    return found
  }

  return {
    /** Makes the nonces of this server known; until then there is no challenge. @throws Problem `not_ready` */
    async prepare(): Promise<void> {
      await prepare()
    },
    isPrepared: (): boolean => nonces !== undefined,

    /**
     * Whose credential this is. A wrong one is `anonymous`, with a `failure` where there is more to say.
     * @throws Problem `not_ready`, `seal_broken`
     */
    async authenticate(asked: DigestAsked): Promise<Authenticated> {
      try {
        return await enter(asked)
      } catch (error) {
        if (!isProblem(error, 'rate_limited')) throw error
        return { ...NOBODY, failure: error }
      }
    },

    /** A challenge with a fresh nonce; undefined while none can be signed. */
    challenge(isStale: boolean): string | undefined {
      if (!nonces) return undefined
      const stale = isStale ? ', stale=true' : ''
      return `Digest realm="${REALM}", qop="auth", nonce="${nonces.make(now())}", opaque="${nonces.opaque}"${stale}`
    },

    /**
     * Forgets counters of nonces that have ended, and would have even if the clock were set back a little: a nonce that
     * counted again without its counters could be used twice.
     */
    async prune(): Promise<void> {
      await store.grouped((tx) => tx.digestUses.pruneBefore(now() - NONCE_TTL))
    },

    /** Stops listening to the store. */
    close: stop,
  }
}

const NOBODY: Authenticated = { principal: anonymous, presented: true }
const STALE: Authenticated = { ...NOBODY, failure: new Problem('nonce_stale') }
