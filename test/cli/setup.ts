import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { runCli } from '../../src/cli/index.ts'
import { MANAGEMENT_TOKEN, type TestServerOptions, testServer } from '../server.ts'

/**
 * The whole application on a free port; its Date header follows the clock of the test. Its issuer is its own address,
 * or another one, or none.
 */
export async function listeningServer(
  t: TestContext,
  { issuer, ...options }: Omit<TestServerOptions, 'issuer'> & { issuer?: string | 'none' } = {},
) {
  let url = ''
  const named = {
    ...options,
    // Asked at every use: it is known once the port is.
    get issuer() {
      return issuer ?? url
    },
  }
  const server = await testServer(t, issuer === 'none' ? options : named)
  server.app.server.prependListener('request', (_, response) => {
    const millis = Number(server.clock.now() / 1_000_000n)
    response.setHeader('date', new Date(millis).toUTCString())
  })
  url = await server.app.listen({ host: '127.0.0.1', port: 0 })
  return { ...server, url }
}

export interface Ran {
  code: number
  out: string
  err: string
}

export interface RunOptions {
  env?: Record<string, string | undefined>
  stdin?: string
  signal?: AbortSignal
  onOut?(text: string): void
}

/** Runs a command in this process. */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<Ran> {
  let [out, err] = ['', '']
  const code = await runCli(argv, {
    out(text) {
      out += text
      options.onOut?.(text)
    },
    err(text) {
      err += text
    },
    env: { HOME: '/nonexistent', ...options.env },
    stdin: async () => options.stdin ?? '',
    password: async () => options.stdin ?? '',
    interrupted: () => options.signal ?? new AbortController().signal,
  })
  return { code, out, err }
}

export const clientEnv = (url: string) => ({
  ...{ KEYRINGD_ADDR: url, KEYRINGD_TOKEN: MANAGEMENT_TOKEN },
})

export function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'keyringd-cli-'))
  t.after(() => rmSync(path, { recursive: true, force: true }))
  return path
}

export function fileIn(path: string, name: string, text: string): string {
  const file = join(path, name)
  writeFileSync(file, text, { mode: 0o600 })
  return file
}
