// `npm run check`: all that must hold besides the tests. Runs everything, then says what failed.
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'

const root = join(import.meta.dirname, '..')
const tool = (name: string) => join(root, 'node_modules', '.bin', name)

const STEPS: { name: string; command: string; args: string[] }[] = [
  { name: 'format and lint', command: tool('biome'), args: ['check', '--error-on-warnings'] },
  {
    name: 'floating promises',
    command: tool('oxlint'),
    args: ['--type-aware', '--deny-warnings', 'src', 'test', 'scripts', 'bench'],
  },
  { name: 'types', command: tool('tsc'), args: ['-p', '.'] },
  { name: 'openapi.yaml', command: process.execPath, args: ['scripts/openapi.ts', '--check'] },
  {
    name: 'docs/settings.md',
    command: process.execPath,
    args: ['scripts/settings.ts', '--check'],
  },
  { name: 'tests and coverage', command: process.execPath, args: ['scripts/coverage.ts'] },
]

/** Runs one step and prints its line; what it wrote is shown only if it failed. */
async function passes({ name, command, args }: (typeof STEPS)[number]): Promise<boolean> {
  const start = performance.now()
  const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = new Promise<string | undefined>((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('close', (code, signal) => resolve(code === 0 ? undefined : `${code ?? signal}`))
  })
  const [failure, output, errors] = await Promise.all([
    ended,
    text(child.stdout),
    text(child.stderr),
  ])
  const seconds = ((performance.now() - start) / 1000).toFixed(1)
  console.log(`${failure ? 'FAILED' : 'ok    '} ${name} (${seconds} s)`)
  if (failure) console.log(`${output}${errors}exit ${failure}\n`)
  return failure === undefined
}

const failed: string[] = []
for (const step of STEPS) {
  if (!(await passes(step))) failed.push(step.name)
}
if (failed.length > 0) {
  console.log(`Failed: ${failed.join(', ')}`)
  process.exitCode = 1
}
