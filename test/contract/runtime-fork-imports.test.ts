import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { buildSupervisor, canFork, type ForkStage, openForkStage } from './forked.js';
import { within } from './runtime.js';

const THREAD = 'import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n';
/** A module that knows which process loaded it. */
const SAY = 'import os\nPID = os.getpid()\nMODE = os.environ.get("MODE")\n';
const STAY = 'import time\ntime.sleep(1000)\n';

describe.skipIf(!canFork)('what a fork server imports', () => {
  let buildDir: string;
  let stage: ForkStage;

  beforeAll(async () => {
    buildDir = mkdtempSync(join(tmpdir(), 'wherry-supervisor-'));
    stage = await openForkStage(await buildSupervisor(buildDir));
  });
  afterAll(async () => {
    await stage.close();
    rmSync(buildDir, { recursive: true, force: true });
  });

  const idOf = (title: string) => `w-${title.replaceAll(/\W+/g, '-').slice(0, 30)}`;

  /** The modules that were loaded before the worker, one after the other: `[True, False]`. */
  const before = (...names: readonly string[]) => `print([m.PID != os.getpid() for m in (${names.join(', ')})], flush=True)\n`;

  it('is what the files of the project import, and none of them', async () => {
    const handler = `import outer\nimport mine\nfrom parts import piece\nimport os\n${before('outer', 'mine', 'piece', 'mine.inner')}${STAY}`;
    const image = stage.image(handler, {
      packages: { 'outer.py': SAY, 'inner/__init__.py': SAY },
      app: {
        'mine.py': `"""Mine."""\nimport inner\n${SAY}`,
        'parts/__init__.py': '',
        'parts/piece.py': `${SAY}from . import other\n`,
        'parts/other.py': '',
      },
    });
    await stage.warm(image);
    expect(await stage.start('w-own', image)).toBe('fork');
    expect(await stage.linesOf('w-own')).toEqual(['[True, False, False, True]']);
    expect(stage.heard.notes('w-own')).toEqual([]);
    await stage.runtime.stopWorker('w-own', 0);
  });

  it('ends before a statement that may change what comes after it', async () => {
    const handler = `"""Says what it does."""
from __future__ import annotations
import first
NAME = 'x'
class Thing:
    pass
try:
    import absent
except ImportError:
    absent = None
if NAME == 'y':
    import never
import os
os.environ['MODE'] = 'fast'
import second
${before('first', 'second')}print(second.MODE, absent, flush=True)
${STAY}`;
    const image = stage.image(handler, {
      packages: { 'first.py': SAY, 'second.py': SAY, 'never.py': 'raise SystemExit("never")\n' },
    });
    await stage.warm(image);
    expect(await stage.start('w-order', image)).toBe('fork');
    await vi.waitFor(() => expect(stage.heard.lines('w-order')).toEqual(['[True, False]', 'fast None']), within);
    await stage.runtime.stopWorker('w-order', 0);
  });

  it.each([
    ['starts a thread', THREAD],
    ['starts a process', 'import subprocess\nchild = subprocess.Popen(["sleep", "1000"])\n'],
    ['leaves a connection open', 'import socket\npair = socket.socketpair()\n'],
    ['initialises a GPU', 'import torch\n'],
    ['reads OWN, which only workers have', 'import os\nname = os.environ.get("OWN")\n'],
    ['ends the process with 9', 'import os\nif "OWN" not in os.environ.copy(): os._exit(9)\n'],
    ['fails: RuntimeError: no', 'import os\nif "OWN" not in os.environ.copy(): raise RuntimeError("no")\n'],
    ["loads 'secret' of the project", 'import secret\n'],
    ["looks for 'runpod', which a worker has", 'try:\n    import runpod\nexcept ImportError:\n    runpod = None\n'],
  ])('is not a package that %s: that is left to the worker, and its log says so', async (does, text) => {
    const image = stage.image(`import good, bad, os\n${before('good', 'bad')}${STAY}`, {
      packages: {
        'good.py': SAY,
        'bad.py': `${text}${SAY}`,
        'torch/__init__.py': 'from torch import cuda\n',
        'torch/cuda.py': 'def is_initialized(): return True\n',
      },
      app: { 'secret.py': '' },
    });
    const more = { env: { OWN: 'mine' }, ownEnv: ['OWN'] };
    const id = idOf(does);
    await stage.warm(image, more);
    expect(await stage.start(id, image, more)).toBe('fork');
    expect(await stage.linesOf(id)).toEqual(['[True, False]']);
    await vi.waitFor(() => expect(stage.heard.notes(id)).toEqual([`forked; left to the worker to import: 'bad' (${does})`]), within);
    await stage.runtime.stopWorker(id, 0);
  });

  it.each([
    ['the fork server starts a thread', { packages: { 'sitecustomize.py': THREAD } }],
    ["the fork server has loaded another 'random' than the project's", { path: 'src/handler.py', app: { 'src/random.py': '' } }],
    [
      'the fork server ends the process with 3',
      { packages: { 'sitecustomize.py': 'import os\nif "fork/program" in open("/proc/self/cmdline").read(): os._exit(3)\n' } },
    ],
  ])('makes every worker be spawned when %s, and its log says so', async (why, files) => {
    const image = stage.image(`import os\nprint("up", flush=True)\n${STAY}`, files);
    const id = idOf(why);
    await stage.warm(image, { until: 'is given up' });
    expect(await stage.start(id, image)).toBe('spawn');
    await vi.waitFor(() => expect(stage.heard.notes(id)).toEqual([`spawned, not forked: ${why}`]), within);
    await stage.runtime.stopWorker(id, 0);
  });
});
