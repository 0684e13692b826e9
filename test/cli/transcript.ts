// Transcripts: `$ command` and below it exactly what it prints; `! ` marks standard error, `[exit N]` an exit code other
// than 0. `> ` lines move the test: `> advance 25h`, `> jump 25h`, `> tick`,
// `> settle` (background work is done), `> file NAME TEXT`. `> setting NAME VALUE` is for the start of the server. `#` lines
// and empty lines between blocks are for the reader.
//
// What differs from run to run has a name of the same width that is given out in order of appearance: `key-0001` is the
// first eight characters of an id, `<jwt-1>` a token, `<krd-1>` an API token, `<krl-1>` a login token.

export interface Block {
  /** Comments and empty lines before it. */
  lead: string[]
  /** `$ …` or `> …`. */
  line: string
  expected: string[]
}

export function parseTranscript(text: string): { blocks: Block[]; tail: string[] } {
  const blocks: Block[] = []
  let lead: string[] = []
  for (const line of text.split('\n')) {
    const current = blocks.at(-1)
    if (line.startsWith('$ ') || line.startsWith('> ')) {
      blocks.push({ lead, line, expected: [] })
      lead = []
    } else if (line.startsWith('# ') || line === '#' || (line === '' && lead.length > 0)) {
      lead.push(line)
    } else if (current && lead.length === 0) current.expected.push(line)
    else lead.push(line)
  }
  // The empty lines at the end of what a command prints belong to the reader.
  for (const [at, block] of blocks.entries()) {
    const next = blocks[at + 1]?.lead ?? lead
    while (block.expected.at(-1) === '') next.unshift(block.expected.pop() ?? '')
  }
  return { blocks, tail: lead }
}

/** What the server is started with. */
export const settingsOf = (blocks: readonly Block[]): Record<string, string> =>
  Object.fromEntries(
    blocks.flatMap(({ line }) => {
      const [, name, value] = /^> setting (\S+) (.*)$/.exec(line) ?? []
      return name === undefined || value === undefined ? [] : [[name, value]]
    }),
  )

/** Words as a shell takes them apart: quotes, no variables. Leading `NAME=value` words set the environment. */
export function parseCommand(line: string) {
  const [left = '', stdin] = line.split(' <<< ')
  const words = [...left.matchAll(/(?:[^\s'"]+|'[^']*'|"[^"]*")+/g)].map(([word]) =>
    word.replace(/'([^']*)'|"([^"]*)"/g, (_, single, double) => single ?? double),
  )
  const env: Record<string, string> = {}
  while (/^[A-Z_]+=/.test(words[0] ?? '')) {
    const word = words.shift() ?? ''
    env[word.slice(0, word.indexOf('='))] = word.slice(word.indexOf('=') + 1)
  }
  return { env, argv: words.slice(1), stdin }
}

interface Kind {
  found: RegExp
  name(count: number): string
}

/** The ids of the tests count from below 2^24. */
const ID = /\b0[01][0-9a-f]{6}\b/g

/** They count in their last group as well; there, a transcript has zeros. */
const LAST = /(?<=-0000-4000-8000-0000)[0-9a-f]{8}\b/g
const WHOLE = /\b(0[01][0-9a-f]{6})(-0000-4000-8000-0000)00000000\b/g

const KINDS: Kind[] = [
  { found: ID, name: (count) => `key-${String(count).padStart(4, '0')}` },
  { found: /\beyJ[\w-]+\.[\w-]+\.[\w-]+/g, name: (count) => `<jwt-${count}>` },
  { found: /\bkrd_[\w-]{43}\b/g, name: (count) => `<krd-${count}>` },
  { found: /\bkrl_[\w-]{43}\b/g, name: (count) => `<krl-${count}>` },
]

/** Gives names to what differs, and takes them back. */
export function createNames(fixed: Record<string, string>) {
  const names = new Map<string, string>()
  const counts = KINDS.map(() => 0)

  return {
    hide(text: string): string {
      let hidden = text.replace(/("requestId":")[^"]*/g, '$1<request>').replace(LAST, '00000000')
      for (const [name, value] of Object.entries(fixed)) hidden = hidden.replaceAll(value, name)
      for (const [at, { found, name }] of KINDS.entries()) {
        hidden = hidden.replace(found, (value) => {
          const known = names.get(value)
          if (known) return known
          const count = (counts[at] ?? 0) + 1
          counts[at] = count
          names.set(value, name(count))
          return name(count)
        })
      }
      return hidden
    },
    show(text: string): string {
      let shown = text
      for (const [value, name] of names) shown = shown.replaceAll(name, value)
      for (const [name, value] of Object.entries(fixed)) shown = shown.replaceAll(name, value)
      return shown.replace(WHOLE, '$1$2$1')
    },
  }
}
