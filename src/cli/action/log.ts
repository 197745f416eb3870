import { createSecret } from '../../base/ids.js';
import { formatCommand } from '../../check/report-annotations.js';
import type { Output } from '../output.js';

/** The log of a step, of which a runner takes some lines as orders. All goes to one stream, so that the order holds. */
export interface StepLog {
  /** Orders of ours. */
  command(line: string): void;
  /** Runs work that shows what others wrote; until it ends no line is an order. */
  quote<T>(work: (output: Output) => T | Promise<T>): Promise<T>;
}

/** Opens the log that `print` writes lines to. */
export function openStepLog(print: (line: string) => void): StepLog {
  const output: Output = {
    isJson: false,
    isTalking: true,
    result: (_, text) => print(text),
    line: (_, text) => print(text),
    talk: print,
    warn: (text) => print(`warning  ${text}`),
    error: ({ code, message }) => print(`error ${code}  ${message}`),
  };
  return {
    command: print,
    async quote(work) {
      const token = createSecret();
      print(formatCommand('stop-commands', token));
      try {
        return await work(output);
      } finally {
        print(formatCommand(token, ''));
      }
    },
  };
}
