import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { lifeOf } from '../../src/runtime/process/members.js';
import type { ImageName } from '../../src/runtime/runtime.js';
import { buildSupervisor, canFork, type ForkStage, OBEDIENT, openForkStage, told, WAIT } from './forked.js';
import { within } from './runtime.js';

describe.skipIf(!canFork)('a Python worker that is forked', () => {
  let buildDir: string;
  let stage: ForkStage;
  let image: ImageName;

  beforeAll(async () => {
    buildDir = mkdtempSync(join(tmpdir(), 'wherry-supervisor-'));
    stage = await openForkStage(await buildSupervisor(buildDir));
    image = stage.image(OBEDIENT);
    await stage.warm(image, told(WAIT));
  });
  afterAll(async () => {
    await stage.close();
    rmSync(buildDir, { recursive: true, force: true });
  });

  it('has what a spawned one has: variables, directory, arguments, paths, flags, descriptors', async () => {
    const show = [
      'json.dumps({k: v for k, v in os.environ.items() if k not in ("PWD", "SHLVL", "_", "OLDPWD")}, sort_keys=True)',
      'os.getcwd(), sorted(os.listdir("."))',
      'sys.argv, getattr(sys, "orig_argv", [])',
      'sys.path',
      '__name__, __file__, sys.modules["__main__"].handler.__module__',
      'sys.flags, sys.stdout.line_buffering, sys.stdout.write_through, sys.stdout.encoding',
      'os.getpid() == os.getsid(0) == os.getpgid(0), os.getppid() != 1',
      'sys.stdin.read(), os.fstat(0).st_rdev, len(os.listdir("/proc/self/fd"))',
      'os.umask(0o22), signal.getsignal(signal.SIGCHLD), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)',
      'signal.pthread_sigmask(signal.SIG_BLOCK, []), os.nice(0), resource.getrlimit(resource.RLIMIT_NPROC)',
      'subprocess.check_output(["sh", "-c", "echo $GIVEN $WHERRY_WORKER $HOME"], text=True).strip()',
      'os.environ["CUDA_VISIBLE_DEVICES"]',
    ];
    const lines = show.map((value) => `print(${value})`).join('\n');
    const handler = `import json, os, resource, signal, subprocess, sys\ndef handler(job): return 1\n${lines}\nsys.exit(0)\n`;
    const files = { app: { 'data/a.txt': 'a' }, env: ['FROM_IMAGE=/wherry/app:/x'] };
    const more = { env: { GIVEN: 'yes', OWN: 'mine' }, ownEnv: ['OWN'], gpus: ['GPU-a', 'GPU-b'] };
    const shown = stage.image(handler, files);
    await stage.warm(shown, more);
    expect(await stage.run('w-forked', shown, more)).toBe('fork');
    expect(await stage.run('w-spawned', stage.image(`${handler}# another\n`, files), more)).toBe('spawn');
    const plain = (line: string) => line.replaceAll(/w-(forked|spawned)/g, 'w-x').replaceAll(/[0-9a-f]{64}(\/[0-9a-f]{16})?/g, 'DIGEST');
    expect(stage.heard.lines('w-forked').map(plain)).toEqual(stage.heard.lines('w-spawned').map(plain));
    expect(stage.heard.lines('w-forked')).toHaveLength(show.length);
    expect(stage.heard.exit('w-forked')).toEqual({ exitCode: 0, signal: null });
    expect(existsSync(join(stage.dataDir, 'workers', 'w-forked'))).toBe(false);
  });

  it('shares nothing with another one, and draws other random numbers', async () => {
    const lines = [
      'len(box.KEPT)',
      'box.SEEDS',
      'tempfile.gettempdir() == os.environ["TMPDIR"]',
      'random.random()',
      'uuid.uuid4()',
      'multiprocessing.current_process().authkey.hex()',
    ].map((value) => `print(${value})`);
    const boxed = stage.image(
      ['import box, multiprocessing, os, random, tempfile, uuid', 'box.KEPT.append(1)', ...lines, 'os._exit(0)'].join('\n'),
      {
        packages: {
          'box.py': 'import numpy.random, tempfile\ntempfile.gettempdir()\nKEPT = []\nSEEDS = numpy.random.SEEDS\n',
          'numpy/__init__.py': '',
          'numpy/random.py': 'SEEDS = []\ndef seed(): SEEDS.append(1)\n',
        },
      },
    );
    await stage.warm(boxed);
    for (const id of ['w-one', 'w-two']) expect(await stage.run(id, boxed)).toBe('fork');
    const [first = [], second = []] = ['w-one', 'w-two'].map((id) => stage.heard.lines(id));
    expect([first.slice(0, 3), second.slice(0, 3)]).toEqual(Array(2).fill(['1', '[1]', 'True']));
    for (const index of [3, 4, 5]) expect(second[index]).not.toBe(first[index]);
  });

  it.each([
    ['its exit code', 'import sys; sys.exit(7)', { exitCode: 7, signal: null }, []],
    ['a message as its end', 'raise SystemExit("over")', { exitCode: 1, signal: null }, ['over']],
    ['an exception nobody caught', 'raise KeyError("k")', { exitCode: 1, signal: null }, ["KeyError: 'k'"]],
    ['an end without ceremony', 'os._exit(3)', { exitCode: 3, signal: null }, []],
    ['the signal that killed it', 'import signal; os.kill(os.getpid(), signal.SIGSEGV)', { exitCode: null, signal: 'SIGSEGV' }, []],
    [
      'what runs at its exit, after its threads',
      'import atexit, sys, threading, time\natexit.register(print, "bye")\nthreading.Thread(target=lambda: (time.sleep(0.1), print("thread"))).start()\nsys.exit(4)',
      { exitCode: 4, signal: null },
      ['thread', 'bye'],
    ],
  ] as const)('tells %s, after all its lines', async (what, end, exit, last) => {
    const id = `w-${what.replaceAll(/\W+/g, '-')}`.slice(0, 30);
    expect(await stage.run(id, image, told('for n in range(200): print(n)', end))).toBe('fork');
    expect(stage.heard.exit(id)).toEqual(exit);
    expect(stage.heard.order.at(-1)).toBe(`exit ${id}`);
    const lines = stage.heard.lines(id);
    expect(lines.slice(0, 200)).toEqual(Array.from({ length: 200 }, (_, n) => String(n)));
    expect(lines.slice(lines.length - last.length)).toEqual(last);
    expect(lines.join()).not.toContain('fork/program');
  });

  it('ends by itself on SIGTERM, and is killed when it does not', async () => {
    const deaf = (body: string) => told(`import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: ${body})\nprint("up")`, WAIT);
    expect(await stage.start('w-polite', image, deaf('sys.exit(3)'))).toBe('fork');
    expect(await stage.start('w-deaf', image, deaf('print("no")'))).toBe('fork');
    for (const id of ['w-polite', 'w-deaf']) await stage.linesOf(id);
    await Promise.all([stage.runtime.stopWorker('w-polite', 10_000), stage.runtime.stopWorker('w-deaf', 200)]);
    await vi.waitFor(() => expect(stage.heard.exit('w-deaf')).toEqual({ exitCode: null, signal: 'SIGKILL' }), within);
    expect(stage.heard.exit('w-polite')).toEqual({ exitCode: 3, signal: null });
    expect(stage.heard.lines('w-deaf')).toEqual(['up', 'no']);
    expect(await stage.runtime.list()).toEqual([]);
  });

  it.each(['w-stopped', 'w-ended'])('leaves no process behind, whatever its children did: %s (row A4)', async (id) => {
    const away = 'import time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(1000)\n    os._exit(0)';
    expect(await stage.start(id, image, told(away, 'os.wait()', 'print(os.getpid())', WAIT))).toBe('fork');
    const [pid] = await stage.linesOf(id);
    expect(stage.membersOf(id)).toHaveLength(2);
    if (id === 'w-ended') process.kill(Number(pid), 'SIGKILL');
    else await stage.runtime.stopWorker(id, 0);
    await vi.waitFor(() => expect(stage.heard.exit(id)).toEqual({ exitCode: null, signal: 'SIGKILL' }), within);
    expect(stage.membersOf(id)).toEqual([]);
  });

  it('is held by its limits from its first instruction', async (context) => {
    const { limits } = stage.runtime.capabilities;
    if (limits.memory !== 'cgroup' || limits.processes !== 'cgroup') return context.skip('no writable cgroups on this host');
    const bound = { resources: { memoryBytes: 128 * 1024 * 1024 } };
    await stage.warm(image, { ...told(WAIT), ...bound });
    const greedy = told(
      'print(open("/proc/self/cgroup").read())',
      'kept = [bytearray(b"x" * 2**20) for _ in range(600)]',
      'print(len(kept))',
    );
    expect(await stage.run('w-greedy', image, { ...greedy, ...bound })).toBe('fork');
    expect(stage.heard.exit('w-greedy')).toEqual({ exitCode: null, signal: 'SIGKILL' });
    const lines = stage.heard.lines('w-greedy');
    expect(lines.filter((line) => line.includes(`wherry-${stage.instanceId}/fork-`))).not.toEqual([]);
    expect(lines).not.toContain('600');
  });

  it('comes in numbers, each a process of its own', async () => {
    const ids = Array.from({ length: 8 }, (_, n) => `w-many-${n}`);
    const paths = await Promise.all(ids.map((id) => stage.start(id, image, told('print(os.getpid())', WAIT))));
    expect(paths).toEqual(Array(8).fill('fork'));
    const pids = await Promise.all(ids.map(async (id) => (await stage.linesOf(id))[0]));
    expect(new Set(pids).size).toBe(8);
    expect([...(await stage.runtime.list())].sort()).toEqual(ids);
    for (const id of ids) await stage.runtime.stopWorker(id, 0);
  });

  it('comes from a server that knows no token, and has no other variables than a worker would', async () => {
    const more = (token: string, level: string) => ({ env: { DO: `print("${token}")\n${WAIT}`, LEVEL: level }, ownEnv: ['DO'] });
    await stage.warm(image, more('first', 'a'));
    expect(await stage.start('w-same', image, more('second', 'a'))).toBe('fork');
    expect(await stage.linesOf('w-same')).toEqual(['second']);
    for (const pid of stage.servers()) expect(readFileSync(`/proc/${pid}/environ`, 'utf8')).not.toMatch(/\0DO=|first|second/);
    expect(await stage.start('w-other', image, more('third', 'b'))).toBe('spawn');
    for (const id of ['w-same', 'w-other']) await stage.runtime.stopWorker(id, 0);
  });

  it('starts from the bytes of the digest, also when its packages were changed before they were loaded (decision 11)', async () => {
    const change = 'file = lib.__file__\nos.chmod(file, 0o644)\nopen(file, "w").write("TEXT = \'changed\'")';
    const changing = stage.image(`import lib, os\n${change}\nprint(lib.TEXT)\nos._exit(0)\n`, {
      packages: { 'lib.py': "TEXT = 'original'\n" },
    });
    for (const id of ['w-c1', 'w-c2', 'w-c3']) {
      // A server that loaded the changed file serves nobody.
      expect(await stage.run(id, changing)).toBe('spawn');
      expect(stage.heard.lines(id)).toEqual(['original']);
      const ready = () => stage.said.filter((text) => text.includes(changing.digest) && text.includes('is ready')).length;
      await vi.waitFor(() => expect(ready()).toBe(Number(id.slice(-1))), within);
    }
  });

  it('comes from a server that ends when its image is out of use, after its last worker', async () => {
    const [old, other] = [stage.image(`${OBEDIENT}# old\n`), stage.image(`${OBEDIENT}# other\n`)];
    for (const each of [old, other]) await stage.warm(each, told(WAIT));
    const parent = told('print(os.getppid())', WAIT);
    await stage.start('w-old', old, parent);
    await stage.start('w-kept', other, parent);
    const [[server], [kept]] = [await stage.linesOf('w-old'), await stage.linesOf('w-kept')];
    await stage.runtime.forgetImages(new Set([other.digest]));
    expect(lifeOf(Number(server))).toBeDefined();
    await stage.runtime.stopWorker('w-old', 0);
    await vi.waitFor(() => expect(stage.heard.exit('w-old')).toEqual({ exitCode: null, signal: 'SIGKILL' }), within);
    await vi.waitFor(() => expect(lifeOf(Number(server))).toBeUndefined(), within);
    expect(lifeOf(Number(kept))).toBeDefined();
    await vi.waitFor(() => expect(readdirSync(join(stage.dataDir, 'forks'))).toHaveLength(1), within);
    expect(await stage.start('w-again', old, told(WAIT))).toBe('spawn');
    for (const id of ['w-kept', 'w-again']) await stage.runtime.stopWorker(id, 0);
  });
});
