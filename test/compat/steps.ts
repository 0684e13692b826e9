import assert from 'node:assert/strict'
import { parseDuration } from '../../src/time.ts'
import { MANAGEMENT_TOKEN } from '../server.ts'
import type { Stage } from './stage.ts'

// What a transcript can do between two exchanges: `@name words…`.

/** Go's grammar, and days. */
export function spanOf(text: string): bigint {
  const plain = text.replace(/(\d+)d/g, (_, days: string) => `${Number(days) * 24}h`)
  const span = parseDuration(plain)
  if (span === undefined) throw new Error(`no duration: ${text}`)
  return span
}

/** `NAME=value` words as settings; `kek=a,b` names the KEKs. */
function settingsOf(words: string[]): { settings: Record<string, string>; keks: string[] } {
  const pairs = words.map((word) => [
    word.slice(0, word.indexOf('=')),
    word.slice(word.indexOf('=') + 1),
  ])
  const { kek = 'first', ...settings } = Object.fromEntries(pairs) as Record<string, string>
  return { settings, keks: kek.split(',') }
}

async function call(
  stage: Stage,
  url: string,
  payload?: object,
  method: 'POST' | 'PUT' | 'PATCH' | 'DELETE' = 'POST',
): Promise<Record<string, string>> {
  const { app } = stage.server()
  const headers = { authorization: `Bearer ${MANAGEMENT_TOKEN}` }
  const answer = await app.inject({ method, url, headers, ...(payload && { payload }) })
  assert.ok(answer.statusCode < 300, answer.body)
  return answer.body === '' ? {} : answer.json()
}

const PASSWORD = 'correct horse battery staple'

type Step = (stage: Stage, words: string[], bind: (name: string, value: string) => void) => unknown

export const STEPS: Record<string, Step> = {
  /** `@server NAME=value …`: starts the server, or stops it and starts it on the same store. */
  server(stage, words) {
    const { settings, keks } = settingsOf(words)
    return stage.start(settings, keks, true)
  },
  /** As `@server`, but nothing is unsealed until `@open`. */
  publisher(stage, words) {
    const { settings, keks } = settingsOf(words)
    return stage.start(settings, keks, false)
  },
  open: (stage) => stage.open(),

  /** Time passes; nothing looks at the clock by itself. */
  advance: (stage, [text = '']) => stage.clock.advance(`${spanOf(text)}ns`),

  /** One tick of the lifecycle job, and what it starts. */
  async tick(stage) {
    const { scheduler, reseal } = stage.server().keyring
    await scheduler.tick()
    await reseal.settled()
  },
  /** What runs in the background has ended. */
  settled: (stage) => stage.server().keyring.reseal.settled(),

  /** `@token NAME grant,grant ttl`: an API token under that name. */
  async token(stage, [name = '', grants = '', ttl = ''], bind) {
    const body = { name, grants: grants.split(','), ...(ttl && { ttl }) }
    bind(name, (await call(stage, '/v1/api-tokens', body))['token'] ?? '')
  },
  /** `@sign NAME ttl`: signs a token of the default ring and binds the kid that did. */
  async sign(stage, [name = '', ttl = ''], bind) {
    const body = { claims: { sub: 'a' }, ttl }
    bind(name, (await call(stage, '/v1/rings/default/sign', body))['kid'] ?? '')
  },
  /** `@between VALUE FROM TO`: FROM ≤ VALUE < TO. */
  between: (_, [value, from, to]) =>
    assert.ok(
      Number(from) <= Number(value) && Number(value) < Number(to),
      `${from} ≤ ${value} < ${to}`,
    ),
  /** `@ring NAME algorithm`: makes a ring, which the keyring index must not notice. */
  ring: (stage, [name, algorithm]) => call(stage, '/v1/rings', { name, algorithms: [algorithm] }),
  strand: (stage, [kid = '']) => stage.strand(kid),

  /** `@tenant NAME parent`: without a parent it is below the root. */
  tenant: (stage, [name, parent]) =>
    call(stage, '/v1/tenants', { name, ...(parent && { parent }) }),
  /** `@user NAME role tenant`: with the password `correct horse battery staple`. */
  user: (stage, [name, role, tenant]) =>
    call(stage, '/v1/users', { name, password: PASSWORD, role, ...(tenant && { tenant }) }),
  /** `@service XML_ID tenant`: a delivery service. */
  service: (stage, [xmlId, tenant]) =>
    call(stage, `/v1/delivery-services/${xmlId}`, { tenant }, 'PUT'),
  /** `@delete PATH`: what our own API has there. */
  delete: (stage, [path = '']) => call(stage, path, undefined, 'DELETE'),

  /** How many queries the server holds. */
  held: (stage, [count]) =>
    assert.equal(String(stage.server().keyring.blocking.held()), count, 'held queries'),
  /** What SIGTERM does first. */
  drain: (stage) => stage.server().drain(),
}
