import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nodeProject } from '../journey/projects.js';
import { openStage, type Stage } from '../stage.js';

/** Longer than the lease of 35 s. */
const LONG_S = 40;

/** Writes down each run with its process, and whether an earlier one's was still alive when it began. */
const NODE = `
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
export async function handler({ input: { file, how } }) {
  const before = existsSync(file) ? readFileSync(file, 'utf8').trim().split('\\n') : [];
  const alive = before.filter((line) => existsSync('/proc/' + line.split(' ')[0]));
  appendFileSync(file, process.pid + ' ' + alive.length + '\\n');
  const run = before.length + 1;
  if (how === 'waits') await new Promise((resolve) => setTimeout(resolve, ${LONG_S}_000));
  if (how === 'blocks') for (const end = Date.now() + ${LONG_S}_000; Date.now() < end; ) {}
  if (how === 'stops' && run === 1) process.kill(process.pid, 'SIGSTOP');
  return run;
}
`;

/** As above; libc's sleep is called with the interpreter's lock held, so that no other thread of the process runs. */
const PYTHON = `
import ctypes, os, time

def handler(job):
    file, how = job["input"]["file"], job["input"]["how"]
    before = open(file).read().split("\\n")[:-1] if os.path.exists(file) else []
    alive = [line for line in before if os.path.exists("/proc/" + line.split(" ")[0])]
    with open(file, "a") as notes:
        notes.write(f"{os.getpid()} {len(alive)}\\n")
    run = len(before) + 1
    if how == "waits":
        time.sleep(${LONG_S})
    if how == "holds the lock" and run == 1:
        ctypes.PyDLL(None).sleep(${LONG_S})
    return run
`;

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
  await stage.cli(
    'deploy',
    stage.project('node-long', nodeProject('node-long', NODE, 'scale: { max: 3, type: requestCount, value: 1 }\n')),
  );
  const files = { 'wherry.yaml': 'name: python-long\nscale: { max: 2, type: requestCount, value: 1 }\n', 'handler.py': PYTHON };
  await stage.cli('deploy', stage.project('python-long', files));
});
afterAll(() => stage.close());

interface Outcome {
  readonly runs: readonly string[];
  readonly status: string;
  readonly output: unknown;
}

async function run(endpoint: string, how: string): Promise<Outcome> {
  const file = join(stage.dir, `${endpoint}-${how.replaceAll(' ', '-')}`);
  const { id } = await stage.submit(endpoint, { file, how });
  const end = performance.now() + 100_000;
  for (;;) {
    const { status, output } = (await stage.call(`/v2/${endpoint}/status-sync/${id}?wait=60000`)).json as Outcome;
    if (status !== 'IN_QUEUE' && status !== 'IN_PROGRESS') {
      const lines = existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : [];
      return { runs: lines.map((line) => line.split(' ')[1] ?? ''), status, output };
    }
    if (performance.now() > end) throw new Error(`${endpoint}: '${how}' is still ${status}`);
  }
}

describe('a handler that outlasts the lease', () => {
  it('runs once while its worker renews, and again only after a process that cannot is gone (B6)', async () => {
    const [waits, blocks, stops, sleeps, holds] = await Promise.all([
      run('node-long', 'waits'),
      run('node-long', 'blocks'),
      run('node-long', 'stops'),
      run('python-long', 'waits'),
      run('python-long', 'holds the lock'),
    ]);
    // Pings come from a thread of their own, so neither a wait nor a blocked loop ends the lease.
    for (const outcome of [waits, blocks, sleeps]) expect(outcome).toEqual({ runs: ['0'], status: 'COMPLETED', output: 1 });
    // No thread runs: the process is ended first, then the job runs again, and its one result is the second run's.
    for (const outcome of [stops, holds]) expect(outcome).toEqual({ runs: ['0', '0'], status: 'COMPLETED', output: 2 });
  }, 120_000);
});
