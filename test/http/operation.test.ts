import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createMetrics } from '../../src/http/metrics.ts'
import { operationRoutes } from '../../src/http/operation.ts'
import { testApp } from './setup.ts'

test('/healthz is 200 while the process lives; /readyz says what it waits for', async (t) => {
  const { app } = testApp(t)
  const waitingFor = ['the KEK', 'the first keys']
  const readiness = () => ({ ready: waitingFor.length === 0, waitingFor })
  const metrics = createMetrics({ process: false })
  await app.register(operationRoutes({ readiness, metrics, metricsPublic: true }))

  const alive = await app.inject('/healthz')
  assert.deepEqual([alive.statusCode, alive.body], [200, '{"status":"ok"}'])
  const waiting = await app.inject('/readyz')
  assert.deepEqual([waiting.statusCode, waiting.json()], [503, { status: 'waiting', waitingFor }])
  assert.equal(waiting.headers['cache-control'], 'no-store')
  assert.equal((await app.inject({ method: 'HEAD', url: '/readyz' })).statusCode, 503)
  waitingFor.length = 0
  const ready = await app.inject('/readyz')
  assert.deepEqual([ready.statusCode, ready.json()], [200, { status: 'ready', waitingFor: [] }])
  assert.equal((await app.inject({ method: 'HEAD', url: '/healthz' })).statusCode, 200)
})

test('/metrics is public, or needs keyring-read', async (t) => {
  for (const [metricsPublic, expected] of [
    [true, 200],
    [false, 401],
  ] as const) {
    const { app } = testApp(t, { rights: { prometheus: ['keyring-read'] } })
    const readiness = () => ({ ready: true, waitingFor: [] })
    const metrics = createMetrics({ process: false })
    await app.register(operationRoutes({ readiness, metrics, metricsPublic }))
    assert.equal((await app.inject('/metrics')).statusCode, expected)
    const headers = { authorization: 'Bearer prometheus' }
    const scraped = await app.inject({ url: '/metrics', headers })
    assert.equal(scraped.statusCode, 200)
    assert.equal(scraped.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8')
  }
})

const sample = (text: string, name: string) =>
  text.split('\n').filter((line) => line.startsWith(name) && !line.startsWith('#'))

test('counters count, and the JWKS ones are plain integers until somebody scrapes', async () => {
  const metrics = createMetrics({ process: false })
  metrics.jwksRequests[200] += 3
  metrics.jwksRequests[304]++
  metrics.signatures.inc({ kid: 'k1', ring: 'default', alg: 'EdDSA' }, 5)
  metrics.promiseWrites.inc()
  await metrics.text()
  const text = await metrics.text()
  assert.ok(text.includes('keyringd_jwks_requests_total{status="200"} 3\n'), 'not added up twice')
  assert.ok(text.includes('keyringd_jwks_requests_total{status="304"} 1\n'))
  assert.ok(
    text.includes('keyringd_signatures_total{kid="k1",ring="default",alg="EdDSA"} 5\n'),
    text,
  )
  assert.ok(text.includes('keyringd_promise_writes_total 1\n'))
})

test('signatures add up over scrapes, and go with their key', async () => {
  const metrics = createMetrics({ process: false })
  const key = { kid: 'k1', ring: 'default', alg: 'EdDSA' }
  metrics.signed(key)
  metrics.signed(key)
  await metrics.text()
  metrics.signed(key)
  const line = 'keyringd_signatures_total{kid="k1",ring="default",alg="EdDSA"} 3'
  assert.deepEqual(sample(await metrics.text(), 'keyringd_signatures_total'), [line])
  metrics.signed(key)
  metrics.forgetKey(key)
  assert.deepEqual(sample(await metrics.text(), 'keyringd_signatures_total'), [])
})

test('the histogram has cumulative buckets, the sum and the count', async () => {
  const metrics = createMetrics({ process: false })
  const request = { method: 'GET', route: '/x', status: 200 }
  for (const seconds of [0.001, 0.002, 0.3, 1000]) metrics.finished({ ...request, seconds })
  metrics.finished({ ...request, status: 404, seconds: 0.5 })
  const lines = sample(await metrics.text(), 'keyringd_http_request_duration_seconds').filter(
    (line) => line.includes('status="200"'),
  )
  const values = Object.fromEntries(
    lines.map((line) => [/le="([^"]*)"/.exec(line)?.[1] ?? line.split('{')[0], line.split(' ')[1]]),
  )
  assert.equal(lines[0]?.split(' ')[0]?.includes('method="GET",route="/x",status="200"'), true)
  assert.deepEqual(
    ['0.001', '0.0025', '0.25', '0.5', '330', '+Inf'].map((le) => values[le]),
    ['1', '2', '2', '3', '3', '4'],
  )
  assert.equal(values['keyringd_http_request_duration_seconds_count'], '4')
  assert.equal(values['keyringd_http_request_duration_seconds_sum'], '1000.303')
})

test('gauges hold what the callbacks set at this scrape, and nothing of the one before', async () => {
  const metrics = createMetrics({ process: false })
  let kid = 'old'
  metrics.observe((gauges) => gauges.keyAge.set({ ring: 'default', alg: 'RS256', kid }, 60))
  metrics.observe(async (gauges) => gauges.heldQueries.set(7))
  assert.match(await metrics.text(), /key_age_seconds\{ring="default",alg="RS256",kid="old"\} 60/)
  kid = 'new'
  const text = await metrics.text()
  assert.deepEqual(sample(text, 'keyringd_key_age_seconds').length, 1)
  assert.match(text, /kid="new"/)
  assert.match(text, /keyringd_held_queries 7/)
})

test('a key that is gone takes its labels along', async () => {
  const metrics = createMetrics({ process: false })
  const key = { kid: 'k1', ring: 'default', alg: 'EdDSA' }
  metrics.signatures.inc(key)
  metrics.verifications.inc({ kid: 'k1', result: 'valid' })
  metrics.verifications.inc({ kid: 'k2', result: 'invalid' })
  metrics.forgetKey(key)
  const text = await metrics.text()
  assert.deepEqual(sample(text, 'keyringd_signatures_total'), [])
  assert.equal(sample(text, 'keyringd_verifications_total').length, 1)
})

test('routes are labelled by pattern, so that clients cannot make labels', async (t) => {
  const metrics = createMetrics({ process: false })
  const { app } = testApp(t, { onFinished: metrics.finished })
  app.get('/keys/:kid', { config: { capability: 'public' } }, async () => ({}))
  for (let n = 0; n < 20; n++) {
    await app.inject(`/keys/${n}`)
    await app.inject(`/random-${n}`)
  }
  const counts = sample(await metrics.text(), 'keyringd_http_request_duration_seconds_count')
  assert.deepEqual(counts.sort(), [
    'keyringd_http_request_duration_seconds_count{method="GET",route="/keys/:kid",status="200"} 20',
    'keyringd_http_request_duration_seconds_count{method="GET",route="unmatched",status="404"} 20',
  ])
})

test('two servers in one process do not count together', async () => {
  const [one, two] = [createMetrics(), createMetrics()]
  one.promiseWrites.inc()
  assert.match(await two.text(), /keyringd_promise_writes_total 0/)
  assert.match(await one.text(), /process_resident_memory_bytes \d/)
})
