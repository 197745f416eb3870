import { basename } from 'node:path';
import { portVariables } from '../../domain/worker-environment.js';
import type { ImageConfig } from '../../oci/manifest.js';
import { placesOf, placeVariables } from '../places.js';
import type { WorkerSpec } from '../runtime.js';
import type { EngineFacts } from './engine.js';
import { OWNER_LABELS } from './names.js';
import { PUBLISHED_AT, type PublishedPort } from './ports.js';

export interface ContainerPlan {
  readonly spec: WorkerSpec;
  readonly instanceId: string;
  /** By digest, at the embedded registry. */
  readonly reference: string;
  readonly network: string;
  readonly config: ImageConfig['config'];
  readonly facts: EngineFacts;
  readonly dataDir: string;
  /** Those of the spec. */
  readonly ports: readonly PublishedPort[];
  /** False where the engine has refused to limit disks. */
  readonly isDiskLimited: boolean;
}

/** Processes and threads of one worker; as many as the process runtime allows. */
const MOST_PROCESSES = 1_024;
/** Kept by the engine, so that nothing is lost while no server runs, and bounded. */
const LOG_OPTIONS = { 'max-size': '16m', 'max-file': '2' };
/** Programs that are an init themselves: another one before them is in the way, and some refuse to be anything but process 1. */
const INITS: readonly string[] = [
  'init',
  'systemd',
  's6-svscan',
  'tini',
  'tini-static',
  'dumb-init',
  'docker-init',
  'catatonit',
  'my_init',
];

/** The body of `POST /containers/create` for a worker. Throws RUNTIME_REFUSED for a spec that no container can have. */
export function describeContainer(plan: ContainerPlan): Readonly<Record<string, unknown>> {
  const { spec, instanceId, reference, network, config, facts, ports } = plan;
  return {
    Image: reference,
    Hostname: spec.workerId,
    Env: Object.entries({ ...placeVariables(spec), ...spec.env, ...portVariables(PUBLISHED_AT, ports) }).map(
      ([name, value]) => `${name}=${value}`,
    ),
    ...(spec.args !== null && { Cmd: spec.args }),
    Labels: {
      [OWNER_LABELS.instance]: instanceId,
      [OWNER_LABELS.worker]: spec.workerId,
      [OWNER_LABELS.endpoint]: spec.endpointId,
      [OWNER_LABELS.release]: String(spec.release),
    },
    ExposedPorts: Object.fromEntries(ports.map(({ port }) => [port, {}])),
    HostConfig: {
      ...describeLimits(plan),
      ...describeIsolation(spec),
      NetworkMode: network,
      RestartPolicy: { Name: 'no' },
      LogConfig: { Type: 'json-file', Config: LOG_OPTIONS },
      // Without one the worker is process 1, which the kernel does not end by signals that it does not handle.
      ...(facts.hasInit && !startsInit(config, spec.args) && { Init: true }),
      PortBindings: Object.fromEntries(ports.map(({ port, hostPort }) => [port, [{ HostIp: PUBLISHED_AT, HostPort: String(hostPort) }]])),
      Mounts: placesOf(spec, plan.dataDir).map(({ source, target, isReadOnly }) => ({
        Type: 'bind',
        Source: source,
        Target: target,
        ReadOnly: isReadOnly,
      })),
    },
    NetworkingConfig: { EndpointsConfig: { [network]: {} } },
  };
}

function describeLimits({ spec, facts, isDiskLimited }: ContainerPlan): Readonly<Record<string, unknown>> {
  const { cpu, memoryBytes, diskBytes } = spec.resources;
  const { limits } = facts.capabilities;
  return {
    ...(limits.processes === 'engine' && { PidsLimit: MOST_PROCESSES }),
    // As much memory with swap as without it: none.
    ...(memoryBytes !== undefined && limits.memory === 'engine' && { Memory: memoryBytes, MemorySwap: memoryBytes }),
    ...(cpu !== undefined && limits.cpu === 'engine' && { NanoCpus: Math.round(Math.min(cpu, facts.cpus) * 1e9) }),
    ...(diskBytes !== undefined && isDiskLimited && { StorageOpt: { size: String(diskBytes) } }),
    // By their ids: told a number, engines give every container the first ones.
    ...(spec.gpus.length > 0 && { DeviceRequests: [{ Driver: '', DeviceIDs: spec.gpus, Capabilities: [['gpu']] }] }),
  };
}

function describeIsolation({ isHardened }: WorkerSpec): Readonly<Record<string, unknown>> {
  return {
    SecurityOpt: ['no-new-privileges'],
    ...(isHardened && { CapDrop: ['ALL'], ReadonlyRootfs: true, Tmpfs: { '/tmp': 'rw,nosuid,nodev,exec,mode=1777' } }),
  };
}

function startsInit(config: ImageConfig['config'], args: readonly string[] | null): boolean {
  const [program = ''] = [...(config?.Entrypoint ?? []), ...(args ?? config?.Cmd ?? [])];
  return INITS.includes(basename(program));
}
