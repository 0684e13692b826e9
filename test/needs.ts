import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import type { TestContext } from 'node:test'

// Tests that need something from outside say so. Without it they are skipped by name; with
// KEYRINGD_REQUIRE_ALL=1, as in CI, they fail, so that a test cannot go missing unnoticed.

/**
 * Options for a test that runs programs: `test('…', needs('nginx'), …)`. Looks on PATH and where
 * Debian keeps daemons.
 */
export function needs(...programs: string[]): { skip: string | false } {
  const missing = programs.filter((program) => !isInstalled(program))
  return { skip: missing.length > 0 && absent(missing.join(', ')) }
}

/** The folder with the test vectors. Undefined, and the test is skipped, where there is none. */
export function vectorsDir(t: TestContext): string | undefined {
  const folder = process.env.KEYRINGD_VECTORS_DIR
  if (!folder) t.skip(absent('KEYRINGD_VECTORS_DIR'))
  return folder || undefined
}

/** The words of a skip; throws where everything is required. */
export function absent(what: string): string {
  if (process.env.KEYRINGD_REQUIRE_ALL === '1') throw new Error(`needs ${what}`)
  return `needs ${what}`
}

function isInstalled(program: string): boolean {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin']
  return folders.some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}
