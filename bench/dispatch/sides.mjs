// The two sides of the queue benchmark behind one face: `setWorkers`, `prepare`, `url`, `pids`.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findProcesses } from '../processes.mjs';
import { call, until } from '../stage.mjs';

/** Ours: one endpoint whose workers are all warm (`scale` min = max = count). */
export function createOurs(server, project) {
  const { url, key } = server;
  let endpoint;
  const remove = async () => {
    if (endpoint) await call(`${url}/api/v1/endpoints/${endpoint}`, { key, method: 'DELETE' });
    endpoint = undefined;
  };
  return {
    name: 'wherry',
    durability: 'every accept and every result flushed before it is answered',
    async setWorkers(count) {
      await remove();
      writeFileSync(join(project, 'handler.mjs'), 'export const handler = () => null;\n');
      writeFileSync(
        join(project, 'wherry.yaml'),
        `name: queue-${count}\nhandler: handler.mjs:handler\nbase: scratch\nscale: { min: ${count}, max: ${count}, idle: 1h }\n`,
      );
      server.cli('deploy', project);
      endpoint = `queue-${count}`;
      await until(async () => (await call(`${url}/v2/${endpoint}/health`, { key })).workers.idle === count);
    },
    prepare() {},
    target: () => ({ url: `${url}/v2/${endpoint}`, key }),
    pids() {
      const workers = findProcesses(server.dataDir).filter((pid) => pid !== server.pid);
      return { server: [server.pid], workers };
    },
    warmWorkers: async () => (await call(`${url}/v2/${endpoint}/health`, { key })).workers.ready,
    remove,
  };
}

const DURABILITY = {
  always: 'every change flushed before it is answered (appendfsync always)',
  everysec: 'up to a second of accepts and results lost with the power (appendfsync everysec)',
};

/** The peer with one of Redis's two flush policies; both are the same processes. */
export function createPeerSide(peer, policy) {
  return {
    name: `bullmq ${policy}`,
    durability: DURABILITY[policy],
    prepare: () => peer.setFsync(policy),
    target: () => ({ url: peer.url }),
    pids: () => peer.pids(),
  };
}
