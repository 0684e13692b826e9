import {
  ALGORITHMS,
  importPrivateKey,
  importPublicJwk,
  type SigningKey,
  type VerificationKey,
} from '../core/index.ts'
import type { Key } from '../store/keys.ts'
import type { Ring } from '../store/rings.ts'
import type { Instant } from '../time.ts'
import { createJwks, type PublicDocument } from './jwks.ts'
import type { Sealing } from './sealing.ts'

// What is true of the rings now, in memory: published bytes, signing keys, verification keys. It changes only when a
// committed transaction says so, and every answer of the hot paths comes from here.

export interface RingView {
  ring: Ring
  /** Every row of the ring, by kid. */
  keys: readonly Key[]
  /** Rows that are not published although they say so, and why. */
  withheld: ReadonlyMap<string, 'bad-mac' | 'quarantined'>
  jwks: PublicDocument
  jwksPostQuantum: PublicDocument
  /** How many keys are published. */
  size: number
  /** How many of them are in the default set; the others are post-quantum. */
  inDefaultSet: number
  /** The latest creation among published keys. */
  newest: Instant
  signers: ReadonlyMap<string, SigningKey>
  verifiers: ReadonlyMap<string, VerificationKey>
}

/** What a committed transaction says of one ring; `version` grows with every transaction of this process. */
export interface RingState {
  version: number
  ring: Ring
  keys: readonly Key[]
  /** The keyring index, of the `default` ring only. */
  index?: bigint
}

export type View = ReturnType<typeof createView>

export interface ViewParts {
  sealing: Sealing
  now(): Instant
  onFault(kid: string, error: unknown): void
}

export function createView({ sealing, now, onFault }: ViewParts) {
  const rings = new Map<string, RingView>()
  const versions = new Map<string, number>()
  const shown = new Map<string, Instant>()
  const broken = new Set<string>()
  const listeners = new Set<(ring: RingView) => void>()
  let unsealed = false
  let index = 0n
  let version = 0

  function withheldOf(keys: readonly Key[]): Map<string, 'bad-mac' | 'quarantined'> {
    const found = new Map<string, 'bad-mac' | 'quarantined'>()
    for (const key of keys) {
      const integrity = sealing.integrityOf(key)
      if (integrity === 'bad') found.set(key.kid, 'bad-mac')
      // A row that nobody can vouch for could be anybody's: it is published only until the roots are open.
      if (integrity === 'unknown' && unsealed) found.set(key.kid, 'quarantined')
    }
    return found
  }

  function signerOf(key: Key, before: RingView | undefined): SigningKey | undefined {
    const known = before?.signers.get(key.alg)
    if (known?.kid === key.kid) return known
    if (!sealing.has(key.rootKid)) return undefined
    try {
      const signer = {
        kid: key.kid,
        alg: key.alg,
        key: importPrivateKey(sealing.unsealPrivate(key)),
      }
      broken.delete(key.kid)
      return signer
    } catch (error) {
      broken.add(key.kid)
      onFault(key.kid, error)
      return undefined
    }
  }

  function build(ring: Ring, keys: readonly Key[], before: RingView | undefined): RingView {
    const withheld = withheldOf(keys)
    const published = keys.filter((key) => key.published && !withheld.has(key.kid))
    const signers = new Map<string, SigningKey>()
    for (const key of published) {
      const signer = key.state === 'active' ? signerOf(key, before) : undefined
      if (signer) signers.set(key.alg, signer)
    }
    const verifiers = new Map<string, VerificationKey>()
    for (const key of published) {
      const known = before?.verifiers.get(key.kid)
      verifiers.set(key.kid, known ?? importPublicJwk(key.publicJwk, key.alg))
    }
    return {
      ring,
      keys,
      withheld,
      jwks: createJwks(published, false),
      jwksPostQuantum: createJwks(published, true),
      size: published.length,
      inDefaultSet: published.filter(({ alg }) => !ALGORITHMS[alg].postQuantum).length,
      newest: published.reduce((max, key) => (key.createdAt > max ? key.createdAt : max), 0n),
      signers,
      verifiers,
    }
  }

  /** When a key joins a set that was served before, that set ends now, not when the transaction decided. */
  function noteShown(view: RingView, before: RingView | undefined): void {
    if (!before || before.keys.length === 0) return
    for (const kid of view.verifiers.keys()) {
      if (!before.keys.some((key) => key.kid === kid)) shown.set(kid, now())
    }
  }

  function put({ version, ring, keys, index: newIndex }: RingState): void {
    if (version < (versions.get(ring.id) ?? 0)) return
    versions.set(ring.id, version)
    const before = rings.get(ring.name)
    const view = build(ring, keys, before)
    noteShown(view, before)
    rings.set(ring.name, view)
    if (newIndex !== undefined && newIndex > index) index = newIndex
    for (const listener of listeners) listener(view)
  }

  return {
    put,
    /** Numbers a transaction; taken inside it, so the order is that of the commits. */
    nextVersion: () => ++version,
    index: () => index,
    ring: (name: string) => rings.get(name),
    rings: () => [...rings.values()],
    shownAt: (kid: string) => shown.get(kid),
    isUnsealed: () => unsealed,

    /** Every root key was tried: rows are checked and signing begins. */
    unseal(): void {
      unsealed = true
      for (const view of [...rings.values()]) {
        put({ version: versions.get(view.ring.id) ?? 0, ring: view.ring, keys: view.keys })
      }
    },

    onChange(listener: (ring: RingView) => void): void {
      listeners.add(listener)
    },

    /** What keeps the keyring from being whole: bad MACs and private halves that do not open. */
    faults(): string[] {
      const macs = [...rings.values()].flatMap(({ withheld }) =>
        [...withheld].filter(([, why]) => why === 'bad-mac').map(([kid]) => kid),
      )
      return [
        ...macs.map((kid) => `key ${kid} was changed outside this server`),
        ...[...broken].map((kid) => `the private half of key ${kid} does not open`),
      ]
    },
  }
}
