import type { Answer } from './client.ts'
import { localTime, plain, plainLines } from './table.ts'

// What a server said when it refused, as people read it: a problem document (RFC 9457) of our own routes, the envelope
// of the identities surface (identity contract section 1), the error document of the MarkLogic surface, or whatever else
// it was.

export const unexpected = ({ status, text }: Answer): string =>
  `error: Unexpected response code: ${status} (${plainLines(text)})`

/** A sentence, and a line for each further fault. */
export function friendly(answer: Answer): string {
  const { detail, code, errors, message, error, details, errorResponse } = membersOf(answer.text)
  const lines = (faults: string[]) => faults.map((fault) => `  ${plain(fault)}`)
  const first = (text: string, word: string) =>
    `error: ${plain(text)} (${answer.status} ${plain(word)})`
  if (typeof detail === 'string' && typeof code === 'string') {
    return [first(detail, code), ...lines(faultsOf(errors).slice(1))].join('\n')
  }
  const manage = asObject(errorResponse)
  if (typeof manage['message'] === 'string') {
    return first(manage['message'], String(manage['messageCode'] || manage['status']))
  }
  if (typeof error !== 'string') return unexpected(answer)
  if (typeof message === 'string') {
    return [first(message, error), ...lines(missingOf(details))].join('\n')
  }
  const [fault, ...others] = faultsOf(message)
  return fault === undefined
    ? unexpected(answer)
    : [first(fault, error), ...lines(others)].join('\n')
}

/** Of an ID that has not the form of one; a login does not say which it was. */
const NO_IDENTITY =
  /^(?:Failed to find identity with ID (?![\da-f]{8}-[\da-f]{4}-)|JWT auth method not found for identity)/
const BY_ID = 'Identities are named by id: keyringd identity list'

/** What to do about a refusal; `asked`: without a credential, though the route may need one. */
export function hintsOf({ status, text }: Answer, { asked }: { asked: boolean }): string[] {
  if (status === 401 && asked) return ['No token was given: set KEYRINGD_TOKEN, or use -token']
  const { code, safeAt, message, detail } = membersOf(text)
  if (status === 404 && NO_IDENTITY.test(String(message ?? detail))) return [BY_ID]
  if (typeof message === 'string' && message.startsWith('Access denied')) {
    return ['How each check of the token went: keyringd identity explain ID -jwt-file FILE']
  }
  if (code === 'rotation_unsafe' && typeof safeAt === 'string') {
    return [`It is safe from ${localTime(safeAt)} on`]
  }
  if (code !== 'activation_unsafe' || typeof safeAt !== 'string') return []
  return [
    `It is safe from ${localTime(safeAt)} on: wait until then, or use -force with -reason TEXT`,
  ]
}

/** Members of a JSON object; nothing when it is none. */
function membersOf(text: string): Record<string, unknown> {
  try {
    return asObject(JSON.parse(text))
  } catch {
    return {}
  }
}

const asObject = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null ? { ...value } : {}

/** `path: message` of each; a path is text or a list of keys. */
function faultsOf(errors: unknown): string[] {
  if (!Array.isArray(errors)) return []
  return errors.map((one) => {
    const { path, message } = asObject(one)
    const place = Array.isArray(path) ? path.join('/') : String(path)
    return place === '' ? String(message) : `${place}: ${message}`
  })
}

/** What the caller would need for the privilege boundary to let the change through, as grants call it. */
function missingOf(details: unknown): string[] {
  const { missingPermissions } = asObject(details)
  if (!Array.isArray(missingPermissions)) return []
  return missingPermissions.map((one) => {
    const { action, subject } = asObject(one)
    return `missing: ${action === 'use' ? subject : `${subject}:${action}`}`
  })
}
