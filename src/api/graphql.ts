import { messageOf, WherryError } from '../base/errors.js';

/** One operation; gives its `data`. */
export type Graphql = (query: string, variables: object) => Promise<Readonly<Record<string, Readonly<Record<string, unknown>> | null>>>;

/** A client of GraphQL over HTTP, with the key as a header. It rejects with SERVER_UNAVAILABLE, UNAUTHORIZED, and REQUEST_INVALID with the server's words. */
export function createGraphqlClient({ url, key }: { readonly url: string; readonly key: string }): Graphql {
  return async (query, variables) => {
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${key}` };
    const body = JSON.stringify({ query, variables });
    const { status, text } = await fetch(url, { method: 'POST', headers, body, signal: AbortSignal.timeout(LIMIT_MS) })
      .then(async (answer) => ({ status: answer.status, text: await answer.text() }))
      .catch((cause: unknown) => {
        throw new WherryError('SERVER_UNAVAILABLE', `no GraphQL answers at ${url}: ${messageOf((cause as Error).cause ?? cause)}`, {
          hint: 'check --api-url, or name the GraphQL of the server with --graphql-url',
          cause,
        });
      });
    const { data, errors } = parseAnswer(text);
    if (status === 401 || status === 403)
      throw new WherryError('UNAUTHORIZED', `${url} does not take the key`, {
        hint: 'set WHERRY_API_KEY to a key that may change endpoints',
      });
    // Errors come with status 200, too.
    if (errors !== undefined)
      throw new WherryError('REQUEST_INVALID', errors.map(({ message }) => message ?? 'no reason given').join('; '));
    if (data) return data;
    throw new WherryError('SERVER_UNAVAILABLE', `${url} answered ${status}, which is no answer of GraphQL`, {
      hint: 'check --api-url, or name the GraphQL of the server with --graphql-url',
    });
  };
}

const LIMIT_MS = 60_000;

interface Answer {
  readonly data?: Awaited<ReturnType<Graphql>> | null;
  readonly errors?: readonly { readonly message?: string }[];
}

function parseAnswer(text: string): Answer {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Answer) : {};
  } catch {
    return {};
  }
}
