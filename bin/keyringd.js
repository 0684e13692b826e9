#!/usr/bin/env node
// Plain JavaScript: type stripping does not work below node_modules, so an installed package runs
// dist/ and a clone runs src/ as it is.
import { existsSync } from 'node:fs'
import module from 'node:module'
import { setFlagsFromString } from 'node:v8'

const [major] = process.versions.node.split('.').map(Number)
if (major < 24) {
  process.stderr.write(
    `keyringd needs Node 24 or newer; this is ${process.version}. In a clone run it as "npm start" or "npx ." (npm ci brings Node 26).\n`,
  )
  process.exit(1)
}
// A start needs much room for a moment, and V8 would keep it: src/serve/young-room.ts says when it grows.
setFlagsFromString('--semi-space-growth-factor=1')
module.enableCompileCache?.()
const source = new URL('../src/main.ts', import.meta.url)
const { run } = await import(existsSync(source) ? source.href : '../dist/main.js')
await run(process.argv.slice(2))
