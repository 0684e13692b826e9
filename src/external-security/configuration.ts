import { Problem } from '../errors.ts'
import { DEFAULT_CACHE_TIMEOUT, MAX_NAME } from './fields.ts'
import { isLonger, type Payload, type Tree, type Value } from './payload.ts'

// What must hold of a configuration as a whole, and how a change is laid over it (contract section 4). Pure.

export interface Configuration {
  name: string
  /** All that is no secret, in the shape of the wire. */
  properties: Tree
  /** All that is, by its path. */
  secrets: ReadonlyMap<string, string>
}

/** Of an `oauth-server`, what tokens are verified by; texts that are not set are empty. */
export interface OAuthServer {
  vendor: string
  flowType: string
  tokenType: string
  clientId: string
  issuer: string
  usernameAttribute: string
  roleAttribute: string
  alg: string
  jwksUri: string
}

const invalid = (reason: string) => new Problem('external_security_invalid', reason)

const isTree = (value: Value | undefined): value is Tree =>
  typeof value === 'object' && !Array.isArray(value)

/** A text of the configuration; '' where there is none. */
export function textOf(tree: Tree | undefined, name: string): string {
  const value = tree && Object.hasOwn(tree, name) ? tree[name] : undefined
  return typeof value === 'string' ? value : ''
}

function groupOf(tree: Tree, name: string): Tree | undefined {
  const value = Object.hasOwn(tree, name) ? tree[name] : undefined
  return isTree(value) ? value : undefined
}

/** Undefined: the configuration has none. */
export function oauthServerOf(properties: Tree): OAuthServer | undefined {
  const server = groupOf(properties, 'oauth-server')
  if (!server) return undefined
  return {
    vendor: textOf(server, 'oauth-vendor'),
    flowType: textOf(server, 'oauth-flow-type'),
    tokenType: textOf(server, 'oauth-token-type'),
    clientId: textOf(server, 'oauth-client-id'),
    issuer: textOf(server, 'oauth-jwt-issuer-uri'),
    usernameAttribute: textOf(server, 'oauth-username-attribute'),
    roleAttribute: textOf(server, 'oauth-role-attribute'),
    alg: textOf(server, 'oauth-jwt-alg'),
    jwksUri: textOf(server, 'oauth-jwks-uri'),
  }
}

/**
 * A new configuration.
 * @throws Problem `external_security_invalid`, `external_security_uri_invalid`
 */
export function createConfiguration({ properties, secrets }: Payload): Configuration {
  const name = textOf(properties, 'external-security-name')
  checkName(name)
  const whole = { 'cache-timeout': DEFAULT_CACHE_TIMEOUT, ...properties }
  checkRules(whole)
  return { name, properties: whole, secrets: kept(secrets) }
}

/**
 * A configuration with a change laid over it: what is absent stays, lists are replaced, an empty secret goes. The name
 * may be repeated.
 * @throws Problem as `createConfiguration`
 */
export function changeConfiguration(before: Configuration, change: Payload): Configuration {
  const { name } = before
  checkSameName(change.properties, name)
  const properties = overlay(before.properties, change.properties)
  checkRules(properties)
  return { name, properties, secrets: kept(new Map([...before.secrets, ...change.secrets])) }
}

/** A body may repeat the name of what it is about (contract sections 4 and 5.2). */
export function checkSameName(properties: Tree, name: string): void {
  for (const member of ['external-security-name', 'name']) {
    if (Object.hasOwn(properties, member) && properties[member] !== name) {
      throw invalid(`${member} is not the name of the external security`)
    }
  }
}

const kept = (secrets: ReadonlyMap<string, string>): Map<string, string> =>
  new Map([...secrets].filter(([, value]) => value !== ''))

function overlay(before: Tree, change: Tree): Tree {
  const merged = Object.entries(change).map(([name, value]): [string, Value] => {
    const old = Object.hasOwn(before, name) ? before[name] : undefined
    return [name, isTree(value) && isTree(old) ? overlay(old, value) : value]
  })
  return { ...before, ...Object.fromEntries(merged) }
}

/** The properties that a change names, as an audit record has them: their names alone. */
export const changedNames = ({ properties, secrets, jwtSecrets }: Payload): string[] => [
  ...namesIn(properties, ''),
  ...secrets.keys(),
  ...(jwtSecrets ? ['oauth-server/oauth-jwt-secrets'] : []),
]

const namesIn = (tree: Tree, path: string): string[] =>
  Object.entries(tree).flatMap(([name, value]) =>
    isTree(value) ? namesIn(value, `${path}${name}/`) : [`${path}${name}`],
  )

function checkName(name: string): void {
  if (name === '') throw invalid('external-security-name is required')
  if (isLonger(name, MAX_NAME) || /\p{Cc}/u.test(name)) {
    throw invalid(`external-security-name is not 1 to ${MAX_NAME} characters without control ones`)
  }
  // Clients take such a segment out of a path.
  if (/^\.{1,2}$/.test(name)) throw invalid('external-security-name is no path')
}

function checkRules(properties: Tree): void {
  const authentication = required(properties, 'authentication')
  const authorization = required(properties, 'authorization')
  const kinds = [authentication, authorization]
  if (kinds.includes('ldap')) {
    const server = groupOf(properties, 'ldap-server') ?? properties
    for (const name of ['ldap-server-uri', 'ldap-base', 'ldap-attribute']) required(server, name)
  }
  if (authorization === 'saml') required(groupOf(properties, 'saml-server'), 'saml-entity-id')
  const server = groupOf(properties, 'oauth-server')
  if (kinds.includes('oauth') && !server) throw invalid('oauth-server is required')
  if (server) checkOAuthServer(server)
}

/** Those whose tokens name an issuer that must be compared (section 4). */
const ISSUER_VENDORS = ['Microsoft Entra', 'Amazon Cognito']

function checkOAuthServer(server: Tree): void {
  for (const name of ['oauth-client-id', 'oauth-username-attribute', 'oauth-role-attribute']) {
    required(server, name)
  }
  const { vendor, tokenType, jwksUri } = oauthServerOf({ 'oauth-server': server }) as OAuthServer
  if (tokenType === '' || tokenType === 'JSON Web Tokens') required(server, 'oauth-jwt-alg')
  if (ISSUER_VENDORS.includes(vendor)) required(server, 'oauth-jwt-issuer-uri')
  if (jwksUri !== '') checkJwksUri(jwksUri)
}

function required(tree: Tree | undefined, name: string): string {
  const text = textOf(tree, name)
  if (text === '') throw invalid(`${name} is required`)
  return text
}

const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/

/** `https:`, or a loopback host. What may be fetched in the end, the one guarded fetch decides. */
function checkJwksUri(text: string): void {
  const url = /[\s\p{Cc}]/u.test(text) || text.length > 2048 ? null : URL.parse(text)
  const isPlain = url?.protocol === 'http:' && LOOPBACK.test(url.hostname)
  if (url?.protocol === 'https:' || isPlain) return
  const reason = 'oauth-jwks-uri is neither an https URI nor one of a loopback host'
  throw new Problem('external_security_uri_invalid', reason)
}
