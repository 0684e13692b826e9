import type { Context, Principal } from '../context.ts'
import { system } from '../context.ts'
import { isProblem, Problem } from '../errors.ts'
import { fromMillis, type Instant, SECOND, toMillis } from '../time.ts'
import { type DataApiKeys, type IsOurs, MAX_BODY, readKeys } from './key-set.ts'

// The update procedure (contract section 6): fetched, checked, written down, and only then trusted. What was trusted
// before stays so over every failure, and over restarts.

/** Settings as they are now. */
export interface UpdateSettings {
  get(name: 'jwks_endpoint' | 'jwks_ssl_ca_certificate'): string
  get(name: 'jwks_update_interval'): number
  onChange(listener: (name: string) => void): () => void
}

export interface FetchLimits {
  timeoutMs: number
  maxBytes: number
  maxHeaderBytes: number
  /** Only 200 is a success. */
  onlyOk?: boolean
}

export interface UpdateParts {
  context: Context
  /** The one guarded fetch. @throws Problem `url_refused`, `url_insecure`, `jwks_timeout`, `jwks_unreachable` */
  fetch(request: {
    url: string
    caCert: string
    limits: FetchLimits
    secureOutside: true
  }): Promise<Uint8Array>
  isOurs: IsOurs
  settings: UpdateSettings
  /** Milliseconds for a fetch; default 10 s. */
  timeoutMs?: number
}

export interface ActiveSet extends DataApiKeys {
  url: string
  fetchedAt: Instant
}

const TIMEOUT_MILLIS = 10_000
const MAX_HEADERS = 16 * 1024
/** What a timer takes at most. */
const LONGEST = 2 ** 31 - 1

export type Updates = ReturnType<typeof createUpdates>

export function createUpdates(parts: UpdateParts) {
  const { context, settings, isOurs, timeoutMs = TIMEOUT_MILLIS } = parts
  const { store, now, monotonic, log } = context
  const limits: FetchLimits = {
    ...{ timeoutMs, maxBytes: MAX_BODY, maxHeaderBytes: MAX_HEADERS, onlyOk: true },
  }
  let active: ActiveSet | undefined
  let running: { url: string; caCert: string; done: Promise<void> } | undefined
  /** Of the last attempt, or of the set that was kept over a restart; by monotonic clock. */
  let attemptedAt = 0n
  let lastError: string | undefined
  let timer: NodeJS.Timeout | undefined
  let closed = false
  const listeners = new Set<() => void>()

  function trust(set: ActiveSet | undefined): void {
    active = set
    for (const listener of listeners) listener()
  }

  async function attempt(url: string, caCert: string, principal: Principal): Promise<void> {
    attemptedAt = monotonic()
    const body = await fetched(url, caCert)
    const keys = await readKeys(body, isOurs)
    const fetchedAt = now()
    const isNew = active?.url !== url || active.text !== keys.text
    await store.transaction(async (tx) => {
      await tx.dataApiKeys.put({ url, body: keys.text, fetchedAt: toMillis(fetchedAt) })
      if (!isNew && principal === system) return
      await tx.audit.append({
        ...{ type: 'data-api.keys-updated', subject: hostOf(url), principal: principal.id },
        detail: { keys: keys.keys.length, ignored: keys.ignored, changed: isNew },
      })
    })
    trust({ ...keys, url, fetchedAt })
    lastError = undefined
  }

  async function fetched(url: string, caCert: string): Promise<Uint8Array> {
    try {
      return await parts.fetch({ url, caCert, limits, secureOutside: true })
    } catch (error) {
      if (!isProblem(error)) throw error
      if (error.code === 'url_insecure') {
        throw new Problem('jwks_endpoint_invalid', undefined, { cause: error })
      }
      if (error.code === 'jwks_timeout') throw new Problem('jwks_update_timeout', 'timeout')
      throw new Problem('jwks_update_failed', short(reasonOf(error)), { cause: error })
    }
  }

  /** One at a time; who asks for the same while it runs has its outcome. */
  async function run(url: string, caCert: string, principal: Principal): Promise<void> {
    while (running) {
      if (running.url === url && running.caCert === caCert) return running.done
      await running.done.catch(() => undefined)
    }
    const done = attempt(url, caCert, principal)
      .catch((error: unknown) => {
        lastError = isProblem(error) ? error.detail : 'internal error'
        log.warn({ err: error, host: hostOf(url) }, 'the key set of the data API was not updated')
        throw error
      })
      .finally(() => {
        running = undefined
        schedule()
      })
    running = { url, caCert, done }
    return done
  }

  async function forget(principal: Principal): Promise<void> {
    const known = active
    await store.transaction(async (tx) => {
      await tx.dataApiKeys.delete()
      await tx.audit.append({
        ...{ type: 'data-api.keys-dropped', principal: principal.id },
        ...{ subject: known ? hostOf(known.url) : '', detail: { keys: known?.keys.length ?? 0 } },
      })
    })
    trust(undefined)
    lastError = undefined
    clearTimeout(timer)
  }

  /** The reason stays in the log: it may hold words of the other side. */
  async function recordFailure(url: string, { id }: Principal, error: unknown): Promise<void> {
    const code = isProblem(error) ? error.code : 'internal'
    try {
      await store.grouped((tx) =>
        tx.audit.append({
          ...{ type: 'data-api.update-failed', subject: hostOf(url), principal: id },
          detail: { code },
        }),
      )
    } catch (cause) {
      // The caller is told of the update, which failed first.
      log.error({ err: cause }, 'a failed update of the data API could not be recorded')
    }
  }

  const interval = () => BigInt(settings.get('jwks_update_interval')) * SECOND

  /** The next timed update, where there is a set and an interval. */
  function schedule(): void {
    clearTimeout(timer)
    const span = interval()
    if (closed || !active || span === 0n) return
    const left = Number((attemptedAt + span - monotonic()) / 1_000_000n)
    timer = setTimeout(() => void tick(), Math.min(Math.max(0, left) + 1, LONGEST))
    timer.unref()
  }

  /** A timed update, if it is due: of the active URL, whatever the setting says by now. */
  async function tick(): Promise<void> {
    // What runs now may make another URL the active one, and plans the next time itself.
    if (running) return
    const span = interval()
    if (active && span > 0n && monotonic() - attemptedAt >= span) {
      // Logged where it fails; the old set stays.
      await run(active.url, settings.get('jwks_ssl_ca_certificate'), system).catch(() => undefined)
    } else schedule()
  }

  const stop = settings.onChange((name) => {
    if (name === 'jwks_update_interval') schedule()
  })

  return {
    /**
     * Makes what `jwks_endpoint` serves the active set. A failure is on record with who called.
     * @throws Problem `jwks_endpoint_unset`, `jwks_endpoint_invalid`, `jwks_update_failed`, `jwks_update_timeout`
     */
    async update(principal: Principal): Promise<void> {
      const url = settings.get('jwks_endpoint')
      if (url === '') throw new Problem('jwks_endpoint_unset')
      if (!isUsable(url)) throw new Problem('jwks_endpoint_invalid')
      try {
        await run(url, settings.get('jwks_ssl_ca_certificate'), principal)
      } catch (error) {
        await recordFailure(url, principal, error)
        throw error
      }
    },

    /** Trusts no set until the next update, which nothing but a call begins. */
    async drop(principal: Principal): Promise<void> {
      while (running) await running.done.catch(() => undefined)
      const done = forget(principal).finally(() => {
        running = undefined
      })
      running = { url: '', caCert: '', done }
      return done
    },

    active: (): ActiveSet | undefined => active,

    /** Calls `listener` after the set was replaced. */
    onReplaced(listener: () => void): void {
      listeners.add(listener)
    },

    /** Trusts again what was trusted before the restart, and begins to update it. */
    async load(): Promise<void> {
      const row = await store.read.dataApiKeys.get()
      if (!row) return
      // A server that is often restarted updates as often as one that is not. A wall clock that was set back tells no age.
      const age = now() - fromMillis(row.fetchedAt)
      attemptedAt = monotonic() - (age > 0n ? age : 0n)
      try {
        const keys = await readKeys(Buffer.from(row.body), isOurs)
        trust({ ...keys, url: row.url, fetchedAt: fromMillis(row.fetchedAt) })
      } catch (error) {
        log.error({ err: error }, 'the kept key set of the data API is not acceptable any more')
      }
      schedule()
    },

    tick,

    status: () => ({
      ...{ host: active && hostOf(active.url), fetchedAt: active?.fetchedAt, lastError },
      ...{ keys: active?.keys.length ?? 0, ignored: active?.ignored ?? 0 },
      // The wall clock at the time of the next timed update; undefined: there is none to come.
      nextAttemptAt:
        active && interval() > 0n ? now() + attemptedAt + interval() - monotonic() : undefined,
    }),

    async close(): Promise<void> {
      closed = true
      clearTimeout(timer)
      stop()
      await running?.done.catch(() => undefined)
    },
  }
}

/** Host and port; the rest of a URL may hold secrets. */
const hostOf = (url: string): string => URL.parse(url)?.host ?? ''

const MAX_URL = 2048

/** Whether it can be a URL to fetch at all; where it leads is judged at each fetch. */
function isUsable(text: string): boolean {
  if (text.length > MAX_URL || /[\s\p{Cc}]/u.test(text)) return false
  const url = URL.parse(text)
  if (!url || !/^https?:$/.test(url.protocol)) return false
  return url.username === '' && url.password === ''
}

/** Parsers of TLS and HTTP speak of their own insides. */
const INSIDES: readonly (readonly [code: RegExp, reason: string])[] = [
  [/^(?:EPROTO|ERR_SSL_)/, 'no TLS that can be spoken'],
  [/^HPE_/, 'no HTTP that can be read'],
]

function reasonOf({ code, cause, detail }: Problem): string {
  if (code !== 'jwks_unreachable' || !(cause instanceof Error)) return detail
  const inner = 'code' in cause ? String(cause.code) : ''
  return INSIDES.find(([pattern]) => pattern.test(inner))?.[1] ?? cause.message
}

const MAX_REASON = 120
/** On one line, without the control characters that a certificate or a resolver may put into it. */
const short = (text: string): string => text.replace(/[\s\p{Cc}]+/gu, ' ').slice(0, MAX_REASON)
