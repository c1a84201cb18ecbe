import { GraphQLError, type GraphQLFormattedError } from 'graphql';

import type { ErrorCode } from '../generated/types.ts';
import { isUnstorableText, TransactionLost } from '../platform/db.ts';
import { Refusal } from '../platform/refusal.ts';

/** Codes that graphql-js and Apollo Server give faults of the request itself; their messages name only the request. */
const REQUEST_FAULTS = new Set([
  'GRAPHQL_PARSE_FAILED',
  'GRAPHQL_VALIDATION_FAILED',
  'BAD_USER_INPUT',
  'BAD_REQUEST',
  'OPERATION_RESOLUTION_FAILURE',
  'PERSISTED_QUERY_NOT_FOUND',
  'PERSISTED_QUERY_NOT_SUPPORTED',
]);

const BUSY_RETRY_SECONDS = 5;

/** The one way an error leaves, on every transport: a refusal as it is, a fault of the request with its message, all else masked. */
export function presentedError(error: unknown, requestId?: string): GraphQLFormattedError {
  const { locations, path } = error instanceof GraphQLError ? error.toJSON() : {};
  const request = requestId === undefined ? {} : { requestId };
  const where = { ...(locations ? { locations } : {}), ...(path ? { path } : {}) };
  const refusal = refusalIn(error);
  if (refusal) {
    const { code, reason, fields, retryAfterSeconds } = refusal;
    const facts = { ...(fields ? { fields } : {}), ...(retryAfterSeconds ? { retryAfterSeconds } : {}) };
    return { message: refusal.message, ...where, extensions: { code, reason, ...request, ...facts } };
  }
  if (isRequestFault(error)) {
    const { message } = error;
    const code = codeOfFault(error);
    const reason = code === 'QUERY_TOO_COMPLEX' ? 'LIMIT_EXCEEDED' : 'INVALID_INPUT';
    return { message, ...where, extensions: { code, reason, ...request } };
  }
  const internal = new Refusal('INTERNAL');
  return {
    message: internal.message,
    ...where,
    extensions: { code: internal.code, reason: internal.reason, ...request },
  };
}

/** Whether an error is a bug of ours: such are logged. */
export function isInternal(error: unknown): boolean {
  return !refusalIn(error) && !isRequestFault(error);
}

function refusalIn(error: unknown): Refusal | undefined {
  if (error instanceof Refusal) return error;
  if (error instanceof GraphQLError) return refusalIn(error.originalError);
  if (error instanceof TransactionLost) return lossIn(error);
  return isUnstorableText(error) ? new Refusal('INVALID_INPUT') : undefined;
}

/** A database that is busy, or slow with what it was asked, is not a bug. */
function lossIn({ code }: TransactionLost): Refusal | undefined {
  if (code === 'POOL_TIMEOUT') return new Refusal('BUSY', { retryAfterSeconds: BUSY_RETRY_SECONDS });
  return code === 'TX_DEADLINE' ? new Refusal('DEADLINE_EXCEEDED') : undefined;
}

function isRequestFault(error: unknown): error is GraphQLError {
  if (!(error instanceof GraphQLError)) return false;
  // graphql-js throws faults of variables, documents and scalars without a code and without another error inside.
  return error.originalError === undefined || error.originalError instanceof GraphQLError
    ? true
    : REQUEST_FAULTS.has(String(error.extensions.code));
}

function codeOfFault({ message, extensions: { reason } }: GraphQLError): ErrorCode {
  // Only graphql-js' parser looks at the length, and it has one error for all that it does not read.
  const isTooLarge = reason === 'LIMIT_EXCEEDED' || /more that \d+ tokens/.test(message);
  return isTooLarge ? 'QUERY_TOO_COMPLEX' : 'BAD_USER_INPUT';
}

/** The errors of one answer, each sentence once: a document can repeat its fault ten thousand times. */
export function withoutRepetition(errors: readonly GraphQLFormattedError[]): GraphQLFormattedError[] {
  const first = new Map<string, GraphQLFormattedError>();
  for (const error of errors) {
    const key = error.path ? JSON.stringify([error.message, error.path]) : error.message;
    if (!first.has(key)) first.set(key, error);
  }
  return [...first.values()];
}
