// The format of the transcripts: what goes over the wire and what has to come back, and what happens in between.
//
//     # A comment.
//     @advance 15d                     a step: see `steps.ts`
//
//     === What this exchange shows
//     PUT /v1/operator/keyring/rotate  a request as it is sent; Host and Content-Length are added
//     X-Nomad-Token: <management>
//     ---                              then the answer: status, headers, empty line, body
//     200
//     Content-Type: application/json   exactly this value
//     Allow: absent                    must not be sent
//     only                             no headers but those listed and what HTTP/1.1 itself needs
//
//     {"Index":<n:index>}              the exact bytes; a `\` at the end of a line joins it with the next one
//
// `--- held NAME` says that the server must hold the request; a later `--- answer NAME`, in an exchange without a
// request, has its answer. `<kind:name>` in an answer matches a value and binds it, or must equal what is bound;
// `<name>` repeats it, in requests too. `<t+15d>` is the start of the transcript plus a span, in nanoseconds.

export type Entry =
  | { line: number; step: string; words: string[] }
  | {
      line: number
      title: string
      request: string[] | undefined
      /** Held: nothing is answered yet. Answer: of the request that was held under this name. */
      mode: { kind: 'now' } | { kind: 'held' | 'answer'; name: string }
      answer: { status: string; headers: string[]; body: string } | undefined
    }

export interface Transcript {
  /** The first comment block. */
  header: string
  entries: Entry[]
}

export function parseTranscript(text: string): Transcript {
  const lines = text.split('\n')
  const header = lines.slice(0, Math.max(0, lines.indexOf(''))).join('\n')
  const entries: Entry[] = []
  for (let at = 0; at < lines.length; ) {
    const line = lines[at] ?? ''
    if (line.startsWith('=== ')) {
      const end = lines.findIndex((one, index) => index > at && isStart(one))
      const block = lines.slice(at + 1, end === -1 ? undefined : end)
      entries.push(parseExchange(at + 1, line.slice(4), block))
      at = end === -1 ? lines.length : end
      continue
    }
    if (line.startsWith('@')) {
      const [step = '', ...words] = line.slice(1).split(' ')
      entries.push({ line: at + 1, step, words })
    } else if (line !== '' && !line.startsWith('#')) {
      throw new Error(`line ${at + 1}: neither a step nor an exchange: ${line}`)
    }
    at++
  }
  return { header, entries }
}

const isStart = (line: string) => /^(?:=== |@|# )/.test(line)

function parseExchange(line: number, title: string, block: string[]): Entry {
  const at = block.findIndex((one) => one.startsWith('---'))
  if (at === -1) throw new Error(`line ${line}: ${title} has no answer`)
  const [, kind = 'now', name = ''] = (block[at] ?? '').split(' ')
  if (!['now', 'held', 'answer'].includes(kind)) throw new Error(`line ${line}: --- ${kind}`)
  const mode = kind === 'now' ? { kind } : { kind: kind as 'held' | 'answer', name }
  const request = block.slice(0, at)
  const [status = '', ...rest] = block.slice(at + 1)
  const empty = rest.indexOf('')
  const fields = empty === -1 ? rest : rest.slice(0, empty)
  const headers = fields.length === 0 ? [] : joined(fields).split('\n')
  const body = empty === -1 ? [] : rest.slice(empty + 1)
  return {
    ...{ line, title, mode: mode as Exclude<Entry, { step: string }>['mode'] },
    request: kind === 'answer' ? undefined : request,
    answer: kind === 'held' ? undefined : { status, headers, body: joined(body) },
  }
}

/** The lines of a body: `\` at the end joins, empty lines at the end are the transcript's own. */
function joined(lines: string[]): string {
  return lines
    .join('\n')
    .replace(/\n+$/, '')
    .replace(/\\\n\s*/g, '')
}

const KINDS: Record<string, string> = {
  body: '.*',
  kid: '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}',
  n: '[0-9]+',
  b64: '[A-Za-z0-9_-]+',
  tag: '"[A-Za-z0-9_-]+"',
  text: '[^\\r\\n]+',
  cookie: '[\\w.-]+',
}

const MARK = /<(\w[^<>]*)>/g

export type Bindings = Map<string, string>

/** What `<name>` stands for. */
export type Lookup = (name: string) => string

/** Replaces every `<name>`; for requests and arguments. */
export const fill = (text: string, lookup: Lookup): string =>
  text.replace(MARK, (_, name: string) => lookup(name))

/** Undefined when the text is as expected, with new names bound; else what was expected, as far as it is known. */
export function mismatch(
  expected: string,
  actual: string,
  bindings: Bindings,
  lookup: Lookup,
): string | undefined {
  const names: string[] = []
  let shown = ''
  let pattern = '^'
  let last = 0
  const literal = (text: string) => {
    shown += text
    pattern += quoted(text)
  }
  for (const mark of expected.matchAll(MARK)) {
    literal(expected.slice(last, mark.index))
    last = mark.index + mark[0].length
    const [kind = '', name] = (mark[1] ?? '').split(':')
    const shape = KINDS[kind]
    if (shape === undefined) literal(lookup(mark[1] ?? ''))
    else if (name !== undefined && bindings.has(name)) literal(bindings.get(name) ?? '')
    else if (name !== undefined && names.includes(name)) {
      pattern += `\\k<${name}>`
      shown += mark[0]
    } else {
      pattern += name === undefined ? `(?:${shape})` : `(?<${name}>${shape})`
      shown += mark[0]
      if (name !== undefined) names.push(name)
    }
  }
  literal(expected.slice(last))
  const found = new RegExp(`${pattern}$`, 's').exec(actual)
  if (!found) return shown
  for (const name of names) bindings.set(name, found.groups?.[name] ?? '')
  return undefined
}

const quoted = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
