import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readdirSync, statSync } from 'node:fs'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { checkServerIdentity, type PeerCertificate } from 'node:tls'
import { readText } from './files.ts'
import { codeOf, failure, usage } from './io.ts'
import { plain } from './table.ts'

// Whom a command trusts as the server, and by what the server knows it: the TLS flags of keyring contract section 8. A
// certificate that is not trusted is never taken: whoever holds it would have the token.

export interface TlsFlags {
  'ca-cert': string | undefined
  'ca-path': string | undefined
  'client-cert': string | undefined
  'client-key': string | undefined
  'tls-server-name': string | undefined
}

/** Options of `https.request`. */
export interface Tls {
  /** PEM: the only trust anchors. */
  ca?: string[]
  cert?: string
  key?: string
  servername?: string
  checkServerIdentity?(host: string, certificate: PeerCertificate): Error | undefined
}

/** @throws Problem `wrong_usage`, `command_failed` */
export function readTls(flags: TlsFlags): Tls {
  const ca = anchorsOf(flags)
  const name = flags['tls-server-name']
  return { ...(ca && { ca }), ...clientOf(flags), ...(name && serverCalled(name)) }
}

/** As in the imitated command line, `-ca-cert` wins. */
function anchorsOf({ 'ca-cert': file, 'ca-path': folder }: TlsFlags): string[] | undefined {
  if (file) return [readCertificates(file, '-ca-cert')]
  if (!folder) return undefined
  const files = filesOf(folder)
  // An empty list would trust nobody, and say so of each server.
  if (files.length > 0) return files.map((one) => readCertificates(one, '-ca-path'))
  throw failure(`error: ${plain(folder)}, the folder of -ca-path, has no files`)
}

function filesOf(folder: string): string[] {
  try {
    return readdirSync(folder)
      .map((name) => join(folder, name))
      .filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile())
  } catch (error) {
    const what = `error: ${plain(folder)}, the folder of -ca-path, cannot be read`
    throw failure(`${what} (${codeOf(error)})`)
  }
}

function readCertificates(file: string, flag: string): string {
  const pem = readText(file, flag)
  if (attempt(() => new X509Certificate(pem))) return pem
  throw failure(`error: ${plain(file)}, the file of ${flag}, holds no PEM certificate`)
}

function clientOf({ 'client-cert': certFile, 'client-key': keyFile }: TlsFlags): Tls {
  if (!certFile && !keyFile) return {}
  if (!certFile || !keyFile) throw usage('-client-cert and -client-key are needed together')
  const cert = readCertificates(certFile, '-client-cert')
  const key = readText(keyFile, '-client-key')
  const what = `error: ${plain(keyFile)}, the file of -client-key,`
  const privateKey = attempt(() => createPrivateKey(key))
  if (!privateKey) throw failure(`${what} holds no PEM private key that is not encrypted`)
  if (new X509Certificate(cert).checkPrivateKey(privateKey)) return { cert, key }
  throw failure(`${what} is not the key of the certificate of -client-cert`)
}

/** The name to ask for and to find in the certificate. An address is asked for by no name (RFC 6066 section 3). */
const serverCalled = (name: string): Tls => ({
  servername: isIP(name) ? '' : name,
  checkServerIdentity: (_, certificate) => checkServerIdentity(name, certificate),
})

/** Undefined for what cannot be parsed; the error may quote, and says no more. */
function attempt<T>(parse: () => T): T | undefined {
  try {
    return parse()
  } catch {
    return undefined
  }
}
