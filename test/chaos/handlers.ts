/** The handlers of a chaos run: they note each run in a file of their worker, by the machine's monotonic clock. */
export const CANARY = 'canary-of-the-environment-8d1f';

export interface HandlerSite {
  readonly name: string;
  /** The mark of this code, also in the release's environment. */
  readonly code: string;
  /** Where handlers write. */
  readonly dir: string;
}

const settings = ({ name, code, dir }: HandlerSite, handler: string) => `name: ${name}
handler: ${handler}
base: scratch
env: { CODE: ${code}, NOTES: ${JSON.stringify(dir)}, CANARY: ${CANARY} }
scale: { max: 3, value: 1, idle: 2s }
limits: { retention: 24h, retentionSync: 24h }
`;

/** A job exits once: the file it leaves tells the next run to return. */
export function nodeSite(site: HandlerSite): Record<string, string> {
  return {
    'wherry.yaml': settings(site, 'handler.mjs:handler'),
    'handler.mjs': `
import { randomUUID } from 'node:crypto';
import { appendFileSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
const { NOTES, RUNPOD_POD_ID: worker, RUNPOD_ENDPOINT_ID: endpoint, RUNPOD_AI_API_KEY: token } = process.env;
writeFileSync(join(NOTES, 'token-' + worker), token);
const file = join(NOTES, worker + '.jsonl');
const now = () => Number(process.hrtime.bigint()) / 1e6;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export async function handler({ id, input: { deed, ms, n } }) {
  const run = randomUUID();
  const note = (phase) => appendFileSync(file, JSON.stringify({ kind: 'execution', phase, at: now(), id, run, pid: process.pid, worker, endpoint, code: '${site.code}' }) + '\\n');
  note('begins');
  const mark = join(NOTES, 'exit-' + id);
  if (deed === 'exit' && !existsSync(mark)) {
    writeFileSync(mark, '');
    note('exits');
    process.exit(3);
  }
  if (deed === 'sleep' || deed === 'last') await sleep(ms);
  if (deed === 'throw') {
    note('throws');
    throw new Error('as asked, run ' + run);
  }
  console.log('job ' + n);
  note('returns');
  return { run, n };
}
`,
  };
}

export function pythonSite(site: HandlerSite): Record<string, string> {
  return {
    'wherry.yaml': settings(site, 'handler.py:handler'),
    'handler.py': `
import json, os, time, uuid

notes, worker, endpoint = os.environ["NOTES"], os.environ["RUNPOD_POD_ID"], os.environ["RUNPOD_ENDPOINT_ID"]
with open(os.path.join(notes, "token-" + worker), "w") as token:
    token.write(os.environ["RUNPOD_AI_API_KEY"])


def handler(job):
    run, deed, n = str(uuid.uuid4()), job["input"]["deed"], job["input"]["n"]

    def note(phase):
        line = {"kind": "execution", "phase": phase, "at": time.clock_gettime(time.CLOCK_MONOTONIC) * 1000, "id": job["id"], "run": run,
                "pid": os.getpid(), "worker": worker, "endpoint": endpoint, "code": "${site.code}"}
        with open(os.path.join(notes, worker + ".jsonl"), "a") as file:
            file.write(json.dumps(line) + "\\n")

    note("begins")
    mark = os.path.join(notes, "exit-" + job["id"])
    if deed == "exit" and not os.path.exists(mark):
        open(mark, "w").close()
        note("exits")
        os._exit(3)
    if deed in ("sleep", "last"):
        time.sleep(job["input"]["ms"] / 1000)
    if deed == "throw":
        note("throws")
        raise ValueError("as asked, run " + run)
    note("returns")
    return {"run": run, "n": n}
`,
  };
}

/** Yields its chunks with the run and their number. */
export function streamSite(site: HandlerSite): Record<string, string> {
  const { 'handler.mjs': source = '', ...rest } = nodeSite(site);
  const streaming = source
    .replace('export async function handler', 'export async function* handler')
    .replace(
      "note('returns');",
      "for (let index = 0; index < 8; index++) {\n    yield { run, index };\n    await sleep(ms / 8);\n  }\n  note('returns');",
    )
    .replace('return { run, n };', '');
  return { ...rest, 'handler.mjs': streaming };
}
