import type { DecisionView } from '../../api/scaling.js';
import { colours, formatTable } from '../output.js';

const HEAD = ['time', 'waiting', 'running', 'workers', 'wanted', 'did', 'why'];

/** Decisions, one a line, in the order given. */
export function formatDecisions(decisions: readonly DecisionView[]): string {
  return formatTable(HEAD, decisions.map(cellsOf));
}

/** The same cells without padding, for lines that come one by one. */
export function formatDecision(decision: DecisionView): string {
  return cellsOf(decision).join('  ');
}

function cellsOf({ at, sample, policy, wanted, reason, hold, actions }: DecisionView): string[] {
  const waiting = sample.oldestWaitMs === null ? '0' : `${sample.queued} (${(sample.oldestWaitMs / 1_000).toFixed(1)} s)`;
  return [
    at,
    waiting,
    String(sample.inProgress),
    formatWorkers(sample),
    `${wanted} of ${policy.min}..${policy.max}`,
    formatActions(actions),
    hold === null ? reason : `${reason}; ${hold}`,
  ];
}

function formatWorkers({ starting, ready, busy, frozen, stopping, throttled }: DecisionView['sample']): string {
  const parts = { starting, idle: ready - busy - frozen, busy, frozen, stopping, throttled };
  const shown = Object.entries(parts).filter(([, count]) => count > 0);
  return shown.length === 0 ? 'none' : shown.map(([state, count]) => `${count} ${state}`).join(', ');
}

const VERBS = { start: 'started', throttle: 'throttled', thaw: 'thawed', freeze: 'froze', stop: 'stopped' } as const;

function formatActions(actions: DecisionView['actions']): string {
  const parts = Object.entries(VERBS).flatMap(([action, verb]) => {
    const ids = actions[action as keyof typeof VERBS];
    return ids.length === 0 ? [] : [`${verb} ${ids.length === 1 ? ids[0] : `${ids.length} (${ids.join(' ')})`}`];
  });
  return parts.length === 0 ? colours.dim('-') : parts.join(', ');
}
