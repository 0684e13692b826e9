import { Problem } from '../errors.ts'

// The bodies of `/oauth/*`: application/x-www-form-urlencoded (RFC 6749 appendix B). Pure.

const NAME = /^[a-z_]{1,40}$/

/**
 * The parameters that have a value; one without counts as left out (RFC 6749 section 3.2).
 * @throws Problem `invalid_request` for one that is there twice. RFC 8693 section 2.1 would allow several `audience`s:
 * a token for all of them lets each one use it at the others.
 */
export function parseForm(text: string): Record<string, string> {
  const form = new Map<string, string>()
  for (const [name, value] of new URLSearchParams(text)) {
    if (form.has(name)) {
      const which = NAME.test(name) ? name : 'A parameter'
      throw new Problem('invalid_request', `${which} is there more than once`)
    }
    form.set(name, value)
  }
  return Object.fromEntries([...form].filter(([, value]) => value !== ''))
}
