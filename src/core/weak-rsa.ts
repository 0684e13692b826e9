// RSA moduli that factor easily. Each test proves weakness; passing them proves nothing.

const sieve = (limit: number): number[] => {
  const primes: number[] = []
  for (let n = 2; n <= limit; n += 1) if (primes.every((prime) => n % prime !== 0)) primes.push(n)
  return primes
}

const SMALL_PRIMES = sieve(751)
const SMALL_PRODUCT = SMALL_PRIMES.reduce((product, prime) => product * BigInt(prime), 1n)

/**
 * For each odd prime up to 167, the residues that powers of 65537 leave (CVE-2017-15361, "ROCA").
 */
const ROCA_RESIDUES = sieve(167)
  .slice(1)
  .map((prime) => {
    const residues = new Set<number>()
    for (let power = 1; !residues.has(power); power = (power * 65537) % prime) residues.add(power)
    return { prime: BigInt(prime), residues }
  })

const FERMAT_ROUNDS = 110

/** Why a modulus is weak, or undefined. Takes about 0.1 ms for 2048 bits. */
export function weaknessOf(n: bigint): string | undefined {
  if (gcd(n, SMALL_PRODUCT) !== 1n) return 'the modulus has a small prime factor'
  if (ROCA_RESIDUES.every(({ prime, residues }) => residues.has(Number(n % prime)))) {
    return 'the modulus has the ROCA fingerprint (CVE-2017-15361)'
  }
  return fermatFactors(n) ? 'the factors of the modulus are too close together' : undefined
}

function gcd(a: bigint, b: bigint): bigint {
  while (b > 0n) [a, b] = [b, a % b]
  return a
}

/**
 * Fermat: n = a² − b² with a just above √n, so a few steps find factors that lie close together.
 */
function fermatFactors(n: bigint): boolean {
  let a = squareRoot(n)
  if (a * a < n) a += 1n
  let rest = a * a - n
  for (let round = 0; round < FERMAT_ROUNDS; round += 1) {
    if (isSquare(rest)) return true
    rest += 2n * a + 1n
    a += 1n
  }
  return false
}

function squareRoot(n: bigint): bigint {
  if (n === 0n) return n
  let guess = 1n << BigInt((n.toString(16).length * 4 + 1) >> 1)
  for (;;) {
    const next = (guess + n / guess) >> 1n
    if (next >= guess) return guess
    guess = next
  }
}

const squaresModulo = (modulus: number) =>
  new Set(Array.from({ length: modulus }, (_, root) => (root * root) % modulus))
// Together these let about 1 % of non-squares through to the exact test.
const SQUARES = [64, 63, 65, 11, 17].map((modulus) => ({
  modulus: BigInt(modulus),
  squares: squaresModulo(modulus),
}))

function isSquare(n: bigint): boolean {
  if (!SQUARES.every(({ modulus, squares }) => squares.has(Number(n % modulus)))) return false
  return squareRoot(n) ** 2n === n
}
