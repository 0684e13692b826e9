import type { Config } from '../config.ts'
import { random } from '../context.ts'
import { createConfiguration } from '../discovery/configuration.ts'
import { corsOf, write } from '../discovery/prebuilt.ts'
import type { DiscoveryParts, NomadWire } from '../discovery/routes.ts'
import { Problem } from '../errors.ts'
import { JWKS_STATUSES } from '../http/metrics.ts'
import { createDocument, type PublicDocument } from '../keyring/jwks.ts'
import type { Keyring } from '../keyring/keyring.ts'
import type { RingView } from '../keyring/view.ts'
import { createMetadata, type Places } from '../oauth/metadata.ts'
import type { MetadataParts } from '../oauth/routes.ts'

// The published documents, made of what several slices know.

/** What relying parties read, from the keyring's view. */
export function discoveryOf(
  keyring: Keyring,
  config: Config,
  counted: Record<number, number>,
): Omit<DiscoveryParts, 'nomad'> {
  const statuses = new Set<number>(JWKS_STATUSES)
  const configurations = new WeakMap<RingView, PublicDocument>()
  let paths: Map<string, string> | undefined
  keyring.view.onChange(() => {
    paths = undefined
  })

  return {
    jwks: (ring, postQuantum) => keyring.published(ring, postQuantum, random()),

    configuration(name) {
      // Between the first listening and the first key: soon there is an answer, and 404 would say there is none.
      if (name === 'default' && keyring.view.ring(name) === undefined) {
        throw new Problem('not_ready', 'No key exists yet')
      }
      const ring = keyring.ringView(name)
      const issuer = keyring.issuerOf(ring.ring)
      if (issuer === undefined) return undefined
      const known = configurations.get(ring)
      if (known) return known
      const published = ring.keys.filter(({ kid }) => ring.verifiers.has(kid))
      const algorithms = [...new Set(published.map(({ alg }) => alg as string))].sort()
      const document = createDocument(
        createConfiguration({
          ...{ issuer, algorithms, extra: config.oidcDiscoveryExtra ?? {} },
          jwksPath: `/.well-known/${ring.inDefaultSet === 0 ? 'jwks-pq.json' : 'jwks.json'}`,
        }),
      )
      configurations.set(ring, document)
      return document
    },

    ringAtPath(path) {
      paths ??= new Map(
        keyring.view.rings().flatMap(({ ring }) => {
          const issuer = keyring.issuerOf(ring)
          const base = issuer && URL.canParse(issuer) ? new URL(issuer).pathname : '/'
          return base === '/' ? [] : [[base.replace(/\/+$/, ''), ring.name]]
        }),
      )
      return paths.get(path)
    },

    count(status) {
      if (statuses.has(status)) counted[status] = (counted[status] ?? 0) + 1
    },
  }
}

/** OAuth metadata goes out as discovery does. */
export function metadataOf(nomad: NomadWire | undefined): Omit<MetadataParts, 'places'> {
  const documents = new WeakMap<Places, PublicDocument>()
  const headers = corsOf(nomad)
  return {
    strict: nomad?.strict ?? false,
    write(request, response, places) {
      const document = documents.get(places) ?? createDocument(createMetadata(places))
      documents.set(places, document)
      write(request, response, { document, cacheControl: undefined, headers })
    },
  }
}
