/** The code of an error of the operating system or of a driver (`ENOENT`, `ECONNREFUSED`, an SQLSTATE), if it has one. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
