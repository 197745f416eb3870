import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { nodeProject } from '../journey/projects.js';
import { openStage, pidsWith, type Stage, until } from '../stage.js';

let stage: Stage;
afterEach(() => stage.close());

/** Notes each run, and dies where the input says, in its first run only. */
const DIES = `
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
export async function handler({ id, input: { file, dies, sleepMs = 0 } }) {
  const isFirst = !existsSync(file) || !readFileSync(file, 'utf8').includes(id);
  const run = randomUUID();
  appendFileSync(file, id + ' ' + run + '\\n');
  if (isFirst && dies === 'mid-run') process.kill(process.pid, 'SIGKILL');
  if (isFirst && dies === 'after-output') {
    // The value is being written for the post when its last member is read: the output exists, nothing was sent.
    return { run, get last() { process.kill(process.pid, 'SIGKILL'); return 1; } };
  }
  if (dies === 'leaves-child') {
const script = 'setsid sleep 300 </dev/null >/dev/null 2>&1 & echo child >> "$1"';
    spawn('sh', ['-c', script, 'sh', file], { detached: true, stdio: 'ignore' }).unref();
  }
  await new Promise((resolve) => setTimeout(resolve, sleepMs));
  return { run };
}
`;

const SETTLE_MS = 17_000;

function runsOf(file: string, id: string): string[] {
  const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : [];
  return lines.filter((line) => line.startsWith(id)).map((line) => line.split(' ')[1] ?? '');
}

async function open(name: string): Promise<string> {
  stage = await openStage();
  await stage.cli('deploy', stage.project(name, nodeProject(name, DIES, 'scale: { max: 1, idle: 3s }\n')));
  return join(stage.dir, 'runs');
}

async function counts(name: string): Promise<unknown> {
  return ((await stage.call(`/v2/${name}/health`)).json as { jobs: unknown }).jobs;
}

describe('a worker that is killed', () => {
  it.each(['mid-run', 'after-output'])('has its job run once more, with one accepted result: %s (A3)', async (dies) => {
    const file = await open('dies');
    const job = await stage.submit('dies', { file, dies });
    await until(() => runsOf(file, job.id).length === 1, 'the first run');
    const from = performance.now();
    const done = await stage.finished('dies', job.id);
    expect(performance.now() - from).toBeLessThan(SETTLE_MS);
    const runs = runsOf(file, job.id);
    expect(runs).toHaveLength(2);
    expect(done).toMatchObject({ status: 'COMPLETED', output: { run: runs[1] } });
    expect(await counts('dies')).toMatchObject({ completed: 1, failed: 0, retried: 1, inQueue: 0, inProgress: 0 });
  });

  it('during its stream begins the stream anew: what came is a part from the beginning, then the whole of the other run (A3)', async () => {
    stage = await openStage();
    const code = `
import { existsSync, writeFileSync } from 'node:fs';
export async function* handler({ input: { flag } }) {
  const run = existsSync(flag) ? 'second' : 'first';
  for (let n = 0; n < 8; n++) {
    yield run + ' ' + n;
    if (run === 'first' && n === 4) { writeFileSync(flag, ''); process.kill(process.pid, 'SIGKILL'); }
  }
}
`;
    await stage.cli('deploy', stage.project('streams', nodeProject('streams', code, 'scale: { max: 1, idle: 3s }\n')));
    const { id } = await stage.submit('streams', { flag: join(stage.dir, 'flag') });
    const read: unknown[] = [];
    const counted: { number: number; output: string }[] = [];
    let next = '';
    for (let status = ''; status !== 'COMPLETED'; ) {
      const part = (await stage.call(`/v2/streams/stream/${id}`)).json as { status: string; stream: { output: unknown }[] };
      read.push(...part.stream.map(({ output }) => output));
      const numbered = (await stage.call(`/v2/streams/stream/${id}?wait=1000&after=${next}`)).json as {
        next: string;
        stream: typeof counted;
      };
      counted.push(...numbered.stream);
      next = numbered.next;
      status = part.status;
      expect(status).not.toBe('FAILED');
    }
    const first = read.filter((chunk) => String(chunk).startsWith('first'));
    const runOf = (name: string, length: number) => Array.from({ length }, (_, n) => `${name} ${n}`);
    expect(read).toEqual([...runOf('first', first.length), ...runOf('second', 8)]);
    expect(first.length).toBeLessThanOrEqual(5);
    // One that counts sees the new beginning: number 1 comes again.
    const begin = counted.findLastIndex(({ number }) => number === 1);
    expect(counted.slice(begin).map(({ output }) => output)).toEqual(runOf('second', 8));
    expect(counted.slice(0, begin).map(({ output }) => output)).toEqual(runOf('first', begin));
  });

  it('before it takes a job leaves the job to another one (A3)', async () => {
    const file = await open('untaken');
    const first = await stage.runsync('untaken', { file });
    // It stands still while it waits for work, so that the next job may go to it and never arrives.
    const pids = pidsWith(`/${first.workerId}`);
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    const job = await stage.submit('untaken', { file });
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    const from = performance.now();
    const done = await stage.finished('untaken', job.id);
    expect(performance.now() - from).toBeLessThan(SETTLE_MS);
    expect(runsOf(file, job.id)).toEqual([(done.output as { run: string }).run]);
    expect(done.workerId).not.toBe(first.workerId);
    expect(await counts('untaken')).toMatchObject({ completed: 2, failed: 0, inQueue: 0, inProgress: 0 });
  });

  it('takes a double-forked child with it within five seconds (A4)', async () => {
    const file = await open('forks');
    const job = await stage.submit('forks', { file, dies: 'leaves-child', sleepMs: 60_000 });
    await until(() => existsSync(file) && readFileSync(file, 'utf8').includes('child'), 'the child to run');
    const { workerId } = await stage.status('forks', job.id);
    const pids = pidsWith(`/${workerId}`);
    const main = pids.filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('node'));
    expect(pids.length).toBeGreaterThan(main.length);
    for (const pid of main) process.kill(pid, 'SIGKILL');
    await until(() => pidsWith(`/${workerId}`).length === 0, 'the child to be gone', 5_000);
    await stage.call(`/v2/forks/cancel/${job.id}`, { method: 'POST' });
  });
});

describe('workers that restart within the heartbeat under load', () => {
  it('give their jobs back at once, each of which ends once (B7)', async () => {
    const file = await open('restarts');
    await stage.call('/api/v1/endpoints/restarts', { method: 'PATCH', body: { settings: { scale: { max: 3 } } } });
    const jobs = await Promise.all(Array.from({ length: 30 }, () => stage.submit('restarts', { file, sleepMs: 150 })));
    // Twice: the first job in line may be hit each time, and one that ended three workers is set aside.
    for (let kills = 0; kills < 2; kills++) {
      const before = existsSync(file) ? readFileSync(file, 'utf8').length : 0;
      const pid = await until(() => pidsWith(join(stage.dataDir, 'workers'))[0], 'a worker');
      process.kill(pid, 'SIGKILL');
      // The ping interval is ten seconds; work goes on long before.
      await until(() => existsSync(file) && readFileSync(file, 'utf8').length > before, 'work to go on', 8_000);
    }
    for (const { id } of jobs) {
      const done = await stage.finished('restarts', id);
      expect(done, JSON.stringify(done)).toMatchObject({ status: 'COMPLETED', output: { run: runsOf(file, id).at(-1) } });
    }
    expect(await counts('restarts')).toMatchObject({ completed: 30, failed: 0, inQueue: 0, inProgress: 0 });
  });
});
