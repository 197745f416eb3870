import { join } from 'node:path';
import { ROOT } from '../stage.js';

/** One of our SDKs: how its programs are started, and handlers that do the same in both languages. */
export interface Kind {
  readonly name: 'Node' | 'Python';
  readonly file: string;
  readonly source: string;
  /** The statement that starts a handler with settings, in RunPod's spelling. */
  readonly start: (handler: string, settings?: Readonly<Record<string, string>>) => string;
  readonly command: (file: string) => readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

const NODE_SOURCE = `
import { progress_update, registerFitnessCheck, start } from '${join(ROOT, 'sdk/node/src/index.mjs')}';
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function recorded({ input, ...rest }) {
  if (input.raise) throw new Error('boom');
  if (input.err) return { error: 'custom', x: 1 };
  if (input.errobj) return { error: { code: 7 }, x: 1 };
  if (input.empty) return {};
  if (input.none) return undefined;
  return { echo: input, keys: ['input', ...Object.keys(rest)].sort() };
}
const ok = () => 'ok';
async function* tokens({ input }) {
  for (let tok = 0; tok < 3; tok++) {
    if (tok === 2 && input.raise) throw new Error('genboom');
    if (tok === 1 && input.err) yield { error: 'mid' };
    if (tok === 1 && input.errobj) yield { error: { message: 'm', code: null } };
    yield { tok };
  }
}
async function* odd({ input }) {
  if (input === 'same object') { const one = { n: 0 }; for (; one.n < 2; one.n++) yield one; }
  else { yield 1; yield { n: NaN }; yield 3; }
}
async function tells(job) {
  for (let step = 0; step < 20; step++) progress_update(job, { step });
  progress_update(job, { step: NaN });
  await sleep(100);
  progress_update(job, { step: 'last' });
  await sleep(400);
  setTimeout(() => progress_update(job, { step: 'too late' }), 200);
  return 'told';
}
async function works({ id, input }, { signal }) {
  for (let n = 0; n < input.sleepMs / 20 && !signal.aborted; n++) await sleep(20);
  if (!signal.aborted) return id;
  await sleep(1500);
  console.log('cleaned up ' + id);
  return 'stopped';
}
async function waits({ id, input }) { await sleep(input.sleepMs); return id; }
async function ends({ id, input }) {
  await sleep(input.sleepMs);
  if (input.code !== undefined) process.exit(input.code);
  return id;
}
const refreshes = ({ id, input }) => sleep(input.sleepMs).then(() => (input.refresh ? { refresh_worker: true, id } : id));
`;

const PYTHON_SOURCE = `
import asyncio, os, sys, threading, time
import wherry as runpod

def recorded(job):
    given = job["input"]
    if given.get("raise"): raise ValueError("boom")
    if given.get("err"): return {"error": "custom", "x": 1}
    if given.get("errobj"): return {"error": {"code": 7}, "x": 1}
    if given.get("empty"): return {}
    if given.get("none"): return None
    return {"echo": given, "keys": sorted(job)}
def ok(job): return "ok"
async def tokens(job):
    given = job["input"]
    for tok in range(3):
        if tok == 2 and given.get("raise"): raise ValueError("genboom")
        if tok == 1 and given.get("err"): yield {"error": "mid"}
        if tok == 1 and given.get("errobj"): yield {"error": {"message": "m", "code": None}}
        yield {"tok": tok}
def tokens_sync(job):
    given = job["input"]
    for tok in range(3):
        if tok == 2 and given.get("raise"): raise ValueError("genboom")
        if tok == 1 and given.get("err"): yield {"error": "mid"}
        if tok == 1 and given.get("errobj"): yield {"error": {"message": "m", "code": None}}
        yield {"tok": tok}
async def odd(job):
    if job["input"] == "same object":
        one = {"n": 0}
        while one["n"] < 2:
            yield one
            one["n"] += 1
    else:
        yield 1
        yield {"n": float("nan")}
        yield 3
def tells(job):
    tell = runpod.serverless.progress_update
    for step in range(20): tell(job, {"step": step})
    tell(job, {"step": float("nan")})
    time.sleep(0.1)
    tell(job, {"step": "last"})
    time.sleep(0.4)
    threading.Timer(0.2, tell, (job, {"step": "too late"})).start()
    return "told"
async def works(job):
    try:
        await asyncio.sleep(job["input"]["sleepMs"] / 1000)
        return job["id"]
    except asyncio.CancelledError:
        await asyncio.sleep(1.5)
        print("cleaned up " + job["id"], flush=True)
        return "stopped"
def waits(job):
    time.sleep(job["input"]["sleepMs"] / 1000)
    return job["id"]
async def ends(job):
    await asyncio.sleep(job["input"]["sleepMs"] / 1000)
    if "code" in job["input"]: sys.exit(job["input"]["code"])
    return job["id"]
async def refreshes(job):
    await asyncio.sleep(job["input"]["sleepMs"] / 1000)
    return {"refresh_worker": True, "id": job["id"]} if job["input"].get("refresh") else job["id"]
`;

const PYTHON_WORDS: Readonly<Record<string, string>> = { true: 'True', '() => 3': 'lambda now: 3' };

export const NODE: Kind = {
  name: 'Node',
  file: 'handler.mjs',
  source: NODE_SOURCE,
  start: (handler, settings = {}) => {
    const keys = Object.entries(settings).map(([key, value]) => `${key}: ${value}`);
    return `await start({ ${[`handler: ${handler}`, ...keys].join(', ')} });\n`;
  },
  command: (file) => [process.execPath, join(ROOT, 'sdk/node/src/main.mjs'), `${file}:ok`],
  env: {},
};

export const PYTHON: Kind = {
  name: 'Python',
  file: 'handler.py',
  source: PYTHON_SOURCE,
  // Under the guard that RunPod's own examples carry: the entry runs the file as the program.
  start: (handler, settings = {}) => {
    const keys = Object.entries(settings).map(([key, value]) => `"${key}": ${PYTHON_WORDS[value] ?? value}`);
    return `if __name__ == "__main__":\n    runpod.serverless.start({${[`"handler": ${handler}`, ...keys].join(', ')}})\n`;
  },
  command: (file) => ['python3', '-u', '-m', 'wherry', `${file}:ok`],
  env: { PYTHONPATH: join(ROOT, 'sdk/python') },
};
