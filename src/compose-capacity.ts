import { availableParallelism, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { toWherryError, WherryError } from './base/errors.js';
import { readNode } from './compose-node.js';
import { type Environment, readNumber, readText } from './compose-settings.js';
import type { HostCapacity } from './domain/capacity.js';
import { parseSize } from './project/units.js';

/** Kept for this server and its supervisor, the page cache and whatever else runs: a tenth of the memory, and at least this. */
const LEAST_RESERVE_BYTES = 256 * 2 ** 20;
/** Starting is reading files and compiling: more at once would not be ready sooner, but all of them late. */
const STARTS_A_CORE = 2;

/**
 * WHERRY_CAPACITY_CPU, WHERRY_CAPACITY_MEMORY, WHERRY_STARTS, and what {@link readNode} reads; what is not set is measured: the cores and the
 * memory that this process may use, the GPUs of the host. Throws CONFIG_INVALID.
 */
export async function readCapacity(environment: Environment): Promise<HostCapacity> {
  const cpu = readNumber(environment, 'WHERRY_CAPACITY_CPU', { isWhole: false }) ?? (await measureCores());
  const memoryBytes = readMemory(environment) ?? measureMemory();
  const startLimit = readNumber(environment, 'WHERRY_STARTS', { least: 1 }) ?? Math.ceil(availableParallelism() * STARTS_A_CORE);
  const node = await readNode(environment);
  return { total: { cpu, memoryBytes, gpu: node.gpus.length }, startLimit, node };
}

function readMemory(environment: Environment): number | undefined {
  const text = environment['WHERRY_CAPACITY_MEMORY'];
  if (!text) return undefined;
  try {
    return parseSize(text);
  } catch (cause) {
    const { message, hint } = toWherryError(cause);
    throw new WherryError('CONFIG_INVALID', `WHERRY_CAPACITY_MEMORY: ${message}`, { ...(hint !== undefined && { hint }), cause });
  }
}

function measureMemory(): number {
  const usable = Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY);
  return Math.max(0, Math.floor(usable - Math.max(LEAST_RESERVE_BYTES, usable / 10)));
}

/** Node counts the cores it may be scheduled on; a quota of time is besides. */
async function measureCores(): Promise<number> {
  const quotas = [await readUnifiedQuota(), await readSplitQuota()];
  return Math.min(availableParallelism(), ...quotas.filter((quota) => quota !== undefined));
}

const CGROUPS = '/sys/fs/cgroup';

/** Control groups v2: the least `cpu.max` of the own group and those above it. */
async function readUnifiedQuota(): Promise<number | undefined> {
  const own = /^0::(?<path>.*)$/m.exec((await readText('/proc/self/cgroup')) ?? '')?.groups?.['path'];
  if (own === undefined) return undefined;
  const quotas: number[] = [];
  for (let dir = join(CGROUPS, own); dir.startsWith(CGROUPS); dir = dirname(dir)) {
    const [quota, period] = ((await readText(join(dir, 'cpu.max'))) ?? 'max').trim().split(' ').map(Number);
    if (quota && period) quotas.push(quota / period);
  }
  return quotas.length === 0 ? undefined : Math.min(...quotas);
}

/** Control groups v1, as a container sees its own. */
async function readSplitQuota(): Promise<number | undefined> {
  const [quota, period] = await Promise.all(['quota', 'period'].map((name) => readText(join(CGROUPS, `cpu/cpu.cfs_${name}_us`))));
  return quota !== undefined && period !== undefined && Number(quota) > 0 ? Number(quota) / Number(period) : undefined;
}
