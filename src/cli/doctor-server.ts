import { getCACertificates } from 'node:tls'
import { isProblem } from '../errors.ts'
import type { StatusAnswer } from './answers.ts'
import { type Answer, type Client, exchange, hintFor, reasonOf } from './client.ts'
import { aboutIssuer } from './doctor-settings.ts'
import { type Finding, fail, ok, warn } from './finding.ts'
import { localTime } from './table.ts'

// What `doctor` finds by asking the server, and its issuer as a relying party would.

const JWKS = '/.well-known/jwks.json'
const DISCOVERY = '/.well-known/openid-configuration'

/** Whether a keyringd answers, and whether it is ready. `up` is false when there is nothing more to ask. */
export async function checkReady(client: Client): Promise<{ up: boolean; findings: Finding[] }> {
  const { address } = client
  try {
    const answer = await client.send('GET', '/readyz', { anonymous: true })
    const { status, waitingFor } = members(answer)
    if (status === 'ready') return { up: true, findings: [ok(`${address} answers and is ready`)] }
    if (status !== 'waiting') {
      const text = `${address} answers, but not as a keyringd does`
      return { up: false, findings: [fail(text, 'set its address with -address or KEYRINGD_ADDR')] }
    }
    const waits = Array.isArray(waitingFor) ? waitingFor.map(String) : []
    const findings = waits.map((what) =>
      fail(`${address} is not ready: it waits for ${what}`, 'see its log'),
    )
    return { up: true, findings }
  } catch (error) {
    if (!isProblem(error, 'command_failed')) throw error
    const text = `Cannot reach ${address} (${reasonOf(error.cause)})`
    return { up: false, findings: [fail(text, hintFor(error.cause, address))] }
  }
}

/** Warnings of `/v1/status`; it needs `keyring-read`. */
export async function checkStatus(client: Client): Promise<Finding[]> {
  if (!client.hasToken) {
    const text = 'Without a token the state of the keys cannot be seen'
    return [warn(text, 'set KEYRINGD_TOKEN to one that may keyring-read')]
  }
  const answer = await client.send('GET', '/v1/status')
  if (answer.status === 401 || answer.status === 403) {
    const text = `The server does not show its state to this token (${answer.status})`
    return [warn(text, 'set KEYRINGD_TOKEN to one that may keyring-read')]
  }
  const status = members(answer)
  if (answer.status !== 200 || !isStatus(status)) {
    return [fail(`/v1/status answers ${answer.status} and no state`, "see the server's log")]
  }
  const { clockJump, quarantined, damaged, rings, remoteSets } = status
  const findings = [
    ...quarantined.map((kid) =>
      fail(`No KEK opens root key ${kid}`, 'give the server the KEK that wrapped it'),
    ),
    ...damaged.map((row) =>
      fail(`The sealed row ${row} does not open`, 'restore it from a backup'),
    ),
    ...(clockJump ? [jumped(clockJump)] : []),
    ...rings.flatMap(({ name, warnings }) =>
      warnings.map((one) =>
        warn(`Ring ${name}: ${one}`, `see what holds old keys: keyringd keys plan -ring ${name}`),
      ),
    ),
    ...remoteSets.filter(({ lastError }) => lastError !== null).map(failing),
  ]
  return findings.length > 0 ? findings : [ok(`The keys of ${rings.length} rings are well`)]
}

const failing = ({ source, host, keys, lastError }: StatusAnswer['remoteSets'][number]): Finding =>
  warn(
    `The key set at ${host} (of ${source}) was not updated: ${lastError}`,
    keys > 0 ? 'until it is, its last keys count' : 'until it is, none of its tokens counts',
  )

const jumped = ({ seenAt, byMs }: { seenAt: string; byMs: number }): Finding =>
  warn(
    `The server's clock jumped by ${byMs / 1000} s (seen ${localTime(seenAt)}); what cannot be undone waits`,
    'correct the clock if need be, then: keyringd clock confirm -reason TEXT',
  )

/** Discovery here and at the issuer, and the same keys at both. */
export async function checkPublication(
  client: Client,
  expected: string | undefined,
): Promise<Finding[]> {
  const here = await client.send('GET', JWKS, { anonymous: true })
  const kids = kidsOf(here)
  if (kids === undefined) {
    return [fail(`${client.address}${JWKS} is no JWK Set (${here.status})`, 'see /readyz')]
  }
  const found = await client.send('GET', DISCOVERY, { anonymous: true })
  const { issuer } = members(found)
  if (found.status === 404) {
    const text = 'Discovery is switched off: the server has no issuer'
    return [
      ok(`${kids.length} keys are published`),
      warn(text, 'set KEYRINGD_OIDC_ISSUER for the server'),
    ]
  }
  if (typeof issuer !== 'string' || !URL.canParse(issuer)) {
    return [fail(`${client.address}${DISCOVERY} names no issuer (${found.status})`, 'see its log')]
  }
  const other =
    expected !== undefined && expected !== issuer
      ? [
          warn(
            `The server's issuer is ${issuer}, but KEYRINGD_OIDC_ISSUER here is ${expected}`,
            'restart the server with the new setting, or correct this environment',
          ),
        ]
      : []
  return [...other, aboutIssuer(issuer), ...(await checkOutside(client, issuer, kids))]
}

/** What a relying party does that knows the issuer alone (OpenID Connect Discovery 1.0, section 4). */
async function checkOutside(client: Client, issuer: string, kids: string[]): Promise<Finding[]> {
  const reach = `make ${issuer} lead to this server`
  const discovery = joined(issuer, DISCOVERY)
  const outside = await look(client, discovery)
  if (typeof outside === 'string') return [fail(`${discovery} cannot be read (${outside})`, reach)]
  const document = members(outside)
  if (outside.status !== 200 || document.issuer !== issuer) {
    const text = `${discovery} does not name ${issuer} as its issuer (${outside.status})`
    return [fail(text, reach)]
  }
  const uri = String(document.jwks_uri)
  const set = URL.canParse(uri) ? await look(client, uri) : 'no URL'
  if (typeof set === 'string') return [fail(`The jwks_uri ${uri} cannot be read (${set})`, reach)]
  const published = kidsOf(set)
  if (published?.join() !== kids.join()) {
    const text = `${uri} does not hold the same keys as ${client.address}${JWKS}`
    return [fail(text, `${reach}, and let no cache keep it longer than it says`)]
  }
  return [ok(`Relying parties find the ${kids.length} keys by the issuer ${issuer}`)]
}

/** Without the credential; the answer, or why there is none. */
async function look(client: Client, address: string): Promise<Answer | string> {
  const url = new URL(address)
  if (!/^https?:$/.test(url.protocol)) return 'no http or https URL'
  const ca = [...getCACertificates('default'), ...client.ca]
  return exchange({ method: 'GET', url, tls: { ca } }).catch(reasonOf)
}

/** The issuer may have a query, which stays at the end (keyring contract section 2.5). */
function joined(issuer: string, path: string): string {
  const url = new URL(issuer)
  url.pathname = `${url.pathname.replace(/\/+$/, '')}${path}`
  return url.href
}

function members({ text }: Answer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}

const isStatus = (value: object): value is StatusAnswer =>
  'rings' in value &&
  Array.isArray(value.rings) &&
  'quarantined' in value &&
  'damaged' in value &&
  'remoteSets' in value

function kidsOf(answer: Answer): string[] | undefined {
  const { keys } = members(answer)
  if (answer.status !== 200 || !Array.isArray(keys)) return undefined
  return keys.map((key: { kid?: unknown } | null) => String(key?.kid)).sort()
}
