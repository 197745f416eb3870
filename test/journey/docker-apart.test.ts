import { execFile, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { needs, needsNetworks } from '../needs.js';
import { pushNodeBase } from '../node-base.js';
import { openStage, runCli, type Stage, until } from '../stage.js';

const run = promisify(execFile);

const HANDLER = `
import { createServer } from 'node:http';
import { networkInterfaces } from 'node:os';
const look = {
  server: () => new URL(process.env.RUNPOD_WEBHOOK_GET_JOB).hostname,
  serve: () => {
    createServer((request, response) => response.end('here')).listen(8080);
    return networkInterfaces().eth0[0].address;
  },
  reach: (address) => fetch('http://' + address + ':8080', { signal: AbortSignal.timeout(1000) }).then(() => 'reached', () => 'not reached'),
};
export const handler = ({ input: [verb, value] }) => look[verb](value);
`;

interface Apart {
  readonly address: string;
  /** This machine, as the engine's side sees it. */
  readonly host: string;
  docker(...args: readonly string[]): Promise<string>;
  close(): Promise<void>;
}

/** Starts an engine in a network namespace of its own, as if it were another machine beside a cable. */
async function openApart(): Promise<Apart> {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-apart-'));
  const number = randomInt(1, 250);
  const [name, host] = [`wherry-${number}`, `10.98.${number}.1`];
  const ip = (...args: readonly string[]) => run('ip', args);
  await ip('netns', 'add', name);
  await ip('link', 'add', `vw${number}`, 'type', 'veth', 'peer', 'name', 'e0', 'netns', name);
  await ip('addr', 'add', `${host}/24`, 'dev', `vw${number}`);
  await ip('link', 'set', `vw${number}`, 'up');
  await ip('-n', name, 'addr', 'add', `10.98.${number}.2/24`, 'dev', 'e0');
  for (const link of ['e0', 'lo']) await ip('-n', name, 'link', 'set', link, 'up');
  await ip('-n', name, 'route', 'add', 'default', 'via', host);
  const address = `unix://${dir}/docker.sock`;
  const folders = ['--data-root', join(dir, 'data'), '--exec-root', join(dir, 'exec'), '--pidfile', join(dir, 'pid'), '-H', address];
  const networks = ['--bridge', 'none', '--insecure-registry', `${host}/32`, '--default-address-pool', 'base=10.97.0.0/16,size=24'];
  const child = spawn('nsenter', [`--net=/run/netns/${name}`, 'dockerd', ...folders, ...networks], { stdio: 'ignore' });
  const docker = async (...args: readonly string[]) => (await run('docker', ['-H', address, ...args])).stdout.trim();
  await until(
    () =>
      docker('version').then(
        () => true,
        () => false,
      ),
    'the engine to answer',
    60_000,
  );
  return {
    address,
    host,
    docker,
    async close() {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      await ended;
      await ip('netns', 'del', name);
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

// Skipped where no Docker Engine is installed, or where no network namespace can be made (not root, no iproute2).
describe.skipIf(!needs('dockerd') || !needsNetworks())('workers of an engine whose network is not this machine', () => {
  let engine: Apart;
  let stage: Stage;
  let dir: string;
  beforeAll(async () => {
    engine = await openApart();
    const env = { WHERRY_RUNTIME: 'docker', WHERRY_DOCKER_HOST: engine.address, WHERRY_HOST: '0.0.0.0', WHERRY_WORKER_HOST: engine.host };
    stage = await openStage(env);
    dir = mkdtempSync(join(tmpdir(), 'wherry-journey-apart-'));
    // The port is known only now.
    await stage.kill();
    const { port } = new URL(stage.url);
    await stage.restart({ WHERRY_DOCKER_REGISTRY: `${engine.host}:${port}` });
    const host = `127.0.0.1:${port}`;
    mkdirSync(join(dir, 'config'));
    const auth = Buffer.from(`anyone:${stage.key}`).toString('base64');
    writeFileSync(join(dir, 'config/config.json'), JSON.stringify({ auths: { [host]: { auth } } }));
    await pushNodeBase(dir, { host, key: stage.key, repository: 'base/node', tag: '20' });
  }, 120_000);
  afterAll(async () => {
    await stage?.close();
    await engine?.close();
    rmSync(dir, { recursive: true, force: true });
  }, 60_000);

  async function deploy(name: string): Promise<void> {
    const host = `127.0.0.1:${new URL(stage.url).port}`;
    const project = stage.project(name, {
      'wherry.yaml': `name: ${name}\nhandler: handler.mjs:handler\nbase: ${host}/base/node:20\ninterpreter: node@20\n`,
      'handler.mjs': HANDLER,
    });
    const deployed = await runCli(['deploy', project, '--data', stage.dataDir], { env: { DOCKER_CONFIG: join(dir, 'config') } });
    expect(deployed.code, deployed.stderr).toBe(0);
  }

  it('pull and call by the names that are set', async () => {
    await deploy('apart');
    expect(await stage.runsync('apart', ['server'])).toMatchObject({ status: 'COMPLETED', output: engine.host });
    expect(await engine.docker('image', 'ls', '--format', '{{.Repository}}')).toBe(`${engine.host}:${new URL(stage.url).port}/apart`);
  });

  it('do not reach those of another endpoint (S11)', async () => {
    await deploy('other');
    const { output: address } = await stage.runsync('apart', ['serve']);
    expect(await stage.runsync('apart', ['reach', address])).toMatchObject({ output: 'reached' });
    expect(await stage.runsync('other', ['reach', address])).toMatchObject({ output: 'not reached' });
  });
});
