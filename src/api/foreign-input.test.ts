import { expect, it } from 'vitest';
import { noticeInput, readForeignSettings, readForeignSpec, readWishes, refuseUnserved } from './foreign-input.js';

const NO_GPU = { gpu: { count: 0, kinds: [] } };

it('reads what a template changes of a release, and nothing of what it does not say', () => {
  const input = {
    dockerArgs: `--say "a b"`,
    env: [{ key: 'A', value: 1 }, { key: 'B' }],
    ports: '8000/http, 22/tcp',
    containerDiskInGb: 10,
  };
  expect(readForeignSpec(input, { resources: { cpu: 2 } })).toEqual({
    args: ['--say', 'a b'],
    env: { A: '1', B: '' },
    ports: ['8000/http', '22/tcp'],
    resources: { cpu: 2, diskBytes: 10 * 2 ** 30 },
  });
  expect(readForeignSpec({ env: null, dockerArgs: null }, { resources: { cpu: 2 } })).toEqual({});
  expect(readForeignSpec({ dockerArgs: '', containerDiskInGb: 0 }, { resources: { diskBytes: 5 } })).toEqual({ args: null, resources: {} });
});

it('reads what an endpoint changes of its settings', () => {
  const scale = { workersMin: 1, workersMax: 2, idleTimeout: 1.5, scalerType: 'REQUEST_COUNT', scalerValue: 3, flashBootType: 'FLASHBOOT' };
  expect(readForeignSettings({ ...scale, executionTimeoutMs: 9 })).toEqual({
    scale: { min: 1, max: 2, idleMs: 1_500, type: 'requestCount', value: 3, keep: 'freeze' },
    limits: { executionMs: 9 },
  });
  expect(readForeignSettings({ workersMax: null, scalerType: '', flashBootType: null })).toEqual({ scale: {}, limits: {} });
});

it.each([
  [{}, NO_GPU],
  [{ gpuIds: '', gpuCount: 2 }, NO_GPU],
  [{ gpuIds: 'ADA_24, -NVIDIA L4' }, { gpu: { count: 1, kinds: ['ADA_24', '-NVIDIA L4'] } }],
  [{ gpuIds: 'NVIDIA L4', gpuCount: 2 }, { gpu: { count: 2, kinds: ['NVIDIA L4'] } }],
  [
    { minCudaVersion: '12.4', allowedCudaVersions: '' },
    { ...NO_GPU, cuda: '12.4' },
  ],
  [{ allowedCudaVersions: '12.4,12.5' }, { ...NO_GPU, cuda: ['12.4', '12.5'] }],
  [{ allowedCudaVersions: 12 }, { ...NO_GPU, cuda: ['12.0'] }],
  [{ instanceIds: ['cpu3g-4-16', 'other'] }, { ...NO_GPU, sizes: [{ cpu: 4, memoryBytes: 16 * 2 ** 30 }] }],
  [{ modelReferences: ['https://hub.example/acme/tiny:v2', 'acme/large'] }, { ...NO_GPU, models: ['acme/tiny@v2', 'acme/large@main'] }],
  [
    { networkVolumeId: '', networkVolumeIds: [{ networkVolumeId: 'v1' }, 'v2'] },
    { ...NO_GPU, volumes: ['v1:/runpod-volume'] },
  ],
  [
    { networkVolumeId: 'v3', networkVolumeIds: null },
    { ...NO_GPU, volumes: ['v3:/runpod-volume'] },
  ],
])('reads what an endpoint asks of its host: %j', (input, wishes) => {
  expect(readWishes(input)).toEqual(wishes);
});

it('tells what is accepted and not as it may seem', () => {
  const input = { networkVolumeIds: [{ networkVolumeId: 'v1' }, { networkVolumeId: 'v2' }], instanceIds: ['cpu3g'], locations: 'EU-RO-1' };
  expect(noticeInput(input)).toEqual([
    "network volume 'v1' is the volume of that name on this host",
    "of several network volumes the first is attached, not 'v2'",
    "'cpu3g': no known size of a worker, any will do",
    'locations are remembered: workers run on this host',
  ]);
  expect(noticeInput({ networkVolumeId: null, locations: '', instanceIds: ['cpu3g-4-16'] })).toEqual([]);
});

it.each([
  [() => readForeignSpec({ env: [{ key: 'A B', value: '' }] }, {}), "'A B' cannot be set"],
  [() => readForeignSpec({ env: 'A=1' }, {}), 'env is not a list'],
  [() => readForeignSpec({ containerDiskInGb: '10' }, {}), 'containerDiskInGb "10" is not a whole number from 0 to 1000000'],
  [() => readForeignSettings({ workersMax: 5_000 }), 'workersMax 5000'],
  [() => readForeignSettings({ scalerType: 'NONE' }), "scalerType 'NONE' is not known"],
  [() => readWishes({ minCudaVersion: 'new' }), "minCudaVersion 'new' is not a version of CUDA"],
  [() => readWishes({ networkVolumeId: '../etc' }), "network volume '../etc' cannot be attached"],
  [() => readWishes({ modelReferences: ['a b'] }), "'a b' is not a model"],
  [() => refuseUnserved({ type: 'LB' }), "endpoints of type 'LB' are not served"],
  [() => refuseUnserved({ hubReleaseId: 'h' }), 'this server has no hub'],
])('refuses what it cannot mean: %s', (read, reason) => {
  expect(read).toThrow(expect.objectContaining({ code: 'REQUEST_INVALID', message: expect.stringContaining(reason) }));
});
