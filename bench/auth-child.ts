// The whole application with one route twice, once public and once for whoever is known: what is between them is the
// cost of a credential. `node auth-child.ts FOLDER JWKS_URL TOKEN`; tells its parent the port and an access token.
import { join } from 'node:path'
import { pino } from 'pino'
import { createApp } from '../src/app.ts'
import { parseConfig } from '../src/config.ts'
import { randomId, systemClock } from '../src/context.ts'
import { createAeadProvider } from '../src/kek/aead.ts'
import { readMigrations } from '../src/store/migrations.ts'
import { openSqliteStore } from '../src/store/sqlite.ts'

const [folder = '', jwksUrl = '', jwt = ''] = process.argv.slice(2)
const MANAGEMENT = 'management-token-of-this-measurement'

const store = openSqliteStore({
  file: join(folder, 'keyringd.db'),
  migrations: await readMigrations(join(import.meta.dirname, '../migrations/sqlite')),
  ...{ writer: 'main', now: systemClock.now, newId: randomId },
  onListenerError(error) {
    throw error
  },
})
const server = await createApp({
  config: parseConfig({ HOME: folder, KEYRINGD_ALLOW_INTERNAL_IP_CONNECTIONS: 'true' }),
  context: { store, log: pino({ level: 'silent' }), ...systemClock, newId: randomId },
  ...{ installation: randomId(), version: 'bench', issuer: () => undefined },
  managementToken: () => MANAGEMENT,
})
for (const [url, capability] of [
  ['/bench/open', 'public'],
  ['/bench/known', 'authenticated'],
] as const) {
  server.app.get(url, { config: { capability } }, async () => ({ answer: 'the same' }))
}
await server.publish()
await server.app.listen({ port: 0, host: '127.0.0.1' })
await server.open([createAeadProvider(new Uint8Array(32))], new AbortController().signal)
const address = server.app.server.address()
const port = address !== null && typeof address === 'object' ? address.port : 0

async function ask(path: string, body: unknown): Promise<Record<string, unknown>> {
  const answer = await fetch(`http://127.0.0.1:${port}/api/v1${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${MANAGEMENT}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  const json = (await answer.json()) as Record<string, unknown>
  if (!answer.ok) throw new Error(`${path}: ${JSON.stringify(json)}`)
  return json
}

const made = await ask('/identities', { name: 'bench', organizationId: '' })
const { id } = made['identity'] as { id: string }
await ask(`/auth/jwt-auth/identities/${id}`, {
  configurationType: 'jwks',
  jwksUrl,
  boundClaims: {},
})
const { accessToken } = await ask('/auth/jwt-auth/login', { identityId: id, jwt })
process.on('disconnect', () => process.exit(0))
process.send?.({ port, accessToken })
