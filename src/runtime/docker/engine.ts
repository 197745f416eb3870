import { WherryError } from '../../base/errors.js';
import type { RuntimeCapabilities } from '../runtime.js';
import { createEngineApi, type EngineAddress, type EngineApi, engineFailed } from './engine-api.js';

/** What is known of an engine after the first words with it. */
export interface Engine {
  readonly api: EngineApi;
  readonly facts: EngineFacts;
}

export interface EngineFacts {
  readonly product: 'docker' | 'podman';
  readonly version: string;
  readonly apiVersion: string;
  /** It has a small init that passes signals on and reaps. */
  readonly hasInit: boolean;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly storageDriver: string;
  readonly backingFilesystem: string;
  readonly cgroup: string;
  readonly hasBridge: boolean;
  /** Its network is not this machine's (rootless, Docker Desktop): gateways and loopback are its own. */
  readonly isApart: boolean;
  /** It pulls from a registry on loopback without TLS; Podman when it is told. */
  readonly isLoopbackPlain: boolean;
  readonly capabilities: RuntimeCapabilities;
  /** What the engine's clock lacks to ours, in milliseconds; 0 when the difference is within what the question took. */
  readonly clockOffsetMs: number;
}

/** The newest version of the API whose answers are known here, and the oldest that has all that is used. */
const NEWEST = '1.51';
const OLDEST = '1.40';

/** Speaks the version that both know. Throws RUNTIME_UNAVAILABLE, also for an engine that is too old. */
export async function openEngine(address: EngineAddress, now: () => number): Promise<Engine> {
  const unversioned = createEngineApi(address);
  const version = await read<VersionAnswer>(unversioned, '/version');
  if (compare(version.ApiVersion, OLDEST) < 0 || compare(version.MinAPIVersion ?? OLDEST, NEWEST) > 0) {
    throw new WherryError(
      'RUNTIME_UNAVAILABLE',
      `docker engine at '${address.text}' speaks API ${version.ApiVersion}, not ${OLDEST} to ${NEWEST}`,
      {
        hint: 'use Docker 19.03 or newer, or Podman 4 or newer',
      },
    );
  }
  const apiVersion = compare(version.ApiVersion, NEWEST) > 0 ? NEWEST : version.ApiVersion;
  const api = createEngineApi(address, apiVersion);
  const askedAt = now();
  const info = await read<InfoAnswer>(api, '/info');
  const clockOffsetMs = compareClocks(askedAt, now(), Date.parse(info.SystemTime ?? ''));
  return { api, facts: { ...describeEngine(version, info, apiVersion), clockOffsetMs } };
}

async function read<T>(api: EngineApi, path: string): Promise<T> {
  const answer = await api.call({ method: 'GET', path, idleMs: 10_000 });
  if (answer.status !== 200 || typeof answer.body !== 'object') throw engineFailed(`GET ${path} of the docker engine`, answer);
  return answer.body as T;
}

/** The parts of `/version` that count. */
interface VersionAnswer {
  readonly Version: string;
  readonly ApiVersion: string;
  readonly MinAPIVersion?: string;
  readonly Components?: readonly { readonly Name: string }[];
}

/** The parts of `/info` that count. */
interface InfoAnswer {
  readonly Driver: string;
  readonly DriverStatus?: readonly (readonly string[])[] | null;
  readonly NCPU: number;
  readonly MemTotal: number;
  readonly SystemTime?: string;
  readonly MemoryLimit: boolean;
  readonly CpuCfsQuota: boolean;
  readonly PidsLimit: boolean;
  readonly CgroupVersion?: string;
  readonly CgroupDriver?: string;
  readonly InitBinary?: string;
  readonly InitCommit?: { readonly ID: string };
  readonly Runtimes?: Readonly<Record<string, unknown>>;
  readonly Plugins?: { readonly Network?: readonly string[] | null };
  readonly OperatingSystem?: string;
  readonly Rootless?: boolean;
  readonly SecurityOptions?: readonly string[] | null;
  readonly RegistryConfig?: { readonly InsecureRegistryCIDRs?: readonly string[] | null };
}

function describeEngine(version: VersionAnswer, info: InfoAnswer, apiVersion: string): Omit<EngineFacts, 'clockOffsetMs'> {
  const backingFilesystem = info.DriverStatus?.find(([name]) => name === 'Backing Filesystem')?.[1] ?? '';
  const product = version.Components?.some(({ Name }) => Name.includes('Podman')) ? 'podman' : 'docker';
  const limitOf = (has: boolean) => (has ? 'engine' : 'absent');
  return {
    product,
    version: version.Version,
    apiVersion,
    hasInit: Boolean(info.InitBinary) && info.InitCommit?.ID !== 'N/A',
    cpus: info.NCPU,
    memoryBytes: info.MemTotal,
    storageDriver: info.Driver,
    backingFilesystem,
    cgroup: `v${info.CgroupVersion ?? '1'} (${info.CgroupDriver ?? 'unknown driver'})`,
    hasBridge: info.Plugins?.Network?.includes('bridge') ?? false,
    isApart: info.Rootless === true || info.OperatingSystem === 'Docker Desktop' || (info.SecurityOptions ?? []).includes('name=rootless'),
    isLoopbackPlain: product === 'podman' || (info.RegistryConfig?.InsecureRegistryCIDRs?.includes('127.0.0.0/8') ?? false),
    capabilities: {
      freeze: true,
      hardening: true,
      gpu: info.Runtimes?.['nvidia'] === undefined ? 'absent' : 'engine',
      hasMounts: true,
      limits: {
        memory: limitOf(info.MemoryLimit),
        cpu: limitOf(info.CpuCfsQuota),
        processes: limitOf(info.PidsLimit),
        disk: limitOf(canLimitDisk(info.Driver, backingFilesystem)),
      },
    },
  };
}

/** The engine looked at its clock some time between question and answer. */
function compareClocks(askedAt: number, answeredAt: number, theirs: number): number {
  if (Number.isNaN(theirs) || (theirs >= askedAt - 1 && theirs <= answeredAt + 1)) return 0;
  return Math.round((askedAt + answeredAt) / 2 - theirs);
}

/** Where a size can be set at all; on overlay2 over xfs it takes the mount option pquota too, which only a try shows. */
function canLimitDisk(driver: string, backing: string): boolean {
  return ['btrfs', 'zfs', 'devicemapper'].includes(driver) || (driver === 'overlay2' && backing === 'xfs');
}

/** Versions as `1.41`. */
function compare(a: string, b: string): number {
  const [majorA = 0, minorA = 0] = a.split('.').map(Number);
  const [majorB = 0, minorB = 0] = b.split('.').map(Number);
  return majorA - majorB || minorA - minorB;
}
