import { randomBytes } from 'node:crypto'
import { randomId } from '../../src/context.ts'
import { ALGORITHMS } from '../../src/core/algorithms.ts'
import type { ApiTokenRow } from '../../src/store/access.ts'
import type { Key, RingChange } from '../../src/store/keys.ts'
import { RESERVED_RINGS, type Ring } from '../../src/store/rings.ts'
import type { Store, Tx } from '../../src/store/store.ts'
import type { Instant } from '../../src/time.ts'

/** 2023-11-14T22:13:20Z: where every test clock starts. */
export const START: Instant = 1_700_000_000_000_000_000n

const base64url = (bytes: number) => randomBytes(bytes).toString('base64url')

/** What a backend is opened with. The same place means the same data. */
export interface World {
  place: string
  writer: string
  now(): Instant
  newId(): string
  onListenerError(error: unknown): void
}

/** A world with a clock that a test moves and a list of what listeners threw. */
export function createWorld() {
  let time = START
  const listenerErrors: unknown[] = []
  return {
    place: randomId(),
    writer: 'writer-1',
    now: () => time,
    newId: randomId,
    onListenerError: (error: unknown) => void listenerErrors.push(error),
    advance(span: bigint) {
      time += span
    },
    listenerErrors,
  }
}

/** A key row as the schema accepts it; its JWK has the right shape but no key in it. */
export function aKey(over: Partial<Key> = {}): Key {
  const { kid = randomId(), ringId = 'default', alg = 'ES256', state = 'next' } = over
  const { kty, crv } = ALGORITHMS[alg]
  return {
    kid,
    ringId,
    alg,
    state,
    standby: false,
    published: state !== 'revoked',
    rekeying: false,
    publicJwk: { use: 'sig', kty, kid, ...(crv && { crv }), alg, x: base64url(32) },
    thumbprint: base64url(32),
    origin: 'generated',
    handedOutAt: undefined,
    attestedAt: undefined,
    privateSealed: state === 'revoked' ? undefined : randomBytes(80),
    rootKid: kid,
    mac: randomBytes(32),
    createdAt: START,
    absentUntil: 0n,
    plannedAt: 0n,
    publishedAt: START,
    activatedAt: state === 'next' ? undefined : START,
    retiredAt: state === 'retired' ? START : undefined,
    withdrawnAt: undefined,
    revokedAt: state === 'revoked' ? START : undefined,
    createIndex: 1n,
    modifyIndex: 1n,
    ...over,
  }
}

export function aRing(over: Partial<Ring> = {}): Ring {
  const name = over.name ?? `ring-${randomId()}`
  return {
    id: randomId(),
    name,
    reserved: false,
    algorithms: ['ES256'],
    rotationThreshold: undefined,
    maxTokenTtl: undefined,
    jwksMaxAge: undefined,
    issuer: undefined,
    exportable: false,
    createdAt: 1_700_000_000_000,
    ...over,
  }
}

export function anApiToken(over: Partial<ApiTokenRow> = {}): ApiTokenRow {
  const id = randomId()
  return {
    id,
    name: `token-${id}`,
    tokenHash: randomBytes(32),
    role: undefined,
    tenantId: undefined,
    createdAt: 1_700_000_000_000,
    createdBy: 'token:root',
    expiresAt: undefined,
    grants: [],
    ...over,
  }
}

export const change = (part: Partial<RingChange>): RingChange => ({
  insert: [],
  update: [],
  delete: [],
  ...part,
})

/** Writes a key of `default` together with its root key. */
export async function addRoot(tx: Tx, key: Key): Promise<void> {
  const wrap = { providerId: 'aead', kekId: 'kek-1', wrapped: randomBytes(60) }
  await tx.rootKeys.insert(key.kid, [wrap], 1_700_000_000_000)
  await tx.keys.apply(change({ insert: [key] }))
}

/** The reserved rings, one ring of a user and an active root key: the least that keys can be written into. */
export async function seed(store: Store): Promise<{ root: Key; ring: Ring }> {
  const root = aKey({ state: 'active' })
  const ring = aRing()
  await store.transaction(async (tx) => {
    for (const name of RESERVED_RINGS) {
      await tx.rings.insert(aRing({ id: name, name, reserved: true }))
    }
    await tx.rings.insert(ring)
    await addRoot(tx, root)
  })
  return { root, ring }
}
