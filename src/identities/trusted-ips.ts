import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import { Problem } from '../errors.ts'

// From where a token may be used (identity contract, section 5). Pure.

/** An address or a range as it is stored and answered; a single address has no `prefix`. */
export interface TrustedIp {
  /** As it was given: host bits and the way of writing stay. */
  ipAddress: string
  type: 'ipv4' | 'ipv6'
  /** Bits. */
  prefix?: number
}

type Address = ipaddr.IPv4 | ipaddr.IPv6

interface Range {
  address: Address
  bits: number
}

/** The longest text there is: an IPv6 address that ends in dotted decimals, and its prefix. */
const MAX_LENGTH = '0000:0000:0000:0000:0000:ffff:255.255.255.255/128'.length
/** Of `::ffff:0:0/96`, in which IPv6 writes IPv4 addresses (RFC 4291 section 2.5.5.2). */
const MAPPED_BITS = 96
const PREFIX = /^(?:0|[1-9]\d{0,2})$/

/** Reads an address or a CIDR block. Problem `trusted_ip_invalid`, also for a zone and for digits that only some read. */
export function parseTrustedIp(text: string): TrustedIp {
  const [ipAddress = '', prefix, ...more] = text.slice(0, MAX_LENGTH + 1).split('/')
  const version = text.length > MAX_LENGTH || more.length > 0 ? 0 : versionOf(ipAddress)
  if (version === 0) throw new Problem('trusted_ip_invalid')
  const type = version === 4 ? 'ipv4' : 'ipv6'
  if (prefix === undefined) return { ipAddress, type }
  const width = version === 4 ? 32 : 128
  if (!PREFIX.test(prefix) || Number(prefix) > width) throw new Problem('trusted_ip_invalid')
  return { ipAddress, type, prefix: Number(prefix) }
}

/**
 * Whether a client may come from `address`, the text of a socket's peer. An IPv4 address is the same however it is
 * written, and only IPv4 ranges hold it. False for what is no address, one with a zone included; an entry that does not
 * parse holds nothing.
 */
export const isTrusted = (ips: readonly TrustedIp[], address: string): boolean =>
  compileTrusted(ips)(address)

/** `isTrusted` for many addresses; a caller mostly asks from the same one again. */
export function compileTrusted(ips: readonly TrustedIp[]): (address: string) => boolean {
  const ranges = ips.flatMap((ip) => toRange(ip) ?? [])
  let last: { address: string; trusted: boolean } | undefined
  return (address) => {
    if (last?.address === address) return last.trusted
    const client = parseAddress(address)
    const trusted = client !== undefined && ranges.some((range) => contains(range, client))
    last = { address, trusted }
    return trusted
  }
}

function contains({ address, bits }: Range, client: Address): boolean {
  return address.kind() === client.kind() && client.match(address, bits)
}

function toRange({ ipAddress, type, prefix }: TrustedIp): Range | undefined {
  const address = parseAddress(ipAddress)
  if (address === undefined) return undefined
  const isIPv4 = address instanceof ipaddr.IPv4
  if (prefix === undefined) return { address, bits: isIPv4 ? 32 : 128 }
  if (type === 'ipv4' || !isIPv4) return { address, bits: prefix }
  // Wider than all mapped addresses, it is a range of IPv6 that begins among them.
  return prefix < MAPPED_BITS
    ? { address: address.toIPv4MappedAddress(), bits: prefix }
    : { address, bits: prefix - MAPPED_BITS }
}

/** 4 or 6, and 0 for what is neither; asks Node, because ipaddr.js reads octal, hexadecimal and short forms. */
const versionOf = (text: string): number => (text.includes('%') ? 0 : isIP(text))

/** IPv4 in the clothes of IPv6 comes out as IPv4. */
function parseAddress(text: string): Address | undefined {
  const version = versionOf(text)
  if (version === 0) return undefined
  if (version === 4) return ipaddr.IPv4.parse(text)
  const address = ipaddr.IPv6.parse(text.replace(/\d+\.\d+\.\d+\.\d+$/, toGroups))
  return address.isIPv4MappedAddress() ? address.toIPv4Address() : address
}

/** Of an address that ends in dotted decimals, the last two groups: ipaddr.js takes `::1.2.3.4` for `::ffff:1.2.3.4`. */
function toGroups(dotted: string): string {
  const hex = Buffer.from(ipaddr.IPv4.parse(dotted).toByteArray()).toString('hex')
  return `${hex.slice(0, 4)}:${hex.slice(4)}`
}
