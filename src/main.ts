import { isProblem } from './errors.ts'

/** Runs the command line; `serve` is the server, everything else a client of it. Sets the exit code. */
export async function run(argv: readonly string[]): Promise<void> {
  try {
    if (argv[0] === 'serve' && argv.length === 1) {
      const { serve } = await import('./serve.ts')
      await serve()
      return
    }
    const { runCli } = await import('./cli/index.ts')
    process.exitCode = await runCli(argv)
  } catch (error) {
    // One plain sentence for what is expected; the stack for what is our own fault.
    const text = isProblem(error)
      ? `${error.detail}\n`
      : `${error instanceof Error ? error.stack : String(error)}\n`
    process.stderr.write(`keyringd: ${text}`)
    process.exit(1)
  }
}
