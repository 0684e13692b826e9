import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { MANAGEMENT_TOKEN, START } from '../server.ts'
import { openStage, type Stage } from './stage.ts'
import { STEPS, spanOf } from './steps.ts'
import { type Bindings, type Entry, fill, mismatch, parseTranscript } from './transcript.ts'
import { type Connection, connect, headerOf, type WireResponse } from './wire.ts'

// Replays every `*.http` here against a server on a real port. The exchanges of a transcript share one connection, so
// each also shows that the one before left it usable.

type Exchange = Exclude<Entry, { step: string }>

/** What HTTP/1.1 and the server put into every answer, for `only`. */
const ALWAYS = ['connection', 'content-length', 'date', 'keep-alive', 'transfer-encoding']

for (const file of readdirSync(import.meta.dirname).filter((name) => name.endsWith('.http'))) {
  const { header, entries } = parseTranscript(readFileSync(join(import.meta.dirname, file), 'utf8'))
  test(`${file}`, async (t) => {
    assert.match(header, /section/, 'the header names the section it shows')
    await replay(t, file, entries)
  })
}

async function replay(t: TestContext, file: string, entries: Entry[]): Promise<void> {
  const stage = await openStage(t)
  const bindings: Bindings = new Map([['management', MANAGEMENT_TOKEN]])
  const held = new Map<string, { connection: Connection; answer: Promise<WireResponse> }>()
  let main: { connection: Connection; port: number } | undefined

  function lookup(mark: string): string {
    const [name = '', ...how] = mark.split('|')
    const span = /^(t|now)(?:([+-])(.+))?$/.exec(name)
    if (span) {
      const from = span[1] === 't' ? START : stage.clock.now()
      const by = span[3] ? spanOf(span[3]) : 0n
      return String(span[2] === '-' ? from - by : from + by)
    }
    if (name === 'port') return String(stage.port())
    const value = name === 'newline' ? '\n' : bindings.get(name)
    if (value === undefined) throw new Error(`nothing is bound to <${name}>`)
    return how.reduce(changed, value)
  }

  async function connection(): Promise<Connection> {
    if (main?.port === stage.port() && main.connection.isOpen()) return main.connection
    main = { connection: await connect(stage.port()), port: stage.port() }
    return main.connection
  }

  async function perform(entry: Exchange): Promise<void> {
    const { mode, request, answer } = entry
    if (mode.kind === 'held') {
      const own = await connect(stage.port())
      const before = stage.server().keyring.blocking.held()
      const pending = own.exchange(...asSent(request ?? [], lookup))
      held.set(mode.name, { connection: own, answer: pending })
      await becomesHeld(stage, before, pending)
      return
    }
    assert.ok(answer)
    if (mode.kind === 'answer') {
      const waiting = held.get(mode.name)
      assert.ok(waiting, `nothing is held as ${mode.name}`)
      check(await waiting.answer, answer)
      waiting.connection.destroy()
      return
    }
    const on = await connection()
    const got = await on.exchange(...asSent(request ?? [], lookup))
    check(got, answer)
    if (headerOf(got, 'connection') === 'close') main = undefined
    else assert.ok(on.isOpen(), 'the connection stays open')
  }

  function check(got: WireResponse, { status, headers, body }: NonNullable<Exchange['answer']>) {
    const listed = headers.filter((line) => line !== 'only')
    const shown = { status: got.status, headers: {} as Record<string, unknown>, body: got.body }
    const wanted = {
      status: Number(status),
      headers: {} as Record<string, unknown>,
      body: got.body,
    }
    for (const line of listed) {
      const [name = '', value = ''] = line.split(/: (.*)/s)
      const actual = headerOf(got, name) ?? 'absent'
      shown.headers[name] = actual
      wanted.headers[name] = mismatch(value, actual, bindings, lookup) ?? actual
    }
    wanted.body = mismatch(body, got.body, bindings, lookup) ?? got.body
    if (headers.includes('only')) {
      const known = new Set([
        ...ALWAYS,
        ...listed.map((line) => line.split(':', 1)[0]?.toLowerCase()),
      ])
      const more = got.headers.filter(([name]) => !known.has(name.toLowerCase()))
      Object.assign(shown, { more })
      Object.assign(wanted, { more: [] })
    }
    assert.deepEqual(shown, wanted)
  }

  t.after(() => {
    for (const { connection } of held.values()) connection.destroy()
    main?.connection.destroy()
  })
  for (const entry of entries) {
    const place = `${file}:${entry.line}`
    if ('step' in entry) {
      const words = entry.words.map((word) => fill(word, lookup))
      if (entry.step === 'hangup') await hangUp(stage, held.get(words[0] ?? '')?.connection)
      else await step(place, entry.step)(stage, words, (name, value) => bindings.set(name, value))
    } else {
      let good = false
      await t.test(`${entry.title} (${place})`, async () => {
        await perform(entry)
        good = true
      })
      // What follows builds on it.
      if (!good) return
    }
  }
}

const CHANGES: Record<string, (value: string) => string> = {
  upper: (value) => value.toUpperCase(),
  short: (value) => value.slice(0, 8),
  escaped: (value) => value.replaceAll('-', '%2D'),
  next: (value) => String(BigInt(value) + 1n),
}

function changed(value: string, how: string): string {
  const change = CHANGES[how]
  if (!change) throw new Error(`nothing is known as |${how}`)
  return change(value)
}

function step(place: string, name: string) {
  const found = STEPS[name]
  if (!found) throw new Error(`${place}: there is no step @${name}`)
  return found
}

/** The bytes of a request, with what a client adds; its method. */
function asSent(
  lines: string[],
  lookup: (name: string) => string,
): [bytes: string, method: string] {
  const empty = lines.indexOf('')
  const head = (empty === -1 ? lines : lines.slice(0, empty)).map((line) => fill(line, lookup))
  const body =
    empty === -1
      ? ''
      : fill(
          lines
            .slice(empty + 1)
            .join('\n')
            .trimEnd(),
          lookup,
        )
  const [first = '', ...headers] = head
  const has = (name: string) => headers.some((line) => line.toLowerCase().startsWith(`${name}:`))
  if (!has('host')) headers.unshift('Host: keyring.test')
  const chunked = has('transfer-encoding')
  if (body && !chunked && !has('content-length')) {
    headers.push(`Content-Length: ${Buffer.byteLength(body)}`)
  }
  const sent = chunked ? `${Buffer.byteLength(body).toString(16)}\r\n${body}\r\n0\r\n\r\n` : body
  const line = first.endsWith(' HTTP/1.0') ? first : `${first} HTTP/1.1`
  return [[line, ...headers, '', sent].join('\r\n'), first.split(' ', 1)[0] ?? '']
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

/** Waits until one more query is held; an answer instead is a failure. */
async function becomesHeld(stage: Stage, before: number, answer: Promise<WireResponse>) {
  let early: unknown
  answer.then(
    (response) => {
      early = response
    },
    (error: unknown) => {
      early = error
    },
  )
  while (stage.server().keyring.blocking.held() === before) {
    assert.equal(early, undefined, 'answered, not held')
    await turn()
  }
}

/** The client goes away, and the server lets its query go. */
async function hangUp(stage: Stage, connection: Connection | undefined): Promise<void> {
  assert.ok(connection, 'nothing is held under that name')
  const before = stage.server().keyring.blocking.held()
  connection.destroy()
  await stage.noticed(connection.port)
  assert.equal(stage.server().keyring.blocking.held(), before - 1, 'the waiter is dropped')
}
