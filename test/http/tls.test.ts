import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { replaceTls } from '../../src/http/server.ts'
import { needs } from '../needs.ts'
import { listen, testApp } from './setup.ts'

/** A self-signed certificate for 127.0.0.1. */
function certificate(folder: string, name: string): { cert: Buffer; key: Buffer } {
  const [cert, key] = [join(folder, `${name}.crt`), join(folder, `${name}.key`)]
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
      ...['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2'],
      ...['-keyout', key, '-out', cert],
    ],
    { stdio: 'ignore' },
  )
  return { cert: readFileSync(cert), key: readFileSync(key) }
}

test(
  'HTTPS with a certificate that is replaced while the server runs',
  needs('openssl'),
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'keyringd-tls-'))
    t.after(() => rmSync(folder, { recursive: true, force: true }))
    const [first, second] = [certificate(folder, 'first'), certificate(folder, 'second')]
    const { app } = testApp(t, { tls: first })
    app.get('/', { config: { capability: 'public' } }, async () => ({ ok: true }))
    const { port } = await listen(app)

    const status = (ca: Buffer, headers = {}) =>
      new Promise<number | string | undefined>((resolve) => {
        request({ host: '127.0.0.1', port, ca, agent: false, headers }, (answer) => {
          answer.resume()
          resolve(answer.statusCode)
        })
          .on('error', (error: NodeJS.ErrnoException) => resolve(error.code))
          .end()
      })

    assert.equal(await status(first.cert), 200)
    assert.equal(await status(first.cert, { 'x-long': 'a'.repeat(100_000) }), 431)
    replaceTls(app, second)
    assert.equal(await status(second.cert), 200)
    assert.notEqual(await status(first.cert), 200)
    assert.throws(() => replaceTls(app, { cert: first.cert, key: second.key }), /key/i)
    assert.equal(await status(second.cert), 200, 'a pair that does not fit changes nothing')
  },
)
