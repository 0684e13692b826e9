import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  configPath,
  type Issuer,
  identitiesWorld,
  secondsOf,
  startIssuer,
  type World,
} from './setup.ts'

// Product decisions, section 4: nobody hands out, or takes over, what is not within his own, by any order of calls.

const ROLES = ['admin', 'operator', 'identity-admin', 'member', 'no-access']

/** One call of the intruder; numbers choose among the identities that there are by then. */
type Move =
  | { do: 'create'; role: string }
  | { do: 'role'; on: number; role: string }
  | { do: 'rename' | 'delete' | 'attach' | 'update' | 'detach' | 'read' | 'become'; on: number }
  | { do: 'ring'; on: number; ring: string }
  | { do: 'token'; role: string }

const on = fc.nat(100)
const move: fc.Arbitrary<Move> = fc.oneof(
  fc.record({ do: fc.constant('create' as const), role: fc.constantFrom(...ROLES) }),
  fc.record({ do: fc.constant('role' as const), on, role: fc.constantFrom(...ROLES) }),
  fc.record({
    do: fc.constantFrom('rename', 'delete', 'attach', 'update', 'detach', 'read', 'become'),
    on,
  }),
  fc.record({
    do: fc.constant('ring' as const),
    on,
    ring: fc.constantFrom('default', 'access', 'audit', 'ci'),
  }),
  fc.record({ do: fc.constant('token' as const), role: fc.constantFrom(...ROLES) }),
)

interface Intruder {
  /** Its API token. */
  token: string
  /** A source of keys of its own, and what that signed. */
  source: object
  jwt: string
}

/** Plays the moves, then tries to log in everywhere; every token that the intruder has by then. */
async function play(
  world: World,
  moves: readonly Move[],
  { token, source, jwt }: Intruder,
): Promise<string[]> {
  const tokens = [token]
  /** Calls are made with what was got last. */
  const call = (method: string, path: string, body?: unknown) =>
    world.ask(method, path, { token: tokens.at(-1) ?? token, ...(body !== undefined && { body }) })
  const ids = async () => {
    const { identities } = (await world.ask('GET', '/api/v1/identities')).json
    return identities.map(({ id }: { id: string }) => id) as string[]
  }
  const become = async (id: string) => {
    const { status, json } = await world.login(id, jwt)
    if (status === 200) tokens.push(json.accessToken)
  }
  const make = (role: string) =>
    call('POST', '/api/v1/identities', { name: 'x', organizationId: 'o', role })

  const own = (await make('identity-admin')).json.identity.id as string
  assert.equal((await call('POST', configPath(own), { ...source, boundClaims: {} })).status, 200)
  for (const one of moves) {
    const all = await ids()
    const id = 'on' in one ? (all[one.on % all.length] ?? '') : ''
    const path = `/api/v1/identities/${id}`
    if (one.do === 'create') await make(one.role)
    if (one.do === 'role') await call('PATCH', path, { role: one.role })
    if (one.do === 'rename') await call('PATCH', path, { name: 'y', hasDeleteProtection: false })
    if (one.do === 'delete') await call('DELETE', path)
    if (one.do === 'attach') await call('POST', configPath(id), { ...source, boundClaims: {} })
    if (one.do === 'update') await call('PATCH', configPath(id), source)
    if (one.do === 'detach') await call('DELETE', configPath(id))
    if (one.do === 'read') await call('GET', configPath(id))
    if (one.do === 'become') await become(id)
    if (one.do === 'token') {
      await call('POST', '/v1/api-tokens', { name: 'z', role: one.role, ttl: '1h' })
    }
    if (one.do === 'ring') {
      const ring = { configurationType: 'jwks', jwksUrl: `ring:${one.ring}` }
      await call('POST', configPath(id), { ...ring, boundClaims: {} })
      await call('PATCH', configPath(id), ring)
    }
  }
  for (const id of await ids()) await become(id)
  return tokens
}

/** What an admin, an operator or a member may and an identity-admin may not. */
const BEYOND = ['/v1/api-tokens', '/v1/rings/default/keys']

test('an identity-admin becomes no more than that, by any order of calls', async (t) => {
  const world = await identitiesWorld(t, { settings: { RATE_LIMIT_LOGIN: '1000000/m' } })
  await world.call('POST', '/v1/rings', { name: 'ci', algorithms: ['ES256'] })
  const [theirs, mine] = [await startIssuer(t), await startIssuer(t)]
  const from = ({ publicPem }: Issuer) => ({ configurationType: 'static', publicKeys: [publicPem] })
  const above: string[] = []
  for (const role of ['admin', 'operator', 'member']) {
    const id = await world.identity(role)
    assert.equal((await world.attach(id, { ...from(theirs), boundClaims: {} })).status, 200)
    above.push(id, await world.identity(role))
  }
  const { read } = world.store
  const state = () =>
    Promise.all(
      above.map(async (id) => [await read.identities.byId(id), await read.jwtAuth.byIdentity(id)]),
    )
  const before = await state()
  const intruder: Intruder = {
    token: await world.apiToken('ida', { role: 'identity-admin' }),
    source: from(mine),
    jwt: await mine.sign({ sub: 's', exp: secondsOf(world) + 3600 }),
  }
  const moves = fc.array(move, { minLength: 4, maxLength: 24 })
  let logins = 0
  const property = fc.asyncProperty(moves, async (moves) => {
    const tokens = await play(world, moves, intruder)
    logins += tokens.length - 1
    assert.deepEqual(await state(), before)
    for (const token of tokens) {
      for (const path of BEYOND) {
        const { status } = await world.ask('GET', path, { token })
        assert.ok(status === 403 || status === 401, `${path}: ${status}`)
      }
    }
    const names = (await read.apiTokens.list()).map(({ name }) => name).sort()
    assert.deepEqual(names, ['ida', 'management'])
    const { identities } = (await world.ask('GET', '/api/v1/identities')).json
    for (const { id } of identities) {
      if (above.includes(id)) continue
      await world.ask('PATCH', `/api/v1/identities/${id}`, { body: { hasDeleteProtection: false } })
      await world.ask('DELETE', `/api/v1/identities/${id}`)
    }
  })
  await fc.assert(property, { numRuns: 40 })
  assert.ok(logins > 0, 'no sequence logged in at all, so that none was tested')
})
