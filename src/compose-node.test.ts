import { expect, test } from 'vitest';
import { parseDriver, readNode } from './compose-node.js';
import type { GpuDevice } from './domain/gpu-device.js';

const L4 = (id: string): GpuDevice => ({ id, name: 'NVIDIA L4' });
const none = async () => ({ gpus: [], cuda: undefined });

test('labels are what is set, and the driver says the rest (rows 89, 91)', async () => {
  const gpus = [L4('GPU-1'), L4('GPU-2')];
  const driver = async () => ({ gpus, cuda: '12.4' });
  const set = { WHERRY_NODE_LABELS: 'zone=home, gpu=ADA_24,gpu=NVIDIA A40', WHERRY_GPU: 'ignore' };
  expect(await readNode(set, driver)).toEqual({
    labels: { zone: ['home'], gpu: ['ADA_24', 'NVIDIA A40'], cuda: ['12.4'] },
    isGpuIgnored: true,
    gpus,
  });
  expect(await readNode({}, driver)).toEqual({ labels: { gpu: ['NVIDIA L4'], cuda: ['12.4'] }, isGpuIgnored: false, gpus });
  expect(await readNode({}, none)).toEqual({ labels: {}, isGpuIgnored: false, gpus: [] });
});

test('GPUs are so many as are set; those that no driver lists go by their index (row 89)', async () => {
  const driver = async () => ({ gpus: [L4('GPU-1'), L4('GPU-2')], cuda: undefined });
  const gpusOf = async (set: string, ask = driver) => (await readNode({ WHERRY_CAPACITY_GPU: set }, ask)).gpus.map(({ id }) => id);
  expect([await gpusOf('1'), await gpusOf('3'), await gpusOf('0')]).toEqual([['GPU-1'], ['GPU-1', 'GPU-2', '2'], []]);
  expect(await gpusOf('2', async () => ({ gpus: [], cuda: undefined }))).toEqual(['0', '1']);
});

test.each([{ WHERRY_NODE_LABELS: 'home' }, { WHERRY_NODE_LABELS: '=x' }, { WHERRY_GPU: 'no' }, { WHERRY_CAPACITY_GPU: 'all' }])(
  'refuses %j',
  async (set) => {
    await expect(readNode(set, none)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  },
);

test('reads what the tool of the driver prints', () => {
  const list = 'GPU 0: NVIDIA L4 (UUID: GPU-1)\nGPU 1: NVIDIA L4 (UUID: GPU-2)\n  MIG 1g.5gb Device 0: (UUID: MIG-1)\n';
  const table = '| NVIDIA-SMI 550.54.15    Driver Version: 550.54.15    CUDA Version: 12.4     |';
  expect(parseDriver(list, table)).toEqual({ gpus: [L4('GPU-1'), L4('GPU-2')], cuda: '12.4' });
  expect(parseDriver('', '')).toEqual({ gpus: [], cuda: undefined });
});
