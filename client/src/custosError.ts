import type { ErrorCode, ErrorReason } from './generated/graphql.ts';

/** An error as it stands in an answer. */
export interface FormattedError {
  readonly message: string;
  readonly extensions?: {
    readonly code?: ErrorCode;
    readonly reason?: ErrorReason;
    readonly requestId?: string;
    readonly fields?: Readonly<Record<string, string>>;
    readonly retryAfterSeconds?: number;
  };
}

/** The server's "no". What never reached it, or came back broken, is an Error or TypeError of another kind. */
export class CustosError extends Error {
  override readonly name = 'CustosError';
  /** What went wrong, coarsely: decide by it. A newer server may know codes that this client does not. */
  readonly code: ErrorCode;
  /** What went wrong, finely: tell the user. */
  readonly reason: ErrorReason;
  /** Quote it to whoever runs the server: it stands in its log and in the record. */
  readonly requestId: string | undefined;
  /** Which inputs are not acceptable, and why. */
  readonly fields: Readonly<Record<string, string>>;
  /** When to try again, if the code is RATE_LIMITED. */
  readonly retryAfterSeconds: number | undefined;
  /** All the errors of the answer; the facts above are those of the first. */
  readonly errors: readonly FormattedError[];
  /** What was done in spite of them: in a request with several mutations each is carried out or refused by itself. */
  readonly data: unknown;

  constructor(errors: readonly FormattedError[], data: unknown = null) {
    const { message = 'The server gave no reason.', extensions = {} } = errors[0] ?? {};
    super(message);
    this.code = extensions.code ?? 'INTERNAL_SERVER_ERROR';
    this.reason = extensions.reason ?? 'INTERNAL';
    this.requestId = extensions.requestId;
    this.fields = extensions.fields ?? {};
    this.retryAfterSeconds = extensions.retryAfterSeconds;
    this.errors = errors;
    this.data = data;
  }
}
