import { type ChildProcess, spawn } from 'node:child_process';

export interface ToolRun {
  /** Where it runs. */
  readonly cwd: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Gets each line as it comes. */
  readonly report: (line: string) => void;
  /** Ends the tool and all that it started. */
  readonly signal: AbortSignal;
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

/** How long a tool may take to clear up after itself when it is told to end. */
const GRACE_MS = 5_000;

/** Runs a program of this machine to its end, its lines passed on; rejects when it cannot be started, and with the signal's reason when nothing of it is left. */
export async function runTool(program: string, args: readonly string[], run: ToolRun): Promise<ToolEnded> {
  const { cwd, environment, report, signal } = run;
  signal.throwIfAborted();
  // A group of its own: tools start others, which would go on without them.
  const child = spawn(program, args, { cwd, env: { ...environment }, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
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
  let killing: NodeJS.Timeout | undefined;
  const stop = () => {
    endGroup(child, 'SIGTERM');
    killing = setTimeout(() => endGroup(child, 'SIGKILL'), GRACE_MS);
  };
  signal.addEventListener('abort', stop, { once: true });
  try {
    const exitCode = await new Promise<number | null>((done, fail) => child.on('error', fail).on('close', done));
    if (signal.aborted) endGroup(child, 'SIGKILL');
    signal.throwIfAborted();
    return { exitCode, output };
  } finally {
    signal.removeEventListener('abort', stop);
    clearTimeout(killing);
  }
}

function endGroup({ pid }: ChildProcess, name: 'SIGTERM' | 'SIGKILL'): void {
  try {
    if (pid !== undefined) process.kill(-pid, name);
  } catch {
    // It has ended.
  }
}
