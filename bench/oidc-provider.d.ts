// The package has no types of its own; this is what the benchmark needs.
declare module 'oidc-provider' {
  import type { RequestListener } from 'node:http'
  // biome-ignore lint/style/noDefaultExport: it is what the package has
  export default class Provider {
    constructor(issuer: string, configuration: object)
    callback(): RequestListener
  }
}
