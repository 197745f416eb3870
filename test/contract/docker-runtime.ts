import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { openClock } from '../../src/base/clock.js';
import { silentLog } from '../../src/base/log.js';
import { createDockerRuntime, type DockerRuntime, type DockerRuntimeOptions } from '../../src/runtime/docker.js';
import type { Engine } from '../conformance/engine.js';
import type { ImageHouse } from './docker-images.js';
import type { OpenedRuntime } from './runtime.js';

export interface OpenedContainers extends OpenedRuntime {
  readonly runtime: DockerRuntime;
  readonly instanceId: string;
  reopen(more?: Partial<DockerRuntimeOptions>): DockerRuntime;
}

interface Surroundings {
  readonly engine: Pick<Engine, 'address' | 'docker'>;
  readonly house: ImageHouse;
}

/** The docker runtime on an engine; its end fails when a container, a network or a volume is left. */
export async function openContainers({ engine, house }: Surroundings, more: Partial<DockerRuntimeOptions>): Promise<OpenedContainers> {
  const dataDir = mkdtempSync(join(tmpdir(), 'wherry-runtime-'));
  const instanceId = randomUUID();
  const runtimes: DockerRuntime[] = [];
  const reopen = (again: Partial<DockerRuntimeOptions> = more): DockerRuntime => {
    const runtime = createDockerRuntime({
      address: engine.address,
      dataDir,
      instanceId,
      images: house.source,
      registry: () => house.registry,
      pullCredentials: () => house.credentials,
      listener: { host: null, urlAt: (host) => `http://${host}:1`, open: async () => async () => {} },
      log: silentLog,
      clock: openClock(),
      ...again,
    });
    runtimes.push(runtime);
    return runtime;
  };
  return {
    runtime: reopen(),
    reopen,
    instanceId,
    image: (script) => house.image(script),
    foreign: house.image('', { Labels: { 'dev.wherry.base': 'scratch' } }),
    isAlive: () => false,
    async close() {
      for (const runtime of runtimes) {
        for (const id of await runtime.list().catch(() => [])) await runtime.stopWorker(id, 0);
        await runtime.stop();
      }
      rmSync(dataDir, { recursive: true, force: true });
      const label = `label=dev.wherry.instance=${instanceId}`;
      expect(await engine.docker('ps', '--all', '--quiet', '--filter', label)).toBe('');
      expect(await engine.docker('network', 'ls', '--quiet', '--filter', label)).toBe('');
      expect(await engine.docker('volume', 'ls', '--quiet')).toBe('');
    },
  };
}
