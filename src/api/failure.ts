/** The error of a job as a person reads it. Errors of SDKs are JSON text with type, message and trace: the message first. */
export function formatFailure(error: unknown): string {
  if (typeof error !== 'string') return JSON.stringify(error);
  try {
    const { error_type: type, error_message: message, error_traceback: trace } = JSON.parse(error) as Record<string, unknown>;
    return message === undefined ? error : `${String(type)}: ${String(message)}\n${String(trace ?? '')}`;
  } catch {
    return error;
  }
}
