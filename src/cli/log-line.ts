import type { LogLineView } from '../api/resources.js';
import { toTerminal } from './terminal-text.js';

/** Without colours when nobody watches; what else a line holds for a terminal never gets there. */
export function formatLine({ at, source, workerId, text }: Pick<LogLineView, 'at' | 'source' | 'workerId' | 'text'>): string {
  const shown = toTerminal(text, { keepsColours: process.stdout.isTTY === true });
  return [at, workerId, `${source === 'system' ? '· ' : ''}${shown}`].filter((part) => part !== '').join(' ');
}
