import { execFile } from 'node:child_process'
import { cp, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const ROOT = join(import.meta.dirname, '..')

/** Builds and lays the program out as the image has it: `dist/`, no `src/`. */
export async function install(): Promise<{ bin: string; remove(): Promise<void> }> {
  await promisify(execFile)(process.execPath, [join(ROOT, 'scripts', 'build.ts')])
  const folder = await mkdtemp(join(tmpdir(), 'keyringd-bench-'))
  for (const name of ['bin', 'dist', 'migrations', 'package.json']) {
    await cp(join(ROOT, name), join(folder, name), { recursive: true })
  }
  await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  return {
    bin: join(folder, 'bin', 'keyringd.js'),
    remove: () => rm(folder, { recursive: true, force: true }),
  }
}
