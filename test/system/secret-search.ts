import { type Answer, request, type Server } from './process.ts'

// The search for secrets in bytes, and a client that remembers what it sent, what came back, and which secrets there are.

/** Base64 of bytes in the middle of others: what does not depend on the neighbours, for each of three offsets. */
function base64Middles(bytes: Buffer): string[] {
  return [0, 1, 2].map((offset) => {
    const text = Buffer.concat([Buffer.alloc(offset), bytes]).toString('base64')
    const spoiled = (offset + bytes.length) % 3 === 0 ? 0 : 4
    return text.slice(offset === 0 ? 0 : 4, text.length - spoiled)
  })
}

/** A secret in every writing that we look for. */
function writings(secret: Buffer): Buffer[] {
  const base64 = base64Middles(secret)
  const base64url = base64.map((text) => text.replaceAll('+', '-').replaceAll('/', '_'))
  const hex = secret.toString('hex')
  const texts = [...base64, ...base64url, hex, hex.toUpperCase()]
  return [secret, ...[...new Set(texts)].map((text) => Buffer.from(text))]
}

export interface Secret {
  group: string
  writings: readonly Buffer[]
}

export const toSecret = (group: string, bytes: Buffer): Secret => ({
  ...{ group, writings: writings(bytes) },
})

export const holds = (place: Buffer, secret: Secret): boolean =>
  secret.writings.some((writing) => place.includes(writing))

export interface Exchange {
  answer: Answer
  /** Path and body. */
  sent: Buffer
  /** Groups of secrets that the answer is there to show. */
  shows: Set<string>
}

/** Headers and body, as they are searched. */
export const bytesOf = ({ headers, text }: Answer): Buffer =>
  Buffer.from(`${JSON.stringify([...headers])}\n${text}`)

export type Keeper = ReturnType<typeof createKeeper>

export function createKeeper(server: Server) {
  const secrets: Secret[] = []
  const exchanges = new Map<Answer, Exchange>()

  async function recorded(asked: Promise<Answer>, path: string, body = ''): Promise<Answer> {
    const answer = await asked
    exchanges.set(answer, { answer, sent: Buffer.from(`${path}\n${body}`), shows: new Set() })
    return answer
  }

  /** Remembers secrets: each as it is, and the bytes that it stands for. */
  function keep(group: string, ...texts: string[]): void {
    for (const text of texts) {
      const bytes = Buffer.from(text.replace(/^kr[dl]_/, ''), 'base64url')
      secrets.push(toSecret(group, Buffer.from(text)), toSecret(group, bytes))
    }
  }

  return {
    secrets,
    exchanges: () => [...exchanges.values()],
    keep,

    /** A JWT, of which the signature alone says enough. */
    keepToken(group: string, jwt: string): void {
      keep(group, jwt, jwt.split('.').at(-1) ?? '')
    },

    /** Any request, without a credential of its own. */
    send: (path: string, init: RequestInit & { body?: string } = {}) =>
      recorded(request(`${server.url}${path}`, init), path, init.body),

    /** JSON with the management token, or another credential. */
    call: (method: string, path: string, body?: unknown, credential?: string) =>
      recorded(server.call(method, path, body, credential), path, JSON.stringify(body)),

    /** Says of an answer that it is there to show secrets of these groups, and none of others. */
    shows(answer: Answer, ...groups: string[]): Answer {
      for (const group of groups) exchanges.get(answer)?.shows.add(group)
      return answer
    },
  }
}
