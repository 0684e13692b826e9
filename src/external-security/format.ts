import { Problem } from '../errors.ts'
import type { BodyFormat } from './payload.ts'

// Which format a body has, and which one an answer gets (contract section 3). Pure.

export interface Asked {
  /** As in the query: text, or a list where it is there more than once. */
  format: unknown
  accept: string | undefined
  contentType: string | undefined
}

export const TYPES: Record<BodyFormat, string> = {
  json: 'application/json; charset=UTF-8',
  xml: 'application/xml; charset=UTF-8',
}

const isFormat = (value: unknown): value is BodyFormat => value === 'json' || value === 'xml'

/** @throws Problem `parameter_invalid` */
export function checkFormat({ format }: Asked): BodyFormat | undefined {
  if (format === undefined || isFormat(format)) return format
  throw new Problem('parameter_invalid', 'format is neither json nor xml')
}

/** Of what went well: `format` beats `Accept`, which beats the route's own. */
export const answerFormat = ({ format, accept }: Asked, fallback: BodyFormat): BodyFormat =>
  isFormat(format) ? format : (acceptedFormat(accept) ?? fallback)

/** Of an error: what the request was in comes before the route's own. */
export const errorFormat = (asked: Asked, fallback: BodyFormat): BodyFormat =>
  answerFormat(asked, bodyType(asked.contentType) ?? fallback)

/**
 * Of a body that is there.
 * @throws Problem `unsupported_media_type`
 */
export function requestFormat({ contentType, format }: Asked): BodyFormat {
  const found =
    contentType === undefined ? (isFormat(format) ? format : undefined) : bodyType(contentType)
  if (found) return found
  throw new Problem(
    'unsupported_media_type',
    'The body must be application/json or application/xml, in UTF-8',
  )
}

function bodyType(header: string | undefined): BodyFormat | undefined {
  const [type = '', ...parameters] = (header ?? '').split(';', 10)
  return parameters.every(isUtf8) ? formatOf(type.trim()) : undefined
}

/** JSON and XML of ours are in UTF-8; no other parameter of the type means anything. */
const isUtf8 = (parameter: string): boolean => /^(?:charset="?utf-?8"?)?$/i.test(parameter.trim())

function formatOf(type: string): BodyFormat | undefined {
  const lower = type.toLowerCase()
  if (lower === 'application/json') return 'json'
  return lower === 'application/xml' ? 'xml' : undefined
}

/** The one that is wanted more, the first of two alike; undefined where neither is named (RFC 9110 section 12.5.1). */
function acceptedFormat(accept: string | undefined): BodyFormat | undefined {
  let best: { format: BodyFormat; quality: number } | undefined
  for (const range of (accept ?? '').split(',', 50)) {
    const [type = '', ...parameters] = range.split(';')
    const named = type.trim().toLowerCase()
    const format = formatOf(named === 'text/xml' ? 'application/xml' : named)
    const quality = qualityOf(parameters)
    if (format && quality > (best?.quality ?? 0)) best = { format, quality }
  }
  return best?.format
}

function qualityOf(parameters: readonly string[]): number {
  for (const parameter of parameters) {
    const [, value] = /^\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*$/i.exec(parameter) ?? []
    if (value !== undefined) return Math.min(1, Number(value))
  }
  return 1
}
