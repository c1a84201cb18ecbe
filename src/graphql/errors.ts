import { GraphQLError, type GraphQLFormattedError } from 'graphql';

import { isUnstorableText } from '../platform/db.ts';
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
    const { message, extensions } = error;
    return {
      message,
      ...where,
      extensions: { code: codeOfFault(extensions.code), reason: 'INVALID_INPUT', ...request },
    };
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
  return isUnstorableText(error) ? new Refusal('INVALID_INPUT') : undefined;
}

function isRequestFault(error: unknown): error is GraphQLError {
  if (!(error instanceof GraphQLError)) return false;
  // graphql-js throws faults of variables, documents and scalars without a code and without another error inside.
  return error.originalError === undefined || error.originalError instanceof GraphQLError
    ? true
    : REQUEST_FAULTS.has(String(error.extensions.code));
}

function codeOfFault(code: unknown): string {
  return typeof code === 'string' && code !== 'INTERNAL_SERVER_ERROR' ? code : 'BAD_USER_INPUT';
}
