import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import type { Config } from '../config.ts'
import { Problem } from '../errors.ts'
import type { App, TlsFiles } from '../http/server.ts'

// Addresses and certificates, and what to tell a person when the system refuses one.

/** The certificate and key that the settings name. @throws Problem `config_invalid` when they do not load */
export function readTls(config: Config): TlsFiles | undefined {
  const { tlsCertFile, tlsKeyFile } = config
  if (tlsCertFile === undefined || tlsKeyFile === undefined) return undefined
  try {
    const files = { cert: readFileSync(tlsCertFile), key: readFileSync(tlsKeyFile) }
    createSecureContext(files)
    return files
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    const detail = `The certificate ${tlsCertFile} and its key ${tlsKeyFile} cannot be used: ${why}.`
    throw new Problem('config_invalid', detail, { cause })
  }
}

/** Answers the port: for 0 the system chooses one. @throws Problem `config_invalid` */
export async function listen(app: App, host: string, port: number): Promise<number> {
  try {
    await app.listen({ host, port, backlog: 4096 })
    const address = app.server.address()
    return address !== null && typeof address === 'object' ? address.port : port
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
    const why =
      code === 'EADDRINUSE'
        ? 'something else listens there already; stop it, or set KEYRINGD_PORT'
        : code === 'EACCES'
          ? 'the system does not allow it'
          : cause instanceof Error
            ? cause.message
            : String(cause)
    throw new Problem('config_invalid', `Cannot listen on ${host}:${port}: ${why}.`, { cause })
  }
}
