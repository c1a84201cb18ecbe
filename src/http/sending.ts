/** How a route sends a file: however long it is and however narrow the way to its reader. A HEAD would make it for nothing. */
export const SENDS_A_FILE = { exposeHeadRoute: false, handlerTimeout: 6 * 3_600_000 } as const;
