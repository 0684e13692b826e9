import type { KyselyPlugin, RootOperationNode } from 'kysely'

// What `store.ts` hands out is guarded: a read cannot write, and a transaction cannot be used when it is over.

function isSelect(node: RootOperationNode): boolean {
  if (node.kind === 'RawNode') return /^\s*select\b/i.test(node.sqlFragments[0] ?? '')
  return node.kind === 'SelectQueryNode'
}

/** Refuses everything but `select`: a write outside a transaction would be neither whole, audited nor told. */
export const readOnly: KyselyPlugin = {
  transformQuery({ node }) {
    if (!isSelect(node)) throw new Error(`${node.kind} outside a transaction`)
    return node
  },
  transformResult: async ({ result }) => result,
}

/**
 * Runs `work` on a loan of `tx`. Calls that it did not await are over when this returns, and later ones are
 * refused: nothing it left behind can write after its rollback, or into the transaction of somebody else.
 */
export async function lend<Tx extends object, T>(tx: Tx, work: (tx: Tx) => Promise<T>): Promise<T> {
  const calls: Promise<unknown>[] = []
  let over = false

  const guard = <Part extends object>(part: Part): Part =>
    new Proxy(part, {
      get(target, name) {
        const member: unknown = Reflect.get(target, name)
        if (typeof member === 'object' && member !== null) return guard(member)
        if (typeof member !== 'function') return member
        return (...args: unknown[]) => {
          if (over) return Promise.reject(new Error('The transaction is over.'))
          const call: Promise<unknown> = Reflect.apply(member, target, args)
          calls.push(call)
          return call
        }
      },
    })

  try {
    return await work(guard(tx))
  } finally {
    over = true
    await Promise.allSettled(calls)
  }
}
