/** A job as the handler gets it; other keys of the request come along. */
export interface Job<Input = unknown> {
  readonly id: string;
  readonly input: Input;
  readonly [key: string]: unknown;
}

export interface Context {
  /** Aborts when the job is to be stopped: it was cancelled or is over time. A stopped job's value is not sent. */
  readonly signal: AbortSignal;
}

/** A value is the output; what a generator yields is streamed, one chunk after the other. */
export type Handler<Input = unknown> = (
  job: Job<Input>,
  context: Context,
) => unknown | Promise<unknown> | Generator<unknown> | AsyncGenerator<unknown>;

export interface Config {
  readonly handler: Handler;
  /** The chunks of a generator are also the job's output, as a list. */
  readonly returnAggregateStream?: boolean;
  /** A new worker for every job. */
  readonly refreshWorker?: boolean;
  /** Gives the wanted number of jobs at once; asked before each take. */
  readonly concurrencyModifier?: (current: number) => number;
  /** RunPod's spellings. */
  readonly return_aggregate_stream?: boolean;
  readonly refresh_worker?: boolean;
  readonly concurrency_modifier?: (current: number) => number;
}

/** Serves jobs until SIGTERM; never resolves while serving. RunPod's spellings of the keys are understood too. */
export function start(config: Config): Promise<void>;
/** Shows a value as the job's `output` while it runs. */
export function progressUpdate(job: Pick<Job, 'id'>, value: unknown): void;
/** Runs before the first job; when it throws, the worker tells the server why and ends. */
export function registerFitnessCheck<Check extends () => unknown>(check: Check): Check;
export { progressUpdate as progress_update, registerFitnessCheck as register_fitness_check };
export const serverless: {
  readonly start: typeof start;
  readonly progress_update: typeof progressUpdate;
  readonly register_fitness_check: typeof registerFitnessCheck;
};
