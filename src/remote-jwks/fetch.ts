// The one outgoing request of the whole server: every URL that a user may configure is fetched through here.
import { type LookupAddress, lookup as systemLookup } from 'node:dns'
import { promisify } from 'node:util'
import { isProblem, Problem } from '../errors.ts'
import { type AddressRules, createAddressCheck, isPublicAddress } from './addresses.ts'
import { createSlots } from './slots.ts'
import { type TransferLimits, transfer } from './transfer.ts'
import { hostOf, NO_ADDRESS, NO_LOCAL, parseRemoteUrl, refused, withoutBrackets } from './url.ts'

export interface FetchRules extends AddressRules {
  /** All addresses of a name; default: the system's resolver (`/etc/hosts`, DNS). */
  lookup?: (name: string) => Promise<LookupAddress[]>
  /** Requests at once, in all; default 16. The others wait for their turn. */
  maxInFlight?: number
}

export interface FetchLimits extends TransferLimits {
  /** For everything together: waiting for a turn, DNS, connecting, TLS, headers and body. */
  timeoutMs: number
}

export interface FetchRequest {
  url: string
  /** PEM: the only trust anchors when given; empty counts as not given. */
  caCert?: string | undefined
  limits?: FetchLimits
  /** `http:` leads to internal addresses only, those that the rules let it. */
  secureOutside?: boolean
}

export interface GuardedFetch {
  /**
   * The body of a 2xx answer to one GET. Nothing is followed, cached, retried or decompressed.
   * Problem `url_refused` (400: the rules of `url.ts` and `addresses.ts`, checked at every call), `url_insecure`,
   * `jwks_timeout` (504), `jwks_unreachable` (502: all else). Details say nothing about the other
   * side; causes, for the log, hold no byte of a body.
   */
  fetch(request: FetchRequest): Promise<Buffer>
  /** What can be said of a URL without connecting, for the time it is written: Problem `url_refused`. */
  checkUrl(url: string): Promise<void>
}

/** Identity contract section 4: 5 s, 256 KiB. */
export const DEFAULT_LIMITS: FetchLimits = {
  timeoutMs: 5000,
  maxBytes: 256 * 1024,
  maxHeaderBytes: 16 * 1024,
}
const MAX_IN_FLIGHT = 16
const MAX_WAITING = 1024

const resolveAll = promisify(systemLookup)

/**
 * The guarded fetch (identity contract section 4; product.md section 4: limits are parameters,
 * address rules are not). A name is resolved once, every address must pass, and only those are
 * connected to. A turn is held until its DNS query is over, even when the deadline was before: a
 * resolver that does not answer must not pile up queries in the thread pool. What somebody gains who
 * may configure many unresponsive URLs is that others' requests wait for a turn, and time out.
 */
export function createGuardedFetch(rules: FetchRules): GuardedFetch {
  const permits = createAddressCheck(rules)
  const lookup = rules.lookup ?? ((name: string) => resolveAll(name, { all: true }))
  const slots = createSlots(rules.maxInFlight ?? MAX_IN_FLIGHT, MAX_WAITING)

  async function addressesOf(
    url: URL,
    signal: AbortSignal,
    hold: (work: Promise<unknown>) => void,
  ) {
    const looking = lookup(withoutBrackets(url)).catch((cause: unknown) => {
      throw refused(NO_ADDRESS, cause)
    })
    hold(looking)
    const addresses = await orAbort(looking, signal)
    if (addresses.length === 0) throw refused(NO_ADDRESS)
    const host = hostOf(url)
    if (!addresses.every(({ address }) => permits(host, address))) throw refused(NO_LOCAL)
    return addresses
  }

  function checkSecure({ protocol }: URL, addresses: readonly LookupAddress[]): void {
    if (protocol === 'https:' || !addresses.some(({ address }) => isPublicAddress(address))) return
    throw new Problem('url_insecure')
  }

  /** Runs `work` in its turn and within the deadline; the turn ends with all that `hold` was given. */
  async function inTurn<T>(
    timeoutMs: number,
    work: (signal: AbortSignal, hold: (work: Promise<unknown>) => void) => Promise<T>,
  ): Promise<T> {
    const deadline = new AbortController()
    const timer = setTimeout(() => deadline.abort(new Problem('jwks_timeout')), timeoutMs)
    timer.unref()
    const held: Promise<unknown>[] = []
    let release = () => {}
    try {
      release = await slots.acquire(deadline.signal)
      return await work(deadline.signal, (one) => void held.push(one))
    } catch (error) {
      // A cut connection reports itself in many ways; why it was cut is what counts.
      if (deadline.signal.aborted) throw deadline.signal.reason
      if (isProblem(error)) throw error
      throw new Problem('jwks_unreachable', undefined, { cause: error })
    } finally {
      clearTimeout(timer)
      void Promise.allSettled(held).then(release)
    }
  }

  return {
    async fetch({ url: text, caCert, limits = DEFAULT_LIMITS, secureOutside = false }) {
      const url = parseRemoteUrl(text)
      return inTurn(limits.timeoutMs, async (signal, hold) => {
        const addresses = await addressesOf(url, signal, hold)
        if (secureOutside) checkSecure(url, addresses)
        return transfer({ url, addresses, caCert, limits, signal })
      })
    },

    async checkUrl(text) {
      const url = parseRemoteUrl(text)
      try {
        await inTurn(DEFAULT_LIMITS.timeoutMs, (signal, hold) => addressesOf(url, signal, hold))
      } catch (error) {
        // Nothing was fetched: a name that cannot be resolved in time cannot be resolved.
        throw isProblem(error, 'url_refused') ? error : refused(NO_ADDRESS, error)
      }
    },
  }
}

function orAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason)
    signal.addEventListener('abort', abort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
