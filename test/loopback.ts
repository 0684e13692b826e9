import { once } from 'node:events'
import { request, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'

// Servers and clients of the tests that need real sockets.

/** Has a server listen on a free port of 127.0.0.1 until the test is over; the port. */
export async function listenOn(t: TestContext, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

/** A POST whose body follows only after `meanwhile`; the status of its answer. */
export async function postSlowly(
  t: TestContext,
  port: number,
  what: { path: string; token: string; body: unknown },
  meanwhile: () => Promise<unknown>,
): Promise<number | undefined> {
  const payload = JSON.stringify(what.body)
  const client = request({
    ...{ host: '127.0.0.1', port, method: 'POST', path: what.path, agent: false },
    headers: {
      ...{ authorization: `Bearer ${what.token}`, 'content-length': payload.length },
      ...{ 'content-type': 'application/json', expect: '100-continue' },
    },
  })
  t.after(() => client.destroy())
  client.flushHeaders()
  await once(client, 'continue')
  await meanwhile()
  client.end(payload)
  const [response] = await once(client, 'response')
  response.resume()
  return response.statusCode
}
