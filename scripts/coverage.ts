// Runs the tests with coverage and holds the result against the thresholds of CONTRIBUTING.md.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const LINES_OVERALL = 90
/** Where a branch that no test takes could lose a key or let a bad token in. */
const EVERY_BRANCH = /^src\/(?:core\/|keyring\/lifecycle\.ts$)/
const TESTS = ['test/*.test.ts', 'test/!(system)/**/*.test.ts']

interface FileCoverage {
  file: string
  lines: number
  linesHit: number
  /** Line numbers of branches that no test took. */
  missed: number[]
}

/** Reads the LCOV trace format: one record per file, of lines `KEY:values`. */
function parseLcov(text: string): FileCoverage[] {
  return text.split('end_of_record').flatMap((record) => {
    const values = (key: string) => [...record.matchAll(new RegExp(`^${key}:(.*)$`, 'gm'))]
    const file = values('SF')[0]?.[1]
    if (file === undefined) return []
    const branches = values('BRDA').map(([, value = '']) => value.split(','))
    const missed = branches.filter((branch) => branch[3] === '0' || branch[3] === '-')
    return {
      file,
      lines: Number(values('LF')[0]?.[1] ?? 0),
      linesHit: Number(values('LH')[0]?.[1] ?? 0),
      missed: missed.map(([line]) => Number(line)),
    }
  })
}

function faultsIn(files: FileCoverage[]): string[] {
  const sum = (pick: (one: FileCoverage) => number) =>
    files.reduce((total, one) => total + pick(one), 0)
  const percent = (100 * sum((one) => one.linesHit)) / sum((one) => one.lines)
  console.log(`lines ${percent.toFixed(2)} % over ${files.length} files`)
  const faults = files
    .filter((one) => EVERY_BRANCH.test(one.file) && one.missed.length > 0)
    .map((one) => `${one.file}: no test takes the branches in lines ${one.missed.join(', ')}`)
  // Also true of NaN: no files at all is no success.
  if (!(percent >= LINES_OVERALL)) faults.push(`fewer than ${LINES_OVERALL} % of lines are covered`)
  return faults
}

const folder = mkdtempSync(join(tmpdir(), 'keyringd-coverage-'))
try {
  const trace = join(folder, 'lcov.info')
  const flags = [
    '--experimental-test-coverage',
    ...['--test-coverage-include=src/**', '--test-coverage-include-all'],
    ...['--test-reporter=spec', '--test-reporter-destination=stdout'],
    ...['--test-reporter=lcov', `--test-reporter-destination=${trace}`],
  ]
  const root = join(import.meta.dirname, '..')
  const args = ['--test', ...flags, ...TESTS]
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' })
  const faults = faultsIn(parseLcov(readFileSync(trace, 'utf8')))
  if (status !== 0) faults.push('some tests failed')
  for (const fault of faults) console.error(fault)
  if (faults.length > 0) process.exitCode = 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
