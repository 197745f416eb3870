import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { type Engine, openEngine } from '../conformance/engine.js';
import { pushNodeBase } from '../node-base.js';
import { openStage, runCli, type Stage } from '../stage.js';

export interface WorkerView {
  readonly id: string;
  readonly state: string;
  readonly release: number;
  readonly runtime: string;
  readonly reason: string | null;
  readonly exitCode: number | null;
}

/** A server whose workers are containers of an engine of its own, with a base of Node in its registry. */
export interface ContainerStage {
  readonly engine: Engine;
  readonly stage: Stage;
  /** Host and port of the embedded registry. */
  readonly host: string;
  /** The CLI, with the engine's client logged in to the embedded registry. */
  wherry(...args: readonly string[]): ReturnType<typeof runCli>;
  /** Writes a project on that base. */
  project(name: string, handler: string, settings?: string): string;
  /** Deploys a project on that base. */
  deploy(name: string, handler: string, settings?: string): Promise<{ readonly digest: string }>;
  workers(name: string, all?: boolean): Promise<readonly WorkerView[]>;
  /** Ids of the containers of an endpoint. */
  containers(name: string): Promise<readonly string[]>;
  /** Fails when a container or network is left. */
  close(): Promise<void>;
}

/** `env` is the server's besides. */
export async function openContainerStage(env: NodeJS.ProcessEnv = {}): Promise<ContainerStage> {
  const engine = await openEngine();
  const stage = await openStage({ WHERRY_RUNTIME: 'docker,process', WHERRY_DOCKER_HOST: engine.address, ...env });
  const dir = mkdtempSync(join(tmpdir(), 'wherry-journey-docker-'));
  const { host } = new URL(stage.url);
  mkdirSync(join(dir, 'config'));
  const auth = Buffer.from(`anyone:${stage.key}`).toString('base64');
  writeFileSync(join(dir, 'config/config.json'), JSON.stringify({ auths: { [host]: { auth } } }));
  await pushNodeBase(dir, { host, key: stage.key, repository: 'base/node', tag: '20' });

  const wherry = (...args: readonly string[]) =>
    runCli([...args, '--data', stage.dataDir], { env: { DOCKER_CONFIG: join(dir, 'config') } });
  const project = (name: string, handler: string, settings = 'scale: { idle: 1s, keep: none, max: 1 }\n') =>
    stage.project(name, {
      'wherry.yaml': `name: ${name}\nhandler: handler.mjs:handler\nbase: ${host}/base/node:20\ninterpreter: node@20\n${settings}`,
      'handler.mjs': handler,
    });
  return {
    engine,
    stage,
    host,
    wherry,
    project,
    async deploy(...args) {
      const result = await wherry('deploy', project(...args), '--json');
      if (result.code !== 0) throw new Error(`${result.stderr}\n${result.stdout}`);
      return JSON.parse(result.stdout) as { digest: string };
    },
    workers: async (name, all = false) =>
      ((await stage.call(`/api/v1/endpoints/${name}/workers?all=${all}`)).json as { items?: WorkerView[] }).items ?? [],
    containers: async (name) =>
      (await engine.docker('ps', '--all', '--quiet', '--filter', `label=dev.wherry.endpoint=${name}`)).split('\n').filter(Boolean),
    async close() {
      await stage.close();
      expect(await engine.docker('ps', '--all', '--quiet')).toBe('');
      expect(await engine.docker('network', 'ls', '--quiet', '--filter', 'label=dev.wherry.instance')).toBe('');
      await engine.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
