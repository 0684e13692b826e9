import ipaddr from 'ipaddr.js'

/** Bytes of a /64: who has one can make up addresses in it. */
const NETWORK = 8

/** Names the caller behind an address: an IPv4 address, or the /64 of an IPv6 one. What is no address names itself. */
export function addressKey(address: string): string {
  const plain = address.replace(/%.*$/, '')
  if (!ipaddr.isValid(plain)) return address
  const parsed = ipaddr.process(plain)
  if (parsed.kind() === 'ipv4') return parsed.toString()
  return `${Buffer.from(parsed.toByteArray().slice(0, NETWORK)).toString('hex')}/64`
}
