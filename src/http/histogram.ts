import type { Metric, Registry } from 'prom-client'

interface Series {
  labels: Readonly<Record<string, string>>
  /** Per bucket, not cumulative; the last one has no bound. */
  counts: number[]
  sum: number
}

export interface HistogramOptions {
  name: string
  help: string
  /** Upper bounds, ascending. */
  buckets: readonly number[]
}

/**
 * A Prometheus histogram that costs a request one look-up and two additions; prom-client's own checks and hashes the
 * labels every time. The work is done at the scrape.
 */
export function createHistogram(registry: Registry, { name, help, buckets }: HistogramOptions) {
  const series = new Map<string, Series>()
  const bounds = [...buckets, Number.POSITIVE_INFINITY]

  function valuesOf({ labels, counts, sum }: Series) {
    let total = 0
    const values = bounds.map((bound, at) => {
      total += counts[at] ?? 0
      const le = bound === Number.POSITIVE_INFINITY ? '+Inf' : bound
      return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: total }
    })
    return [
      ...values,
      { metricName: `${name}_sum`, labels, value: sum },
      { metricName: `${name}_count`, labels, value: total },
    ]
  }

  // What a registry asks of a metric; the library has no type for less than one of its own.
  const metric = {
    ...{ name, help, type: 'histogram', aggregator: 'sum' },
    get: async () => ({
      ...{ name, help, type: 'histogram', aggregator: 'sum' },
      values: [...series.values()].flatMap(valuesOf),
    }),
    reset: () => series.clear(),
  }
  registry.registerMetric(metric as unknown as Metric)

  return {
    /** Values of a label must be few. The labels of a histogram are the same every time, in the same order. */
    observe(labels: Readonly<Record<string, string>>, value: number): void {
      let key = ''
      for (const label in labels) key += `${labels[label]} `
      let one = series.get(key)
      if (!one) {
        one = { labels, counts: bounds.map(() => 0), sum: 0 }
        series.set(key, one)
      }
      const at = bounds.findIndex((bound) => value <= bound)
      one.counts[at] = (one.counts[at] ?? 0) + 1
      one.sum += value
    },
  }
}
