import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { endProcess, type ServerProcess } from '../scripts/server-process.ts'
import type { JoseWork } from './jose-child.ts'
import { messageFrom, requestFile, requestText, startChild } from './load.ts'
import {
  type Bench,
  compare,
  compareRounds,
  cpuSeconds,
  type Line,
  loadRound,
  portOf,
  type Round,
  ratioLine,
  type Side,
} from './measure.ts'

const CONNECTIONS = 64
const BATCH = 100
const SERVICES = 1_000_000
/** A full database may cost this much. */
const SLOWER = 1.3
/** Of these, so many are asked in turn. */
const IN_TURN = 2000
const XML_ID = 'bench'
const SERVICES_PATH = '/v1/delivery-services'
const OWN = `${SERVICES_PATH}/${XML_ID}`
const KEYS = `/api/5.0/deliveryservices/${XML_ID}/urisignkeys`
const URI = 'http://cdn.example/video/season-1/episode-1/segment-00001.ts'
const SECRET = randomBytes(32).toString('base64url')
const KID = 'bench-1'
const DOCUMENT = {
  studio: { renewal_kid: KID, keys: [{ kty: 'oct', alg: 'HS256', kid: KID, k: SECRET }] },
}

async function must(server: ServerProcess, method: string, path: string, body?: unknown) {
  const { status, json } = await server.call(method, path, body)
  if (status >= 300) throw new Error(`${method} ${path}: ${status} ${JSON.stringify(json)}`)
  return json as Record<string, unknown>
}

/** A delivery service with its document, and what is asked of it. */
async function prepare(server: ServerProcess) {
  await must(server, 'POST', '/v1/tenants', { name: 'bench' })
  await must(server, 'PUT', OWN, { tenant: 'bench' })
  await must(server, 'PUT', KEYS, DOCUMENT)
  const { uri } = await must(server, 'POST', `${OWN}/sign`, { uri: URI, ttl: '1h' })
  const { code } = await must(server, 'POST', `${OWN}/verify`, { uri })
  if (code !== 200) throw new Error(`What was signed verifies as ${code}`)
  const side = requestsOf(server)
  return {
    sign: side('POST', `${OWN}/sign`, { uri: URI, ttl: '1h' }),
    batch: side('POST', `${OWN}/sign`, { batch: Array(BATCH).fill({ uri: URI, ttl: '1h' }) }, 4),
    verify: side('POST', `${OWN}/verify`, { uri }),
    get: side('GET', KEYS),
    jwks: side('GET', '/.well-known/jwks.json'),
  }
}

/** More delivery services, made in the usual way, and the same asked of each in turn. */
async function prepareMany(server: ServerProcess, folder: string) {
  const names = Array.from({ length: IN_TURN }, (_, at) => `in-turn-${at}`)
  for (let at = 0; at < IN_TURN; at += CONNECTIONS) {
    await Promise.all(
      names.slice(at, at + CONNECTIONS).map(async (name) => {
        await must(server, 'PUT', `${SERVICES_PATH}/${name}`, { tenant: 'bench' })
        await must(server, 'PUT', `${SERVICES_PATH}/${name}/keys`, DOCUMENT)
      }),
    )
  }
  const { token } = server
  const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' }
  const body = JSON.stringify({ uri: URI, ttl: '1h' })
  const signs = names.map((name) =>
    requestText('POST', `${SERVICES_PATH}/${name}/sign`, headers, body),
  )
  const gets = names.map((name) =>
    requestText('GET', `/api/5.0/deliveryservices/${name}/urisignkeys`, headers),
  )
  return async ({ url, pid }: ServerProcess) => {
    const side = { port: portOf(url), pid, status: 200, connections: CONNECTIONS }
    const file = (kind: string) => join(folder, `${pid}-${kind}.json`)
    return {
      sign: { ...side, request: await requestFile(file('signs'), signs) },
      get: { ...side, request: await requestFile(file('gets'), gets) },
    }
  }
}

/** Makes loads for a server, with the management token. */
function requestsOf({ url, token, pid }: ServerProcess) {
  const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' }
  return (method: string, path: string, body?: unknown, connections = CONNECTIONS): Side => {
    const text = body === undefined ? '' : JSON.stringify(body)
    const request = requestText(method, path, headers, text)
    return { port: portOf(url), pid, status: 200, connections, request }
  }
}

/** The same for a ring with an EdDSA key. */
async function ringOf(server: ServerProcess) {
  await must(server, 'POST', '/v1/rings', { name: 'bench', algorithms: ['EdDSA'] })
  const claims = { sub: 'bench', aud: 'urn:bench' }
  const body = { claims, ttl: '1h' }
  const { token } = await must(server, 'POST', '/v1/rings/bench/sign', body)
  const side = requestsOf(server)
  return {
    sign: side('POST', '/v1/rings/bench/sign', body),
    verify: side('POST', '/v1/verify', { token, with: { ring: 'bench' } }),
  }
}

/** jose alone, with the claims that we sign. */
function joseRound(child: ChildProcess): Round {
  const claims = {
    ...{ iss: 'studio', iat: 1_800_000_000, exp: 4_102_444_800 },
    cdniuc: `regex:^${URI.replaceAll('.', '\\.')}$`,
  }
  const work = { alg: 'HS256', kid: KID, secret: SECRET, claims }
  return async (millis) => {
    const before = cpuSeconds(child.pid ?? 0)
    const start = performance.now()
    const answer = messageFrom(child)
    child.send({ ...work, millis } satisfies JoseWork)
    const { perSecond } = (await answer) as { perSecond: number }
    const seconds = (performance.now() - start) / 1000
    return { rate: perSecond, share: (cpuSeconds(child.pid ?? 0) - before) / seconds }
  }
}

/**
 * Delivery services of a large CDN, each with a document, put there without the server. None of them is asked for, so
 * what is sealed in them is a copy that would not open.
 */
function fill(folder: string): void {
  const database = new Database(join(folder, 'data', 'keyringd.db'))
  const one = database.prepare(
    `SELECT d.tenant_id, document_sealed, root_kid FROM uri_signing_documents d
     JOIN delivery_services s ON s.id = d.delivery_service_id`,
  )
  const { tenant_id, document_sealed, root_kid } = one.get() as Record<string, unknown>
  const service = database.prepare(
    'INSERT INTO delivery_services (id, xml_id, tenant_id, created_at) VALUES (?, ?, ?, ?)',
  )
  const document = database.prepare(
    `INSERT INTO uri_signing_documents (id, delivery_service_id, version, xml_id, tenant_id,
       document_sealed, root_kid, created_at, created_by) VALUES (?, ?, 1, ?, ?, ?, ?, ?, 'token:bench')`,
  )
  const now = Date.now()
  database.transaction(() => {
    for (let at = 0; at < SERVICES; at++) {
      const name = `service-${at}`
      service.run(name, name, tenant_id, now)
      document.run(`document-${at}`, name, name, tenant_id, document_sealed, root_kid, now)
    }
  })()
  database.close()
}

/** URIs signed and verified for caches, the documents they load, and a database that is full of them. */
export async function uriSigning(bench: Bench): Promise<Line[]> {
  const folder = await mkdtemp(join(tmpdir(), 'keyringd-bench-services-'))
  const small = await bench.start()
  const jose = startChild('jose-child.ts')
  let full: ServerProcess | undefined
  try {
    const ours = await prepare(small)
    const ring = await ringOf(small)
    const batches = await compareRounds(loadRound(bench.client, ours.batch, BATCH), joseRound(jose))
    const sign = await compare(bench, [ours.sign, ring.sign])
    const verify = await compare(bench, [ours.verify, ring.verify])
    const get = await compare(bench, [ours.get, ours.jwks])

    bench.say(`  filling ${SERVICES} delivery services`)
    const first = await bench.start({ folder })
    await prepare(first)
    const manyOf = await prepareMany(first, folder)
    await first.stop()
    fill(folder)
    full = await bench.start({ folder, settings: { MANAGEMENT_TOKEN: first.token } })
    const side = requestsOf(full)
    const there = {
      sign: side('POST', `${OWN}/sign`, { uri: URI, ttl: '1h' }),
      get: side('GET', KEYS),
    }
    const signFull = await compare(bench, [there.sign, ours.sign])
    const getFull = await compare(bench, [there.get, ours.get])
    const fewInTurn = await (await prepareMany(small, folder))(small)
    const manyInTurn = await manyOf(full)
    const signMany = await compare(bench, [manyInTurn.sign, fewInTurn.sign])
    const getMany = await compare(bench, [manyInTurn.get, fewInTurn.get])
    return [
      ratioLine(`Sign HS256 URIs, batches of ${BATCH}, over jose in a loop`, batches, 0.6),
      ratioLine('Sign an HS256 URI, over signing with EdDSA', sign, 0.8),
      ratioLine('Verify an HS256 URI, over verifying with EdDSA', verify, 0.8),
      ratioLine('A key document over the JWK Set', get, 0.5),
      ratioLine('Sign, 1,000,000 delivery services over one', signFull, 1 / SLOWER),
      ratioLine('A key document, 1,000,000 delivery services over one', getFull, 1 / SLOWER),
      ratioLine(`Sign, ${IN_TURN} services in turn, of 1,000,000 over alone`, signMany, 1 / SLOWER),
      ratioLine(`A key document, the same`, getMany, 1 / SLOWER),
    ]
  } finally {
    await Promise.all([endProcess(jose), small.stop(), full?.stop()])
    await rm(folder, { recursive: true, force: true })
  }
}
