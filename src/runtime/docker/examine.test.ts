import { describe, expect, it } from 'vitest';
import type { EngineFacts } from './engine.js';
import { examineEngine, judgeEngine } from './examine.js';

const GOOD: EngineFacts = {
  product: 'docker',
  version: '28.0',
  apiVersion: '1.48',
  hasInit: true,
  cpus: 2,
  memoryBytes: 1,
  storageDriver: 'overlay2',
  backingFilesystem: 'xfs',
  cgroup: 'v2 (systemd)',
  hasBridge: true,
  isApart: false,
  isLoopbackPlain: true,
  clockOffsetMs: 0,
  capabilities: {
    freeze: true,
    gpu: 'absent',
    hasMounts: true,
    limits: { memory: 'engine', cpu: 'engine', processes: 'engine', disk: 'engine' },
  },
};
const judged = (change: Partial<EngineFacts>, hasWorkerHost = false) =>
  judgeEngine({ address: 'unix:///x', hasWorkerHost }, { ...GOOD, ...change }).filter(({ status }) => status !== 'ok');

describe('judgeEngine', () => {
  it('finds nothing to mend on an engine that has all', () => {
    expect(judged({})).toEqual([]);
  });

  it.each([
    ['docker networks', 'fail', { hasBridge: false }],
    ['docker pulls', 'warn', { isLoopbackPlain: false }],
    ['docker reach', 'warn', { isApart: true }],
    ['docker init', 'warn', { hasInit: false }],
    [
      'docker limits',
      'warn',
      { capabilities: { ...GOOD.capabilities, limits: { memory: 'absent', cpu: 'absent', processes: 'engine', disk: 'absent' } } },
    ],
  ] as const)('names %s, with what to do', (name, status, change) => {
    expect(judged(change as Partial<EngineFacts>)).toEqual([{ name, status, found: expect.any(String), fix: expect.any(String) }]);
  });

  it('is content with an engine apart once it is told how containers reach this machine', () => {
    expect(judged({ isApart: true }, true)).toEqual([]);
  });
});

describe('examineEngine', () => {
  it('says that there is no engine, and what to do', async () => {
    const checks = await examineEngine({ address: 'unix:///nowhere/docker.sock', hasWorkerHost: false }, () => 0);
    expect(checks).toEqual([expect.objectContaining({ status: 'fail', fix: expect.stringContaining('WHERRY_DOCKER_HOST') })]);
  });
});
