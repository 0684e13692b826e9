import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { faultsOf, importsOf } from './architecture-rules.ts'

const SOURCE = join(import.meta.dirname, '..', 'src')

test('every source file keeps to the import table and the habits', () => {
  const files = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' })
  const sources = files.filter((file) => file.endsWith('.ts'))
  assert.ok(sources.length > 20, 'the sources were found')
  const faults = sources.flatMap((file) => faultsOf(file, readFileSync(join(SOURCE, file), 'utf8')))
  assert.deepEqual(faults, [])
})

test('only TypeScript lies in src, and its first level is in the table', () => {
  const names = readdirSync(SOURCE, { recursive: true, withFileTypes: true })
  const strays = names.filter(
    (entry) => entry.isFile() && !/\.(?:ts|html|css|svg)$/.test(entry.name),
  )
  assert.deepEqual(
    strays.map((entry) => entry.name),
    [],
  )
})

test('imports are found in every form, and those of types only are told apart', () => {
  const text = `
    import { a, type B } from './a.ts'
    import type { C } from './c.ts'
    import { type D, type E } from './d.ts'
    import {
      f, // import nothing from './comment.ts'
    } from './f.ts'
    export * from './g.ts'
    export type { H } from './h.ts'
    import './side.ts'
    /* import './comment.ts' */
    const late = await import('./late.ts')
    import all, { type X } from "all"
    const url = 'http://host' // from './comment.ts'
    export const odd = (text: string) => text.match(/[\`'"]/)
    import { last } from './last.ts'`
  const found = importsOf(text).map(({ target, typeOnly }) => `${target}${typeOnly ? ' type' : ''}`)
  assert.deepEqual(found.sort(), [
    ...['./a.ts', './c.ts type', './d.ts type', './f.ts', './g.ts', './h.ts type', './last.ts'],
    ...['./late.ts', './side.ts', 'all'],
  ])
})

const breaches: [file: string, text: string][] = [
  ['keyring/service.ts', "import { login } from '../identities/service.ts'"],
  ['keyring/service.ts', "import type { Identity } from '../identities/schema.ts'"],
  ['keyring/service.ts', "import type { FastifyRequest } from 'fastify'"],
  ['keyring/routes.ts', "import { fastify } from 'fastify'"],
  ['keyring/service.ts', "import { sql } from 'kysely'"],
  ['keyring/service.ts', "import { openStore } from '../store/sqlite.ts'"],
  ['keyring/service.ts', "import { parseConfig } from '../config.ts'"],
  ['keyring/service.ts', "import { SignJWT } from 'jose'"],
  ['keyring/service.ts', "import { z } from 'zod'"],
  ['keyring/lifecycle.ts', "import { readFile } from 'node:fs/promises'"],
  ['keyring/lifecycle.ts', "import { system } from '../context.ts'"],
  ['core/key.ts', "import { now } from '../context.ts'"],
  ['core/key.ts', "const late = await import('../store/keys.ts')"],
  ['core/key.ts', "export * from '../kek/aead.ts'"],
  ['kek/aead.ts', "import { seal } from '../core/index.ts'"],
  ['store/keys.ts', "import { seal } from '../core/index.ts'"],
  ['store/keys.ts', "import Database from 'better-sqlite3'"],
  ['http/server.ts', "import { keyringRoutes } from '../keyring/routes.ts'"],
  ['cli/keys.ts', "import { openStore } from '../store/sqlite.ts'"],
  ['app.ts', "import { parseConfig } from './config.ts'"],
  ['core/key.ts', "import leftPad from 'left-pad'"],
  ['utils/text.ts', ''],
  ['strange.ts', ''],
  ['http/server.ts', 'const port = process.env.PORT'],
  ['keyring/service.ts', 'const now = Date.now()'],
  ['keyring/service.ts', 'const now = new Date()'],
  ['keyring/service.ts', 'const now = new Date'],
  ['time.ts', 'const now = Date.now()'],
  ['keyring/service.ts', 'const dice = Math.random()'],
  ['keyring/service.ts', "import { randomUUID } from 'node:crypto'"],
  ['keyring/service.ts', 'export default function keyring() {}'],
  ['keyring/service.ts', '\n'.repeat(401)],
]

for (const [file, text] of breaches) {
  test(`a breach is found: ${file}: ${text.trim().slice(0, 60) || '(the file itself)'}`, () => {
    const faults = faultsOf(file, text)
    assert.equal(faults.length > 0, true)
    assert.ok(faults.every((fault) => fault.startsWith(`src/${file} `)))
  })
}

const allowed: [file: string, text: string][] = [
  ['keyring/service.ts', "import type { Context } from '../context.ts'"],
  ['keyring/service.ts', "import { Problem } from '../errors.ts'"],
  ['keyring/service.ts', "import type { Tx } from '../store/store.ts'"],
  ['keyring/routes.ts', "import type { FastifyInstance } from 'fastify'"],
  ['keyring/schema.ts', "import { z } from 'zod'"],
  ['store/keys.ts', "import type { PublicJwk } from '../core/index.ts'"],
  ['app.ts', "import type { Config } from './config.ts'"],
  ['time.ts', 'const text = new Date(millis).toISOString()'],
  ['keyring/service.ts', '// Date.now() is not called here'],
  ['config.ts', 'const env = process.env'],
]

for (const [file, text] of allowed) {
  test(`what is allowed is left alone: ${file}: ${text}`, () => {
    assert.deepEqual(faultsOf(file, text), [])
  })
}
