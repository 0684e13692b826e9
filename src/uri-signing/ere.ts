import { RE2JS } from 're2js'

// POSIX extended regular expressions (IEEE Std 1003.1, section 9.4) on an engine whose time is linear in the text. They
// are read here and written again in the engine's syntax, for the two differ: `a+?` is a repeated repetition to one
// and a lazy one to the other. What POSIX leaves undefined is refused, not guessed: Perl's `\d` and `(?:` among it,
// which caches take for something else or do not compile at all.

export interface Ere {
  /** Instructions of its program: a match costs at most as many steps for each character of the text. */
  size: number
  /** Whether the expression matches at the start of the text; it need not reach the end unless it says so. */
  matchesStart(text: string): boolean
}

/** Characters of an expression, and instructions of the program that it becomes. */
const MAX_PATTERN = 1024
const MAX_PROGRAM = 2000
const MAX_GROUPS = 32
/** POSIX's least RE_DUP_MAX: what every implementation takes. */
const MAX_REPEAT = 255

const CLASSES: ReadonlySet<string> = new Set([
  ...['alpha', 'digit', 'alnum', 'upper', 'lower', 'punct'],
  ...['space', 'blank', 'cntrl', 'graph', 'print', 'xdigit'],
])

/** Compiles, or says why not: a phrase that follows "the expression". */
export function compileEre(pattern: string): Ere | { fault: string } {
  if (pattern.length > MAX_PATTERN) return { fault: `has more than ${MAX_PATTERN} characters` }
  const translated = translate(pattern)
  if (typeof translated !== 'string') return translated
  try {
    const compiled = RE2JS.compile(translated, RE2JS.DOTALL)
    const size = compiled.programSize()
    if (size > MAX_PROGRAM) return { fault: 'is too large' }
    return { size, matchesStart: (text) => compiled.matcher(text).lookingAt() }
  } catch {
    return { fault: 'is too large' } // what the engine refuses of well-formed expressions: repeats and nesting
  }
}

const fault = (reason: string) => ({ fault: reason })

function translate(pattern: string): string | { fault: string } {
  const chars = [...pattern]
  const out: string[] = []
  /** About how many instructions each of them becomes: repetitions of repetitions take seconds to compile. */
  const weights: number[] = []
  /** Where the atom that a repetition would repeat begins in `out`; undefined where none may stand. */
  let atom: number | undefined
  const groups: number[] = []
  let at = 0

  const add = (text: string, weight: number) => {
    out.push(text)
    weights.push(weight)
  }

  const push = (text: string) => {
    atom = out.length
    add(text, 1)
  }

  function repeat(operator: string, times = 1): boolean {
    if (atom === undefined) return false
    const repeated = out.splice(atom).join('')
    const weight = sum(weights.splice(atom))
    add(`(?:${repeated})${operator}`, weight * times + 1)
    return true
  }

  while (at < chars.length) {
    const char = chars[at] ?? ''
    const next = chars[at + 1]
    if (char === '\\') {
      if (next === undefined) return fault('ends in a backslash')
      if (/[^!-/:-@[-`{-~]/.test(next) || "<>`'".includes(next)) {
        return fault(`has \\${next}, which POSIX does not define`)
      }
      push(literal(next))
      at += 2
    } else if (char === '[') {
      const bracket = readBracket(chars, at)
      if ('fault' in bracket) return bracket
      push(bracket.text)
      at = bracket.end
    } else if (char === '{') {
      const interval = readInterval(chars, at)
      if ('fault' in interval) return interval
      if (!repeat(interval.text, interval.times)) return fault('repeats nothing')
      at = interval.end
    } else {
      at += 1
      if (char === '(') {
        if (groups.length === MAX_GROUPS) return fault('nests too many groups')
        groups.push(out.length)
        add('(?:', 0)
        atom = undefined
      } else if (char === ')') {
        atom = groups.pop()
        if (atom === undefined) return fault('closes a group that is not open')
        add(')', 0)
      } else if (char === '*' || char === '+' || char === '?') {
        if (!repeat(char)) return fault('repeats nothing')
      } else if (char === '|') {
        add('|', 1)
        atom = undefined
      } else if (char === '^' || char === '$') {
        add(char === '^' ? '\\A' : '\\z', 1)
        atom = undefined
      } else {
        push(char === '.' ? '.' : literal(char))
      }
    }
  }
  if (groups.length > 0) return fault('does not close a group')
  return sum(weights) > MAX_PROGRAM ? fault('is too large') : out.join('')
}

const sum = (numbers: readonly number[]): number =>
  numbers.reduce((total, number) => total + number, 0)

const literal = (char: string): string => (/[A-Za-z0-9]/.test(char) ? char : escaped(char))

const escaped = (char: string): string => `\\x{${(char.codePointAt(0) ?? 0).toString(16)}}`

function readInterval(chars: readonly string[], start: number) {
  const end = chars.indexOf('}', start)
  const [, least, comma, most] =
    /^([0-9]{1,3})(,?)([0-9]{0,3})$/.exec(chars.slice(start + 1, end).join('')) ?? []
  if (end < 0 || least === undefined || (comma === '' && most !== '')) {
    return fault('has a brace that is no interval')
  }
  const upper = most === '' ? least : most
  if (Number(upper) < Number(least) || Number(upper) > MAX_REPEAT) {
    return fault(`has an interval backwards or above ${MAX_REPEAT}`)
  }
  return { text: `{${least}${comma}${most}}`, end: end + 1, times: Math.max(1, Number(upper)) }
}

/** A bracket expression (section 9.3.5): a backslash in it is itself, `]` first is a member. */
function readBracket(chars: readonly string[], start: number) {
  let at = start + 1
  const negated = chars[at] === '^'
  if (negated) at += 1
  const first = at
  let text = ''
  while (at < chars.length && (chars[at] !== ']' || at === first)) {
    const char = chars[at] ?? ''
    const next = chars[at + 1] ?? ''
    if (char === '[' && ':=.'.includes(next) && next !== '') {
      const name = /^\[:([a-z]+):\]/.exec(chars.slice(at, at + 12).join(''))?.[1] ?? ''
      if (!CLASSES.has(name)) return fault('has a class that POSIX does not define')
      text += `[:${name}:]`
      at += name.length + 4
      continue
    }
    const isRange = next === '-' && chars[at + 2] !== undefined && chars[at + 2] !== ']'
    const last = isRange ? (chars[at + 2] ?? '') : char
    if (isRange && last === '[' && ':=.'.includes(chars[at + 3] ?? ' ')) {
      return fault('has a range that ends in a class')
    }
    if ((last.codePointAt(0) ?? 0) < (char.codePointAt(0) ?? 0)) {
      return fault('has a range backwards')
    }
    text += isRange ? `${escaped(char)}-${escaped(last)}` : escaped(char)
    at += isRange ? 3 : 1
  }
  if (at >= chars.length) return fault('does not close a bracket')
  return { text: `[${negated ? '^' : ''}${text}]`, end: at + 1 }
}
