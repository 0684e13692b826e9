import { decodeProtectedHeader } from 'jose'
import { endProcess } from '../scripts/server-process.ts'
import { messageFrom, requestText, startChild } from './load.ts'
import { type Bench, compare, type Line, portOf, ratioLine } from './measure.ts'

const TARGETS = { EdDSA: 2.5, ES256: 2.5, RS256: 1.3 }
/** Requests in flight. */
const CONNECTIONS = 128

/** Both sides must issue a JWT of the algorithm that is compared, or the comparison means nothing. */
async function check(
  url: string,
  type: string,
  body: string,
  token: string,
  alg: string,
  key: string,
) {
  const headers = { 'content-type': type, ...(key && { authorization: `Bearer ${key}` }) }
  const answer = await fetch(url, { method: 'POST', headers, body })
  const json = (await answer.json()) as Record<string, unknown>
  if (!answer.ok) throw new Error(`${url}: ${JSON.stringify(json)}`)
  const found = decodeProtectedHeader(String(json[token])).alg
  if (found !== alg) throw new Error(`${url} signs with ${found}, not ${alg}`)
}

/** Signing over HTTP, each token covered by a promise on disk, against JWT access tokens of oidc-provider. */
export async function signing(bench: Bench): Promise<Line[]> {
  const server = await bench.start()
  const issuer = startChild('issuer.ts')
  try {
    const told = (await messageFrom(issuer)) as { port: number; bodies: Record<string, string> }
    const lines: Line[] = []
    for (const [alg, target] of Object.entries(TARGETS)) {
      const ring = `bench-${alg.toLowerCase()}`
      const made = await server.call('POST', '/v1/rings', { name: ring, algorithms: [alg] })
      if (made.status !== 201) throw new Error(`No ring: ${JSON.stringify(made.json)}`)
      const path = `/v1/rings/${ring}/sign`
      const claims = { sub: 'bench', aud: `urn:bench:${alg}`, client_id: 'bench', scope: 'bench' }
      const ourBody = JSON.stringify({ claims, ttl: '1h' })
      const theirBody = told.bodies[alg] ?? ''
      const json = 'application/json'
      const form = 'application/x-www-form-urlencoded'
      await check(`${server.url}${path}`, json, ourBody, 'token', alg, server.token)
      await check(`http://127.0.0.1:${told.port}/token`, form, theirBody, 'access_token', alg, '')
      const credential = { 'Content-Type': json, Authorization: `Bearer ${server.token}` }
      const common = { status: 200, connections: CONNECTIONS }
      const ours = requestText('POST', path, credential, ourBody)
      const theirs = requestText('POST', '/token', { 'Content-Type': form }, theirBody)
      const compared = await compare(bench, [
        { ...common, port: portOf(server.url), pid: server.pid, request: ours },
        { ...common, port: told.port, pid: issuer.pid ?? 0, request: theirs },
      ])
      lines.push(ratioLine(`Sign, ${alg}, over oidc-provider`, compared, target))
    }
    return lines
  } finally {
    await endProcess(issuer)
    await server.stop()
  }
}
