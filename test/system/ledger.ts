import assert from 'node:assert/strict'
import { createLocalJWKSet, jwtVerify } from 'jose'
import { faultsIn, request, type Server } from './process.ts'

// What clients were told by servers that were killed, and whether a server that came back still knows it all.

export interface Token {
  token: string
  kid: string
  ring: string
}

interface ListedKey {
  kid: string
  alg: string
  state: string
  standby: boolean
  published: boolean
  withheld: string | null
}

interface ListedRing {
  name: string
  reserved: boolean
  algorithms: string[]
}

type KeySet = ReturnType<typeof createLocalJWKSet>

const SAMPLE = 20

export type Ledger = ReturnType<typeof createLedger>

/** `random` is in 0 ≤ r < 1; it chooses the older tokens that are verified again. */
export function createLedger(random: () => number) {
  /** Keys that an answer named. */
  const keys = new Set<string>()
  /** Keys of which the deletion was asked for: they may be gone or not. */
  const doomed = new Set<string>()
  /** Keys of which the deletion was answered. */
  const deleted = new Set<string>()
  const rings = new Set<string>()
  /** The key that an answer made active, by lane; undefined while a later rotation is open. */
  const active = new Map<string, string | undefined>()
  const fresh: Token[] = []
  const older: Token[] = []
  let verified = 0
  let index = 0n

  async function verify(sets: Map<string, KeySet>, { ring, kid, token }: Token): Promise<void> {
    // Whoever deletes a key by force says that its tokens do not matter.
    const set = sets.get(ring)
    if (doomed.has(kid) || !set) return
    const { protectedHeader } = await jwtVerify(token, set)
    assert.equal(protectedHeader.kid, kid)
    verified++
  }

  /** What the server lists of every ring, its sets, and that the two agree. */
  async function survey(server: Server, safe: boolean) {
    const present = (await server.call('GET', '/v1/rings')).json.rings as ListedRing[]
    const known = new Map<string, ListedKey>()
    const sets = new Map<string, KeySet>()
    for (const ring of present) {
      const { json } = await server.call('GET', `/v1/rings/${ring.name}/keys`)
      const found = json.keys as ListedKey[]
      for (const key of found) known.set(key.kid, key)
      checkLanes(ring, found, safe)
      const set = (await request(`${server.url}/rings/${ring.name}/.well-known/jwks.json`)).json
      const published = (set.keys as { kid: string }[]).map(({ kid }) => kid)
      const expected = found.filter((key) => key.published).map(({ kid }) => kid)
      assert.deepEqual(published.sort(), expected.sort(), `the set of ${ring.name}`)
      sets.set(ring.name, createLocalJWKSet(set))
    }
    return { names: new Set(present.map(({ name }) => name)), known, sets }
  }

  return {
    ...{ keys, doomed, deleted, rings, active },
    addTokens: (more: readonly Token[]) => void fresh.push(...more),
    sawIndex(text: string | null): void {
      const seen = BigInt(text ?? '0')
      if (seen > index) index = seen
    },
    totals: () => ({ tokens: fresh.length + older.length, verified, keys: keys.size }),

    /**
     * Asks a server that is ready for everything it must still know. Verifies the tokens since the last check and a
     * sample of those before, or with `all` every one.
     */
    async check(server: Server, { safe, all = false }: { safe: boolean; all?: boolean }) {
      assert.equal((await request(`${server.url}/readyz`)).status, 200)
      const status = await server.call('GET', '/v1/status')
      assert.equal(status.status, 200, 'the management token works')
      assert.deepEqual([status.json.quarantined, status.json.damaged], [[], []])
      const { headers } = await server.call('GET', '/v1/operator/keyring/keys')
      const now = BigInt(headers.get('x-nomad-index') ?? '0')
      assert.ok(now >= index, `the index went from ${index} to ${now}`)
      index = now

      const { names, known, sets } = await survey(server, safe)
      const without = (kids: Iterable<string>, isThere: (kid: string) => boolean) =>
        [...kids].filter((kid) => !isThere(kid))
      assert.deepEqual(
        without(rings, (name) => names.has(name)),
        [],
        'rings that were lost',
      )
      const lost = without(keys, (kid) => known.has(kid) || doomed.has(kid))
      assert.deepEqual(lost, [], 'keys that were lost')
      const back = without(deleted, (kid) => !known.has(kid))
      assert.deepEqual(back, [], 'keys that came back')
      for (const [lane, kid] of active) {
        if (kid === undefined || doomed.has(kid)) continue
        assert.equal(known.get(kid)?.state, 'active', `the last rotation of ${lane}`)
      }

      const again = all
        ? older
        : Array.from({ length: SAMPLE }, () => older[Math.floor(random() * older.length)])
      for (const one of [...fresh, ...again]) if (one) await verify(sets, one)
      older.push(...fresh.splice(0))
      assert.deepEqual(faultsIn(server.log()), [], 'the log of the start')
    },
  }
}

/** Exactly one active key in each lane, in `safe` mode exactly one standby, and nothing withheld. */
function checkLanes(ring: ListedRing, keys: readonly ListedKey[], safe: boolean): void {
  assert.deepEqual(
    keys.filter(({ withheld }) => withheld !== null),
    [],
  )
  const lanes = ring.reserved
    ? [keys]
    : ring.algorithms.map((alg) => keys.filter((key) => key.alg === alg))
  for (const lane of lanes) {
    const count = (test: (key: ListedKey) => boolean) => lane.filter(test).length
    assert.equal(
      count(({ state }) => state === 'active'),
      1,
      `active keys of ${ring.name}`,
    )
    const standbys = count(({ standby }) => standby)
    assert.ok(safe ? standbys === 1 : standbys <= 1, `${standbys} standbys of ${ring.name}`)
  }
}
