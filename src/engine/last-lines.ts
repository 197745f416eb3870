import type { Worker } from '../domain/worker.js';
import type { Core } from './core.js';

/** How many last lines of a worker explain its end. */
const REASON_LINES = 20;

type Place = Pick<Worker, 'id' | 'endpointId'>;

/** What a worker printed last, oldest first. */
export async function readLastLines({ logs }: Pick<Core, 'logs'>, { endpointId, id }: Place): Promise<readonly string[]> {
  const lines = await logs.read({ endpointId, workerId: id, source: 'container', limit: REASON_LINES }, [id]);
  return lines.map(({ text }) => text);
}

/** Lines below a sentence. */
export function formatLines(lines: readonly string[]): string {
  return lines.map((text) => `\n  ${text}`).join('');
}
