import { ERRORS, type ErrorCode, WherryError } from '../base/errors.js';

/** How /api/v1 says what went wrong. */
export interface ErrorEnvelope {
  readonly error: {
    readonly code: ErrorCode;
    readonly message: string;
    readonly hint?: string;
    readonly detail?: unknown;
    readonly requestId: string;
  };
}

/** The envelope of an error. A bug shows only its request id: the log has the cause. */
export function formatError({ code, message, hint, detail }: WherryError, requestId: string): ErrorEnvelope {
  if (code === 'INTERNAL') {
    const told = {
      code,
      message: 'an unexpected error happened',
      hint: `the server's log has the cause under request ${requestId}`,
      requestId,
    };
    return { error: told };
  }
  return { error: { code, message, ...(hint !== undefined && { hint }), ...(detail !== undefined && { detail }), requestId } };
}

/** Codes for answers of the job API, which carry a text only. */
const BY_STATUS: Readonly<Record<number, ErrorCode>> = {
  400: 'REQUEST_INVALID',
  401: 'UNAUTHORIZED',
  403: 'DENIED',
  404: 'NOT_FOUND',
  405: 'UNSUPPORTED',
  429: 'TOOMANYREQUESTS',
  503: 'STORE_UNAVAILABLE',
};

const HINTS: Partial<Record<ErrorCode, string>> = {
  UNAUTHORIZED: 'set WHERRY_API_KEY, or use the data directory of the server with --data',
};

/** The error that an answer of the server means; the inverse of {@link formatError}. */
export function parseError(status: number, body: unknown): WherryError {
  const error = (body as { error?: unknown } | null | undefined)?.error;
  if (typeof error === 'object' && error !== null) {
    const { code, message, hint, detail } = error as Partial<ErrorEnvelope['error']>;
    if (code !== undefined && code in ERRORS)
      return new WherryError(code, message ?? 'the server refused', { hint: hint ?? HINTS[code], detail });
  }
  const code = BY_STATUS[status] ?? 'SERVER_UNAVAILABLE';
  const message = typeof error === 'string' ? error : `the server answered ${status}`;
  return new WherryError(code, message, { hint: HINTS[code] });
}
