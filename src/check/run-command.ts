import { spawn } from 'node:child_process';
import { messageOf } from '../base/errors.js';
import type { RunCommand } from './judge.js';

const LIMIT_MS = 60_000;
/** Of what a command says, the last bytes are shown. */
const SHOWN_BYTES = 2_000;

type Environment = Readonly<Record<string, string | undefined>>;

/** As {@link RunCommand} of a judge, ended when the signal aborts. */
export type CommandRunner = (command: string, input: string, signal: AbortSignal) => ReturnType<RunCommand>;

/** Runs commands of a project by the shell, in its directory, one minute at most. Keys of the environment are not for them. */
export function createCommandRunner(dir: string, environment: Environment): CommandRunner {
  const env = Object.fromEntries(Object.entries(environment).filter(([name]) => !name.endsWith('_API_KEY')));
  return (command, input, signal) =>
    new Promise((resolve) => {
      const child = spawn(command, { cwd: dir, env, shell: true, stdio: ['pipe', 'pipe', 'pipe'], detached: true });
      const end = (): void => {
        // The shell's children too: it is the head of a group of its own.
        if (child.pid !== undefined) killGroup(child.pid);
      };
      const timer = setTimeout(end, LIMIT_MS);
      signal.addEventListener('abort', end, { once: true });
      let said = '';
      const listen = (part: Buffer): void => {
        said = `${said}${part.toString('utf8')}`.slice(-SHOWN_BYTES);
      };
      child.stdout.on('data', listen);
      child.stderr.on('data', listen);
      // One that reads nothing is none the worse for it.
      child.stdin.on('error', () => {});
      child.stdin.end(input);
      child.once('error', (cause) => resolve(`could not be run: ${messageOf(cause)}`));
      child.once('close', (code, killedBy) => {
        clearTimeout(timer);
        signal.removeEventListener('abort', end);
        const how = killedBy === null ? `exited with ${code}` : `was ended by ${killedBy}`;
        resolve(code === 0 ? undefined : `${how}${said.trim() === '' ? '' : `: ${said.trim()}`}`);
      });
    });
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It ended by itself.
  }
}
