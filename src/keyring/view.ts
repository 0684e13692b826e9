import {
  ALGORITHMS,
  equalBytes,
  importPrivateKey,
  importPublicJwk,
  type SigningKey,
  type VerificationKey,
} from '../core/index.ts'
import type { Key } from '../store/keys.ts'
import type { Ring } from '../store/rings.ts'
import { type Instant, SECOND } from '../time.ts'
import { createJwks, type PublicDocument } from './jwks.ts'
import type { Sealing } from './sealing.ts'

// What is true of the rings now, in memory: published bytes, signing keys, verification keys. It changes only when a
// committed transaction says so, and every answer of the hot paths comes from here.

/** Why a row is not published although it says so. */
export type Withheld = 'bad-mac' | 'quarantined' | 'unreadable'

export interface RingView {
  ring: Ring
  /** Every row of the ring, by kid. */
  keys: readonly Key[]
  withheld: ReadonlyMap<string, Withheld>
  /** Keys whose private half is there and does not open. */
  broken: ReadonlySet<string>
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
  monotonic(): bigint
  onFault(kid: string, error: unknown): void
}

/** Slews of the wall clock are no jumps. */
const SLEW = 5n * SECOND

export function createView({ sealing, now, monotonic, onFault }: ViewParts) {
  const rings = new Map<string, RingView>()
  const versions = new Map<string, number>()
  const shown = new Map<string, { wall: Instant; steady: bigint }>()
  /** The sealed private halves that were opened once, by kid. */
  const opened = new Map<string, Uint8Array>()
  const listeners = new Set<(ring: RingView) => void>()
  let unsealed = false
  let index = 0n
  let version = 0

  function suspicionOf(key: Key): Withheld | undefined {
    const integrity = sealing.integrityOf(key)
    if (integrity === 'bad') return 'bad-mac'
    // A row that nobody can vouch for could be anybody's: it is published only until the roots are open.
    return integrity === 'unknown' && unsealed ? 'quarantined' : undefined
  }

  /** A row that cannot even be read is no reason to publish none of the others. */
  function verifierOf(key: Key, before: RingView | undefined): VerificationKey | undefined {
    try {
      return before?.verifiers.get(key.kid) ?? importPublicJwk(key.publicJwk, key.alg)
    } catch (error) {
      onFault(key.kid, error)
      return undefined
    }
  }

  /** Whether the private half opens; asked before the key has to sign, and again when its seal is another. */
  function opens(key: Key): boolean {
    const { privateSealed } = key
    if (!privateSealed || !sealing.has(key.rootKid)) return true
    const before = opened.get(key.kid)
    if (before && equalBytes(before, privateSealed)) return true
    try {
      importPrivateKey(sealing.unsealPrivate(key))
      opened.set(key.kid, privateSealed)
      return true
    } catch (error) {
      onFault(key.kid, error)
      return false
    }
  }

  /** What is in memory stays good when the half on disk is damaged; readiness says so before the next start. */
  function signerOf(key: Key, before: RingView | undefined): SigningKey | undefined {
    const known = before?.signers.get(key.alg)
    if (known?.kid === key.kid) return known
    if (!sealing.has(key.rootKid) || !opens(key)) return undefined
    return { kid: key.kid, alg: key.alg, key: importPrivateKey(sealing.unsealPrivate(key)) }
  }

  function build(ring: Ring, keys: readonly Key[], before: RingView | undefined): RingView {
    const withheld = new Map<string, Withheld>()
    const broken = new Set(keys.filter((key) => !opens(key)).map(({ kid }) => kid))
    const verifiers = new Map<string, VerificationKey>()
    const signers = new Map<string, SigningKey>()
    for (const key of keys) {
      const suspicion = suspicionOf(key)
      const verifier = suspicion ? undefined : verifierOf(key, before)
      if (!verifier) withheld.set(key.kid, suspicion ?? 'unreadable')
      else if (key.published) verifiers.set(key.kid, verifier)
      const signer = verifier && key.state === 'active' ? signerOf(key, before) : undefined
      if (signer) signers.set(key.alg, signer)
    }
    const published = keys.filter(({ kid }) => verifiers.has(kid))
    return {
      ring,
      keys,
      withheld,
      broken,
      jwks: createJwks(published, false, before?.jwks),
      jwksPostQuantum: createJwks(published, true, before?.jwksPostQuantum),
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
      if (!before.verifiers.has(kid)) shown.set(kid, { wall: now(), steady: monotonic() })
    }
    const kids = new Set(view.keys.map(({ kid }) => kid))
    for (const { kid } of before.keys) {
      if (kids.has(kid)) continue
      shown.delete(kid)
      opened.delete(kid)
    }
  }

  /** A clock that is set forward does not make a key any longer known: then the steady clock says since when it is. */
  function shownAt(kid: string): Instant | undefined {
    const at = shown.get(kid)
    if (!at) return undefined
    const bySteady = now() - (monotonic() - at.steady)
    return bySteady > at.wall + SLEW ? bySteady : at.wall
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
    /** By name. */
    rings: () => [...rings.values()].sort((a, b) => (a.ring.name < b.ring.name ? -1 : 1)),
    shownAt,
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
      return [...rings.values()].flatMap(({ withheld, broken }) => [
        ...[...withheld]
          .filter(([, why]) => why !== 'quarantined')
          .map(([kid]) => `key ${kid} was changed outside this server`),
        ...[...broken].map((kid) => `the private half of key ${kid} does not open`),
      ])
    },
  }
}
