import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect } from 'vitest';
import type { RunReport } from '../../src/check/result.js';
import { type CliResult, MAIN, pidsWith, runCli, until } from '../stage.js';

/** A run of `wherry test` that is under way. */
export interface Running {
  readonly child: ChildProcess;
  /** Both streams so far. */
  readonly said: () => string;
  /** Exit code, or the signal's name. */
  readonly ended: Promise<number | string>;
}

/** Runs of `wherry test` with a data directory and a temporary directory of their own. */
export interface TestRuns {
  readonly dir: string;
  project(name: string, files: Readonly<Record<string, string | Uint8Array>>): string;
  run(...args: readonly string[]): Promise<CliResult>;
  /** With its JSON report. */
  report(...args: readonly string[]): Promise<CliResult & { readonly report: RunReport }>;
  start(...args: readonly string[]): Running;
  /** Processes of workers and supervisors of own servers. */
  processes(): readonly number[];
  /** Fails when a run left anything: a process, a data directory of a server, a temporary file. */
  nothingLeft(): Promise<void>;
  close(): void;
}

export function openTestRuns(more: NodeJS.ProcessEnv = {}): TestRuns {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-test-runs-'));
  const [data, temporary] = [join(dir, 'data'), join(dir, 'tmp')];
  mkdirSync(temporary);
  const env = { WHERRY_RUNTIME: 'process', ...more, WHERRY_DATA: data, TMPDIR: temporary };
  const run: TestRuns['run'] = (...args) => runCli(['test', ...args], { cwd: dir, env });
  const processes = () => [...new Set([...pidsWith(join(data, 'test')), ...pidsNaming(join(data, 'test'))])];
  const list = (path: string) => (existsSync(path) ? readdirSync(path) : []);
  return {
    dir,
    project(name, files) {
      for (const [path, text] of Object.entries(files)) {
        mkdirSync(dirname(join(dir, name, path)), { recursive: true });
        writeFileSync(join(dir, name, path), text);
      }
      return join(dir, name);
    },
    run,
    async report(...args) {
      const result = await run(...args, '--json');
      return { ...result, report: JSON.parse(result.stdout) as RunReport };
    },
    start(...args) {
      const child = spawn(process.execPath, [MAIN, 'test', ...args], { cwd: dir, env: { ...process.env, ...env } });
      const said: string[] = [];
      for (const stream of [child.stdout, child.stderr]) stream.on('data', (part: Buffer) => void said.push(part.toString()));
      const ended = new Promise<number | string>((resolve) => child.once('close', (code, signal) => resolve(code ?? signal ?? '')));
      return { child, said: () => said.join(''), ended };
    },
    processes,
    async nothingLeft() {
      await until(() => processes().length === 0, 'no process of a test run', 10_000);
      expect([list(join(data, 'test')), list(temporary)]).toEqual([[], []]);
    },
    close: () => rmSync(dir, { recursive: true, force: true }),
  };
}

/** Processes with a text in their arguments, as supervisors have. */
function pidsNaming(needle: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((name) => {
      try {
        return readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(needle);
      } catch {
        return false;
      }
    })
    .map(Number);
}
