// Versions of the Traffic Ops API (URI signing contract section 1). Pure.

/** Those that have these routes; under any other the answer is 501, on which clients try an older one. */
export const VERSIONS = ['1.3', '1.4', '1.5', '2.0', '3.0', '3.1', '4.0', '4.1', '5.0'] as const

/** The one that is in the documentation: they are all alike. */
export const NEWEST = '5.0'

const KNOWN: ReadonlySet<string> = new Set(VERSIONS)
const PATH = /^\/api\/(\d+\.\d+)(?:\/|$)/
/** Since then roles have permissions, and who lacks one is told which. */
const PERMISSIONS_SINCE = 4

/** The version that a path names; undefined: the path is none of this surface. */
export const versionOf = (path: string): string | undefined => PATH.exec(path)?.[1]

export const isKnownVersion = (version: string): boolean => KNOWN.has(version)

/** Whether a refusal names the missing permissions (section 3). */
export const namesPermissions = (version: string): boolean =>
  Number.parseInt(version, 10) >= PERMISSIONS_SINCE
