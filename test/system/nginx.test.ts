import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import { createServer as createProbe } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { needs } from '../needs.ts'
import { bounded, faultsIn, makeHome, request, start } from './process.ts'

// The check for nginx's auth_request, behind a real nginx with a folder of its own.

/** A port of 127.0.0.1 that was free a moment ago. */
async function freePort(): Promise<number> {
  const probe = createProbe().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const address = probe.address()
  probe.close()
  await once(probe, 'close')
  return address && typeof address === 'object' ? address.port : 0
}

/** What nginx protects: answers 200, and remembers what it was sent. */
async function startUpstream(t: TestContext) {
  const seen: IncomingHttpHeaders[] = []
  const upstream = createServer((incoming, answer) => {
    seen.push(incoming.headers)
    answer.end('the treasure')
  }).listen(0, '127.0.0.1')
  t.after(() => upstream.close())
  await once(upstream, 'listening')
  const address = upstream.address()
  return { seen, port: address && typeof address === 'object' ? address.port : 0 }
}

const configuration = (port: number, upstream: number, keyringd: number) => `
daemon off;
master_process off;
worker_processes 1;
pid nginx.pid;
error_log stderr notice;
events { worker_connections 128; }
http {
  access_log off;
  client_body_temp_path tmp;
  proxy_temp_path tmp;
  fastcgi_temp_path tmp;
  uwsgi_temp_path tmp;
  scgi_temp_path tmp;
  server {
    listen 127.0.0.1:${port};
    location / {
      auth_request /auth;
      auth_request_set $subject $upstream_http_x_auth_subject;
      auth_request_set $claims $upstream_http_x_auth_claims;
      proxy_set_header X-Auth-Subject $subject;
      proxy_set_header X-Auth-Claims $claims;
      proxy_pass http://127.0.0.1:${upstream};
    }
    location = /auth {
      internal;
      proxy_pass http://127.0.0.1:${keyringd}/v1/rings/default/auth?aud=reports;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
    }
  }
}
`

async function startNginx(t: TestContext, upstream: number, keyringd: number): Promise<string> {
  const prefix = makeHome(t, 'nginx')
  mkdirSync(join(prefix, 'tmp'))
  const port = await freePort()
  writeFileSync(join(prefix, 'nginx.conf'), configuration(port, upstream, keyringd))
  const nginx = spawn('nginx', ['-p', prefix, '-c', 'nginx.conf', '-e', 'stderr'], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
  })
  const exited = once(nginx, 'close')
  let said = ''
  nginx.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  t.after(async () => {
    nginx.kill('SIGKILL')
    await exited
  })
  const url = `http://127.0.0.1:${port}`
  const up = async () => {
    while (nginx.exitCode === null) {
      const status = await request(url).then(
        (answer) => answer.status,
        () => 0,
      )
      if (status > 0) return
    }
    throw new Error(`nginx: ${said}`)
  }
  await bounded(up(), 'nginx')
  return url
}

test(
  'nginx lets through what a good token asks for, and nothing else',
  needs('nginx'),
  async (t) => {
    const server = start(t, makeHome(t), {
      settings: { ROOT_KEY_ALGORITHM: 'ES256', CLOCK_SKEW: '0s' },
    })
    await server.ready()
    const { seen, port } = await startUpstream(t)
    const url = await startNginx(t, port, server.port)

    const sign = async (claims: Record<string, unknown>, ttl = '10m', ring = 'default') => {
      const { status, json, text } = await server.call('POST', `/v1/rings/${ring}/sign`, {
        claims,
        ttl,
      })
      assert.equal(status, 200, text)
      return json.token as string
    }
    const ask = async (token: string | undefined, init: RequestInit = {}) => {
      const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
      return (await request(`${url}/reports`, { ...init, headers })).status
    }

    const good = await sign({ sub: 'ann/ä 1', aud: ['reports', 'other'] })
    assert.equal(await ask(good), 200)
    assert.equal(seen.at(-1)?.['x-auth-subject'], 'ann/%C3%A4%201')
    const claims = Buffer.from(String(seen.at(-1)?.['x-auth-claims']), 'base64url').toString()
    assert.equal(JSON.parse(claims).sub, 'ann/ä 1')
    assert.equal(await ask(good, { method: 'POST', body: 'a body' }), 200)

    const short = await sign({ sub: 'ann', aud: 'reports' }, '1s')
    const { json: ring } = await server.call('POST', '/v1/rings', {
      name: 'team',
      algorithms: ['ES256'],
    })
    assert.equal(ring.name, 'team')
    const [header = '', body = '', signature = ''] = good.split('.')
    const forged = Buffer.from(JSON.stringify({ ...JSON.parse(claims), sub: 'root' }))
    const none = Buffer.from('{"alg":"none"}').toString('base64url')
    const bad: [string, string | undefined][] = [
      ['no token', undefined],
      ['another audience', await sign({ sub: 'ann', aud: 'payroll' })],
      ['no audience', await sign({ sub: 'ann' })],
      ['another ring', await sign({ sub: 'ann', aud: 'reports' }, '10m', 'team')],
      ['a forged subject', `${header}.${forged.toString('base64url')}.${signature}`],
      ['no signature', `${none}.${body}.`],
      ['a cut signature', good.slice(0, -2)],
      ['no JWS', 'krd_not-a-jws'],
      ['the management token', server.token()],
    ]
    for (const [name, token] of bad) assert.equal(await ask(token), 401, name)

    // Expired means: the second after `exp` has begun.
    const { exp } = JSON.parse(Buffer.from(short.split('.')[1] ?? '', 'base64url').toString())
    const expired = async () => {
      while ((await ask(short)) !== 401) assert.ok(Date.now() < exp * 1000 + 3000, 'never expires')
    }
    await bounded(expired(), 'the end of a token')
    const before = seen.length
    assert.equal(await ask(short), 401)
    assert.equal(seen.length, before, 'nothing reached the upstream')

    // A rotation changes nothing for a token that was good.
    assert.equal((await server.call('PUT', '/v1/operator/keyring/rotate')).status, 200)
    assert.equal(await ask(good), 200)
    assert.equal((await server.end()).code, 0)
    assert.equal(await ask(good), 500, 'closed when nobody can check')
    assert.deepEqual(faultsIn(server.log()), [])
  },
)
