import type { Context, Principal } from '../context.ts'
import { Problem } from '../errors.ts'
import type { DocumentOrigin, DocumentRow, ServiceRow } from '../store/delivery-services.ts'
import type { Tx } from '../store/store.ts'
import { toSeconds } from '../time.ts'
import type { UriAlgorithm } from './algorithms.ts'
import type { Current, Entry } from './directory.ts'
import { openDocument, type ValidationMode } from './document.ts'
import { newDocument } from './edit.ts'
import { generateKey, newKid } from './generate.ts'
import type { History } from './history.ts'
import { type Finding, lintDocument } from './lint.ts'
import type { Reads } from './reads.ts'
import type { Tenancy } from './tenancy.ts'
import type { Visible } from './visible.ts'

export interface DocumentsParts {
  context: Context
  tenancy: Tenancy
  history: History
  visible: Visible
  reads: Reads
  validation: ValidationMode
}

export interface StoredDocument {
  bytes: Uint8Array
  /** Strong, with its quotes; names this version for good. */
  etag: string
  /** Unix milliseconds. */
  updatedAt: number
}

export interface Conditions {
  /** Header fields of RFC 9110 section 13.1, as they came. */
  ifMatch?: string | undefined
  ifNoneMatch?: string | undefined
}

export interface WriteOptions extends Conditions {
  /** Default: the setting. */
  validation?: ValidationMode | undefined
}

/** What became of a write, without the keys. */
export interface Written {
  version: number
  etag: string
  updatedAt: number
}

export type Documents = ReturnType<typeof createDocuments>

/** Key documents: read, written, removed, brought back; byte for byte. */
export function createDocuments(parts: DocumentsParts) {
  const { context, tenancy, history, visible, reads } = parts
  const { store, now, newId } = context

  /** The keys, once it is on record who has read them; at once where it is. */
  function handOut(
    principal: Principal,
    { service, current }: Entry,
  ): Current | undefined | Promise<Current> {
    if (!current) return undefined
    const recording = reads.record(principal, service, current.row)
    return recording ? recording.then(() => current) : current
  }

  /** Compares and swaps: what a writer has seen must still be so when he writes. */
  async function replace(
    principal: Principal,
    xmlId: string,
    conditions: Conditions,
    change: { origin: DocumentOrigin; detail?: Record<string, unknown> },
    bytesOf: (tx: Tx, service: ServiceRow, latest: DocumentRow | undefined) => Promise<Uint8Array>,
  ): Promise<Written> {
    const row = await store.transaction(async (tx) => {
      const service = await tenancy.found(tx, principal, xmlId)
      const latest = await tx.uriDocuments.current(service.id)
      checkConditions(conditions, latest)
      const bytes = await bytesOf(tx, service, latest)
      return history.put(tx, service, { ...change, principal, bytes })
    })
    return { version: row.version, etag: etagOf(row), updatedAt: row.createdAt }
  }

  /** @throws Problem `keys_exist` unless a condition says that they are meant to be replaced */
  const refuseExisting = ({ ifMatch }: Conditions, latest: DocumentRow | undefined) => {
    if (ifMatch === undefined && latest?.sealed) {
      throw new Problem(
        'keys_exist',
        'Rotate them, remove them first, or replace them with If-Match',
      )
    }
  }

  return {
    /**
     * Undefined: the service has no keys. Who reads them is on record first. At once where nothing is to be waited for:
     * caches ask again and again.
     * @throws Problem `delivery_service_not_found`, `tenant_forbidden`, `not_ready`, `seal_broken`
     */
    read(
      principal: Principal,
      xmlId: string,
    ): StoredDocument | undefined | Promise<StoredDocument | undefined> {
      const entry = visible(principal, xmlId)
      if (entry instanceof Promise) {
        return entry.then(async (one) => storedOf(await handOut(principal, one)))
      }
      const current = handOut(principal, entry)
      return current instanceof Promise ? current.then(storedOf) : storedOf(current)
    },

    /**
     * What a cache is given: all of it, or what verifies and renews only. Never an empty document.
     * @throws Problem as `read`; `keys_missing`, `keyset_invalid` for what a cache could not load
     */
    async forCache(
      principal: Principal,
      xmlId: string,
      { publicOnly }: { publicOnly: boolean },
    ): Promise<StoredDocument> {
      const current = await handOut(principal, await visible(principal, xmlId))
      if (!current) throw new Problem('keys_missing', `${xmlId} has no keys to give to a cache`)
      const { row } = current
      return publicOnly
        ? { bytes: current.publicBytes(), etag: `"${row.id}-public"`, updatedAt: row.createdAt }
        : { bytes: current.bytes, etag: etagOf(row), updatedAt: row.createdAt }
    },

    /**
     * Replaces the whole document.
     * @throws Problem `delivery_service_not_found`, `tenant_forbidden`, `keyset_invalid` whose detail is the alert,
     * `precondition_failed`, `body_too_large`, `not_ready`
     */
    async write(
      principal: Principal,
      xmlId: string,
      bytes: Uint8Array,
      { validation = parts.validation, ...conditions }: WriteOptions = {},
    ): Promise<StoredDocument & Written> {
      // Of another's service nobody learns what is wrong with a document.
      await tenancy.check(principal, await store.read.deliveryServices.byXmlId(xmlId), xmlId)
      openDocument(bytes, validation)
      const written = await replace(
        ...([principal, xmlId, conditions, { origin: 'stored' }] as const),
        async () => bytes,
      )
      return { bytes, ...written }
    },

    /** False: there was none. @throws Problem as `write` */
    async remove(
      principal: Principal,
      xmlId: string,
      conditions: Conditions = {},
    ): Promise<boolean> {
      return store.transaction(async (tx) => {
        const service = await tenancy.found(tx, principal, xmlId)
        const latest = await tx.uriDocuments.current(service.id)
        checkConditions(conditions, latest)
        if (!latest?.sealed) return false
        await history.put(tx, service, { origin: 'removed', principal, bytes: undefined })
        return true
      })
    },

    /** The versions that are kept, the latest first; without their keys. */
    async versions(principal: Principal, xmlId: string): Promise<DocumentRow[]> {
      const service = await store.read.deliveryServices.byXmlId(xmlId)
      await tenancy.check(principal, service, xmlId)
      return service ? store.read.uriDocuments.list(service.id) : []
    },

    /**
     * Makes an earlier version the latest once more.
     * @throws Problem as `write`; `version_not_found`
     */
    async rollback(
      principal: Principal,
      xmlId: string,
      version: number,
      conditions: Conditions = {},
    ): Promise<Written> {
      const change = { origin: 'rolled-back', detail: { to: version } } as const
      return replace(principal, xmlId, conditions, change, async (tx, service) => {
        const row = await tx.uriDocuments.get(service.id, version)
        const bytes = row && history.open(service, row)
        if (!bytes)
          throw new Problem('version_not_found', `No version ${version} with keys is kept`)
        openDocument(bytes, parts.validation)
        return bytes
      })
    },

    /** A first document, with one new key. @throws Problem as `write`; `keys_exist` */
    async generate(
      principal: Principal,
      xmlId: string,
      { issuer, algorithm, kid = newKid(newId()) }: GenerateRequest,
      conditions: Conditions = {},
    ): Promise<Written & { issuer: string; kid: string; algorithm: UriAlgorithm }> {
      const service = await tenancy.found(store.read, principal, xmlId)
      // Before a key is made, which takes long; and again when it is there.
      const before = await store.read.uriDocuments.current(service.id)
      checkConditions(conditions, before)
      refuseExisting(conditions, before)
      const bytes = newDocument(issuer, await generateKey(algorithm, kid, service.tenantId))
      const change = { origin: 'generated', detail: { issuer, kid, algorithm } } as const
      const written = await replace(principal, xmlId, conditions, change, async (_, __, latest) => {
        refuseExisting(conditions, latest)
        return bytes
      })
      return { ...written, issuer, kid, algorithm }
    },

    /** The keys of another service that the caller may read. @throws Problem as `write`; `keys_exist`, `keys_missing` */
    async copy(
      principal: Principal,
      xmlId: string,
      from: string,
      conditions: Conditions = {},
    ): Promise<Written> {
      const change = { origin: 'copied', detail: { from } } as const
      return replace(principal, xmlId, conditions, change, async (tx, _, latest) => {
        refuseExisting(conditions, latest)
        const source = await tenancy.found(tx, principal, from)
        const row = await tx.uriDocuments.current(source.id)
        const bytes = row && history.open(source, row)
        if (!bytes) throw new Problem('keys_missing', `${from.slice(0, 64)} has no keys`)
        openDocument(bytes, parts.validation)
        await tx.audit.append({
          ...{ type: 'uri-keys.read', subject: from, principal: principal.id },
          detail: { version: row.version, to: xmlId },
        })
        return bytes
      })
    },

    /** What is wrong with a document, or with the stored one. @throws Problem as `read`; `keys_missing` */
    async lint(principal: Principal, xmlId: string, bytes?: Uint8Array): Promise<Finding[]> {
      const { service, current } = await visible(principal, xmlId)
      const subject = bytes ?? current?.bytes
      if (!subject) throw new Problem('keys_missing', `${xmlId} has no keys to look at`)
      const rows = await store.read.uriPromises.list(service.id)
      const promises = new Map(rows.map(({ issuer, kid, until }) => [nameOf(issuer, kid), until]))
      return lintDocument(subject, {
        now: toSeconds(now()),
        promisedUntil: (issuer, kid) => promises.get(nameOf(issuer, kid)),
      })
    },
  }
}

/** Both may hold anything. */
const nameOf = (issuer: string, kid: string): string => JSON.stringify([issuer, kid])

export interface GenerateRequest {
  issuer: string
  algorithm: UriAlgorithm
  /** Default: a new random one. */
  kid?: string | undefined
}

const storedOf = (current: Current | undefined): StoredDocument | undefined =>
  current && {
    ...{ bytes: current.bytes, etag: etagOf(current.row), updatedAt: current.row.createdAt },
  }

export const etagOf = ({ id }: Pick<DocumentRow, 'id'>): string => `"${id}"`

/** @throws Problem `precondition_failed` (RFC 9110 section 13.1; strong comparison) */
function checkConditions({ ifMatch, ifNoneMatch }: Conditions, latest: DocumentRow | undefined) {
  const etag = latest?.sealed ? etagOf(latest) : undefined
  const names = (header: string) =>
    etag !== undefined && header.split(',').some((one) => ['*', etag].includes(one.trim()))
  if (ifMatch !== undefined && !names(ifMatch)) throw new Problem('precondition_failed')
  if (ifNoneMatch !== undefined && names(ifNoneMatch)) throw new Problem('precondition_failed')
}
