import { colours, type Output } from './output.js';

export interface Phase {
  readonly name: string;
  readonly ms: number;
}

/** The steps of a longer command: each prints a line when it is done, and its time is kept. */
export interface Phases {
  /** Runs a step; `describe` makes the words of its line from the value. */
  run<T>(name: string, work: () => Promise<T>, describe: (value: T) => string): Promise<T>;
  readonly done: readonly Phase[];
}

/** After this long a step says that it is still running. */
const STILL_MS = 2_000;

export function createPhases(output: Output): Phases {
  const done: Phase[] = [];
  return {
    done,
    async run(name, work, describe) {
      const startedAt = performance.now();
      const still = setInterval(
        () => output.talk(colours.dim(`  ${name.padEnd(10)} still running, ${((performance.now() - startedAt) / 1000).toFixed(0)} s`)),
        STILL_MS,
      );
      try {
        const value = await work();
        const ms = Math.round(performance.now() - startedAt);
        done.push({ name, ms });
        output.talk(`  ${name.padEnd(10)} ${describe(value).padEnd(58)} ${colours.dim(`${(ms / 1000).toFixed(2)} s`)}`);
        return value;
      } finally {
        clearInterval(still);
      }
    },
  };
}
