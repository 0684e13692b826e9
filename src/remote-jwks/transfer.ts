// One GET over a connection of its own to addresses that were checked; nothing here decides on addresses.
import type { LookupAddress } from 'node:dns'
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest, type RequestOptions } from 'node:https'
import { isIP, type LookupFunction, type TcpNetConnectOpts } from 'node:net'
import { hostOf, withoutBrackets } from './url.ts'

export interface TransferLimits {
  /** Of the body, in bytes. */
  maxBytes: number
  /** Of the response headers, in bytes. */
  maxHeaderBytes: number
  /** Status 200 alone is a success, not each of the 2xx. */
  onlyOk?: boolean
}

export interface Transfer {
  url: URL
  /** Where to connect: nowhere else. */
  addresses: readonly LookupAddress[]
  /** PEM certificates: the only trust anchors of this request; empty or undefined: the system's. */
  caCert?: string | undefined
  limits: TransferLimits
  /** Cuts the connection at any stage. */
  signal: AbortSignal
}

const MAX_HEADER_LINES = 100
/** 1xx answers: each costs us work and none of them counts as progress. */
const MAX_INFORMATIONAL = 4
/** Per address family: a name with a thousand addresses does not make us knock at a thousand doors. */
const MAX_ADDRESSES = 2
const ATTEMPT_MS = 1000

/**
 * The body of a 2xx answer. Redirects, other statuses, encoded bodies and whatever passes a limit
 * are errors; their messages hold no byte of a body. The connection is closed when this returns.
 */
export async function transfer({ signal, ...transfer }: Transfer): Promise<Buffer> {
  signal.throwIfAborted()
  const request = open(transfer)
  const cut = () => request.destroy(signal.reason)
  signal.addEventListener('abort', cut)
  try {
    const response = await responseOf(request)
    screen(response, transfer.limits)
    return await bodyOf(response, transfer.limits.maxBytes)
  } finally {
    signal.removeEventListener('abort', cut)
    request.destroy()
  }
}

function open({ url, addresses, caCert, limits }: Omit<Transfer, 'signal'>): ClientRequest {
  const isTls = url.protocol === 'https:'
  const host = hostOf(url)
  const options: RequestOptions & Pick<TcpNetConnectOpts, 'autoSelectFamilyAttemptTimeout'> = {
    method: 'GET',
    host: withoutBrackets(url),
    port: url.port || (isTls ? 443 : 80),
    path: url.pathname + url.search,
    headers: {
      accept: 'application/json, application/jwk-set+json',
      'accept-encoding': 'identity',
      'user-agent': 'keyringd',
    },
    // A new agent: no connection is shared, and no proxy is taken from the environment.
    agent: false,
    lookup: pinned(addresses),
    autoSelectFamilyAttemptTimeout: ATTEMPT_MS,
    maxHeaderSize: limits.maxHeaderBytes,
    insecureHTTPParser: false,
  }
  if (!isTls) return httpRequest(options).end()
  return httpsRequest({
    ...options,
    // `ca` replaces the system's roots. Said in full, for the environment can change defaults.
    ...(caCert && { ca: caCert }),
    rejectUnauthorized: true,
    minVersion: 'TLSv1.2',
    // TLS names have no final dot, and addresses are no names (RFC 6066 section 3).
    servername: isIP(host) ? '' : host,
  }).end()
}

/** Answers what was resolved and checked, whatever a resolver would say now (DNS rebinding). */
function pinned(addresses: readonly LookupAddress[]): LookupFunction {
  const chosen = addresses.filter(({ family }, at) => {
    const before = addresses.slice(0, at).filter((other) => other.family === family)
    return before.length < MAX_ADDRESSES
  })
  return (_host, options, callback) => {
    const [first] = chosen
    if (!first) callback(new Error('no address'), '')
    else if (options.all) callback(null, chosen)
    else callback(null, first.address, first.family)
  }
}

function responseOf(request: ClientRequest): Promise<IncomingMessage> {
  let informational = 0
  request.maxHeadersCount = MAX_HEADER_LINES
  return new Promise((resolve, reject) => {
    request
      .on('response', resolve)
      .on('error', reject)
      .on('close', () => reject(new Error('the connection was closed without an answer')))
      .on('information', () => {
        informational += 1
        if (informational > MAX_INFORMATIONAL) {
          request.destroy(new Error(`more than ${MAX_INFORMATIONAL} informational answers`))
        }
      })
  })
}

function screen(
  { statusCode = 0, headers }: IncomingMessage,
  { maxBytes, onlyOk = false }: TransferLimits,
): void {
  if (statusCode >= 300 && statusCode < 400) throw new Error(`a redirect (status ${statusCode})`)
  if (statusCode < 200 || statusCode > (onlyOk ? 200 : 299)) throw new Error(`status ${statusCode}`)
  const encoding = headers['content-encoding'] ?? 'identity'
  if (encoding.trim().toLowerCase() !== 'identity') throw new Error('an encoded body')
  if (Number(headers['content-length'] ?? 0) > maxBytes) throw tooLarge(maxBytes)
}

/** Copied as it comes: a body in a million tiny chunks takes no more memory than one in one piece. */
async function bodyOf(response: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const body = Buffer.allocUnsafe(maxBytes)
  let size = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    if (size + chunk.length > maxBytes) throw tooLarge(maxBytes)
    size += chunk.copy(body, size)
  }
  if (!response.complete) throw new Error('an answer that ended too early')
  return body.subarray(0, size)
}

const tooLarge = (maxBytes: number) => new Error(`a body of more than ${maxBytes} bytes`)
