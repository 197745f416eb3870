import { setTimeout as delay } from 'node:timers/promises';
import { type Observation, TERMINAL } from './history.js';
import type { Order } from './plan.js';

/** What clients share: where the server is, what they noted, and how far they are. */
export interface Crowd {
  readonly url: string;
  readonly key: string;
  readonly note: (observation: Observation) => void;
  readonly now: () => number;
  readonly streams: ReadonlySet<string>;
  /** Where webhooks go; none when absent. */
  readonly webhookUrl?: string;
  /** Text that must be in no answer. */
  readonly isLeak: (text: string) => boolean;
  readonly leaked: (place: string) => void;
  readonly tally: Map<string, { submitted: number; acked: number; cancels: number }>;
  /** Ends all waiting. */
  readonly signal: AbortSignal;
}

interface Answer {
  readonly status: number;
  readonly json: Readonly<Record<string, unknown>>;
}

/** Undefined when the connection broke: then nobody knows what happened. */
export async function ask(crowd: Crowd, method: string, path: string, body?: unknown): Promise<Answer | undefined> {
  try {
    const answer = await fetch(`${crowd.url}${path}`, {
      method,
      headers: { authorization: crowd.key, 'content-type': 'application/json' },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(60_000),
    });
    const text = await answer.text();
    if (crowd.isLeak(text)) crowd.leaked(`the answer to ${method} ${path}`);
    return { status: answer.status, json: text === '' ? {} : JSON.parse(text) };
  } catch {
    return undefined;
  }
}

export function tallyOf({ tally }: Pick<Crowd, 'tally'>, endpoint: string) {
  const known = tally.get(endpoint) ?? { submitted: 0, acked: 0, cancels: 0 };
  tally.set(endpoint, known);
  return known;
}

/** One client: submits a job and follows it to its end. Gives its id once it is terminal, or undefined when it got none. */
export async function follow(crowd: Crowd, order: Order): Promise<string | undefined> {
  const id = await submit(crowd, order);
  if (id === undefined) return undefined;
  const canceller = order.cancelAfterMs === undefined ? undefined : cancelLater(crowd, order, id);
  const reader = crowd.streams.has(order.endpoint) ? readStream(crowd, order.endpoint, id) : undefined;
  await untilTerminal(crowd, order, id);
  await Promise.all([canceller, reader]);
  if (order.askAgainAfterMs !== undefined) {
    await delay(order.askAgainAfterMs);
    await look(crowd, `/v2/${order.endpoint}/status/${id}`, id);
  }
  return id;
}

async function submit(crowd: Crowd, { endpoint, input }: Order): Promise<string | undefined> {
  const tally = tallyOf(crowd, endpoint);
  tally.submitted++;
  const wantsWebhook = crowd.webhookUrl !== undefined && input.n % 4 === 0;
  const answer = await ask(crowd, 'POST', `/v2/${endpoint}/run`, { input, ...(wantsWebhook && { webhook: crowd.webhookUrl }) });
  const { id } = answer?.json ?? {};
  const isAcked = answer?.status === 200 && typeof id === 'string';
  crowd.note({
    kind: 'submitted',
    at: crowd.now(),
    endpoint,
    outcome: isAcked ? 'acked' : answer === undefined || answer.status === 200 || answer.status >= 500 ? 'unknown' : 'refused',
    ...(isAcked && { id, webhook: wantsWebhook }),
    ...(answer && { httpStatus: answer.status }),
  });
  if (!isAcked) return undefined;
  tally.acked++;
  return id;
}

async function untilTerminal(crowd: Crowd, { endpoint, wait, input }: Order, id: string): Promise<void> {
  const path = wait === 'hold' ? `/v2/${endpoint}/status-sync/${id}?wait=5000` : `/v2/${endpoint}/status/${id}`;
  while (!crowd.signal.aborted) {
    const status = await look(crowd, path, id);
    if (status === 'MISSING' || (status !== undefined && TERMINAL.has(status))) return;
    if (status === undefined || wait === 'poll') await delay(status === undefined ? 100 : 150 + (input.n % 5) * 100);
  }
}

/** Asks for a job and notes the answer; undefined when there was none. */
async function look(crowd: Crowd, path: string, id: string): Promise<string | undefined> {
  const askedAt = crowd.now();
  const answer = await ask(crowd, 'GET', path);
  if (!answer || (answer.status !== 200 && answer.status !== 404)) return undefined;
  const { status, output, error } = answer.json;
  const seen = answer.status === 404 ? 'MISSING' : String(status);
  crowd.note({
    kind: 'observed',
    at: crowd.now(),
    askedAt,
    id,
    status: seen,
    ...(output !== undefined && { output }),
    ...(error !== undefined && { error }),
  });
  return seen;
}

async function cancelLater(crowd: Crowd, { endpoint, cancelAfterMs }: Order, id: string): Promise<void> {
  await delay(cancelAfterMs ?? 0);
  tallyOf(crowd, endpoint).cancels++;
  crowd.note({ kind: 'cancel-asked', at: crowd.now(), id });
  const askedAt = crowd.now();
  const answer = await ask(crowd, 'POST', `/v2/${endpoint}/cancel/${id}`);
  if (answer?.status !== 200) return;
  const { status, output, error } = answer.json;
  crowd.note({
    kind: 'observed',
    at: crowd.now(),
    askedAt,
    id,
    status: String(status),
    ...(output !== undefined && { output }),
    ...(error !== undefined && { error }),
  });
}

/** Says what it has, so that an answer that a killed server took with it is given again. */
async function readStream(crowd: Crowd, endpoint: string, id: string): Promise<void> {
  let after = '';
  while (!crowd.signal.aborted) {
    const answer = await ask(crowd, 'GET', `/v2/${endpoint}/stream/${id}?after=${after}`);
    const { status, stream, next } = answer?.json ?? {};
    if (typeof next === 'string') after = next;
    for (const { output } of Array.isArray(stream) ? (stream as { output: { run: string; index: number } }[]) : []) {
      crowd.note({ kind: 'chunk', at: crowd.now(), id, run: output.run, index: output.index });
    }
    if (answer === undefined) await delay(100);
    else if (answer.status !== 200 || TERMINAL.has(String(status))) return;
  }
}

/** Sends jobs at a rate, at most so many unfinished at once, until the signal. Resolves when all are terminal or the crowd is sent home. */
export async function submitAtRate(
  crowd: Crowd,
  orders: Iterator<Order, unknown>,
  { perSecond, inFlight, until }: { readonly perSecond: number; readonly inFlight: number; readonly until: AbortSignal },
): Promise<void> {
  const running = new Set<Promise<unknown>>();
  const began = crowd.now();
  for (let sent = 0; !until.aborted; ) {
    const due = Math.floor(((crowd.now() - began) * perSecond) / 1_000);
    for (; sent < due && running.size < inFlight; sent++) {
      const order = orders.next().value as Order;
      const one = follow(crowd, order).finally(() => running.delete(one));
      running.add(one);
    }
    // What the bound held back is not made up for.
    sent = Math.max(sent, due);
    await delay(10, undefined, { signal: until }).catch(() => {});
  }
  await Promise.all(running);
}
