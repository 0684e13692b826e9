import type { Compilable, CompiledQuery, DatabaseConnection, Kysely, QueryResult } from 'kysely'
import type { Tables } from './schema.ts'

// To build and compile a query takes ten times as long as to run it, and Kysely's executor as long as that again. What
// every login or request runs is compiled once and goes straight to the connection.

/** Where hot queries run: a transaction, or any connection. */
export interface Direct {
  db: Kysely<Tables>
  /** Dialect and plugins: a query compiled for one place is for no other. */
  place: string
  execute(query: CompiledQuery): Promise<QueryResult<unknown>>
}

/** `connection` is what `db` is bound to, where it is; else each query waits for one. */
export function directly(db: Kysely<Tables>, connection?: DatabaseConnection): Direct {
  const { adapter, plugins } = db.getExecutor()
  return {
    db,
    place: `${adapter.constructor.name} ${plugins.length}`,
    execute: connection
      ? (query) => connection.executeQuery(query)
      : (query) => db.getExecutor().provideConnection((one) => one.executeQuery(query)),
  }
}

/** Stands for a parameter while the query is compiled. */
class Slot {
  readonly name: string
  constructor(name: string) {
    this.name = name
  }
}

interface Compiled {
  query: CompiledQuery
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

  // What only reads has a plugin that refuses all else when it compiles: it must see the query, too.
  function compile({ db, place }: Direct): Compiled {
    const slots = new Proxy({} as Params, { get: (_, name) => new Slot(String(name)) })
    const query = build(db, slots).compile()
    const order = query.parameters.map((value) => {
      if (value instanceof Slot) return value.name
      throw new Error(`A hot query has a parameter that is none of its own: ${query.sql}`)
    })
    const made = { query, order }
    compiled.set(place, made)
    return made
  }

  return async (direct: Direct, params: Params): Promise<QueryResult<unknown>> => {
    const { query, order } = compiled.get(direct.place) ?? compile(direct)
    return direct.execute({ ...query, parameters: order.map((name) => params[name]) })
  }
}
