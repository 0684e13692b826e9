import assert from 'node:assert/strict'

// What the Go clients of Traffic Ops do (contract sections 1 and 3): a cookie jar, a login that goes by the text of the
// answer, an older API version on 501 only, and one more login on 401 or 403, after which the request is repeated once.

export interface GoClient {
  /** How often it logged in. */
  logins(): number
  /** The version it has settled on. */
  version(): string
  login(): Promise<void>
  request(method: string, path: string, body?: string): Promise<{ status: number; text: string }>
  jar: Map<string, string>
}

interface Alerts {
  alerts: { text: string; level: string }[]
}

export function goClient(
  url: string,
  { user, password, versions }: { user: string; password: string; versions: string[] },
): GoClient {
  const jar = new Map<string, string>()
  let at = 0
  let logins = 0

  /** As net/http/cookiejar: a Max-Age of zero ends a cookie. */
  function keep(cookies: string[]): void {
    for (const cookie of cookies) {
      const [pair = '', ...attributes] = cookie.split('; ')
      const name = pair.slice(0, pair.indexOf('='))
      if (attributes.includes('Max-Age=0')) jar.delete(name)
      else jar.set(name, pair.slice(name.length + 1))
    }
  }

  async function once(method: string, path: string, body?: string) {
    for (;;) {
      const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ')
      const answer = await fetch(`${url}/api/${versions[at]}/${path}`, {
        method,
        headers: { ...(cookie && { cookie }), 'user-agent': 'go-client' },
        ...(body !== undefined && { body }),
      })
      keep(answer.headers.getSetCookie())
      const text = await answer.text()
      if (answer.status !== 501 || at === versions.length - 1)
        return { status: answer.status, text }
      at++
    }
  }

  async function login(): Promise<void> {
    logins++
    const { text } = await once('POST', 'user/login', JSON.stringify({ u: user, p: password }))
    const { alerts } = JSON.parse(text) as Alerts
    const isIn = alerts.some((alert) => alert.text === 'Successfully logged in.')
    assert.ok(isIn, `login failed: ${text}`)
  }

  return {
    ...{ jar, login },
    logins: () => logins,
    version: () => versions[at] ?? '',
    async request(method, path, body) {
      const first = await once(method, path, body)
      if (first.status !== 401 && first.status !== 403) return first
      await login()
      return once(method, path, body)
    },
  }
}
