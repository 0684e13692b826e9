import { splitList } from '../core/index.ts'
import type { IdentityAnswer, JwtAuthAnswer } from './answers.ts'
import type { Answer, Client } from './client.ts'
import { type Finding, ok, warn } from './finding.ts'
import { IDENTITIES, type JwtAuthReply, jwtAuthPath } from './identity-client.ts'

// What `doctor` finds in how workloads log in.

/** Configurations that are read, one request each. */
const MAX_READ = 1000

/** Logins that nothing but the issuer bounds; it needs `identity:read`. */
export async function checkIdentities(client: Client): Promise<Finding[]> {
  // Without a token all that needs one is unseen, and the state of the keys has said so.
  if (!client.hasToken) return []
  const answer = await client.send('GET', IDENTITIES)
  // The surface is off, and with it all logins.
  if (answer.status === 404) return []
  if (answer.status !== 200) {
    const text = `The server does not show its identities to this token (${answer.status})`
    return [warn(text, 'set KEYRINGD_TOKEN to one that may identity:read')]
  }
  const { identities } = parsed<{ identities: IdentityAnswer[] }>(answer)
  const attached = identities.filter(({ identity }) => identity.authMethods.includes('jwt-auth'))
  if (attached.length === 0) return []
  const findings: Finding[] = []
  for (const { id, identity } of attached.slice(0, MAX_READ)) {
    const found = await client.send('GET', jwtAuthPath(id))
    // It may have been detached a moment ago.
    if (found.status !== 200) continue
    const { identityJwtAuth } = parsed<JwtAuthReply>(found)
    if (isUnbound(identityJwtAuth)) findings.push(unbound(id, identity.name))
  }
  if (attached.length > MAX_READ) {
    const text = `Only ${MAX_READ} of ${attached.length} logins of identities were looked at`
    findings.push(warn(text, 'look at the others: keyringd identity jwt-auth show ID'))
  }
  return findings.length > 0 ? findings : [ok(`Logins of ${attached.length} identities are bound`)]
}

const unbound = (id: string, name: string): Finding =>
  warn(
    `Every token of its issuer logs in as the identity ${name}: no subject, audience or claim is bound`,
    `bind one: keyringd identity jwt-auth set ${id} -subject PATTERN`,
  )

const isUnbound = ({ boundSubject, boundAudiences, boundClaims }: JwtAuthAnswer): boolean =>
  admitsAll([boundSubject]) &&
  [boundAudiences, ...Object.values(boundClaims)].every((list) => admitsAll(splitList(list)))

/** Nothing, or a pattern that every text matches. */
const admitsAll = (patterns: readonly string[]): boolean =>
  patterns.length === 0 || patterns.some((pattern) => /^\**$/.test(pattern))

const parsed = <T>({ text }: Answer): T => JSON.parse(text) as T
