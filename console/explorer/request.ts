/** Where the API is: on the origin that served this page, and nowhere else. */
export const GRAPHQL_URL = '/graphql';

/** What the server said no with: the message, and what its `extensions` hold. */
export interface Refusal {
  readonly message: string;
  readonly code?: string;
  readonly reason?: string;
  readonly requestId?: string;
}

/** The server answered with errors, or not at all; then the refusal has no code. */
export class Refused extends Error {
  readonly refusal: Refusal;
  constructor(refusal: Refusal) {
    super(refusal.message);
    this.refusal = refusal;
  }
}

/** Data, and by how many milliseconds the server's clock is ahead of ours (exact to a second). */
export interface Answer {
  readonly data: Readonly<Record<string, unknown>>;
  readonly clockAheadMs: number;
}

/** Sends one operation over HTTP. Rejects with Refused and nothing else. */
export async function request(
  query: string,
  variables: Record<string, unknown>,
  accessToken?: string,
): Promise<Answer> {
  const response = await fetch(GRAPHQL_URL, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/graphql-response+json, application/json;q=0.9',
      ...(accessToken && { authorization: `Bearer ${accessToken}` }),
    },
    body: JSON.stringify({ query, variables }),
  }).catch(() => {
    throw new Refused({ message: 'The server cannot be reached.' });
  });
  const body: unknown = await response.json().catch(() => undefined);
  const refusal = refusalIn(body);
  if (refusal) throw new Refused(refusal);
  if (!isRecord(body) || !isRecord(body.data)) {
    throw new Refused({ message: `The server answered ${response.status} without data.` });
  }
  const serverNow = Date.parse(response.headers.get('date') ?? '');
  return { data: body.data, clockAheadMs: Number.isNaN(serverNow) ? 0 : serverNow - Date.now() };
}

/** The first error of a GraphQL result, if it has one. */
export function refusalIn(result: unknown): Refusal | undefined {
  const errors: unknown = isRecord(result) ? result.errors : undefined;
  return Array.isArray(errors) && errors.length > 0 ? refusalOf(errors[0]) : undefined;
}

/** Reads anything that was thrown or sent as an error: a GraphQL error, a list of them, an Error, a close event. */
export function refusalOf(cause: unknown): Refusal {
  if (cause instanceof Refused) return cause.refusal;
  if (Array.isArray(cause)) return refusalOf(cause[0]);
  if (!isRecord(cause)) return { message: String(cause) };
  const extensions = isRecord(cause.extensions) ? cause.extensions : {};
  const text = (name: string) => (typeof extensions[name] === 'string' ? { [name]: extensions[name] } : {});
  const closed = typeof cause.code === 'number' && `The connection was closed (${cause.code}).`;
  const message = [cause.message, cause.reason].find((said) => typeof said === 'string' && said !== '');
  return {
    message: typeof message === 'string' ? message : closed || 'The connection failed.',
    ...text('code'),
    ...text('reason'),
    ...text('requestId'),
  };
}

/** Whether it has properties that can be read. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
