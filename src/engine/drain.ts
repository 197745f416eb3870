import type { Worker } from '../domain/worker.js';
import type { Core } from './core.js';

/** Stops a worker without waiting: its exit comes back as an event. */
export function drain(core: Core, worker: Worker, options: { readonly reason: string; readonly graceMs?: number }): void {
  core.fleet.drain(worker.id, options).catch((cause: unknown) => {
    core.log.error({ err: cause, workerId: worker.id }, 'a worker could not be stopped');
  });
}
