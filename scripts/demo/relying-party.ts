// A resource server in a process of its own: `node relying-party.ts NAME ISSUER`. It answers 204 to a good bearer and
// 401 with the reason to any other, tells its parent its port, and ends when the parent does.
import { createServer } from 'node:http'
import { VERIFIERS } from './verifiers.ts'

const [, , name = '', issuer = ''] = process.argv
const verify = VERIFIERS[name]?.(issuer)
if (!verify) throw new Error(`No relying party is called ${name}`)

const server = createServer((request, response) => {
  const token = (request.headers.authorization ?? '').replace(/^Bearer /, '')
  verify(token).then(
    () => response.writeHead(204).end(),
    (error: unknown) => response.writeHead(401).end(reasonOf(error)),
  )
})

const reasonOf = (error: unknown) => (error instanceof Error ? error.message : String(error))

// Ctrl-C reaches the whole group; the parent still asks for a moment.
process.on('SIGINT', () => {})
process.on('disconnect', () => process.exit(0))
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  if (address !== null && typeof address === 'object') process.send?.(address.port)
})
