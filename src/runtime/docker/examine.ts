import { toWherryError } from '../../base/errors.js';
import { type EngineFacts, openEngine } from './engine.js';
import { parseEngineAddress, type Remedy } from './engine-api.js';

/** One thing that was looked at: what was found, and what to do when that is not right. */
export interface Check {
  readonly name: string;
  readonly status: 'ok' | 'warn' | 'fail';
  readonly found: string;
  readonly fix?: string;
}

export interface Examined {
  /** `unix://…` or `tcp://…`. */
  readonly address: string;
  /** A name by which containers reach this machine is set. */
  readonly hasWorkerHost: boolean;
}

/** Looks at everything the docker runtime needs of an engine. Never rejects. */
export async function examineEngine(examined: Examined, now: () => number): Promise<readonly Check[]> {
  try {
    return judgeEngine(examined, (await openEngine(parseEngineAddress(examined.address), now)).facts);
  } catch (thrown) {
    const { message, hint, detail } = toWherryError(thrown);
    const { fix = hint ?? 'look at the log of the engine' } = (detail ?? {}) as Partial<Remedy>;
    return [{ name: 'docker engine', status: 'fail', found: message, fix }];
  }
}

/** What an engine can and what it lacks. */
export function judgeEngine({ address, hasWorkerHost }: Examined, facts: EngineFacts): readonly Check[] {
  const { capabilities, product } = facts;
  const absent = Object.entries({ ...capabilities.limits, disk: 'engine' }).flatMap(([name, by]) => (by === 'absent' ? name : []));
  return [
    { name: 'docker engine', status: 'ok', found: `${product} ${facts.version}, API ${facts.apiVersion}, at ${address}` },
    judge(absent.length === 0, 'docker limits', {
      found:
        absent.length === 0 ? `memory, cpu, processes; cgroup ${facts.cgroup}` : `no limit of ${absent.join(', ')}; cgroup ${facts.cgroup}`,
      fix: 'run the engine with these cgroup controllers (rootless: delegate them to the user), or trust the workers',
    }),
    {
      name: 'docker storage',
      status: 'ok',
      found: `${facts.storageDriver} on ${facts.backingFilesystem || 'its own file system'}; resources.disk ${capabilities.limits.disk === 'engine' ? 'is enforced where the file system has quotas' : 'is not enforced'}`,
    },
    judge(facts.hasBridge, 'docker networks', {
      found: facts.hasBridge ? 'bridge' : 'no driver for bridges',
      fix: 'workers need networks of the driver bridge: use an engine that has it',
      otherwise: 'fail',
    }),
    judge(!facts.isApart || hasWorkerHost, 'docker reach', {
      found: facts.isApart ? "the engine's network is not this machine's" : "workers reach this machine at their network's gateway",
      fix: 'set WHERRY_WORKER_HOST (host.docker.internal, host.containers.internal) and WHERRY_DOCKER_REGISTRY; see docs/operate.md',
    }),
    judge(facts.isLoopbackPlain, 'docker pulls', {
      found: facts.isLoopbackPlain ? 'in the clear from loopback' : 'not in the clear from loopback',
      fix: 'add 127.0.0.0/8 to insecure-registries in daemon.json, or set WHERRY_DOCKER_REGISTRY to an address with TLS',
    }),
    judge(facts.hasInit, 'docker init', {
      found: facts.hasInit ? 'there' : 'none: a worker is process 1, and only a handler of signals ends it before its grace is over',
      fix: product === 'podman' ? 'install catatonit' : 'install tini as docker-init',
    }),
    {
      name: 'docker gpu',
      status: 'ok',
      found: capabilities.gpu === 'engine' ? 'nvidia runtime' : 'none; releases with resources.gpu cannot start here',
    },
  ];
}

interface Judgement {
  readonly found: string;
  readonly fix: string;
  readonly otherwise?: 'warn' | 'fail';
}

/** The fix is said only where something is to be mended. */
export function judge(isRight: boolean, name: string, { found, fix, otherwise = 'warn' }: Judgement): Check {
  return isRight ? { name, status: 'ok', found } : { name, status: otherwise, found, fix };
}
