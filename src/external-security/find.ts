import { Problem } from '../errors.ts'
import type { ExternalSecurityRow } from '../store/external-securities.ts'
import type { Tx } from '../store/store.ts'

/** Decimal digits of the largest unsigned 64-bit number. */
const MAX_DIGITS = 20

/**
 * By name, then, if it is all digits, by id (contract section 3).
 * @throws Problem with the code that the route wants: an unknown one is 404 for reads and 400 for writes below it
 */
export async function findOr(
  tx: Tx,
  ref: string,
  code: 'external_security_not_found' | 'external_security_invalid',
): Promise<ExternalSecurityRow> {
  const isId = ref.length <= MAX_DIGITS && /^\d+$/.test(ref)
  const row =
    (await tx.externalSecurities.byName(ref)) ??
    (isId ? await tx.externalSecurities.byId(String(BigInt(ref))) : undefined)
  if (row) return row
  throw new Problem(code, `There is no external security ${JSON.stringify(ref.slice(0, 255))}`)
}
