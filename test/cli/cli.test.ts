import assert from 'node:assert/strict'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { clientEnv, fileIn, folder, listeningServer, type Ran, run } from './setup.ts'
import { createNames, parseCommand, parseTranscript, settingsOf } from './transcript.ts'

process.env.TZ = 'UTC'

const HERE = new URL('./', import.meta.url)
/** Writes what the commands print now into the transcripts, to be read before it is committed. */
const UPDATE = process.env.UPDATE_TRANSCRIPTS === '1'

const printed = ({ code, out, err }: Ran): string[] => [
  ...(out === '' ? [] : out.replace(/\n$/, '').split('\n')),
  ...(err === '' ? [] : err.replace(/\n$/, '').split('\n')).map((line) => `! ${line}`.trimEnd()),
  ...(code === 0 ? [] : [`[exit ${code}]`]),
]

for (const name of readdirSync(HERE).filter((file) => file.endsWith('.txt'))) {
  test(`the commands of ${name} print what it says`, async (t) => {
    const file = new URL(name, HERE)
    const { blocks, tail } = parseTranscript(readFileSync(file, 'utf8'))
    const server = await listeningServer(t, { settings: settingsOf(blocks) })
    const dir = folder(t)
    const names = createNames({ $URL: server.url, $DIR: dir })
    const base = { HOME: dir, ...clientEnv(server.url) }
    const text: string[] = []

    for (const { lead, line, expected } of blocks) {
      text.push(...lead, line)
      const [, what = '', rest = ''] = /^> (\S+) ?(.*)$/.exec(line) ?? []
      if (what === 'setting') continue
      if (what === 'advance') server.clock.advance(rest)
      else if (what === 'jump') server.clock.jump(rest)
      else if (what === 'tick') await server.tick()
      else if (what === 'settle') await server.keyring.reseal.settled()
      else if (what === 'file') {
        const [, to = '', content = ''] = /^(\S+) (.*)$/.exec(rest) ?? []
        fileIn(dir, to, `${names.show(content)}\n`)
      } else {
        assert.ok(line.startsWith('$ '), `what is ${line}?`)
        const { env, argv, stdin } = parseCommand(names.show(line.slice(2)))
        const ran = await run(argv, {
          env: { ...base, ...env },
          ...(stdin !== undefined && { stdin }),
        })
        const found = printed(ran).map((one) => names.hide(`${one}\n`).trimEnd())
        text.push(...found)
        if (!UPDATE) assert.deepEqual(found, expected, line)
      }
    }
    assert.ok(blocks.length > 0)
    if (UPDATE) writeFileSync(file, [...text, ...tail].join('\n'))
  })
}
