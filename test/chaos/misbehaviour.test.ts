import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { detectCgroups, hasController, removeGroups } from '../../src/runtime/process/cgroup.js';
import { nodeProject } from '../journey/projects.js';
import { openStage, pidsWith, type Stage, until } from '../stage.js';

/** Handlers that do what they should not (C5, C6), each beside a neighbour that goes on. */
const MISBEHAVES = `
import { spawn } from 'node:child_process';
import { closeSync, writeSync } from 'node:fs';
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
function write(bytes) {
  for (let at = 0; at < bytes.length; ) {
    try { at += writeSync(1, bytes, at); } catch (error) { if (error.code !== 'EAGAIN') throw error; }
  }
}
export async function handler({ input: { deed, ms = 0 } }) {
  if (deed === 'exit') process.exit(0);
  if (deed === 'abort') process.abort();
  if (deed === 'close') { closeSync(1); closeSync(2); }
  if (deed === 'ignore') { process.on('SIGTERM', () => {}); await sleep(60_000); }
  if (deed === 'fork') { for (let n = 0; n < 3_000; n++) { try { spawn('sleep', ['300'], { stdio: 'ignore' }).on('error', () => {}); } catch {} } }
  if (deed === 'flood') { const block = Buffer.alloc(1 << 20, 'a line of a flood that goes on and on\\n'); const end = Date.now() + ms; while (Date.now() < end) write(block); }
  if (deed === 'binary') write(Buffer.concat([Buffer.from([0, 255, 254, 27, 128]), Buffer.from(' binary\\n')]));
  if (deed === 'open') write(Buffer.from('a line without an end'));
  if (deed === 'colour') write(Buffer.from('\\u001b[31mred\\u001b[0m\\u001b[2J\\n'));
  if (deed === 'long') write(Buffer.concat([Buffer.alloc(10 << 20, 'z'), Buffer.from('\\n')]));
  return 'done';
}
`;

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
  const settings = 'scale: { max: 1, idle: 1s, keep: none }\n';
  await stage.cli('deploy', stage.project('bad', nodeProject('bad', MISBEHAVES, settings)));
  await stage.cli('deploy', stage.project('good', nodeProject('good', MISBEHAVES, settings)));
});
afterAll(() => stage.close());

interface Line {
  readonly text: string;
  readonly source: string;
}

async function linesOf(workerId: string | undefined): Promise<readonly Line[]> {
  return ((await stage.call(`/api/v1/endpoints/bad/logs?worker=${workerId}&limit=1000`)).json as { items: Line[] }).items;
}

const neighbour = async () => expect(await stage.runsync('good', {})).toMatchObject({ status: 'COMPLETED', output: 'done' });

describe('what a handler prints', () => {
  it('as a flood is bounded and marked; its job and its neighbour go on (C5)', async () => {
    const job = await stage.submit('bad', { deed: 'flood', ms: 3_000 });
    await neighbour();
    const done = await stage.finished('bad', job.id);
    expect(done).toMatchObject({ status: 'COMPLETED', output: 'done' });
    await until(
      async () => (await linesOf(done.workerId)).some(({ source, text }) => source === 'system' && /dropped \d+ lines/.test(text)),
      'the mark of dropped lines',
    );
  });

  it.each([
    ['bytes that are no text', 'binary', / binary$/],
    ['a line that never ends', 'open', /^a line without an end$/],
    ['control sequences', 'colour', /red/],
    ['ten megabytes without a break', 'long', /^z{1000,}.*\[\d+ bytes more\]$/],
  ])('is kept and does not disturb its job when it is %s (C5)', async (_what, deed, wanted) => {
    const job = await stage.submit('bad', { deed });
    const done = await stage.finished('bad', job.id);
    expect(done).toMatchObject({ status: 'COMPLETED', output: 'done' });
    // Of the worker and not of the job: a line without an end comes when the worker goes.
    const line = await until(async () => (await linesOf(done.workerId)).find(({ text }) => wanted.test(text)), 'the line to be kept');
    expect(line.text.length).toBeLessThan(32 * 1024);
  });
});

describe('a handler', () => {
  it.each([
    ['exits with 0 in the middle of its job', 'exit', /exited with code 0/],
    ['crashes', 'abort', /SIGABRT/],
  ])('that %s has its job failed with the cause, its neighbour goes on (C6)', async (_what, deed, cause) => {
    const job = await stage.submit('bad', { deed });
    await neighbour();
    expect(await stage.finished('bad', job.id)).toMatchObject({ status: 'FAILED', error: expect.stringMatching(cause) });
    await stage.call('/api/v1/endpoints/bad', { method: 'PATCH', body: { isPaused: false } });
  });

  it('that closes its output answers all the same (C6)', async () => {
    expect(await stage.runsync('bad', { deed: 'close' })).toMatchObject({ status: 'COMPLETED', output: 'done' });
  });

  it('that blocks signals is gone soon after its job is cancelled (C6)', async () => {
    const job = await stage.submit('bad', { deed: 'ignore' });
    const { workerId } = await until(async () => {
      const now = await stage.status('bad', job.id);
      return now.status === 'IN_PROGRESS' ? now : undefined;
    }, 'the job to run');
    await stage.call(`/v2/bad/cancel/${job.id}`, { method: 'POST' });
    await until(() => pidsWith(`/${workerId}`).length === 0, 'its processes to be gone', 8_000);
    await neighbour();
  });

  const canLimit = () => {
    const probe = detectCgroups('probe-of-tests');
    removeGroups(probe?.bases.map(({ dir }) => dir) ?? []);
    return hasController(probe, 'pids');
  };
  it.runIf(canLimit())(
    'that forks without end meets the limit of processes, and nothing of it stays (C6, needs cgroups)',
    async () => {
      const job = await stage.submit('bad', { deed: 'fork' });
      await neighbour();
      const done = await stage.finished('bad', job.id);
      expect(done.status).toBeOneOf(['COMPLETED', 'FAILED']);
      await until(() => pidsWith(join(stage.dataDir, 'workers/w-')).length < 20, 'its processes to be gone');
    },
    120_000,
  );
});
