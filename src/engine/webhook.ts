import { messageOf } from '../base/errors.js';
import { afterAttempt, DELIVERY_LIMITS, type Delivery, deliveryKeyOf, dueKeyOf, parseDueKey } from '../domain/delivery.js';
import type { RecordChange } from '../store/store.js';
import type { Core, WebhookSender } from './core.js';
import { postWebhook } from './webhook-request.js';
import { openSigningSecrets } from './webhook-secrets.js';
import { signatureHeaders } from './webhook-signature.js';

/** At most so many at once, in all and of one endpoint, so that a slow receiver holds up only its own. */
const TOTAL = 64;
const PER_ENDPOINT = 8;
/** The longest timer; also how long a delivery waits for another look after the store refused. */
const LONGEST_TIMER_MS = 3_600_000;
const STORE_RETRY_MS = 5_000;

export function createWebhookSender(core: () => Core): WebhookSender {
  const stopping = new AbortController();
  /** What is being sent, by the key of its due record. */
  const underWay = new Map<string, { readonly endpointId: string; readonly ended: Promise<void> }>();
  const timers = new Map<string, NodeJS.Timeout>();
  /** Endpoints that may have something due, in the order of their turn. */
  const ready = new Set<string>();
  let isFilling = false;
  let filling: Promise<void> | undefined;

  const wake = (endpointId: string) => {
    if (stopping.signal.aborted) return;
    ready.add(endpointId);
    if (!isFilling) filling = fillAll();
  };
  const wakeIn = (endpointId: string, waitMs: number) => {
    if (stopping.signal.aborted) return;
    clearTimeout(timers.get(endpointId));
    timers.set(
      endpointId,
      setTimeout(() => wake(endpointId), Math.min(LONGEST_TIMER_MS, waitMs)),
    );
  };
  const fillAll = async () => {
    isFilling = true;
    for (const endpointId of ready) {
      if (underWay.size >= TOTAL || stopping.signal.aborted) break;
      ready.delete(endpointId);
      await fill(endpointId).catch((cause: unknown) => {
        core().log.error({ err: cause, endpointId }, 'webhooks that are due could not be read');
        wakeIn(endpointId, STORE_RETRY_MS);
      });
    }
    isFilling = false;
  };
  /** Sends what is due of an endpoint as far as there is room, and sets the timer for what is due next. */
  const fill = async (endpointId: string) => {
    const { store, clock } = core();
    const listed = await store.listRecords('delivery-due', { prefix: `${endpointId}/`, limit: PER_ENDPOINT + 1 });
    let room = PER_ENDPOINT - [...underWay.values()].filter((other) => other.endpointId === endpointId).length;
    for (const { id: dueKey } of listed) {
      if (underWay.has(dueKey)) continue;
      const waitMs = parseDueKey(dueKey).dueAt - clock.now();
      if (waitMs > 0) return wakeIn(endpointId, waitMs);
      if (room-- <= 0) return;
      if (underWay.size >= TOTAL) return void ready.add(endpointId);
      begin(endpointId, dueKey);
    }
  };
  const begin = (endpointId: string, dueKey: string) => {
    const ended = deliver(core(), dueKey, stopping.signal)
      .catch((cause: unknown) => {
        core().log.error({ err: cause, dueKey }, 'a webhook could not be sent');
        wakeIn(endpointId, STORE_RETRY_MS);
        return false;
      })
      .then((isDone) => {
        underWay.delete(dueKey);
        // Also for the endpoints that had no room before.
        if (isDone) wake(endpointId);
      });
    underWay.set(dueKey, { endpointId, ended });
  };

  return {
    wake,
    async start() {
      for (const { id } of await core().store.listEndpoints()) wake(id);
    },
    async stop() {
      stopping.abort();
      for (const timer of timers.values()) clearTimeout(timer);
      timers.clear();
      await filling;
      await Promise.all([...underWay.values()].map(({ ended }) => ended));
    },
  };
}

/** One try of what a due record names. Gives false when it was given up because the server stops: then it stays due. */
async function deliver(core: Core, dueKey: string, signal: AbortSignal): Promise<boolean> {
  const { store, clock, log } = core;
  const key = deliveryKeyOf(parseDueKey(dueKey));
  const [delivery, body] = await Promise.all([store.getRecord('delivery', key), store.getRecord('delivery-body', key)]);
  if (!delivery || !body || dueKeyOf(delivery) !== dueKey) {
    await store.removeRecord('delivery-due', dueKey);
    return true;
  }
  const at = clock.now();
  const answer = await send(core, delivery, { body: body.text, signal });
  if (signal.aborted && answer.status === null) return false;
  const now = clock.now();
  const limits = (await store.getEndpoint(delivery.endpointId))?.settings.limits;
  // Read again: a redelivery may have been asked for meanwhile.
  const current = (await store.getRecord('delivery', key)) ?? delivery;
  const attempt = { at, durationMs: now - at, ...answer };
  const after = afterAttempt(current, attempt, { persistMs: limits?.webhookRetryMs ?? 0, now });
  core.meter.recordWebhook(delivery.endpointId, after.state);
  await store.changeRecords(limits ? changesOf(dueKey, after) : [{ kind: 'delivery-due', id: dueKey, value: null }]);
  log.debug({ deliveryId: delivery.id, url: new URL(delivery.url).host, state: after.state, status: answer.status }, 'a webhook was tried');
  return true;
}

function changesOf(dueKey: string, after: Delivery): RecordChange[] {
  return [
    { kind: 'delivery-due', id: dueKey, value: null },
    { kind: 'delivery', id: deliveryKeyOf(after), value: after },
    ...(after.dueAt === null ? [] : [{ kind: 'delivery-due' as const, id: dueKeyOf(after), value: {} }]),
  ];
}

/** Signs and posts. A secret that cannot be read is a reason, not a delivery without its signature. */
async function send(
  core: Core,
  { id, endpointId, url }: Delivery,
  { body, signal }: { readonly body: string; readonly signal: AbortSignal },
) {
  const timestamp = Math.floor(core.clock.now() / 1_000);
  try {
    const headers = {
      'user-agent': 'wherry',
      ...signatureHeaders({ id, timestamp, body }, await openSigningSecrets(core, endpointId)),
    };
    core.faults('webhook.before-send');
    const answer = await postWebhook({ url, body, headers }, core.webhookTargets, { timeoutMs: DELIVERY_LIMITS.attemptMs, signal });
    core.faults('webhook.after-send');
    return answer;
  } catch (thrown) {
    return { status: null, reason: messageOf(thrown) };
  }
}
