// Where settings come from: the environment, a JSON file, and files that hold secrets.
import { homedir } from 'node:os'
import { z } from 'zod'
import { isForeign, NOT_YET, suggest } from './names.ts'

export const PREFIX = 'KEYRINGD_'

export type Environment = Record<string, string | undefined>

export interface ConfigFiles {
  /** The whole text of a file; throws when it cannot be read. */
  read(path: string): string
}

export const expandHome = (text: string, env: Environment): string =>
  text.replace(/^~(?=\/|$)/, env.HOME || homedir())

/** What the user set, by name without prefix, and every fault in the names. */
export function gather(env: Environment, files: ConfigFiles, known: readonly string[]) {
  const given = new Map<string, string>()
  const faults: string[] = []

  /** The text of a file that the setting `name` names, without one final newline. */
  const readText = (name: string, file: string): string | undefined => {
    const place = expandHome(file, env)
    try {
      return files.read(place).replace(/\r?\n$/, '')
    } catch (error) {
      const reason = error instanceof Error && 'code' in error ? ` (${error.code})` : ''
      faults.push(`${PREFIX}${name} names ${place}, which cannot be read${reason}`)
      return undefined
    }
  }
  const accept = (name: string, value: string, shown: string) => {
    if (known.includes(name)) given.set(name, value)
    else if (NOT_YET.includes(name)) faults.push(`${shown} is not available yet in this version`)
    else {
      const near = suggest(name, known)
      faults.push(`${shown} is no setting${near ? `; did you mean ${PREFIX}${near}?` : ''}`)
    }
  }

  const file = env[`${PREFIX}CONFIG`]
  const text = file ? readText('CONFIG', file) : undefined
  const members = text === undefined ? {} : parseMembers(text)
  if (!members) faults.push(`${PREFIX}CONFIG names ${file}, which is no JSON object of settings`)
  for (const [member, value] of Object.entries(members ?? {})) {
    const shown = `${PREFIX}${member.toUpperCase()} ("${member}" in ${file})`
    if (member === 'config' || member !== member.toLowerCase())
      faults.push(`${shown} is no setting of that file; names there are in lower case`)
    else if (value !== '') accept(member.toUpperCase(), value, shown)
  }
  for (const [variable, value = ''] of Object.entries(env)) {
    const name = variable.slice(PREFIX.length)
    if (!variable.startsWith(PREFIX) || value === '' || isForeign(name, value)) continue
    accept(name, value, variable)
  }
  return { given, faults, readText }
}

/** Members of a configuration file as the text that the environment would give. */
function parseMembers(text: string): Record<string, string> | undefined {
  try {
    const members = z.record(z.string(), z.json()).parse(JSON.parse(text))
    return Object.fromEntries(Object.entries(members).map(([name, value]) => [name, toText(value)]))
  } catch {
    return undefined
  }
}

function toText(value: unknown): string {
  if (value === null) return ''
  if (Array.isArray(value)) return value.join(',')
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}
