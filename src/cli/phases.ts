import { colours, type Output } from './output.js';

export interface Phase {
  readonly name: string;
  readonly ms: number;
}

/** The steps of a longer command: each prints a line when it is done, and its time is kept. */
export interface Phases {
  /** Runs a step, which may note how far it is; `describe` makes the words of its line from the value. */
  run<T>(name: string, work: (note: (text: string) => void) => Promise<T>, describe: (value: T) => string): Promise<T>;
  readonly done: readonly Phase[];
}

/** How often a step says that it is still running. */
const STILL_MS = 2_000;

/** Phases that are told to a person, and that say each `stillMs` that one still runs. */
export function createPhases(output: Output, { stillMs = STILL_MS } = {}): Phases {
  const done: Phase[] = [];
  return {
    done,
    async run(name, work, describe) {
      const startedAt = performance.now();
      let noted = '';
      const still = setInterval(() => {
        const seconds = ((performance.now() - startedAt) / 1000).toFixed(0);
        output.talk(colours.dim(`  ${name.padEnd(10)} still running, ${seconds} s${noted && ` · ${noted}`}`));
      }, stillMs);
      try {
        const value = await work((text) => (noted = text));
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
