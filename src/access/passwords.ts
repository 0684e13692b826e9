import * as crypto from 'node:crypto'
import { promisify } from 'node:util'
import { equalBytes } from '../core/index.ts'
import { Problem } from '../errors.ts'
import type { WorkQueue } from './work-queue.ts'

// Passwords at rest: argon2id (RFC 9106) in PHC strings, with the first of OWASP's parameters.

/** Memory in KiB, passes, lanes. */
const COST = { memory: 19_456, passes: 2, parallelism: 1 }
const SALT_BYTES = 16
const TAG_BYTES = 32
/** What a string in the database may ask for: more would be work that nobody meant. */
const MOST = { memory: 262_144, passes: 16, parallelism: 16 }

/** Characters, by code points; longer ones are nobody's. */
export const MAX_PASSWORD = 256
/** The same in UTF-16 units, at most: what is looked at. */
export const MAX_PASSWORD_UNITS = 2 * MAX_PASSWORD

const PHC =
  /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]{22,86})\$([A-Za-z0-9+/]{22,86})$/

interface Parsed {
  cost: typeof COST
  salt: Buffer
  tag: Buffer
}

function parsePhc(text: string): Parsed | undefined {
  const [, memory, passes, parallelism, salt = '', tag = ''] = PHC.exec(text) ?? []
  const cost = {
    memory: Number(memory),
    passes: Number(passes),
    parallelism: Number(parallelism),
  }
  const names = ['memory', 'passes', 'parallelism'] as const
  if (!names.every((name) => cost[name] >= 1 && cost[name] <= MOST[name])) return undefined
  if (cost.memory < 8 * cost.parallelism) return undefined
  return { cost, salt: Buffer.from(salt, 'base64'), tag: Buffer.from(tag, 'base64') }
}

const unpadded = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64').replace(/=+$/, '')

const toPhc = (salt: Uint8Array, tag: Uint8Array) =>
  `$argon2id$v=19$m=${COST.memory},t=${COST.passes},p=${COST.parallelism}$${unpadded(salt)}$${unpadded(tag)}`

/** The same text in the same bytes, however a keyboard composes it (RFC 8265 section 4.2.2). */
const bytesOf = (password: string) => Buffer.from(password.normalize('NFC'))

/** What can be a password at all: text with a meaning, of a length that is worked on. */
export const isPassword = (text: string): boolean =>
  text !== '' &&
  text.length <= MAX_PASSWORD_UNITS &&
  [...text].length <= MAX_PASSWORD &&
  text.isWellFormed()

export type Passwords = ReturnType<typeof createPasswords>

/**
 * Hashes and checks passwords in `queue`: each takes 19 MiB and tens of milliseconds.
 * @throws Problem `config_invalid` where this Node.js has no argon2
 */
export function createPasswords(queue: WorkQueue) {
  if (typeof crypto.argon2 !== 'function') {
    throw new Problem(
      'config_invalid',
      `This Node.js (${process.version}) has no argon2, which passwords are hashed with; use 24.7 or later.`,
    )
  }
  const argon2 = promisify(crypto.argon2)
  /** Of nobody's password: a name that there is not costs as much as one that there is. */
  const nobodys = toPhc(crypto.randomBytes(SALT_BYTES), crypto.randomBytes(TAG_BYTES))

  const derive = (password: string, { cost, salt, tag }: Parsed) =>
    argon2('argon2id', {
      ...{ message: bytesOf(password), nonce: salt, tagLength: tag.length },
      ...{ memory: cost.memory, passes: cost.passes, parallelism: cost.parallelism },
    })

  return {
    /** A PHC string for a new password. @throws Problem `overloaded` */
    async hash(password: string, caller: string): Promise<string> {
      const [salt, tag] = [crypto.randomBytes(SALT_BYTES), Buffer.alloc(TAG_BYTES)]
      return toPhc(salt, await queue(caller, () => derive(password, { cost: COST, salt, tag })))
    },

    /**
     * Whether the password is the one that was hashed; undefined: there is none, which takes as long. `first` is
     * called when its turn has come, and may throw. @throws Problem `overloaded`
     */
    async verify(
      password: string,
      hashed: string | undefined,
      caller: string,
      first?: () => void,
    ): Promise<boolean> {
      const known = hashed === undefined ? undefined : parsePhc(hashed)
      const against = known ?? parsePhc(nobodys)
      if (!against) throw new Problem('internal')
      // What can be no password is compared as another one: no shorter way out.
      const isOne = isPassword(password)
      const tag = await queue(caller, () => {
        first?.()
        return derive(isOne ? password : '', against)
      })
      return equalBytes(tag, against.tag) && isOne && known !== undefined
    },
  }
}
