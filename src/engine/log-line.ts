/** A line of a worker's log. */
export interface LogLine {
  /** `worker/segment:offset`. */
  readonly id: string;
  readonly at: number;
  readonly source: 'system' | 'container';
  readonly workerId: string;
  readonly jobId: string | null;
  readonly text: string;
}

/** Which lines are asked for. */
export interface LogFilter {
  readonly endpointId: string;
  readonly workerId?: string;
  readonly jobId?: string;
  readonly release?: number;
  readonly source?: LogLine['source'];
  /** Printed at or after, or before, in milliseconds since the epoch. */
  readonly since?: number;
  readonly until?: number;
  /** What the text has to be like; called for each line, so it takes no longer than the text is long. */
  readonly isMatch?: (text: string) => boolean;
  /** Last so many lines. */
  readonly limit: number;
}
