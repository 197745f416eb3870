/** A job as the handler gets it; other keys of the request come along. */
export interface Job<Input = unknown> {
  readonly id: string;
  readonly input: Input;
  readonly [key: string]: unknown;
}

export type Handler<Input = unknown> = (job: Job<Input>) => unknown | Promise<unknown>;

/** Serves jobs until SIGTERM; never resolves while serving. */
export function start(config: { readonly handler: Handler }): Promise<void>;
export const serverless: { readonly start: typeof start };
