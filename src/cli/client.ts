import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { clientEnvironment } from '../config.ts'
import { codeOf, failure, type Io, usage } from './io.ts'
import { friendly, hintsOf, unexpected } from './refusal.ts'
import { readTls, type Tls, type TlsFlags } from './tls.ts'

// The HTTP side of every command. Redirects are not followed: the credential goes where it was sent, nowhere else.

/** More than any of our answers. */
const MAX_BYTES = 32 * 1024 * 1024
const TIMEOUT_MILLIS = 60_000

export interface Answer {
  status: number
  headers: IncomingHttpHeaders
  text: string
}

export interface Exchange {
  method: string
  url: URL
  /** As it goes on the wire: a name such as `..` stays a name. */
  path?: string
  token?: string | undefined
  body?: unknown
  /** A body that is sent as it is, instead of one that becomes JSON. */
  raw?: string | undefined
  headers?: Readonly<Record<string, string>> | undefined
  tls?: Tls | undefined
  signal?: AbortSignal
}

/** One request, one answer. Rejects with the error of the connection. */
export function exchange(what: Exchange): Promise<Answer> {
  const { method, url, path, token, body, raw, tls, signal } = what
  const timeout = AbortSignal.timeout(TIMEOUT_MILLIS)
  const payload = raw ?? (body === undefined ? undefined : JSON.stringify(body))
  const options = {
    ...{ method, agent: false as const, ...(path !== undefined && { path }) },
    signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    headers: {
      accept: 'application/json',
      ...what.headers,
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
      ...(payload !== undefined && {
        ...{ 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) },
      }),
    },
    ...tls,
  }
  return new Promise((resolve, reject) => {
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest
    const request = send(url, options, (response) => {
      const chunks: Buffer[] = []
      let size = 0
      response.on('data', (chunk: Buffer) => {
        chunks.push(chunk)
        size += chunk.length
        if (size > MAX_BYTES) request.destroy(new Error('the answer is too long'))
      })
      response.on('error', reject)
      response.on('end', () => {
        const { statusCode = 0, headers } = response
        resolve({ status: statusCode, headers, text: Buffer.concat(chunks).toString() })
      })
    })
    request.on('error', reject)
    request.end(payload)
  })
}

/** What the server ended the handshake with (RFC 8446 section 6), in OpenSSL's words; undefined where it did not. */
const alertOf = (error: unknown): string | undefined =>
  error instanceof Error ? / alert ([a-z ]+):/.exec(error.message)?.[1] : undefined

/** Why a connection failed, in a few words. */
export function reasonOf(error: unknown): string {
  const code = codeOf(error)
  const alert = alertOf(error)
  if (alert !== undefined) return `it refuses the TLS connection: ${alert}`
  if (code === 'ECONNREFUSED') return 'connection refused'
  if (code === 'EPROTO') return 'it does not speak TLS here'
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return 'no such host'
  if (code === 'ECONNRESET') return 'connection closed without an answer'
  if (error instanceof Error && /Abort|Timeout/.test(error.name)) {
    return `no answer within ${TIMEOUT_MILLIS / 1000} s`
  }
  if (/CERT|SIGNATURE|ALTNAME/.test(code)) return `its certificate is not trusted: ${code}`
  return code === 'unknown error' && error instanceof Error ? error.message : code
}

/** What to do about it; `address`: what was asked. */
export function hintFor(error: unknown, address: string): string {
  if (alertOf(error) !== undefined) {
    return 'if it asks for a certificate, name yours with -client-cert and -client-key'
  }
  if (codeOf(error) === 'EPROTO') return `try ${address.replace(/^https:/, 'http:')}`
  if (codeOf(error) === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return 'use the name that is in it, as the address or with -tls-server-name'
  }
  return reasonOf(error).startsWith('its certificate')
    ? 'name its CA with -ca-cert'
    : 'start it with "keyringd serve", or set its address with -address or KEYRINGD_ADDR'
}

export interface ClientOptions {
  /** The server's error as the imitated command line prints it (keyring contract section 8), whatever it is. */
  bare?: boolean
}

export type CallOptions = Pick<Exchange, 'raw' | 'headers'> & { anonymous?: boolean }

export interface Connection extends TlsFlags {
  address: string | undefined
  token: string | undefined
}

export type Client = ReturnType<typeof createClient>

/** A client of the server that flags and environment name. @throws Problem `wrong_usage`, `command_failed` */
export function createClient(flags: Connection, io: Io, { bare = false }: ClientOptions = {}) {
  const given = clientEnvironment(io.env)
  const url = parseAddress(flags.address || given.address())
  const base = url.pathname.replace(/\/+$/, '')
  const address = `${url.origin}${base}`
  const token = flags.token || given.token
  if (token !== undefined && !/^[\x21-\x7e]+$/.test(token)) {
    throw usage('The token must be printable ASCII without spaces')
  }
  const tls = readTls(flags)

  async function send(
    method: string,
    path: string,
    extra: Pick<Exchange, 'body' | 'raw' | 'headers' | 'signal'> & { anonymous?: boolean } = {},
  ): Promise<Answer> {
    const { anonymous, ...more } = extra
    const credential = anonymous ? undefined : token
    try {
      return await exchange({
        ...{ method, url, path: `${base}${path}`, token: credential, tls, ...more },
      })
    } catch (error) {
      if (extra.signal?.aborted) throw error
      const why = `${reasonOf(error)}): ${hintFor(error, address)}`
      throw failure(`error: Cannot reach ${address} (${why}`, error)
    }
  }

  /** The answer, when it is a good one. @throws Problem `command_failed` with what the server said */
  async function call(
    method: string,
    path: string,
    body?: unknown,
    { anonymous = false, ...more }: CallOptions = {},
  ): Promise<Answer> {
    const answer = await send(method, path, { body, anonymous, ...more })
    if (answer.status >= 200 && answer.status < 300) return answer
    const hints = hintsOf(answer, { asked: !anonymous && token === undefined })
    throw failure([bare ? unexpected(answer) : friendly(answer), ...hints].join('\n'))
  }

  return {
    ...{ address, ca: tls.ca ?? [], hasToken: token !== undefined, send, call },

    /** A JSON answer, and its text as it came. */
    async json<T>(
      method: string,
      path: string,
      body?: unknown,
      options: CallOptions = {},
    ): Promise<{ value: T; text: string }> {
      const { text } = await call(method, path, body, options)
      return { value: parseJson<T>(text, address), text: `${text.trimEnd()}\n` }
    },

    /**
     * What the server's clock says, in milliseconds, to the second: plans are made by that clock, not by the one here.
     */
    async now(): Promise<number> {
      const { headers } = await send('GET', '/healthz', { anonymous: true })
      const time = Date.parse(headers.date ?? '')
      if (Number.isNaN(time)) throw failure(`error: ${address} does not say what time it is`)
      return time
    },
  }
}

function parseAddress(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !/^https?:$/.test(url.protocol) || url.search || url.hash) {
    throw usage('The address must be an http or https URL, such as http://127.0.0.1:4650')
  }
  if (url.username || url.password) {
    throw usage('The address must not hold a credential; use KEYRINGD_TOKEN')
  }
  return url
}

function parseJson<T>(text: string, address: string): T {
  try {
    return JSON.parse(text) as T
  } catch (error) {
    throw failure(`error: ${address} did not answer in JSON; is it a keyringd?`, error)
  }
}
