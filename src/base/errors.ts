/** The kinds of failure and what each means at the edges: an HTTP status, a process exit code, whether trying again can help. */
export const ERROR_KINDS = {
  invalid: { status: 400, exit: 2, isRetryable: false },
  unauthenticated: { status: 401, exit: 3, isRetryable: false },
  denied: { status: 403, exit: 3, isRetryable: false },
  not_found: { status: 404, exit: 4, isRetryable: false },
  unsupported: { status: 405, exit: 2, isRetryable: false },
  conflict: { status: 409, exit: 5, isRetryable: false },
  too_large: { status: 413, exit: 2, isRetryable: false },
  unsatisfiable: { status: 416, exit: 2, isRetryable: false },
  limited: { status: 429, exit: 6, isRetryable: true },
  internal: { status: 500, exit: 70, isRetryable: false },
  unavailable: { status: 503, exit: 6, isRetryable: true },
  timeout: { status: 504, exit: 6, isRetryable: true },
} as const;

export type ErrorKind = keyof typeof ERROR_KINDS;

/** Every failure code of the product and its kind. `docs/errors.md` explains each; a test keeps the two equal. */
export const ERRORS = {
  USAGE: 'invalid',
  CONFIG_INVALID: 'invalid',
  REQUEST_INVALID: 'invalid',
  DIGEST_INVALID: 'invalid',
  REFERENCE_INVALID: 'invalid',
  MANIFEST_INVALID: 'invalid',
  MANIFEST_BLOB_UNKNOWN: 'invalid',
  NAME_INVALID: 'invalid',
  SIZE_INVALID: 'invalid',
  HANDLER_NOT_FOUND: 'invalid',
  BUILD_FAILED: 'invalid',
  IMAGE_UNVERIFIABLE: 'invalid',
  BUDGET_EXCEEDED: 'invalid',
  LAYER_INVALID: 'invalid',
  RUNTIME_REFUSED: 'invalid',
  JOB_NOT_RETRYABLE: 'invalid',
  UNAUTHORIZED: 'unauthenticated',
  DENIED: 'denied',
  NOT_FOUND: 'not_found',
  NAME_UNKNOWN: 'not_found',
  BLOB_UNKNOWN: 'not_found',
  MANIFEST_UNKNOWN: 'not_found',
  BLOB_UPLOAD_UNKNOWN: 'not_found',
  ENDPOINT_UNKNOWN: 'not_found',
  RELEASE_UNKNOWN: 'not_found',
  REPORT_UNKNOWN: 'not_found',
  ROLLOUT_UNKNOWN: 'not_found',
  WORKER_UNKNOWN: 'not_found',
  JOB_UNKNOWN: 'not_found',
  JOB_EXPIRED: 'not_found',
  BATCH_UNKNOWN: 'not_found',
  KEY_UNKNOWN: 'not_found',
  IMAGE_UNKNOWN: 'not_found',
  DELIVERY_UNKNOWN: 'not_found',
  CREDENTIAL_UNKNOWN: 'not_found',
  MODEL_UNKNOWN: 'not_found',
  TEMPLATE_UNKNOWN: 'not_found',
  SECRET_UNKNOWN: 'not_found',
  UNSUPPORTED: 'unsupported',
  NAME_TAKEN: 'conflict',
  ROLLOUT_OPEN: 'conflict',
  ROLLOUT_NOT_READY: 'conflict',
  BLOB_IN_USE: 'conflict',
  SCHEMA_TOO_NEW: 'conflict',
  DATA_LOCKED: 'conflict',
  PORT_TAKEN: 'conflict',
  JOB_QUARANTINED: 'conflict',
  JOB_RESTARTED: 'conflict',
  BATCH_NOT_DRAFT: 'conflict',
  IDEMPOTENCY_KEY_REUSED: 'conflict',
  SECRET_EXISTS: 'conflict',
  SECRET_IN_USE: 'conflict',
  TAG_EXISTS: 'conflict',
  TEMPLATE_IN_USE: 'conflict',
  INPUT_TOO_LARGE: 'too_large',
  QUOTA_EXCEEDED: 'too_large',
  RANGE_INVALID: 'unsatisfiable',
  TOOMANYREQUESTS: 'limited',
  INTERNAL: 'internal',
  SEAL_BROKEN: 'internal',
  RUNTIME_UNAVAILABLE: 'unavailable',
  STORE_UNAVAILABLE: 'unavailable',
  REGISTRY_UNAVAILABLE: 'unavailable',
  SERVER_UNAVAILABLE: 'unavailable',
  OUTCOME_UNKNOWN: 'unavailable',
  MODEL_UNAVAILABLE: 'unavailable',
  DIGEST_MISMATCH: 'unavailable',
  WORKER_START_TIMEOUT: 'timeout',
  WAIT_TIMEOUT: 'timeout',
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERRORS;

export interface ErrorExtras {
  /** The remedy, one sentence for the person who reads it. */
  readonly hint?: string | undefined;
  /** Machine-readable facts; never secrets. */
  readonly detail?: unknown;
  readonly cause?: unknown;
}

/** The one error class: a code of {@link ERRORS}, a message (what was tried, on what, why not), and a hint with the remedy. */
export class WherryError extends Error {
  override readonly name = 'WherryError';
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly detail: unknown;

  constructor(code: ErrorCode, message: string, extras: ErrorExtras = {}) {
    super(message, extras.cause === undefined ? {} : { cause: extras.cause });
    this.code = code;
    this.hint = extras.hint;
    this.detail = extras.detail;
  }

  get kind(): ErrorKind {
    return ERRORS[this.code];
  }

  get status(): number {
    return ERROR_KINDS[this.kind].status;
  }

  get exitCode(): number {
    return ERROR_KINDS[this.kind].exit;
  }

  get isRetryable(): boolean {
    return ERROR_KINDS[this.kind].isRetryable;
  }
}

/** Any thrown value as a {@link WherryError}; what is not one yet becomes INTERNAL with the original as cause. */
export function toWherryError(thrown: unknown): WherryError {
  if (thrown instanceof WherryError) return thrown;
  return new WherryError('INTERNAL', 'an unexpected error happened', { cause: thrown });
}

/** The message of any thrown value, for wrapping foreign errors at a driver's border. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** The `code` of a Node system error (`ENOENT`, `EADDRINUSE`), or undefined. */
export function systemCodeOf(thrown: unknown): string | undefined {
  const code = (thrown as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}
