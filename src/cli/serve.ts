import type { Command } from './command.ts'
import { usage } from './io.ts'

const HELP = `Usage: keyringd serve

Runs the server until SIGTERM or SIGINT ends it; SIGHUP reads the TLS certificate again.

It takes no flags. Settings are KEYRINGD_… variables, or members of the JSON file that KEYRINGD_CONFIG names;
docs/settings.md has them all.

Standard output is the log, one JSON object a line (KEYRINGD_LOG_LEVEL). Once the server is ready, standard error says
under which address it answers, where its data, its KEK and its management token are, and what to try.
Exit 0: it was told to end; 1: it could not start.
`

/** What is said about the server. Without words `main.ts` runs it, and nothing of this. */
export const serve: Command = {
  name: 'serve',
  summary: 'Runs the server; settings are KEYRINGD_… variables',
  async run(argv, io) {
    if (argv.length > 0 && !argv.some((word) => /^--?h(?:elp)?$/.test(word))) {
      throw usage('serve takes no arguments; settings are KEYRINGD_… variables (docs/settings.md)')
    }
    io.out(HELP)
    return 0
  },
}
