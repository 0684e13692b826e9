import { contains, type Tenants } from './grants.ts'

// The tree of tenants as decisions see it. Pure.

/** Levels below the root; every check of who contains whom walks that far at most. */
export const MAX_DEPTH = 32

/** How many levels a tenant is below the root. */
export function depthOf(tenants: Tenants, name: string): number {
  let depth = 0
  let at = tenants.get(name)
  while (at !== undefined && depth <= tenants.size) {
    depth++
    at = tenants.get(at)
  }
  return depth
}

/** How many levels are below a tenant. */
export function heightOf(tenants: Tenants, name: string): number {
  const own = depthOf(tenants, name)
  let height = 0
  for (const one of tenants.keys()) {
    if (contains(tenants, name, one)) height = Math.max(height, depthOf(tenants, one) - own)
  }
  return height
}

/** A tenant and all above it. */
function upward(tenants: Tenants, name: string): Set<string> {
  const found = new Set<string>()
  let at: string | undefined = name
  while (at !== undefined && !found.has(at)) {
    found.add(at)
    at = tenants.get(at)
  }
  return found
}

/** The tenants that contain what hangs on one of two parents, but not what hangs on the other. */
export function differing(tenants: Tenants, one: string, other: string): string[] {
  const [above, beyond] = [upward(tenants, one), upward(tenants, other)]
  return [
    ...[...above].filter((name) => !beyond.has(name)),
    ...[...beyond].filter((name) => !above.has(name)),
  ]
}
