import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import { createHistogram } from './histogram.ts'
import type { Finished } from './request-log.ts'

// Labels are bounded: route patterns, statuses, and kids of keys that we hold. A kid out of somebody's token is none.

export type Metrics = ReturnType<typeof createMetrics>

export const JWKS_STATUSES = [200, 304, 400, 405, 500, 503] as const
export type JwksStatus = (typeof JWKS_STATUSES)[number]

export const VERIFICATION_RESULTS = ['valid', 'invalid'] as const
/** The `kid` label of a verification that found no key of ours. */
export const UNKNOWN_KID = 'unknown'

export interface KeyLabels {
  kid: string
  ring: string
  alg: string
}

/** Set by the callbacks of `observe` at every scrape, empty before it. */
export interface Gauges {
  /** Seconds since the key's creation. */
  keyAge: Gauge<'ring' | 'alg' | 'kid'>
  /** Seconds until a step is due; negative: overdue. */
  secondsToNextStep: Gauge<'ring' | 'step'>
  heldQueries: Gauge
}

/** From a millisecond to a held query of the greatest length. */
const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 330]

/** A registry of its own, so that two servers in one process do not count together. */
export function createMetrics({ process = true }: { process?: boolean } = {}) {
  const registry = new Registry()
  const registers = [registry]
  if (process) collectDefaultMetrics({ register: registry })
  const callbacks: ((gauges: Gauges) => void | Promise<void>)[] = []

  /** Plain integers: the prebuilt answers pay one increment, the rest happens at the scrape. */
  const jwksRequests = Object.fromEntries(JWKS_STATUSES.map((status) => [status, 0])) as Record<
    JwksStatus,
    number
  >
  new Counter({
    name: 'keyringd_jwks_requests_total',
    help: 'Answers to requests for JWK Sets',
    labelNames: ['status'],
    registers,
    collect() {
      this.reset()
      for (const status of JWKS_STATUSES) this.inc({ status }, jwksRequests[status])
    },
  })

  /** Signatures since the last scrape, by kid. */
  const signed = new Map<string, { labels: KeyLabels; count: number }>()
  const signatures = new Counter({
    name: 'keyringd_signatures_total',
    help: 'Tokens signed',
    labelNames: ['kid', 'ring', 'alg'],
    registers,
    collect() {
      for (const one of signed.values()) {
        this.inc({ ...one.labels }, one.count)
        one.count = 0
      }
    },
  })
  const verifications = new Counter({
    name: 'keyringd_verifications_total',
    help: 'Tokens checked; kid "unknown" where no key of ours was meant',
    labelNames: ['kid', 'result'],
    registers,
  })
  const promiseWrites = new Counter({
    name: 'keyringd_promise_writes_total',
    help: 'Raised promises: the latest exp that a key vouches for',
    registers,
  })
  const httpDuration = createHistogram(registry, {
    name: 'keyringd_http_request_duration_seconds',
    help: 'From the head of a request to the end of its answer; prebuilt answers are not timed',
    buckets: BUCKETS,
  })
  const gauges: Gauges = {
    keyAge: new Gauge({
      name: 'keyringd_key_age_seconds',
      help: 'Seconds since a key was created',
      labelNames: ['ring', 'alg', 'kid'],
      registers,
    }),
    secondsToNextStep: new Gauge({
      name: 'keyringd_next_step_seconds',
      help: 'Seconds until a step of the plan is due; negative when it is overdue',
      labelNames: ['ring', 'step'],
      registers,
    }),
    heldQueries: new Gauge({
      name: 'keyringd_held_queries',
      help: 'Blocking queries that wait',
      registers,
    }),
  }

  return {
    contentType: registry.contentType,
    jwksRequests,
    signatures,
    verifications,
    promiseWrites,

    /** Counts a signature. */
    signed({ kid, ring, alg }: KeyLabels): void {
      const known = signed.get(kid)
      if (known) known.count++
      else signed.set(kid, { labels: { kid, ring, alg }, count: 1 })
    },

    /** For `createServer`'s `onFinished`. */
    finished({ method, route, status, seconds }: Finished): void {
      httpDuration.observe({ method, route, status: String(status) }, seconds)
    },

    /** Adds a callback that sets gauges whenever somebody scrapes. */
    observe(callback: (gauges: Gauges) => void | Promise<void>): void {
      callbacks.push(callback)
    },

    /** Drops what was counted for a key that is gone, or the labels would grow with every rotation. */
    forgetKey({ kid, ring, alg }: KeyLabels): void {
      signed.delete(kid)
      signatures.remove({ kid, ring, alg })
      for (const result of VERIFICATION_RESULTS) verifications.remove({ kid, result })
    },

    /** Everything, in Prometheus' text format. */
    async text(): Promise<string> {
      for (const gauge of Object.values(gauges)) gauge.reset()
      for (const callback of callbacks) await callback(gauges)
      return registry.metrics()
    },
  }
}
