// What a JWKS answer is measured against: node:http alone, with the same bytes and headers. The parent sends them.
import { createServer } from 'node:http'

export interface BareAnswers {
  /** Names and values in turn, as they were on the wire. */
  headers: string[]
  headers304: string[]
  etag: string
  /** base64 */
  body: string
}

process.on('disconnect', () => process.exit(0))
process.once('message', ({ headers, headers304, etag, body }: BareAnswers) => {
  const bytes = Buffer.from(body, 'base64')
  const server = createServer((request, response) => {
    if (request.headers['if-none-match'] === etag) response.writeHead(304, headers304).end()
    else response.writeHead(200, headers).end(bytes)
  })
  server.listen(0, '127.0.0.1', () => {
    const address = server.address()
    if (address !== null && typeof address === 'object') process.send?.(address.port)
  })
})
