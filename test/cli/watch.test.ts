import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { clientEnv, listeningServer, run } from './setup.ts'

/** What a watching command printed, piece by piece as it comes. */
function watching(argv: string[], env: Record<string, string>) {
  const stop = new AbortController()
  const pieces: string[] = []
  let wake = () => {}
  const ended = run(argv, {
    ...{ env, signal: stop.signal },
    onOut(text) {
      pieces.push(text)
      wake()
    },
  })
  return {
    ended,
    stop: () => stop.abort(),
    async piece(at: number): Promise<string> {
      while (pieces.length <= at) {
        const { promise, resolve } = Promise.withResolvers<void>()
        wake = resolve
        await Promise.race([
          promise,
          ended.then(({ err }) => assert.fail(`it ended early: ${err}`)),
        ])
      }
      return pieces[at] ?? ''
    },
  }
}

const rows = (text: string) => text.trim().split('\n').length - 1

test('-watch prints again at every change of the ring, and ends when it is interrupted', async (t) => {
  const server = await listeningServer(t)
  const seen = watching(['keys', 'list', '-watch'], clientEnv(server.url))
  assert.equal(rows(await seen.piece(0)), 2)
  await server.call('POST', '/v1/rings/default/rotate')
  assert.equal(rows(await seen.piece(1)), 3)
  await server.call('POST', '/v1/rings/default/rotate', { force: true, reason: 'test' })
  const third = await seen.piece(2)
  assert.ok(third.startsWith('\nKey '), 'an empty line between the tables')
  assert.equal(rows(third), 4)
  seen.stop()
  assert.equal((await seen.ended).code, 0)
  assert.equal((await seen.ended).err, '')
})

test('-watch -json prints one answer a line', async (t) => {
  const server = await listeningServer(t)
  const seen = watching(['keys', 'list', '-watch', '-json'], clientEnv(server.url))
  const first: { keys: unknown[] } = JSON.parse(await seen.piece(0))
  await server.call('POST', '/v1/rings/default/rotate')
  const second: { keys: unknown[] } = JSON.parse(await seen.piece(1))
  assert.equal(second.keys.length, first.keys.length + 1)
  seen.stop()
  const { code, out } = await seen.ended
  assert.equal(code, 0)
  assert.equal(out.trim().split('\n').length, 2)
})

test('an index that went down is shown too, and asked on from there', async (t) => {
  const asked: string[] = []
  const indexes = ['9', '4']
  const server = createServer((request, response) => {
    if (!request.url?.startsWith('/.well-known/')) return response.end('{"keys":[]}')
    asked.push(String(new URL(request.url, 'http://x').searchParams.get('index')))
    const index = indexes.shift()
    // Held for good once there is nothing new.
    if (index !== undefined) response.setHeader('x-nomad-index', index).end('{"keys":[]}')
    if (asked.length === 3) server.emit('held')
    return undefined
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const held = once(server, 'held')
  const seen = watching(
    ['keys', 'list', '-watch'],
    clientEnv(`http://127.0.0.1:${(server.address() as AddressInfo).port}`),
  )
  await seen.piece(1)
  await held
  seen.stop()
  assert.equal((await seen.ended).code, 0)
  assert.deepEqual(asked, ['0', '9', '4'])
})

test('-watch says what it lacks where there is no index, and fails when the server goes', async (t) => {
  const { url } = await listeningServer(t, { settings: { SURFACES: 'none' } })
  const ran = await run(['keys', 'list', '-watch'], { env: clientEnv(url) })
  assert.equal(ran.err, `error: ${url} tells no index; -watch needs its surface "nomad"\n`)
  assert.equal(ran.code, 1)

  const server = await listeningServer(t)
  const seen = watching(['keys', 'list', '-watch'], clientEnv(server.url))
  await seen.piece(0)
  await server.app.close()
  const ended = await seen.ended
  assert.equal(ended.code, 1)
  assert.match(ended.err, /^error: (?:Cannot reach|Unexpected response code)/)
})
