import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nodeProject } from '../journey/projects.js';
import { openStage, runCli, type Stage } from '../stage.js';

describe('the tag of a release that moved', () => {
  let remote: Stage;
  let stage: Stage;
  let env: NodeJS.ProcessEnv;
  beforeAll(async () => {
    remote = await openStage();
    const auth = Buffer.from(`anyone:${remote.key}`).toString('base64');
    const config = JSON.stringify({ auths: { [new URL(remote.url).host]: { auth } } });
    env = { DOCKER_CONFIG: remote.project('login', { 'config.json': config }) };
    stage = await openStage(env);
  });
  afterAll(() => Promise.all([stage.close(), remote.close()]));

  const app = (at: Stage, answer: number) => at.project(`app-${answer}`, nodeProject('app', `export const handler = () => ${answer};\n`));

  async function releases(
    ...more: string[]
  ): Promise<{ items: { number: number; image: { digest: string }; tagNow: unknown }[]; text: string }> {
    const args = ['releases', '-e', 'app', '--data', stage.dataDir, ...more];
    const [json, text] = [await runCli([...args, '--json'], { env }), await runCli(args, { env })];
    return { ...(JSON.parse(json.stdout) as { items: never }), text: text.stdout };
  }

  it('is shown in the list of releases, which stay what they were (B12, rows 10, 12)', async () => {
    await stage.cli('push', app(stage, 1), '--to', 'app:nightly');
    await stage.cli('deploy', '--image', 'app:nightly', '-e', 'app');
    expect((await releases()).text).not.toContain('moved');
    const moved = JSON.parse(await stage.cli('push', app(stage, 2), '--to', 'app:nightly', '--json')) as { digest: string };
    const { items, text } = await releases();
    expect(items[0]).toMatchObject({ number: 1, tagNow: { digest: moved.digest } });
    expect(items[0]?.image.digest).not.toBe(moved.digest);
    expect(text).toContain(`moved to ${moved.digest.slice(7, 19)}`);
    expect(await stage.runsync('app', {})).toMatchObject({ output: 1 });
  });

  it('is asked for in other registries when wanted, and unknown when they do not answer (B12)', async () => {
    const host = new URL(remote.url).host;
    await remote.cli('push', app(remote, 3), '--to', 'far:nightly');
    await stage.cli('deploy', '--image', `${host}/far:nightly`, '-e', 'app');
    await remote.cli('push', app(remote, 4), '--to', 'far:nightly');
    expect((await releases()).items[0]).toMatchObject({ number: 2, tagNow: null });
    const { items } = await releases('--drift');
    expect(items[0]?.tagNow).not.toMatchObject({ digest: items[0]?.image.digest });
    expect(items[0]?.tagNow).toMatchObject({ digest: expect.stringMatching(/^sha256:/) });
    await remote.kill();
    const unanswered = await releases('--drift');
    expect(unanswered.items[0]?.tagNow).toMatchObject({ problem: expect.stringContaining(host) });
    expect(unanswered.text).toContain('unknown');
  });
});
