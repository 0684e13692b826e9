import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createLogger } from '../../src/http/log.ts'

function capture(level: 'debug' | 'silent' = 'debug') {
  const written: string[] = []
  const log = createLogger({
    level,
    destination: { write: (line: string) => void written.push(line) },
  })
  return { log, text: () => written.join('') }
}

const SECRET = 'hunter2hunter2'
const NAMES = [
  ...['authorization', 'Authorization', 'x-nomad-token', 'X-Nomad-Token', 'cookie', 'set-cookie'],
  ...['password', 'token', 'secret', 'd', 'p', 'q', 'dp', 'dq', 'qi', 'k', 'priv'],
]

test('a secret member is redacted wherever it sits', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...NAMES),
      fc.array(fc.constantFrom('headers', 'jwk', 'list', 'deep'), { maxLength: 6 }),
      fc.boolean(),
      (name, path, inList) => {
        const { log, text } = capture()
        let record: unknown = { [name]: SECRET, kept: 'visible' }
        for (const step of path) record = { [step]: inList ? [record] : record }
        log.info(record as object, 'message')
        log
          .child({ n: 1 })
          .child(record as object)
          .info('from a child')
        assert.match(text(), /"n":1/)
        assert.ok(!text().includes(SECRET))
        assert.equal(text().match(/visible/g)?.length, 2)
      },
    ),
  )
})

test('secrets in errors, their members and causes are redacted; the rest of the error stays', () => {
  const { log, text } = capture()
  const cause = Object.assign(new Error('inner'), { jwk: { kid: 'k1', d: SECRET } })
  const error = Object.assign(new Error('outer', { cause }), { headers: { cookie: SECRET } })
  log.error({ err: error }, 'failed')
  log.error(error)
  assert.ok(!text().includes(SECRET))
  assert.match(text(), /outer/)
  assert.match(text(), /inner/)
  assert.match(text(), /log\.test\.ts/)
  assert.match(text(), /"kid":"k1"/)
})

test('our tokens are redacted in any text: messages, values, stacks', () => {
  const { log, text } = capture()
  const apiToken = `krd_${'aB3-_'.repeat(8)}xyz`
  const loginToken = apiToken.replace('krd_', 'krl_')
  const jwt = 'eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJlLWJ5dGVz'
  log.info(`got ${apiToken}`)
  log.info(`in with ${loginToken}`)
  log.info({ note: `Bearer ${jwt}` }, 'x')
  log.error(new Error(`bad token ${apiToken} or ${jwt}`))
  for (const secret of [apiToken, loginToken, jwt, 'aB3-_aB3', 'c2lnbmF0', 'eyJzdWI']) {
    assert.ok(!text().includes(secret), secret)
  }
  assert.match(text(), /got \[redacted\]/)
  assert.match(text(), /in with \[redacted\]/)
})

test('lines are JSON with level, time and message; big integers, bytes and cycles do no harm', () => {
  const { log, text } = capture()
  const loop: Record<string, unknown> = { n: 5n, bytes: Buffer.from(SECRET), nothing: null }
  loop.self = loop
  log.info(loop, 'odd')
  const line = JSON.parse(text())
  assert.equal(line.level, 'info')
  assert.match(line.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  assert.deepEqual([line.n, line.bytes, line.nothing], ['5', '[14 bytes]', null])
})

test('silent is silent', () => {
  const { log, text } = capture('silent')
  log.fatal('x')
  assert.equal(text(), '')
})
