// Which addresses an outgoing request may connect to. Pure: names are resolved elsewhere.
import ipaddr from 'ipaddr.js'

type Address = ipaddr.IPv4 | ipaddr.IPv6
type Network = [Address, number]

/**
 * Not public unicast: the list of the identity contract, section 4, and what it says in fewer words.
 */
export const REFUSED: readonly string[] = [
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16'],
  ...['172.16.0.0/12', '192.0.0.0/24', '192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16'],
  ...['198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24', '224.0.0.0/4', '240.0.0.0/4'],
  '255.255.255.255/32',
  ...['::/128', '::1/128', 'ff00::/8', 'fe80::/10', 'fc00::/7', '::ffff:0:0/96', '2001:db8::/32'],
  ...['2001:2::/48', '100::/64', '64:ff9b::/96', '64:ff9b:1::/48', '2002::/16', '2001::/32'],
  // Ours: documentation (RFC 9637), ORCHID (RFC 4843, 7343), and an address in public space that
  // answers only inside Azure, where it is the platform's own.
  ...['3fff::/20', '2001:10::/28', '2001:20::/28', '168.63.129.16/32'],
]

/** All that is global unicast today (RFC 4291, IANA registry); what is outside leads nowhere good. */
const GLOBAL_V6 = ipaddr.parseCIDR('2000::/3')

/**
 * Refused even where internal addresses are allowed: "this host", which the kernel takes for
 * loopback, and what is no unicast. No server answers there; a resolver that blocks names does.
 */
export const NEVER: readonly string[] = [
  ...['0.0.0.0/8', '224.0.0.0/4', '255.255.255.255/32', '::/128', 'ff00::/8'],
]

const refused = REFUSED.map((text) => ipaddr.parseCIDR(text))
const never = NEVER.map((text) => ipaddr.parseCIDR(text))

const V6 = /^[\da-f.]*:[\da-f:.]+$/i

export interface AddressRules {
  /** Allows every unicast address, internal ones included. */
  allowInternalIpConnections: boolean
  /**
   * Host names in lower case without a final dot, which may resolve to internal addresses; and
   * addresses and CIDR ranges that any name may resolve to.
   */
  allowInternalHosts: readonly string[]
}

/** Whether an address in text is public unicast; false for what is no address. */
export function isPublicAddress(text: string): boolean {
  const address = parseAddress(text)
  return address !== undefined && isPublic(address)
}

/**
 * Whether a request to `host` (a name in lower case without a final dot, or an address) may connect
 * to `address`, one that it resolved to. An IPv4-mapped IPv6 address is no IPv4 address to the list:
 * it needs its own entry.
 */
export function createAddressCheck(
  rules: AddressRules,
): (host: string, address: string) => boolean {
  const networks: Network[] = []
  const names = new Set<string>()
  for (const entry of rules.allowInternalHosts) {
    const network = parseNetwork(entry)
    if (network) networks.push(network)
    else names.add(entry)
  }
  return (host, text) => {
    const address = parseAddress(text)
    if (!address || isIn(never, unmapped(address))) return false
    if (isPublic(address) || rules.allowInternalIpConnections) return true
    return names.has(host) || isIn(networks, address)
  }
}

function isPublic(address: Address): boolean {
  if (isIn(refused, address)) return false
  return address.kind() === 'ipv4' || isIn([GLOBAL_V6], address)
}

const isIn = (networks: readonly Network[], address: Address): boolean =>
  networks.some(([base, bits]) => base.kind() === address.kind() && address.match(base, bits))

const unmapped = (address: Address): Address =>
  address instanceof ipaddr.IPv6 && address.isIPv4MappedAddress()
    ? address.toIPv4Address()
    : address

/**
 * Only the exact form of IPv4: octal and hexadecimal ones mean different hosts to different readers.
 * A zone only says where a link-local address counts, so it does not matter here.
 */
function parseAddress(text: string): Address | undefined {
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) return ipaddr.IPv4.parse(text)
  const plain = text.replace(/%[\w.-]+$/, '')
  return V6.test(plain) && ipaddr.IPv6.isValid(plain) ? ipaddr.IPv6.parse(plain) : undefined
}

function parseNetwork(text: string): Network | undefined {
  const address = parseAddress(text)
  if (address) return [address, address.kind() === 'ipv4' ? 32 : 128]
  return ipaddr.isValidCIDR(text) ? ipaddr.parseCIDR(text) : undefined
}
