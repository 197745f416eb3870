import type { Worker } from '../domain/worker.js';
import type { Core } from './core.js';

/** Writes a line of the platform's own into a worker's log. Never rejects: what happens to workers does not depend on a line about it. */
export function writeSystemLine({ logs, clock }: Core, { id, endpointId }: Pick<Worker, 'id' | 'endpointId'>, text: string): Promise<void> {
  return logs.append({ endpointId, workerId: id }, [{ at: clock.now(), source: 'system', jobId: null, text }]).catch(() => {});
}
