import { request } from 'node:http'
import { endProcess } from '../scripts/server-process.ts'
import type { BareAnswers } from './bare-server.ts'
import { messageFrom, requestText, startChild } from './load.ts'
import { type Bench, compare, type Line, portOf, ratioLine } from './measure.ts'

const PATH = '/.well-known/jwks.json'
/** node:http writes these itself. */
const OWN: ReadonlySet<string> = new Set(['date', 'connection', 'keep-alive'])

interface Answer {
  headers: string[]
  etag: string
  body: Buffer
}

function get(url: string, headers: Record<string, string>): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { headers }, (response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.on('end', () => {
        const raw = response.rawHeaders
        const kept = raw.flatMap((name, at) =>
          at % 2 === 0 && !OWN.has(name.toLowerCase()) ? [name, raw[at + 1] ?? ''] : [],
        )
        const etag = response.headers.etag ?? ''
        resolve({ headers: kept, etag, body: Buffer.concat(parts) })
      })
    })
    asked.on('error', reject).end()
  })
}

/** JWK Set and 304, against node:http alone with the same bytes. */
export async function publication(bench: Bench): Promise<Line[]> {
  const server = await bench.start()
  const bare = startChild('bare-server.ts')
  try {
    const full = await get(`${server.url}${PATH}`, {})
    const none = await get(`${server.url}${PATH}`, { 'if-none-match': full.etag })
    const { etag } = full
    const answers: BareAnswers = {
      ...{ etag, headers: full.headers, headers304: none.headers },
      body: full.body.toString('base64'),
    }
    const listening = messageFrom(bare)
    bare.send(answers)
    const barePort = (await listening) as number
    const lines: Line[] = []
    for (const [what, status, headers] of [
      ['JWK Set over a bare node:http server', 200, {}],
      ['304 over a bare node:http server', 304, { 'If-None-Match': etag }],
    ] as const) {
      const load = {
        request: requestText('GET', PATH, headers),
        status,
        connections: 32,
        awake: true,
      }
      const compared = await compare(bench, [
        { ...load, port: portOf(server.url), pid: server.pid },
        { ...load, port: barePort, pid: bare.pid ?? 0 },
      ])
      lines.push(ratioLine(what, compared, 0.9))
    }
    return lines
  } finally {
    await endProcess(bare)
    await server.stop()
  }
}
