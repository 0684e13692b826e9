import { Problem } from '../errors.ts'

// The pattern language of policies: identity contract, section 6. Patterns and values are read by code points, without
// case folding or Unicode normalisation, and a pattern speaks of the whole value. Nothing here backtracks and groups are
// never expanded: a pattern becomes a Thompson automaton, and a match visits each of its states at most once per
// character. What the contract leaves open: `[` without `]` is an ordinary character, like a brace without a partner;
// `{x}` without a comma is ordinary text; `[^a]` means `[!a]`; `]` first in a class is a member; a final `\` is itself.

/** One character that is in the ranges, or that is not. */
interface One {
  is: 'one'
  ranges: readonly (readonly [from: number, to: number])[]
  negated: boolean
}

interface Run {
  is: 'run'
}

interface Fork {
  is: 'fork'
  to: number[]
}

/** A brace or a comma that is not escaped: part of a group, or an ordinary character. */
interface Mark {
  is: 'mark'
  char: string
}

/** Every state but a fork leads to the one behind it; the end of the list accepts. */
type State = One | Run | Fork

export interface Pattern {
  text: string
  states: readonly State[]
}

/** Both limits are in code points. */
const MAX_PATTERN = 1024
const MAX_VALUE = 4096
const MAX_DEPTH = 16

const refuse = (reason: string) => new Problem('invalid_request', reason)

const codeOf = (char: string): number => char.codePointAt(0) ?? 0
const oneOf = (code: number): One => ({ is: 'one', ranges: [[code, code]], negated: false })
/** Patterns share the states that most of them are made of: one of its own is ten times as large. */
const ASCII: readonly One[] = Array.from({ length: 128 }, (_, code) => oneOf(code))
const only = (char: string): One => ASCII[codeOf(char)] ?? oneOf(codeOf(char))
const ANY: One = { is: 'one', ranges: [], negated: true }
const RUN: Run = { is: 'run' }

/**
 * Reads a pattern. Problem `invalid_request` for what another matcher might take for more than we do (a leading `!`,
 * any unescaped parenthesis that opens a group), for class ranges that run backwards, and for patterns over 1,024
 * characters or with groups nested more than 16 deep.
 */
export function parsePattern(text: string): Pattern {
  const chars = [...text]
  if (chars.length > MAX_PATTERN) throw refuse(`A pattern has at most ${MAX_PATTERN} characters`)
  if (chars[0] === '!') throw refuse('A pattern cannot begin with !; the character is \\!')
  return { text, states: link(tokenize(chars)) }
}

function tokenize(chars: readonly string[]): (One | Run | Mark)[] {
  const tokens: (One | Run | Mark)[] = []
  let unclosed = false // once a class has no end, no later one has: this keeps `[[[[…` linear
  let done = -1 // the last place that was read, ahead of the loop after an escape or a class
  for (const [at, char] of chars.entries()) {
    if (at <= done) continue
    const next = chars[at + 1]
    const found = char === '[' && !unclosed ? readClass(chars, at) : undefined
    if (found) {
      tokens.push(found.one)
      done = found.end
    } else if (char === '\\' && next !== undefined) {
      tokens.push(only(next))
      done = at + 1
    } else if (char === '(') {
      throw refuse('A pattern has no groups in parentheses; the character is \\(')
    } else if (char === '*') {
      if (tokens.at(-1)?.is !== 'run') tokens.push(RUN)
    } else if (char === '?') {
      tokens.push(ANY)
    } else if (char === '{' || char === '}' || char === ',') {
      tokens.push({ is: 'mark', char })
    } else {
      if (char === '[') unclosed = true
      tokens.push(only(char))
    }
  }
  return tokens
}

/** The class that opens at `start`, with the place of its `]`; undefined when there is none. */
function readClass(chars: readonly string[], start: number) {
  const negated = chars[start + 1] === '!' || chars[start + 1] === '^'
  const first = start + (negated ? 2 : 1)
  const ranges: [number, number][] = []
  let at = first

  const member = (): number => {
    if (chars[at] === '\\') at += 1
    const code = codeOf(chars[at] ?? '')
    at += 1
    return code
  }

  while (at < chars.length) {
    if (chars[at] === ']' && at > first) {
      if (ranges.some(([from, to]) => from > to)) throw refuse('A class has a range backwards')
      const one: One = { is: 'one', ranges, negated }
      return { one, end: at }
    }
    const from = member()
    const isRange = chars[at] === '-' && chars[at + 1] !== undefined && chars[at + 1] !== ']'
    if (isRange) at += 1
    ranges.push([from, isRange ? member() : from])
  }
  return undefined
}

function link(tokens: readonly (One | Run | Mark)[]): State[] {
  const marks = tokens.map((token) => (token.is === 'mark' ? token.char : ''))
  const inGroups = groupMarks(marks)
  const states: State[] = []
  const groups: { fork: Fork; ends: Fork[] }[] = []
  tokens.forEach((token, at) => {
    if (token.is !== 'mark') {
      states.push(token)
    } else if (!inGroups.has(at)) {
      states.push(only(token.char))
    } else if (token.char === '{') {
      if (groups.length === MAX_DEPTH) throw refuse(`Groups nest at most ${MAX_DEPTH} deep`)
      const fork: Fork = { is: 'fork', to: [states.length + 1] }
      states.push(fork)
      groups.push({ fork, ends: [] })
    } else if (token.char === ',') {
      const end: Fork = { is: 'fork', to: [] } // of the alternative before; leads past the group
      states.push(end)
      groups.at(-1)?.ends.push(end)
      groups.at(-1)?.fork.to.push(states.length)
    } else {
      groups.pop()?.ends.forEach(({ to }) => void to.push(states.length))
    }
  })
  return states
}

/** The places of the braces and commas that make groups: balanced braces with at least one comma of their own. */
function groupMarks(marks: readonly string[]): Set<number> {
  const partners = pairBraces(marks)
  const found = new Set<number>()
  const open: { close: number; places: number[] }[] = []
  marks.forEach((mark, at) => {
    const close = partners.get(at)
    const innermost = open.at(-1)
    if (close !== undefined) open.push({ close, places: [at, close] })
    else if (mark === ',') innermost?.places.push(at)
    else if (innermost?.close === at) {
      open.pop()
      if (innermost.places.length > 2) for (const place of innermost.places) found.add(place)
    }
  })
  return found
}

/** Opening brace → closing brace, by their places; those without a partner are left out. */
function pairBraces(marks: readonly string[]): Map<number, number> {
  const partners = new Map<number, number>()
  const open: number[] = []
  marks.forEach((mark, at) => {
    if (mark === '{') open.push(at)
    const partner = mark === '}' ? open.pop() : undefined
    if (partner !== undefined) partners.set(partner, at)
  })
  return partners
}

/** What a number of matches may cost together, in steps of `simulate`; what is left counts down. */
export interface Budget {
  steps: number
}

/**
 * Whether a value is the pattern's own text, or matches it. Values over 4,096 code points never do, nor does anything
 * once the budget is used up: many patterns against many values are linear each, and a stall together.
 */
export function matches(pattern: Pattern, value: string, budget?: Budget): boolean {
  if (pattern.text === value) return true
  const { matched, steps } = simulate(pattern, value, budget?.steps)
  if (budget) budget.steps -= steps
  return matched
}

/** The one text that a pattern without wildcards, classes and groups stands for, escapes removed; else undefined. */
export function literalOf({ states }: Pattern): string | undefined {
  const codes: number[] = []
  for (const state of states) {
    if (state.is !== 'one' || state.negated) return undefined
    const [range, ...others] = state.ranges
    if (!range || range[0] !== range[1] || others.length > 0) return undefined
    codes.push(range[0])
  }
  return codes.map((code) => String.fromCodePoint(code)).join('')
}

/** The automaton alone. `steps` counts the states visited and the ranges compared, for tests that bound the work. */
export function simulate(
  { states }: Pattern,
  value: string,
  most = Number.POSITIVE_INFINITY,
): { matched: boolean; steps: number } {
  const codes = value.length > 2 * MAX_VALUE ? undefined : Array.from(value, codeOf)
  if (!codes || codes.length > MAX_VALUE) return { matched: false, steps: 0 }
  const seen = new Uint32Array(states.length + 1) // per state: the round that last reached it
  const pending: number[] = []
  let steps = 0
  let round = 1

  /** Adds a state, and those that it reaches without a character. */
  const reach = (list: number[], from: number): number[] => {
    pending.push(from)
    for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
      if (seen[at] === round) continue
      seen[at] = round
      steps += 1
      const state = states[at]
      if (state?.is === 'fork') pending.push(...state.to)
      else list.push(at)
      if (state?.is === 'run') pending.push(at + 1)
    }
    return list
  }

  let current = reach([], 0)
  for (const code of codes) {
    round += 1
    const next: number[] = []
    for (const at of current) {
      const state = states[at]
      if (state?.is === 'run') reach(next, at)
      if (state?.is !== 'one') continue
      steps += state.ranges.length
      if (has(state, code)) reach(next, at + 1)
    }
    current = next
    if (current.length === 0) break
    if (steps > most) return { matched: false, steps }
  }
  return { matched: current.includes(states.length), steps }
}

const has = ({ ranges, negated }: One, code: number): boolean =>
  ranges.some(([from, to]) => from <= code && code <= to) !== negated

/**
 * The entries of a comma-separated list: not split inside balanced braces, trimmed, empty ones dropped. A backslash
 * makes a brace ordinary, and nothing else: `a\,b` is two entries. The normal form is the entries joined with `, `.
 */
export function splitList(text: string): string[] {
  const marks = text.split('')
  for (let at = 0; at < marks.length; at += 1) {
    const next = marks[at] === '\\' ? marks[at + 1] : undefined
    if (next === undefined) continue
    at += 1
    if (next !== ',') marks[at] = ''
  }
  const partners = pairBraces(marks)
  const entries: string[] = []
  let start = 0
  for (let at = 0; at <= marks.length; at += 1) {
    at = partners.get(at) ?? at
    if (at < marks.length && marks[at] !== ',') continue
    entries.push(text.slice(start, at).trim())
    start = at + 1
  }
  return entries.filter((entry) => entry !== '')
}
