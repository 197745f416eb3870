import { expect, test } from 'vitest';
import { parseDriver, readNode } from './compose-node.js';

const none = async () => ({ gpus: [], cuda: undefined });

test('labels are what is set, and the driver says the rest (rows 89, 91)', async () => {
  const driver = async () => ({ gpus: ['NVIDIA L4'], cuda: '12.4' });
  const set = { WHERRY_NODE_LABELS: 'zone=home, gpu=ADA_24,gpu=NVIDIA A40', WHERRY_GPU: 'ignore' };
  expect(await readNode(set, driver)).toEqual({
    labels: { zone: ['home'], gpu: ['ADA_24', 'NVIDIA A40'], cuda: ['12.4'] },
    isGpuIgnored: true,
  });
  expect(await readNode({}, driver)).toEqual({ labels: { gpu: ['NVIDIA L4'], cuda: ['12.4'] }, isGpuIgnored: false });
  expect(await readNode({}, none)).toEqual({ labels: {}, isGpuIgnored: false });
});

test.each([{ WHERRY_NODE_LABELS: 'home' }, { WHERRY_NODE_LABELS: '=x' }, { WHERRY_GPU: 'no' }])('refuses %j', async (set) => {
  await expect(readNode(set, none)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
});

test('reads what the tool of the driver prints', () => {
  const list = 'GPU 0: NVIDIA L4 (UUID: GPU-1)\nGPU 1: NVIDIA L4 (UUID: GPU-2)\nGPU 2: NVIDIA A100-SXM4-80GB (UUID: GPU-3)\n';
  const table = '| NVIDIA-SMI 550.54.15    Driver Version: 550.54.15    CUDA Version: 12.4     |';
  expect(parseDriver(list, table)).toEqual({ gpus: ['NVIDIA L4', 'NVIDIA A100-SXM4-80GB'], cuda: '12.4' });
  expect(parseDriver('', '')).toEqual({ gpus: [], cuda: undefined });
});
