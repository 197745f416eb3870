import { addAbortSignal } from 'node:stream';
import type { Dispatcher } from 'undici';
import { messageOf, systemCodeOf, WherryError } from '../base/errors.js';

export type Answer = Dispatcher.ResponseData;

/** What was asked of whom, for messages. */
export interface Asked {
  /** As the registry is reached. */
  readonly host: string;
  /** Who answered: the registry, or where it sent us. */
  readonly answeredBy: string;
  readonly method: string;
  /** Method and path. */
  readonly what: string;
}

const ANSWER_LIMIT_BYTES = 1024 * 1024;
const MAX_PAUSE_MS = 60_000;
/** Statuses that may be others the next time. */
const TRANSIENT: readonly number[] = [429, 500, 502, 503, 504];

/** REGISTRY_UNAVAILABLE for a connection that failed: whom we asked, and what for. */
export function unreachable(who: string, what: string, cause: unknown): WherryError {
  return new WherryError('REGISTRY_UNAVAILABLE', `${who} cannot be reached for ${what}: ${messageOf(cause)}`, {
    hint: isDistrust(cause)
      ? 'name the file of its certificate authority in WHERRY_REGISTRY_CA'
      : "check the registry's name and that it is up; proxies are those of HTTPS_PROXY and NO_PROXY",
    cause,
  });
}

/** A status that the caller did not expect, with the registry's own words. */
export async function refusal(answer: Answer, { host, answeredBy, method, what: request }: Asked): Promise<WherryError> {
  const { statusCode: status } = answer;
  const words = wordsOf(await readText(answer).catch(() => ''));
  const at = answeredBy === host ? '' : ` at '${answeredBy}'`;
  const what = `registry '${host}' refused ${request}${at} with ${status}${words ? `: ${words}` : ''}`;
  if (status === 401)
    return new WherryError('UNAUTHORIZED', what, {
      hint: `log in with \`docker login ${host}\`; for deploys, store credentials with \`wherry credentials add ${host}\``,
    });
  if (status === 403) return new WherryError('DENIED', what, { hint: 'use credentials that may read or write this repository' });
  // Only uploads are begun with it.
  if (status === 404 && method === 'POST')
    return new WherryError('NAME_UNKNOWN', what, {
      hint: 'check the name; some registries want a repository to be made before the first push',
    });
  // Some registries keep their quotas and rules for tags behind it; no second try changes them.
  if (status === 412)
    return new WherryError('DENIED', what, { hint: 'it is a rule of the registry: free some of its quota, or change the rule' });
  if (status === 507) return new WherryError('INPUT_TOO_LARGE', what, { hint: 'free storage of the registry, or give it more' });
  if (status === 413)
    return new WherryError('INPUT_TOO_LARGE', what, {
      hint: 'raise the limit of the registry, or that of the proxy in front of it, for the size of a request',
    });
  return refused(answer, what);
}

/** TOOMANYREQUESTS, else REGISTRY_UNAVAILABLE, with status and the pause that the answer asks for. */
export function refused(answer: Answer, what: string): WherryError {
  const detail = { status: answer.statusCode, retryAfterMs: retryAfterMs(answer) };
  if (answer.statusCode !== 429) return new WherryError('REGISTRY_UNAVAILABLE', what, { detail });
  return new WherryError('TOOMANYREQUESTS', what, { hint: 'log in for a higher limit, or try again later', detail });
}

/** Whether the same request may go well a little later: the line failed, or the status was a passing one. */
export function isPassing({ code, cause, detail }: WherryError): boolean {
  const { status } = (detail ?? {}) as { readonly status?: number };
  if (status !== undefined) return TRANSIENT.includes(status);
  return code === 'REGISTRY_UNAVAILABLE' && cause !== undefined && !isDistrust(cause);
}

/** How long the registry that refused asked to wait, in milliseconds. */
export function retryAfterOf({ detail }: WherryError): number | undefined {
  const { retryAfterMs: asked } = (detail ?? {}) as { readonly retryAfterMs?: number };
  return asked;
}

/** The pause after the `tried`-th try: doubling, with up to half of it left to chance so that clients spread. */
export function backOffMs(tried: number, firstMs: number): number {
  return Math.min(MAX_PAUSE_MS, firstMs * 2 ** (tried - 1)) * (0.5 + Math.random() / 2);
}

/** The answer, whose body breaks when it is not over in so many milliseconds: one that trickles is silent at no time. */
export function within<T extends Answer>(answer: T, limitMs: number): T {
  addAbortSignal(AbortSignal.timeout(limitMs), answer.body);
  return answer;
}

/** Nobody reads on. Unheard, the error of a body that is given up would end the process. */
export function abandon({ body }: Answer): void {
  body.on('error', () => {}).destroy();
}

/** The body of a short answer. Throws SIZE_INVALID when it is long. */
export async function readText(answer: Answer): Promise<string> {
  return (await readLimited(answer, ANSWER_LIMIT_BYTES, 'a registry')).toString('utf8');
}

/** The whole body of what `who` sent. Throws SIZE_INVALID above the limit. */
export async function readLimited({ body }: Answer, limitBytes: number, who: string): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of body) {
    size += (part as Uint8Array).length;
    if (size > limitBytes) throw new WherryError('SIZE_INVALID', `${who} sent more than ${limitBytes} bytes`);
    parts.push(part as Uint8Array);
  }
  return Buffer.concat(parts);
}

/** A certificate that is not trusted now will not be a second later. */
function isDistrust(thrown: unknown): boolean {
  return /CERT|VERIFY_LEAF/.test(systemCodeOf(thrown) ?? '');
}

/** Retry-After of an answer in milliseconds: given in seconds or as a date, which is measured against the answer's own date. */
export function retryAfterMs({ headers }: Answer): number | undefined {
  const header = headers['retry-after'];
  if (typeof header !== 'string') return undefined;
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.parse(String(headers['date']));
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), MAX_PAUSE_MS) : undefined;
}

const WORDS_LENGTH = 300;

/** What the registry, or a proxy in front of it, said: the error list of the distribution-spec, the title of a page, or its text, in one line. */
function wordsOf(text: string): string {
  const [, title] = /<title>([^<]*)/i.exec(text) ?? [];
  const words = (ociMessage(text) ?? title ?? text.replace(/<[^>]*>/g, ' ')).replace(/[\s\p{Cc}]+/gu, ' ').trim();
  return words.length > WORDS_LENGTH ? `${words.slice(0, WORDS_LENGTH)}…` : words;
}

/** Undefined when the text is no such list. */
function ociMessage(text: string): string | undefined {
  try {
    const { errors } = JSON.parse(text) as { errors?: readonly { readonly code?: string; readonly message?: string }[] };
    return errors?.map(({ code, message }) => `${code ?? ''} ${message ?? ''}`.trim()).join('; ');
  } catch {
    return undefined;
  }
}
