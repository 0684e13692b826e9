import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text as textOf } from 'node:stream/consumers'
import type { TestContext } from 'node:test'
import { parse } from 'yaml'
import { BIN, bounded, makeHome } from './process.ts'

// A page of docs/guides as a script: every ```sh block in the order of the page, in one bash, and every `run` of a
// workflow. What it prints is held against the ```text block that follows.

const PAGES = new URL('../../docs/guides/', import.meta.url)
const MARK = '--- end of block'

export interface Guide {
  page: string
  /** An empty folder in which the blocks run; the files that the page takes as given are put there. */
  folder: string
  /** What the page says to replace, and by what. */
  replace: Record<string, string>
  env: Record<string, string>
}

interface Block {
  kind: string
  text: string
}

const blocksOf = (page: string): Block[] =>
  [...page.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].map(([, kind = '', text = '']) => {
    return { kind, text }
  })

interface Workflow {
  jobs: Record<string, { env: Record<string, string>; steps: { run: string }[] }>
}

/** A workflow as its runner does it: a process for each step, and what a step writes to GITHUB_ENV for the next ones. */
function workflowScript(yaml: string, folder: string): string {
  const { jobs } = parse(yaml) as Workflow
  const lines = Object.values(jobs).flatMap(({ env, steps }, job) => {
    // The page says that this is the id that was printed.
    const { IDENTITY: _, ...given } = env
    const exported = Object.entries(given).map(([name, value]) => `export ${name}='${value}'`)
    const ran = steps.map(({ run }, step) => {
      const file = join(folder, `step-${job}-${step}.sh`)
      writeFileSync(file, run)
      return `bash --noprofile --norc -eo pipefail ${file}; set -a; . "$GITHUB_ENV"; set +a`
    })
    return [...exported, ...ran]
  })
  // A runner has no credential of the one who wrote the trust.
  return `(\nunset KEYRINGD_TOKEN\nexport IDENTITY\n${lines.join('\n')}\n)\n`
}

const scriptOf = ({ kind, text }: Block, folder: string): string => {
  if (kind === 'sh') return text
  return kind === 'yaml' && /^jobs:/m.test(text) ? workflowScript(text, folder) : ''
}

/** Runs all of a page; answers what each block printed, the blocks that are not run among them. */
export async function follow(t: TestContext, guide: Guide): Promise<string[]> {
  const { folder, replace, env } = guide
  const page = readFileSync(new URL(guide.page, PAGES), 'utf8')
  const prose = page.replace(/^```[\s\S]*?^```$/gm, '').replace(/\s+/g, ' ')
  for (const name of Object.keys(replace)) {
    const sentences = prose.split(/\. /).filter((one) => /\breplace /i.test(one))
    assert.ok(
      sentences.some((one) => one.includes(`\`${name}\``)),
      `the page does not say to replace ${name}`,
    )
  }
  const filled = Object.entries(replace).reduce((all, [from, to]) => all.replaceAll(from, to), page)
  const blocks = blocksOf(filled)
  const script = blocks.map((block) => `${scriptOf(block, folder)}\necho '${MARK}'\n`).join('')
  const output = await run(t, script, folder, env)
  const printed = output.split(`${MARK}\n`)
  for (const [at, { kind, text }] of blocks.entries()) {
    if (kind === 'text') assert.deepEqual(plain(printed[at - 1] ?? ''), plain(text))
  }
  return printed
}

/** Without what differs from run to run: ids, times, and how wide a column is. */
const plain = (text: string): string[] =>
  text
    .replace(/\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, '<id>')
    .replace(/\b\d{4}-\d\d-\d\dT[\d:]+(?:Z|[+-]\d\d:\d\d)/g, '<time>')
    .replace(/ {2,}/g, '  ')
    .trim()
    .split('\n')

async function run(t: TestContext, script: string, folder: string, env: Record<string, string>) {
  const programs = makeHome(t, 'bin')
  const keyringd = join(programs, 'keyringd')
  writeFileSync(keyringd, `#!/bin/sh\nexec '${process.execPath}' '${BIN}' "$@"\n`)
  chmodSync(keyringd, 0o755)
  const file = join(folder, 'page.sh')
  writeFileSync(file, script)
  const child = spawn('bash', ['--noprofile', '--norc', '-euo', 'pipefail', file], {
    cwd: folder,
    env: {
      ...{ PATH: `${programs}:${process.env.PATH}`, HOME: folder, NODE_NO_WARNINGS: '1' },
      ...{ GITHUB_ENV: join(folder, 'github-env'), ...env },
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.after(() => child.kill('SIGKILL'))
  const closed = new Promise<number | null>((resolve) => child.once('close', resolve))
  const ended = Promise.all([closed, textOf(child.stdout), textOf(child.stderr)])
  const [code, out, err] = await bounded(ended, 'the page')
  assert.equal(code, 0, `${out}\n${err}`)
  return out
}
