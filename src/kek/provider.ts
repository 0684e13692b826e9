/** What a wrap is bound to, so that it opens in its own place only. */
export interface WrapContext {
  /** The installation id of the database. */
  installation: string
  /** The kid of the root key whose data key is wrapped. */
  rootKid: string
}

/** Who wraps the data keys of root keys; every active provider wraps each new one (keyring contract section 6). */
export interface KekProvider {
  /** Names the provider in a wrap's row, such as `aead`. */
  readonly id: string
  /** Says which KEK a wrap needs without saying anything about the KEK. */
  readonly kekId: string
  /** Throws `kek_unreachable` when the provider cannot be reached. */
  wrap(dataKey: Uint8Array, context: WrapContext): Promise<Uint8Array>
  /** Throws `kek_wrong` when the wrap does not open here, `kek_unreachable` when nobody can tell. */
  unwrap(wrapped: Uint8Array, context: WrapContext): Promise<Uint8Array>
}
