import type { Context } from '../context.ts'
import { createRecent } from '../core/index.ts'
import type { DocumentRow, ServiceRow } from '../store/delivery-services.ts'
import type { RotationRow } from '../store/uri-signing.ts'
import { type KeyDocument, openDocument } from './document.ts'
import { publicOnly } from './edge.ts'
import type { History } from './history.ts'
import { createSigners } from './signers.ts'

// Delivery services and their keys as requests see them, in memory: opened, read and imported once. A committed event
// drops what it may have changed; the clock never does.

export interface Current {
  row: DocumentRow
  bytes: Uint8Array
  /** What a cache that must not sign is given; made when first asked for. */
  publicBytes(): Uint8Array
  document(): KeyDocument
  /** @throws Problem as `createSigners` says */
  signer: ReturnType<typeof createSigners>
}

export interface Entry {
  service: ServiceRow
  rotations: readonly RotationRow[]
  /** Undefined: the service has no keys. */
  current: Current | undefined
}

/** What an entry weighs beside its document, and a byte of that with all that is made of it; measured, rounded up. */
const ENTRY_WEIGHT = 1024
const BYTE_WEIGHT = 24
/** Bytes: a dozen thousand ordinary documents, or a handful of the longest. */
const MAX_WEIGHT = 192 * 1024 * 1024

const OF_ONE = /^(?:delivery-service|uri-keys)\.(?!read$)/
/** Names in services are those of their tenants. */
const OF_ALL = /^tenant\./

export type Directory = ReturnType<typeof createDirectory>

export function createDirectory(
  { context: { store } }: { context: Pick<Context, 'store'> },
  history: History,
) {
  const remembered = createRecent<Entry>({
    maxWeight: MAX_WEIGHT,
    weightOf: ({ current }) => ENTRY_WEIGHT + BYTE_WEIGHT * (current?.bytes.length ?? 0),
  })
  let generation = 0

  const stop = store.onCommit((events) => {
    for (const { type, subject } of events) {
      if (OF_ONE.test(type)) {
        generation++
        remembered.delete(subject)
      } else if (OF_ALL.test(type)) {
        generation++
        remembered.clear()
      }
    }
  })

  async function load(xmlId: string): Promise<Entry | undefined> {
    const before = generation
    // One transaction: keys, rotations and tenant belong to this very service.
    const found = await store.transaction(async (tx) => {
      const service = await tx.deliveryServices.byXmlId(xmlId)
      if (!service) return undefined
      const row = await tx.uriDocuments.current(service.id)
      return { service, row, rotations: await tx.uriRotations.ofService(service.id) }
    })
    if (!found) return undefined
    const { service, row, rotations } = found
    const bytes = row && history.open(service, row)
    const entry = { service, rotations, current: bytes && opened(row, bytes, rotations) }
    // What an event overtook may be old: answer with it, but do not keep it.
    if (before === generation) remembered.set(xmlId, entry)
    return entry
  }

  return {
    /** The service with its keys, where it is remembered. */
    recall: remembered.get,

    /** The same, read where it is not. @throws Problem `not_ready`, `seal_broken` */
    find: async (xmlId: string): Promise<Entry | undefined> => remembered.get(xmlId) ?? load(xmlId),

    /** Stops listening to the store. */
    close: stop,
  }
}

function opened(row: DocumentRow, bytes: Uint8Array, rotations: readonly RotationRow[]): Current {
  let document: KeyDocument | undefined
  let signers: ReturnType<typeof createSigners> | undefined
  let edge: Uint8Array | undefined
  const read = () => {
    document ??= openDocument(bytes, 'compat')
    return document
  }
  return {
    ...{ row, bytes, document: read },
    publicBytes() {
      edge ??= publicOnly(bytes)
      return edge
    },
    signer(issuer, kid) {
      signers ??= createSigners(read(), rotations)
      return signers(issuer, kid)
    },
  }
}
