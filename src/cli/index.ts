export async function runCli(_argv: readonly string[]): Promise<number> {
  return 2
}
