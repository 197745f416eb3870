import { WherryError } from '../base/errors.js';
import { DELIVERY_LIMITS, type Delivery, deliveryKeyOf, dueKeyOf, redelivered } from '../domain/delivery.js';
import type { RecordChange } from '../store/store.js';
import type { Core } from './core.js';
import type { DeliveryFilter, DeliveryName } from './engine.js';
import { requireEndpoint } from './jobs.js';

/** What the log itself needs. */
type Shelf = Pick<Core, 'store' | 'clock'>;

const PAGE = 500;
const prefixOf = (endpointId: string) => `${endpointId}/`;

/** The delivery log, newest first. Throws ENDPOINT_UNKNOWN. */
export async function listDeliveries(core: Core, { endpointId, state, jobId, limit }: DeliveryFilter): Promise<readonly Delivery[]> {
  await requireEndpoint(core, endpointId);
  const found: Delivery[] = [];
  for await (const page of readPages(core, endpointId, { isNewestFirst: true })) {
    found.push(...page.filter((one) => (state === undefined || one.state === state) && (jobId === undefined || one.jobId === jobId)));
    if (found.length >= limit) break;
  }
  return found.slice(0, limit);
}

/** A delivery with its body. Throws ENDPOINT_UNKNOWN, DELIVERY_UNKNOWN. */
export async function getDelivery(
  core: Core,
  { endpointId, deliveryId }: DeliveryName,
): Promise<{ readonly delivery: Delivery; readonly body: string }> {
  await requireEndpoint(core, endpointId);
  const key = deliveryKeyOf({ endpointId, id: deliveryId });
  const [delivery, body] = await Promise.all([core.store.getRecord('delivery', key), core.store.getRecord('delivery-body', key)]);
  if (delivery && body) return { delivery, body: body.text };
  throw new WherryError('DELIVERY_UNKNOWN', `there is no delivery '${deliveryId}' of endpoint '${endpointId}'`, {
    hint: `\`wherry webhooks ${endpointId}\` lists those that are kept`,
  });
}

/** Begins a new series of tries, now, with the same id and body. Throws ENDPOINT_UNKNOWN, DELIVERY_UNKNOWN. */
export async function redeliver(core: Core, name: DeliveryName): Promise<Delivery> {
  const { delivery } = await getDelivery(core, name);
  const again = redelivered(delivery, core.clock.now());
  const change: RecordChange[] = [
    ...(delivery.dueAt === null ? [] : [{ kind: 'delivery-due' as const, id: dueKeyOf(delivery), value: null }]),
    { kind: 'delivery', id: deliveryKeyOf(again), value: again },
    { kind: 'delivery-due', id: dueKeyOf(again), value: {} },
  ];
  await core.store.changeRecords(change);
  core.webhooks.wake(name.endpointId);
  return again;
}

/** Everything about webhooks of an endpoint that is gone. */
export async function removeDeliveries(core: Core, endpointId: string): Promise<void> {
  const due = await core.store.listRecords('delivery-due', { prefix: prefixOf(endpointId) });
  await core.store.changeRecords([
    { kind: 'webhook-secrets', id: endpointId, value: null },
    ...due.map(({ id }) => ({ kind: 'delivery-due' as const, id, value: null })),
  ]);
  for await (const page of readPages(core, endpointId, {})) await core.store.changeRecords(page.flatMap(removalOf));
}

/** Lets go of ended deliveries beyond the age, number and bytes that are kept. */
export async function sweepDeliveries(core: Shelf, endpointId: string): Promise<void> {
  const oldest = core.clock.now() - DELIVERY_LIMITS.keepMs;
  const firstKept = await findFirstKept(core, endpointId);
  for await (const page of readPages(core, endpointId, {})) {
    const old = page.filter(({ id, createdAt }) => id < firstKept || createdAt < oldest);
    const ended = old.filter(({ state }) => state !== 'PENDING');
    if (ended.length > 0) await core.store.changeRecords(ended.flatMap(removalOf));
    if (old.length < page.length) return;
  }
}

/** Id of the oldest delivery within the number and bytes that are kept; empty when all are. */
async function findFirstKept(core: Shelf, endpointId: string): Promise<string> {
  let count = 0;
  let bytes = 0;
  let first = '';
  for await (const page of readPages(core, endpointId, { isNewestFirst: true })) {
    for (const { id, bodyBytes } of page) {
      bytes += bodyBytes;
      if (++count > DELIVERY_LIMITS.kept || bytes > DELIVERY_LIMITS.keptBytes) return first;
      first = id;
    }
  }
  return '';
}

function removalOf(delivery: Delivery): RecordChange[] {
  const id = deliveryKeyOf(delivery);
  return [
    { kind: 'delivery', id, value: null },
    { kind: 'delivery-body', id, value: null },
  ];
}

async function* readPages(
  { store }: Shelf,
  endpointId: string,
  { isNewestFirst = false }: { readonly isNewestFirst?: boolean },
): AsyncGenerator<readonly Delivery[]> {
  for (let after: string | undefined; ; ) {
    const place = after === undefined ? {} : { after };
    const page = await store.listRecords('delivery', { prefix: prefixOf(endpointId), limit: PAGE, isNewestFirst, ...place });
    if (page.length > 0) yield page.map(({ value }) => value);
    after = page.at(-1)?.id;
    if (page.length < PAGE || after === undefined) return;
  }
}
