import { isUtf8 } from 'node:buffer'
import { createInterface } from 'node:readline'
import { Problem } from '../errors.ts'

/** What a command has of the process around it. */
export interface Io {
  out(text: string): void
  err(text: string): void
  /** All of standard input. */
  stdin(): Promise<string>
  /** The same; what is typed at a terminal ends with its line, and is not shown. */
  password(): Promise<string>
  /** Undefined: that of the process. */
  env: Record<string, string | undefined> | undefined
  /** Aborted by the first SIGINT from now on; a second one ends the process as ever. */
  interrupted(): AbortSignal
}

/** The process itself. A reader of its output that goes away ends it, as with any other command. */
export function openProcessIo(): Io {
  process.stdout.on('error', () => process.exit(1))
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    env: undefined,
    stdin: readAll,
    password: () => (process.stdin.isTTY ? readHidden('Password: ') : readAll()),
    interrupted() {
      const controller = new AbortController()
      process.once('SIGINT', () => controller.abort())
      return controller.signal
    },
  }
}

async function readAll(): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of process.stdin) chunks.push(Buffer.from(chunk))
  const bytes = Buffer.concat(chunks)
  // Bytes that are no text would be sent, or looked at, as others than they are.
  if (!isUtf8(bytes)) throw failure('error: Standard input is not UTF-8 text')
  return bytes.toString()
}

/** One line of the terminal: a line editor that has no output shows nothing, and turns the terminal's own echo off. */
function readHidden(prompt: string): Promise<string> {
  const editor = createInterface({ input: process.stdin, terminal: true, historySize: 0 })
  process.stderr.write(prompt)
  return new Promise((resolve) => {
    let line = ''
    editor.once('line', (text) => {
      line = text
      editor.close()
    })
    editor.once('SIGINT', () => {
      editor.close()
      process.kill(process.pid, 'SIGINT')
    })
    editor.once('close', () => {
      process.stderr.write('\n')
      resolve(line)
    })
  })
}

/** What is wrong with the command line itself: exit code 2. */
export const usage = (text: string): Problem => new Problem('wrong_usage', text)

/** What went wrong, as it is printed: exit code 1. */
export const failure = (text: string, cause?: unknown): Problem =>
  new Problem('command_failed', text, { cause })

/** The system's word for an error, such as `ENOENT`. */
export const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : 'unknown error'
