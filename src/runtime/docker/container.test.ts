import { describe, expect, it } from 'vitest';
import { parseVolume } from '../../domain/volume.js';
import type { Digest } from '../../oci/digest.js';
import type { WorkerSpec } from '../runtime.js';
import { type ContainerPlan, describeContainer } from './container.js';
import type { EngineFacts } from './engine.js';
import { digitsOfMark, markOf, networkNameOf } from './names.js';

const INSTANCE = '0190a0e0-0000-7000-8000-0123456789ab';
const DIGEST = `sha256:${'ab'.repeat(32)}` as Digest;
const SPEC: WorkerSpec = {
  workerId: 'w-1',
  endpointId: 'e1',
  release: 3,
  image: { repository: 'app', digest: DIGEST },
  ownEnv: [],
  env: { A: 'b=c' },
  args: null,
  resources: {},
  gpus: [],
  ports: [],
  volumes: [],
  models: [],
  isHardened: false,
};
const limits = { memory: 'engine', cpu: 'engine', processes: 'engine', disk: 'engine' } as const;
const FACTS = { hasInit: true, cpus: 2, capabilities: { freeze: true, gpu: 'engine', hasMounts: true, limits } } as unknown as EngineFacts;

function describePlan(spec: Partial<WorkerSpec> = {}, more: Partial<ContainerPlan> = {}) {
  const body = describeContainer({
    spec: { ...SPEC, ...spec },
    instanceId: INSTANCE,
    reference: 'host/app@x',
    network: 'net',
    config: {},
    facts: FACTS,
    dataDir: '/data',
    ports: [],
    isDiskLimited: true,
    ...more,
  });
  return body as { HostConfig: Record<string, unknown>; [key: string]: unknown };
}

describe('describeContainer', () => {
  it('names the worker, its endpoint, its release and this instance in labels', () => {
    expect(describePlan()['Labels']).toEqual({
      'dev.wherry.instance': INSTANCE,
      'dev.wherry.worker': 'w-1',
      'dev.wherry.endpoint': 'e1',
      'dev.wherry.release': '3',
    });
  });

  it("keeps the image's command unless the release has arguments", () => {
    expect(describePlan()).not.toHaveProperty('Cmd');
    expect(describePlan({ args: ['a'] })['Cmd']).toEqual(['a']);
  });

  it('always bounds processes and logs, restarts nothing and gives no new privileges', () => {
    expect(describePlan().HostConfig).toMatchObject({
      PidsLimit: 1_024,
      LogConfig: { Type: 'json-file', Config: { 'max-size': '16m' } },
      RestartPolicy: { Name: 'no' },
      SecurityOpt: ['no-new-privileges'],
      NetworkMode: 'net',
    });
    expect(describePlan().HostConfig).not.toHaveProperty('CapDrop');
  });

  it('limits memory without swap, cores to those that there are, and disk (row 84)', () => {
    const { HostConfig: host } = describePlan({ resources: { memoryBytes: 1_000, cpu: 8, diskBytes: 5_000 } });
    expect(host).toMatchObject({ Memory: 1_000, MemorySwap: 1_000, NanoCpus: 2e9, StorageOpt: { size: '5000' } });
  });

  it('asks for no limit that the engine lacks (row 84)', () => {
    const absent = { memory: 'absent', cpu: 'absent', processes: 'absent', disk: 'absent' } as const;
    const facts = { ...FACTS, capabilities: { ...FACTS.capabilities, limits: absent } };
    const plan = describePlan({ resources: { memoryBytes: 1_000, cpu: 1, diskBytes: 5_000 } }, { facts, isDiskLimited: false });
    for (const limit of ['Memory', 'NanoCpus', 'PidsLimit', 'StorageOpt']) expect(plan.HostConfig).not.toHaveProperty(limit);
  });

  it('takes capabilities and the writable root from a hardened worker, and leaves it /tmp', () => {
    expect(describePlan({ isHardened: true }).HostConfig).toMatchObject({
      CapDrop: ['ALL'],
      ReadonlyRootfs: true,
      Tmpfs: { '/tmp': expect.stringContaining('mode=1777') },
    });
  });

  it('puts an init before the worker, unless it brings its own or the engine has none', () => {
    const init = (more: Partial<ContainerPlan>, spec: Partial<WorkerSpec> = {}) => describePlan(spec, more).HostConfig['Init'];
    expect(init({ config: { Entrypoint: ['python'] } })).toBe(true);
    expect(init({ config: { Entrypoint: ['/usr/bin/tini', '--'] } })).toBeUndefined();
    expect(init({ config: { Cmd: ['/init'] } })).toBeUndefined();
    expect(init({ config: { Cmd: ['/init'] } }, { args: ['python'] })).toBe(true);
    expect(init({ facts: { ...FACTS, hasInit: false } })).toBeUndefined();
  });

  it('asks for the GPUs of the worker by their ids, never for a number of them (row 89)', () => {
    const requested = (...gpus: string[]) => describePlan({ gpus }).HostConfig['DeviceRequests'];
    expect(requested('GPU-b', 'GPU-c')).toEqual([{ Driver: '', DeviceIDs: ['GPU-b', 'GPU-c'], Capabilities: [['gpu']] }]);
    expect(requested()).toBeUndefined();
  });

  it('publishes ports on loopback only and tells the worker where (row 86)', () => {
    const ports = [
      { port: '8000/tcp', hostPort: 40_001 },
      { port: '53/udp', hostPort: 40_002 },
    ];
    const { HostConfig: host, ...body } = describePlan({ env: { RUNPOD_PUBLIC_IP: 'mine' } }, { ports });
    expect(body['ExposedPorts']).toEqual({ '8000/tcp': {}, '53/udp': {} });
    expect(host['PortBindings']).toEqual({
      '8000/tcp': [{ HostIp: '127.0.0.1', HostPort: '40001' }],
      '53/udp': [{ HostIp: '127.0.0.1', HostPort: '40002' }],
    });
    expect(body['Env']).toEqual(['RUNPOD_PUBLIC_IP=127.0.0.1', 'RUNPOD_TCP_PORT_8000=40001', 'RUNPOD_UDP_PORT_53=40002']);
  });

  it('binds volumes below the data directory and tells the worker where they are (row 87)', () => {
    const { HostConfig: host, ...body } = describePlan({ volumes: ['models:/runpod-volume'] });
    expect(host['Mounts']).toEqual([{ Type: 'bind', Source: '/data/volumes/models', Target: '/runpod-volume', ReadOnly: false }]);
    expect(body['Env']).toEqual(['WHERRY_VOLUME_MODELS=/runpod-volume', 'RUNPOD_VOLUME_ID=models', 'A=b=c']);
  });

  it('mounts models read-only where RunPod has them, and names the place in the variables of the hub (row 88)', () => {
    const { HostConfig: host, ...body } = describePlan({ models: [{ folder: 'models--acme--tiny', cacheDir: '/data/models/sets/k' }] });
    const [source, target] = ['/data/models/sets/k', '/runpod-volume/huggingface-cache/hub'].map((dir) => `${dir}/models--acme--tiny`);
    expect(host['Mounts']).toEqual([{ Type: 'bind', Source: source, Target: target, ReadOnly: true }]);
    expect(body['Env']).toContain('HF_HUB_CACHE=/runpod-volume/huggingface-cache/hub');
    expect(body['Env']).toContain('HF_HOME=/runpod-volume/huggingface-cache');
  });
});

describe('names', () => {
  it('mark images so that those of another instance are not taken for ours', () => {
    const mark = `127.0.0.1:7070/app:${markOf(INSTANCE, DIGEST)}`;
    expect(DIGEST.slice(7)).toContain(digitsOfMark(INSTANCE, mark));
    expect(digitsOfMark(INSTANCE.replace('9ab', '9ac'), mark)).toBeUndefined();
    expect(digitsOfMark(INSTANCE, '127.0.0.1:7070/app:1.0')).toBeUndefined();
    expect(networkNameOf(INSTANCE, 'e1')).toBe('wherry-0123456789ab-e1');
  });

  it.each(['/etc:/etc', '../up:/x', 'a:relative', 'a', 'a:/x:ro'])('refuse the volume %s', (text) => {
    expect(() => parseVolume(text)).toThrow(/refused/);
  });
});
