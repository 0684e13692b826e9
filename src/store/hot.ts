import { type Compilable, CompiledQuery, type Kysely, type QueryResult } from 'kysely'
import type { Tables } from './schema.ts'

// To build and compile a query takes ten times as long as to run it. What every login or request runs is compiled once.

/** Stands for a parameter while the query is compiled. */
class Slot {
  readonly name: string
  constructor(name: string) {
    this.name = name
  }
}

interface Compiled {
  sql: string
  /** The names of the parameters, in the order of their places. */
  order: readonly string[]
}

/**
 * A query that is built once for each dialect, in Kysely as any other, and then run with other parameters. `build` must
 * put each parameter into the query as it is.
 */
export function hot<Params extends Record<string, unknown>>(
  build: (db: Kysely<Tables>, params: Params) => Compilable,
) {
  const compiled = new Map<string, Compiled>()

  function compile(db: Kysely<Tables>): Compiled {
    const slots = new Proxy({} as Params, { get: (_, name) => new Slot(String(name)) })
    const { sql, parameters } = build(db, slots).compile()
    const order = parameters.map((value) => {
      if (value instanceof Slot) return value.name
      throw new Error(`A hot query has a parameter that is none of its own: ${sql}`)
    })
    return { sql, order }
  }

  return async (db: Kysely<Tables>, params: Params): Promise<QueryResult<unknown>> => {
    // What only reads has a plugin that refuses all else when it compiles: it must see the query, too.
    const { adapter, plugins } = db.getExecutor()
    const place = `${adapter.constructor.name} ${plugins.length}`
    const known = compiled.get(place) ?? compile(db)
    compiled.set(place, known)
    const values = known.order.map((name) => params[name])
    return db.executeQuery(CompiledQuery.raw(known.sql, values))
  }
}
