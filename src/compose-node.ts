import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { WherryError } from './base/errors.js';
import { type Environment, readList, readNumber } from './compose-settings.js';
import { firstGpus, type GpuDevice } from './domain/gpu-device.js';
import type { NodeFacts } from './domain/placement.js';

/** What the GPUs' driver tells about itself and them; empty without one. */
export interface Driver {
  readonly gpus: readonly GpuDevice[];
  readonly cuda: string | undefined;
}

/**
 * WHERRY_NODE_LABELS (`KEY=VALUE`, a key may come more than once), WHERRY_GPU and WHERRY_CAPACITY_GPU. Labels `gpu` and `cuda` that are not
 * set are asked of the driver, GPUs always: only it knows which is which. Throws CONFIG_INVALID.
 */
export async function readNode(environment: Environment, askDriver: () => Promise<Driver> = askNvidia): Promise<NodeFacts> {
  const labels: Record<string, string[]> = {};
  for (const entry of readList(environment['WHERRY_NODE_LABELS'])) {
    const [, key, value] = /^([A-Za-z_]\w*)=(.+)$/.exec(entry) ?? [];
    if (key === undefined || value === undefined)
      throw new WherryError('CONFIG_INVALID', `WHERRY_NODE_LABELS: '${entry}' is no label`, {
        hint: 'write KEY=VALUE, several with commas between them, for instance gpu=NVIDIA L4,zone=home',
      });
    labels[key] = [...(labels[key] ?? []), value.trim()];
  }
  const text = environment['WHERRY_GPU'] || 'match';
  if (text !== 'match' && text !== 'ignore')
    throw new WherryError('CONFIG_INVALID', `WHERRY_GPU is '${text}', neither match nor ignore`, { hint: 'write match or ignore' });
  const { gpus, cuda } = await askDriver();
  const names = [...new Set(gpus.flatMap(({ name }) => name ?? []))];
  return {
    labels: { ...(names.length > 0 && { gpu: names }), ...(cuda !== undefined && { cuda: [cuda] }), ...labels },
    isGpuIgnored: text === 'ignore',
    gpus: await listGpus(gpus, readNumber(environment, 'WHERRY_CAPACITY_GPU')),
  };
}

/** So many as are set, else those that the driver lists, else those that have device files. What no driver lists goes by its index. */
async function listGpus(listed: readonly GpuDevice[], set: number | undefined): Promise<readonly GpuDevice[]> {
  const count = set ?? (listed.length || (await countDeviceFiles()));
  return firstGpus(count).map((id, index) => listed[index] ?? { id });
}

async function countDeviceFiles(): Promise<number> {
  return (await readdir('/dev').catch(() => [])).filter((name) => /^nvidia\d+$/.test(name)).length;
}

/** Names and version as `nvidia-smi` prints them in its table and its list. */
async function askNvidia(): Promise<Driver> {
  const list = await runTool(['--list-gpus']);
  if (list === undefined) return { gpus: [], cuda: undefined };
  return parseDriver(list, (await runTool([])) ?? '');
}

/** `list` has a line `GPU 0: NAME (UUID: …)` for each; `table` names the version of CUDA. */
export function parseDriver(list: string, table: string): Driver {
  const gpus = [...list.matchAll(/^GPU \d+: (.+?) \(UUID: (.+?)\)/gm)].map(([, name, id = '']) => ({ id, name }));
  return { gpus, cuda: /CUDA Version: (\d+\.\d+)/.exec(table)?.[1] };
}

function runTool(args: readonly string[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile('nvidia-smi', args, { timeout: 5_000 }, (error, stdout) => resolve(error ? undefined : stdout));
  });
}
