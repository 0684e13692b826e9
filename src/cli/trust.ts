import { usage } from './io.ts'

// Tight configurations for issuers that everybody shares: a token of one repository or one service account gets in, and
// no other. Whatever is given is taken as it is written: a `*` in a name widens nothing.

/** Short, because a job can log in again; the whole chain of renewals ends after an hour. */
const LIFETIME = { accessTokenTTL: 900, accessTokenMaxTTL: 3600 }

export interface IssuerOptions {
  issuer: string | undefined
  /** Default: where issuers of this kind publish it. */
  'jwks-url': string | undefined
}

export interface GithubOptions extends IssuerOptions {
  repo: string | undefined
  branch: string | undefined
  environment: string | undefined
}

export interface KubernetesOptions extends IssuerOptions {
  namespace: string | undefined
  'service-account': string | undefined
}

export interface Trust {
  configurationType: 'jwks'
  jwksUrl: string
  boundIssuer: string
  boundSubject: string
  boundClaims: Record<string, string>
  accessTokenTTL: number
  accessTokenMaxTTL: number
}

/** The pattern that matches this text alone (identity contract section 6). @throws Problem `wrong_usage` */
export function exactly(text: string, flag: string): string {
  if (text === '' || text !== text.trim() || /\p{Cc}/u.test(text)) {
    throw usage(`${flag} must have text, without spaces around it and without control characters`)
  }
  return text.replace(/[\\*?[\]{}()!]/g, '\\$&')
}

/** The same where a comma would separate two patterns; nothing takes that meaning from it. */
export function exactEntry(text: string, flag: string): string {
  if (text.includes(',')) throw usage(`${flag} cannot hold a comma`)
  return exactly(text, flag)
}

function needed(value: string | undefined, flag: string, example: string): string {
  if (!value) throw usage(`${flag} is needed, such as ${flag} ${example}`)
  return value
}

function sourceOf(options: IssuerOptions, usual: { issuer?: string; path: string }) {
  const issuer = options.issuer || usual.issuer
  if (!issuer || !URL.canParse(issuer) || !/^https?:$/.test(new URL(issuer).protocol)) {
    throw usage('-issuer must be the URL in the claim iss, such as -issuer https://id.example.net')
  }
  const jwksUrl = options['jwks-url'] || `${issuer.replace(/\/+$/, '')}${usual.path}`
  return { configurationType: 'jwks' as const, jwksUrl, boundIssuer: issuer }
}

/** The names that GitHub allows, and the ids that its immutable subjects add to them: `owner@1/repo@2`. */
const REPO = /^(?<owner>[A-Za-z0-9][\w-]*)(?:@(?<ownerId>\d+))?\/(?<name>[\w.-]+)(?:@(?<id>\d+))?$/

const GITHUB = {
  issuer: 'https://token.actions.githubusercontent.com',
  path: '/.well-known/jwks',
}

/** Jobs of one repository, on one branch or in one environment. @throws Problem `wrong_usage` */
export function githubTrust(options: GithubOptions): Trust {
  const { branch, environment } = options
  const repo = needed(options.repo, '-repo', 'octo-org/octo-repo')
  const { owner, ownerId, name, id } = REPO.exec(repo)?.groups ?? {}
  if (!owner || !name || (ownerId === undefined) !== (id === undefined)) {
    throw usage(
      '-repo must be OWNER/REPO, or OWNER@ID/REPO@ID where the subject has ids; no patterns',
    )
  }
  // With an environment the subject does not name the branch, so the claim does.
  const ref = `refs/heads/${branch || 'main'}`
  const where = environment ? `environment:${environment.replaceAll(':', '%3A')}` : `ref:${ref}`
  return {
    ...sourceOf(options, GITHUB),
    boundSubject: exactly(`repo:${repo}:${where}`, environment ? '-environment' : '-branch'),
    boundClaims: {
      repository: `${owner}/${name}`,
      ...(ownerId && id && { repository_owner_id: ownerId, repository_id: id }),
      ...(environment && branch && { ref: exactEntry(ref, '-branch') }),
    },
    ...LIFETIME,
  }
}

/** Names as Kubernetes has them (RFC 1123): no character of them means anything in a pattern. */
const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/
const SUBDOMAIN = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/

/** Pods of one service account. @throws Problem `wrong_usage` */
export function kubernetesTrust(options: KubernetesOptions): Trust {
  const namespace = needed(options.namespace, '-namespace', 'ci')
  const account = needed(options['service-account'], '-service-account', 'deployer')
  if (!LABEL.test(namespace)) throw usage('-namespace is no name of a namespace; no patterns')
  if (!SUBDOMAIN.test(account)) {
    throw usage('-service-account is no name of a service account; no patterns')
  }
  return {
    ...sourceOf(options, { path: '/openid/v1/jwks' }),
    boundSubject: `system:serviceaccount:${namespace}:${account}`,
    boundClaims: {
      'kubernetes.io.namespace': namespace,
      'kubernetes.io.serviceaccount.name': account,
    },
    ...LIFETIME,
  }
}
