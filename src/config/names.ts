// Which KEYRINGD_* names are not ours to judge, and what a mistyped one may have meant.

/** Names of the design whose meaning comes later: refused until then, never silently ignored. */
export const NOT_YET: readonly string[] = [
  ...['DATABASE_URL', 'DATABASE_MIGRATION_URL', 'KEYRING', 'AUDIT_SIGNATURES'],
]

/** Read by the command line or the tests only (product decision: ignored by the server). */
const ELSEWHERE = new Set(['ADDR', 'TOKEN', 'BACKUP_PASSPHRASE', 'VECTORS_DIR', 'REQUIRE_ALL'])

// Kubernetes describes every service of a namespace to every pod. For services called `keyringd` or
// `keyringd-public` that yields KEYRINGD_SERVICE_HOST, KEYRINGD_PUBLIC_PORT=tcp://10.0.0.7:80 and so on.
const SERVICE = /^SERVICE_|(?:^|_)SERVICE_(?:HOST|PORT(?:_\w+)?)$/
const PORT_LINK = /(?:^|_)PORT(?:_\d+_(?:TCP|UDP|SCTP))?$/
const PORT_PART = /(?:^|_)PORT_\d+_(?:TCP|UDP|SCTP)_(?:PROTO|PORT|ADDR)$/

/** Whether a name (without its prefix) belongs to somebody else and is to be ignored. */
export const isForeign = (name: string, value: string): boolean =>
  ELSEWHERE.has(name) ||
  SERVICE.test(name) ||
  PORT_PART.test(name) ||
  (PORT_LINK.test(name) && /^(?:tcp|udp|sctp):\/\//.test(value))

/** `rootKeyAlgorithm` → `ROOT_KEY_ALGORITHM`. */
export const upperSnake = (name: string): string =>
  name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()

/** Levenshtein's distance: how many letters to add, drop or change. */
export function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (const [index, letter] of [...a].entries()) {
    const next = [index + 1]
    for (let column = 1; column <= b.length; column += 1) {
      const change = (row[column - 1] ?? 0) + (letter === b[column - 1] ? 0 : 1)
      next.push(Math.min(change, (row[column] ?? 0) + 1, (next[column - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}

/** The nearest known name, when it is near enough to be what was meant. */
export function suggest(name: string, known: readonly string[]): string | undefined {
  const ranked = known
    .map((candidate) => ({ candidate, steps: distance(name, candidate) }))
    .sort((a, b) => a.steps - b.steps)
  const best = ranked[0]
  return best && best.steps <= Math.max(2, Math.floor(name.length / 3)) ? best.candidate : undefined
}
