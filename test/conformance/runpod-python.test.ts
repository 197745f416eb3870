import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStage, ROOT, type Stage } from '../stage.js';

const HANDLER = `
import time
import wherry as runpod

def handler(job):
    given = job["input"]
    if "fail" in given:
        raise ValueError(given["fail"])
    time.sleep(given.get("sleepMs", 0) / 1000)
    yield from range(given["count"]) if "count" in given else [given.get("value", given)]

runpod.serverless.start({"handler": handler, "return_aggregate_stream": True})
`;

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
  const files = { 'wherry.yaml': 'name: python\nscale: { min: 1, max: 1, idle: 1h }\n', 'handler.py': HANDLER };
  await stage.cli('deploy', stage.project('python', files));
});
afterAll(() => stage.close());

describe("the requests of RunPod's Python clients", () => {
  it('are answered as they read them, with only the base URL changed (row 66)', async () => {
    const script = join(ROOT, 'test/conformance/python-clients.py');
    const { stdout } = await promisify(execFile)('python3', [script, `${stage.url}/v2`, 'python', stage.key], { timeout: 100_000 });
    const used = {
      output: ['by run'],
      stream: [0, 1, 2],
      status: 'COMPLETED',
      health: ['jobs', 'workers'],
      unknown: [404, 'application/json', true],
      purged: { removed: 1, status: 'completed' },
      cancelled: 'CANCELLED',
      ended: ['CANCELLED', 'CANCELLED'],
    };
    expect(JSON.parse(stdout)).toEqual({
      sync: used,
      asyncio: used,
      run_sync: ['by run_sync'],
      'wrapped twice': [{ input: {} }],
      failed: null,
      refused: [401, 'application/json', true],
    });
  }, 120_000);
});
