import { createHash } from 'node:crypto'
import type { Context } from '../context.ts'
import type { VerificationKey } from '../core/index.ts'
import { isProblem, Problem } from '../errors.ts'
import { fromMillis, type Instant, toMillis } from '../time.ts'
import {
  type CachedSet,
  decide,
  dropExpired,
  type Entry,
  evict,
  FAILURE,
  FRESH,
  KEPT,
  nextAttempt,
} from './cache.ts'
import type { GuardedFetch } from './fetch.ts'
import { type IsOurs, type KeySet, readKeySet } from './key-set.ts'

/** A place that publishes keys: the configuration that names it. */
export interface RemoteSource {
  /** Of the configuration; never reused. */
  id: string
  /** Changes with every change of the configuration; what was cached under another is not used. */
  version: string
  url: string
  /** PEM: the only trust anchors for this source; empty or absent: the system's. */
  caCert?: string | undefined
}

export interface RemoteJwksStatus {
  id: string
  /** Host and port of the URL; the rest may hold secrets. */
  host: string
  fetchedAt: Instant | undefined
  /** Usable keys in the set, and those that were left out. */
  keys: number
  ignored: number
  lastError: string | undefined
  /** When a token with a known kid may cause the next fetch: now, or later. */
  nextAttemptAt: Instant
}

export interface RemoteJwks {
  /**
   * The keys of a source, fetched if need be for `kid` (undefined: the token has none). It may not
   * be among them, and there may be none: the caller takes the one that fits, if exactly one does.
   * Problem `jwks_unreachable`, `jwks_timeout` or `url_refused` when there is no set to use.
   */
  keys(source: RemoteSource, kid: string | undefined): Promise<readonly VerificationKey[]>
  /** For the time a URL is written: Problem `url_refused`. */
  check(url: string): Promise<void>
  /** After a configuration is gone, or its keys are not to be trusted for another second. */
  forget(id: string): Promise<void>
  status(): RemoteJwksStatus[]
  /** Drops sets that are too old to be used, in memory and in the store; for a timer. */
  prune(): Promise<void>
}

export interface RemoteJwksOptions {
  isOurs: IsOurs
  /** Sources remembered; default 10,000. The least recently used goes first. */
  maxSources?: number
  /**
   * Bytes of all sets together, as text; default 16 MiB, which are about 120 MiB of key objects. The
   * heaviest set goes first.
   */
  maxWeight?: number
}

/**
 * JWK Sets of other issuers (identity contract section 4).
 *
 * Logins are unauthenticated, so what a flood of them can cause is bounded. Per source: one fetch in
 * ten minutes; one in 30 s, counted from the attempt, while tokens name kids that the set lacks;
 * while the endpoint fails, one attempt in 5 s, counted from the end of the one before; never two at
 * once. In all: 16 at once, each of at most 5 s and 256 KiB (`fetch.ts`). Nothing is fetched unless
 * somebody logs in. A set that was fetched well is used for up to 24 hours while later attempts
 * fail, over a restart too; then logins fail. Who forgets a source by using 10,000 others starts its
 * times anew.
 */
export function createRemoteJwks(
  context: Context,
  guarded: GuardedFetch,
  options: RemoteJwksOptions,
): RemoteJwks {
  const { store, log, now, monotonic } = context
  const { isOurs, maxSources = 10_000, maxWeight = 16 * 1024 * 1024 } = options
  /** Least recently used first. */
  const entries = new Map<string, Entry>()

  function entryOf(source: RemoteSource): Entry {
    const { id, version } = source
    const origin = originOf(source)
    const known = entries.get(id)
    const entry =
      known?.version === version && known.origin === origin ? known : newEntry(source, origin)
    entries.delete(id)
    // Room is made before: dropped at once, an entry could not tell that its set is being fetched.
    if (entry !== known) evict(entries, { maxSources: maxSources - 1, maxWeight })
    entries.set(id, entry)
    dropExpired(entry, monotonic(), now())
    return entry
  }

  async function attempt(source: RemoteSource, entry: Entry): Promise<void> {
    entry.attemptedAt = monotonic()
    try {
      const { url, caCert } = source
      const read = await readKeySet(await guarded.fetch({ url, caCert }), isOurs)
      const fetchedAt = now()
      entry.set = cached(read, fetchedAt, monotonic() + FRESH, monotonic() + KEPT)
      entry.failure = undefined
      await keep(source, entry, read.text, fetchedAt)
    } catch (error) {
      log.warn({ err: error, source: source.id, host: entry.host }, 'a remote key set failed')
      entry.set ??= await restore(source, entry)
      entry.failure = { error, until: monotonic() + FAILURE }
    } finally {
      entry.pending = undefined
      evict(entries, { maxSources, maxWeight })
    }
  }

  /** Writes the last good set down. A disk that is full must not make a login fail. */
  async function keep(source: RemoteSource, entry: Entry, body: string, fetchedAt: Instant) {
    const { id } = source
    const row = { source: id, url: entry.origin, body, fetchedAt: toMillis(fetchedAt) }
    try {
      await store.grouped(async (tx) => {
        // Forgotten or changed meanwhile: then it is nobody's last good set any more.
        if (entries.get(id) === entry) await tx.remoteJwks.put(row)
      })
    } catch (error) {
      log.error({ err: error, source: id }, 'a remote key set could not be kept')
    }
  }

  /** The last good set of before a restart; read with the same distrust as a fresh one. Never fresh. */
  async function restore({ id }: RemoteSource, entry: Entry): Promise<CachedSet | undefined> {
    try {
      const row = await store.read.remoteJwks.get(id)
      if (row?.url !== entry.origin) return undefined
      const fetchedAt = fromMillis(row.fetchedAt)
      const age = now() - fetchedAt
      // From the future: the clock was set back, and its age cannot be told.
      if (age < 0n || age >= KEPT) return undefined
      const read = await readKeySet(Buffer.from(row.body), isOurs)
      return cached(read, fetchedAt, monotonic(), monotonic() + KEPT - age)
    } catch (error) {
      log.error({ err: error, source: id }, 'a kept remote key set could not be read')
      return undefined
    }
  }

  return {
    async keys(source, kid) {
      const entry = entryOf(source)
      const decision = decide(entry, kid, monotonic())
      if (decision === 'fetch') entry.pending = attempt(source, entry)
      if (decision === 'fetch' || decision === 'join') await entry.pending
      dropExpired(entry, monotonic(), now())
      if (!entry.set) throw entry.failure?.error ?? new Problem('jwks_unreachable')
      return entry.set.keys
    },

    check: (url) => guarded.checkUrl(url),

    async forget(id) {
      entries.delete(id)
      // Grouped like the writes, so that it comes after one that is under way.
      await store.grouped((tx) => tx.remoteJwks.delete(id))
    },

    status: () => [...entries].map(([id, entry]) => statusOf(id, entry)),

    async prune() {
      for (const entry of entries.values()) dropExpired(entry, monotonic(), now())
      await store.grouped((tx) => tx.remoteJwks.pruneBefore(toMillis(now() - KEPT)))
    },
  }

  function statusOf(id: string, entry: Entry): RemoteJwksStatus {
    const { host, set, failure } = entry
    const [at, wall] = [monotonic(), now()]
    return {
      ...{ id, host, fetchedAt: set?.fetchedAt, keys: set?.keys.length ?? 0 },
      ...{ ignored: set?.ignored ?? 0, lastError: failure && reasonOf(failure.error) },
      nextAttemptAt: wall + nextAttempt(entry, at) - at,
    }
  }
}

/** A set counts for the URL it came from and the certificates that vouched for it. No URL has a space. */
function originOf({ url, caCert }: RemoteSource): string {
  if (!caCert) return url
  return `${url} ${createHash('sha256').update(caCert).digest('base64url')}`
}

function newEntry({ version, url }: RemoteSource, origin: string): Entry {
  return {
    ...{ version, origin, host: URL.parse(url)?.host ?? '' },
    ...{ set: undefined, attemptedAt: undefined, failure: undefined, pending: undefined },
  }
}

const cached = (
  { keys, kids, ignored, text }: KeySet,
  fetchedAt: Instant,
  freshUntil: bigint,
  keptUntil: bigint,
): CachedSet => ({ keys, kids, ignored, weight: text.length, fetchedAt, freshUntil, keptUntil })

/** For an operator: what went wrong, in our words and those of the network, without its stack. */
function reasonOf(error: unknown): string {
  if (!isProblem(error)) return 'internal error'
  const { cause } = error
  const reason = cause instanceof Error ? `${error.detail}: ${cause.message}` : error.detail
  // A certificate can put its names, many of them, into a message.
  return reason.slice(0, 300)
}
