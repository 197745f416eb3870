import { createUuid } from '../../base/ids.js';
import { deliveryKeyOf, dueKeyOf, planDelivery } from '../../domain/delivery.js';
import type { Job } from '../../domain/job.js';
import type { WriteRecord } from './records.js';

/** Part of the step that ends a job: what is to be posted is on disk with the end itself, so that a crash cannot lose it. */
export function addDelivery(job: Job, now: number, write: WriteRecord): void {
  const planned = job.webhook === null ? undefined : planDelivery(job, createUuid(now), now);
  if (!planned) return;
  const { delivery, body } = planned;
  write({ kind: 'delivery', id: deliveryKeyOf(delivery), value: delivery });
  write({ kind: 'delivery-body', id: deliveryKeyOf(delivery), value: { text: body } });
  write({ kind: 'delivery-due', id: dueKeyOf(delivery), value: {} });
}
