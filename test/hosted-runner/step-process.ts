import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** The files by which a step tells things, and what it told. */
export interface Told {
  readonly outputs: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string>>;
  readonly path: readonly string[];
  /** Empty when it was too long, as the hosted runner drops it. */
  readonly summary: string;
}

export interface StepRun {
  readonly script: string;
  /** As in `shell:`; `{0}` is the script's file. */
  readonly shell: string;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** For the files of this step only. */
  readonly dir: string;
  readonly onLine: (line: string) => void;
  /** Gets the process of the step as soon as it runs. */
  readonly onStart: (child: ChildProcess) => void;
}

const FILES = ['GITHUB_OUTPUT', 'GITHUB_ENV', 'GITHUB_PATH', 'GITHUB_STEP_SUMMARY'] as const;
const MOST_SUMMARY_BYTES = 1024 * 1024;
const SHELLS: Readonly<Record<string, string>> = { bash: 'bash --noprofile --norc -eo pipefail {0}', '': 'bash -e {0}' };

/** Runs the script of a step for real. */
export async function runScript({ script, shell, cwd, env, dir, onLine, onStart }: StepRun): Promise<{ readonly code: number } & Told> {
  const file = join(dir, 'script.sh');
  writeFileSync(file, script);
  const files = Object.fromEntries(FILES.map((name) => [name, join(dir, name)]));
  for (const path of Object.values(files)) writeFileSync(path, '');
  const [program = 'bash', ...args] = (SHELLS[shell] ?? shell).split(' ').map((part) => (part === '{0}' ? file : part));
  const child = spawn(program, args, { cwd, env: { ...env, ...files }, stdio: ['ignore', 'pipe', 'pipe'] });
  onStart(child);
  const read = [child.stdout, child.stderr].map(async (input) => {
    for await (const line of createInterface({ input })) onLine(line);
  });
  // A process that the step left may hold its output open; the runner does not wait for it either.
  const code = await new Promise<number>((resolve) => child.once('exit', (exitCode) => resolve(exitCode ?? 137)));
  if (code !== 137) await Promise.all(read);
  return { code, ...readTold(files) };
}

function readTold(files: Readonly<Record<string, string>>): Told {
  const textOf = (name: (typeof FILES)[number]): string => {
    const path = files[name] ?? '';
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  };
  const summary = textOf('GITHUB_STEP_SUMMARY');
  return {
    outputs: readPairs(textOf('GITHUB_OUTPUT')),
    env: readPairs(textOf('GITHUB_ENV')),
    path: textOf('GITHUB_PATH').split('\n').filter(Boolean),
    summary: Buffer.byteLength(summary) > MOST_SUMMARY_BYTES ? '' : summary,
  };
}

/** `NAME=VALUE`, or `NAME<<END` and lines until `END`. Throws where the hosted runner fails the step. */
function readPairs(text: string): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  const lines = text.split('\n');
  while (lines.length > 0) {
    const line = lines.shift() ?? '';
    if (line === '') continue;
    const [, name = '', mark, rest = ''] = /^([^=<]+)(=|<<)(.*)$/s.exec(line) ?? [];
    if (name === '') throw new Error(`'${line}' is neither NAME=VALUE nor NAME<<END`);
    if (mark === '=') {
      found[name] = rest;
      continue;
    }
    const end = lines.indexOf(rest);
    if (end === -1) throw new Error(`the value of '${name}' has no end`);
    found[name] = lines
      .splice(0, end + 1)
      .slice(0, -1)
      .join('\n');
  }
  return found;
}
