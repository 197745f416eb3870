import { spawn } from 'node:child_process';

export interface ToolRun {
  /** Where it runs. */
  readonly cwd: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Gets each line as it comes. */
  readonly report: (line: string) => void;
}

export interface ToolEnded {
  readonly exitCode: number | null;
  /** The last lines of both streams. */
  readonly output: readonly string[];
}

/** Enough for the reason, which comes last. */
const LINES_KEPT = 200;

/** Some tools colour also what nobody looks at. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: this is what it looks for.
const COLOURS = /\x1b\[[\d;]*m/g;

/** Runs a program of this machine to its end, its lines passed on; rejects only when it cannot be started. */
export function runTool(program: string, args: readonly string[], { cwd, environment, report }: ToolRun): Promise<ToolEnded> {
  return new Promise((done, fail) => {
    const child = spawn(program, args, { cwd, env: { ...environment }, stdio: ['ignore', 'pipe', 'pipe'] });
    const output: string[] = [];
    const take = (text: string) => {
      for (const line of text
        .replace(COLOURS, '')
        .split('\n')
        .filter((each) => each.trim() !== '')) {
        report(line.trim());
        output.push(line);
      }
      output.splice(0, Math.max(0, output.length - LINES_KEPT));
    };
    child.stdout.setEncoding('utf8').on('data', take);
    child.stderr.setEncoding('utf8').on('data', take);
    child.on('error', fail);
    child.on('close', (exitCode) => done({ exitCode, output }));
  });
}
