// What a handler does with a job, as the bodies that go to the server (worker-protocol: result bodies).

/** True for a generator function, plain or async: detection is by the kind of function, not by what it returns. */
export function isGenerator(handler) {
  return /^(?:Async)?GeneratorFunction$/.test(handler.constructor?.name ?? '');
}

/** Runs a plain or async handler and gives the body to post. `context.signal` aborts when the job is to be stopped. */
export async function runHandler(handler, job, context) {
  let value;
  try {
    value = await handler(job, context);
  } catch (error) {
    return { body: JSON.stringify({ error: describe(error) }), isLast: false };
  }
  return encode(value);
}

/** Runs a generator handler; `send` gets the body of each chunk before the next one is made. A stopped job ends at its next chunk. */
export async function runGenerator(handler, job, { send, aggregate = false, context }) {
  const outputs = [];
  try {
    for await (const chunk of handler(job, context)) {
      if (context.signal.aborted) break;
      if (typeof chunk === 'object' && chunk !== null && chunk.error) {
        const { error } = chunk;
        return { body: stringify({ error: typeof error === 'string' ? error : stringify(error) }), isLast: false };
      }
      const body = stringify({ output: chunk ?? null });
      await send(body);
      // A copy: a generator may yield one object again and again, changed.
      if (aggregate) outputs.push(JSON.parse(body).output);
    }
  } catch (error) {
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    return { body: JSON.stringify({ error: `handler: ${message} \ntraceback: ${stack}` }), isLast: false };
  }
  return { body: JSON.stringify({ output: outputs }), isLast: false };
}

function encode(value) {
  try {
    return encodeValue(value);
  } catch (error) {
    const message = `the handler's value cannot be sent as JSON: ${error instanceof Error ? error.message : error}`;
    return { body: JSON.stringify({ error: message }), isLast: false };
  }
}

function encodeValue(value) {
  if (!isPlain(value)) return { body: stringify({ output: value ?? null }), isLast: false };
  const { error, refresh_worker: isLast, ...rest } = value;
  const body = {};
  if (Object.keys(rest).length > 0) body.output = 'error' in value || 'refresh_worker' in value ? rest : value;
  if (error) body.error = error;
  if (isLast) body.stopPod = true;
  return { body: stringify(body), isLast: Boolean(isLast) };
}

/** An object whose own keys are what it says: not a list, nor something that turns itself into JSON, as a Date does. */
function isPlain(value) {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  return typeof value.toJSON !== 'function' && refusalOf(value) === undefined;
}

/** JSON that refuses what JSON.stringify would silently turn into null or `{}`, or drop. */
export function stringify(body) {
  return JSON.stringify(body, function refuse(key, value) {
    const refused = refusalOf(value) ?? (ArrayBuffer.isView(this[key]) ? 'binary data' : undefined);
    if (refused !== undefined) throw new Error(`${refused}${key === '' ? '' : ` at '${key}'`} is not JSON`);
    return value;
  });
}

function refusalOf(value) {
  if (typeof value === 'number') return Number.isFinite(value) ? undefined : String(value);
  if (typeof value === 'function' || typeof value === 'symbol' || typeof value === 'bigint') return `a ${typeof value}`;
  if (typeof value !== 'object' || value === null) return undefined;
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return 'binary data';
  if (value instanceof Map || value instanceof Set) return `a ${value.constructor.name}`;
  if (typeof value.next === 'function' && (Symbol.iterator in value || Symbol.asyncIterator in value))
    return 'a generator (its handler is no generator function)';
  return undefined;
}

function describe(thrown) {
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  return JSON.stringify({
    error_type: error.name,
    error_message: error.message,
    error_traceback: error.stack ?? '',
    hostname: process.env.RUNPOD_POD_HOSTNAME ?? 'unknown',
    worker_id: process.env.RUNPOD_POD_ID ?? 'unknown',
    runpod_version: 'wherry-node',
  });
}
