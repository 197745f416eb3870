import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listen } from '../contract/registry-server.js';
import { openStage, runCli, type Stage } from '../stage.js';

const LIMIT = { errors: [{ code: 'DENIED', message: 'blobs above 1 MB are not served', detail: null }] };

/** A registry that takes two megabytes, and one that shows it but gives no large blob away. */
describe('an image that a registry refuses for its size', () => {
  let remote: Stage;
  let stage: Stage;
  let strict: Awaited<ReturnType<typeof listen>>;
  let env: NodeJS.ProcessEnv;
  beforeAll(async () => {
    remote = await openStage({ WHERRY_REGISTRY_QUOTA: '2MB' });
    strict = await listen(async (request, response) => {
      const answer = await fetch(`${remote.url}${request.url}`, {
        method: request.method ?? 'GET',
        headers: { authorization: remote.key, accept: request.headers.accept ?? '*/*' },
      });
      const body = Buffer.from(await answer.arrayBuffer());
      const isRefused = request.method === 'GET' && body.length > 1_000_000;
      const type = answer.headers.get('content-type');
      response.writeHead(isRefused ? 413 : answer.status, { ...(type !== null && { 'content-type': type }) });
      response.end(isRefused ? JSON.stringify(LIMIT) : body);
    });
    const auth = Buffer.from(`anyone:${remote.key}`).toString('base64');
    const config = JSON.stringify({ auths: { [new URL(remote.url).host]: { auth } } });
    env = { DOCKER_CONFIG: remote.project('login', { 'config.json': config }) };
    stage = await openStage(env);
  });
  afterAll(async () => {
    await strict.close();
    await Promise.all([stage.close(), remote.close()]);
  });

  const heavy = (name: string, size: number) =>
    stage.project(name, {
      'wherry.yaml': `name: ${name}\nbase: scratch\ninclude: [weights.bin]\n`,
      'handler.py': 'def handler(job):\n    return 1\n',
      'weights.bin': 'w'.repeat(size),
    });

  it('when it is pushed, is told with the name of the registry and its words (row 7)', async () => {
    const { host } = new URL(remote.url);
    const refused = await runCli(['push', heavy('large', 3_000_000), '--to', `${host}/large:1`, '--data', stage.dataDir], { env });
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain(`error INPUT_TOO_LARGE  registry '${host}' refused`);
    expect(refused.stderr).toMatch(/DENIED \d+ more bytes refused: the registry holds \d+ of at most 2000000 bytes/);
  });

  it('does not keep the server that refused it from stopping', async () => {
    const small = await openStage({ WHERRY_REGISTRY_QUOTA: '1MB' });
    expect(await small.tryCli('push', heavy('too-large', 2_000_000))).toMatchObject({ code: 2, stderr: expect.stringContaining('DENIED') });
    process.kill(small.pid, 'SIGTERM');
    await small.died();
    await small.close();
  });

  it('when a deploy pulls it, too, and nothing changes (row 7)', async () => {
    const { host } = new URL(remote.url);
    const pushed = await runCli(['push', heavy('medium', 1_500_000), '--to', `${host}/medium:1`, '--data', stage.dataDir], { env });
    expect(pushed.code, pushed.stderr).toBe(0);
    const refused = await stage.tryCli('deploy', '--image', `${strict.host}/medium:1`, '-e', 'medium');
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(
      /error INPUT_TOO_LARGE {2}registry '[\d.:]+' refused GET \/v2\/medium\/blobs\/sha256:[0-9a-f]{64} with 413/,
    );
    expect(refused.stderr).toContain(`registry '${strict.host}'`);
    expect(refused.stderr).toContain('413: DENIED blobs above 1 MB are not served');
    expect((await stage.call('/api/v1/endpoints/medium')).status).toBe(404);
  });
});
