// Writes openapi.yaml from the routes; with --check only says whether it is current.
import { readFileSync, writeFileSync } from 'node:fs'
import { pino } from 'pino'
import { createApp } from '../src/app.ts'
import { parseConfig } from '../src/config.ts'
import { randomId, systemClock } from '../src/context.ts'
import { openapiYaml } from '../src/http/openapi.ts'
import { readMigrations } from '../src/store/migrations.ts'
import { openSqliteStore } from '../src/store/sqlite.ts'

const FILE = 'openapi.yaml'
const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }

const store = openSqliteStore({
  file: ':memory:',
  migrations: await readMigrations('migrations/sqlite'),
  ...{ writer: 'main', now: systemClock.now, newId: randomId },
  onListenerError(error) {
    throw error
  },
})
const server = await createApp({
  config: parseConfig({ HOME: '/nonexistent' }),
  context: { store, log: pino({ level: 'silent' }), ...systemClock, newId: randomId },
  ...{ installation: randomId(), version, issuer: () => undefined, managementToken: () => '' },
})
await server.app.ready()
const text = openapiYaml(server.app)
await server.close()
await store.close()

if (process.argv.includes('--check')) {
  const current = readFileSync(FILE, 'utf8') === text
  if (!current) process.stderr.write(`${FILE} is not current: run npm run openapi\n`)
  process.exitCode = current ? 0 : 1
} else {
  writeFileSync(FILE, text)
}
