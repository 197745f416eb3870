import { constants } from 'node:os';

/** The part of `State` of `/containers/{id}/json` that tells an end. */
export interface ContainerState {
  readonly Running: boolean;
  readonly ExitCode: number;
  readonly OOMKilled?: boolean;
  readonly Error?: string;
}

export interface EndFacts {
  /** Undefined when the container is gone altogether. */
  readonly state: ContainerState | undefined;
  readonly memoryBytes: number | undefined;
  /** Someone who is not this server sent it a signal. */
  readonly isEndedByOthers: boolean;
  /** The engine was away when it ended. */
  readonly isOutage: boolean;
}

/** How a worker ended, as the runtime's events tell it. */
export interface End {
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly cause?: string;
  /** A line for the worker's log. */
  readonly note?: string;
}

const LOST = { exitCode: null, signal: null } as const;
/** Codes that a shutting down engine leaves: of those who took its SIGTERM, of those who were killed, of those it found dead. */
const OUTAGE_CODES: readonly number[] = [0, 128 + constants.signals.SIGTERM, 128 + constants.signals.SIGKILL, 255];

/** Says how a container ended. One that was ended with its engine, or by somebody else, is lost: that tells nothing about its release. */
export function describeEnd({ state, memoryBytes, isEndedByOthers, isOutage }: EndFacts): End {
  if (state === undefined) return { ...LOST, note: 'its container was removed, and not by this server' };
  const exit = splitCode(state.ExitCode);
  if (state.OOMKilled === true) {
    const what = `out of memory${memoryBytes === undefined ? '' : `, limit ${Math.round(memoryBytes / 1024 / 1024)} MiB`}`;
    if (exit.signal === 'SIGKILL') return { ...exit, cause: `was killed: ${what}`, note: `killed: ${what}` };
    return { ...exit, note: `a process of it was killed: ${what}` };
  }
  if (isEndedByOthers) return { ...LOST, note: `ended by a signal that this server did not send (exit code ${state.ExitCode})` };
  if (isOutage && OUTAGE_CODES.includes(state.ExitCode))
    return { ...LOST, note: `ended together with its engine (exit code ${state.ExitCode})` };
  return state.Error ? { ...exit, note: `the engine says: ${state.Error}` } : exit;
}

/** Runtimes tell the death by a signal as 128 and its number. */
function splitCode(code: number): Pick<End, 'exitCode' | 'signal'> {
  const signal = Object.entries(constants.signals).find(([, number]) => number === code - 128)?.[0];
  return signal === undefined ? { exitCode: code, signal: null } : { exitCode: null, signal };
}
