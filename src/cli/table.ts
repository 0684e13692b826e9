// What people read: columns, times of their own zone, nothing that moves their cursor.

/** How an empty cell looks (keyring contract section 8). */
export const NONE = '<none>'

const CONTROL = /\p{Cc}/gu

/** On one line, and without what a terminal would obey. */
export const plain = (value: string): string => value.replace(CONTROL, ' ')

/** The same for text of several lines. */
export const plainLines = (value: string): string =>
  value.split('\n').map(plain).join('\n').trimEnd()

/** Columns two spaces or more apart; every line ends with a newline. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, ...rows].map((row) => row.map((cell) => plain(cell) || NONE))
  return columns(lines)
}

/** Names and values, one pair a line; a value that is missing is left out. */
export function record(members: Readonly<Record<string, unknown>>): string {
  const lines = Object.entries(members)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => [
      plain(name),
      plain(typeof value === 'string' ? value : JSON.stringify(value)) || NONE,
    ])
  return columns(lines)
}

/** Cells in columns, as they are; every line ends with a newline. */
export function columns(lines: readonly (readonly string[])[]): string {
  const widths: number[] = []
  for (const line of lines) {
    for (const [column, cell] of line.entries()) {
      widths[column] = Math.max(widths[column] ?? 0, cell.length)
    }
  }
  return lines
    .map((line) => line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '))
    .map((line) => `${line.trimEnd()}\n`)
    .join('')
}

const two = (value: number) => String(Math.trunc(value)).padStart(2, '0')

/** RFC 3339 in the local zone, without a fraction; `<none>` for no time. */
export function localTime(iso: string | null | undefined): string {
  if (iso === null || iso === undefined) return NONE
  const time = new Date(iso)
  if (Number.isNaN(time.getTime())) return iso
  const east = -time.getTimezoneOffset()
  const zone =
    east === 0
      ? 'Z'
      : `${east < 0 ? '-' : '+'}${two(Math.abs(east) / 60)}:${two(Math.abs(east) % 60)}`
  const date = [time.getFullYear(), two(time.getMonth() + 1), two(time.getDate())].join('-')
  const clock = [time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(':')
  return `${date}T${clock}${zone}`
}
