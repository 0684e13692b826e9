import type { DataApi } from '../data-api/service.ts'
import type { RemoteSetDocument } from '../keyring/schema.ts'
import type { RemoteJwks } from '../remote-jwks/service.ts'
import { toIso } from '../time.ts'

/** Sets that a status shows of those that are remembered. */
const SHOWN = 100

/** What `/v1/status` says of JWK Sets of others: that of the data API, and those of configurations, failing ones first. */
export function remoteSets(
  remote: Pick<RemoteJwks, 'status'>,
  dataApi: Pick<DataApi, 'status'>,
): RemoteSetDocument[] {
  const { host, fetchedAt, keys, ignored, lastError, nextAttemptAt } = dataApi.status()
  const isUsed = host !== undefined || lastError !== undefined
  const ofDataApi = { id: 'jwks_setup', host: host ?? '', fetchedAt, keys, ignored, lastError }
  const others = remote.status()
  const failing = others.filter(({ lastError: error }) => error !== undefined)
  const well = others.filter(({ lastError: error }) => error === undefined)
  return [...(isUsed ? [{ ...ofDataApi, nextAttemptAt }] : []), ...failing, ...well]
    .slice(0, SHOWN)
    .map((one) => ({
      ...{ source: one.id, host: one.host, keys: one.keys, ignored: one.ignored },
      fetchedAt: one.fetchedAt === undefined ? null : toIso(one.fetchedAt),
      lastError: one.lastError ?? null,
      nextAttemptAt: one.nextAttemptAt === undefined ? null : toIso(one.nextAttemptAt),
    }))
}
