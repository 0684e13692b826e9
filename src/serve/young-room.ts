import { setFlagsFromString } from 'node:v8'

/** What one of the objects takes, with its place in their list. */
const OBJECT_BYTES = 40
const OBJECTS = Math.floor((6 * 2 ** 20) / OBJECT_BYTES)

/**
 * V8 enlarges the room for young objects for those that live on, of which a start makes many and requests none. What a
 * start needed would stay for good, a fifth of all memory, so that room does not grow before the server is ready
 * (bin/keyringd.js); the smallest room would cost a busy server a tenth of its time. So it grows now, for objects that
 * live on for a moment: to a few megabytes, in some ten milliseconds.
 */
export function growYoungRoom(): void {
  setFlagsFromString('--semi-space-growth-factor=2')
  const kept: object[] = []
  while (kept.length < OBJECTS) kept.push({ at: kept.length, more: 0 })
}
