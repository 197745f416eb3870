/** Workers of an endpoint that ended in a row without finishing a job. */
export interface CrashLoop {
  readonly crashes: number;
  /** The earliest moment of the next start, in milliseconds since the epoch. */
  readonly nextStartAt: number;
}
