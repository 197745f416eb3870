import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { endMembers } from '../../src/runtime/process/members.js';
import { until } from '../stage.js';

it.runIf(existsSync('/proc/self/stat'))('does not wait for a process that is dead and only not asked for by its parent', async () => {
  // The shell becomes a sleep, which never asks for the child it had; that one ends later, or the shell itself might ask.
  const parent = spawn('sh', ['-c', 'sleep 0.5 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    const [printed] = (await once(parent.stdout, 'data')) as [Buffer];
    const pid = Number(printed.toString());
    await until(() => / Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8')), 'the child to be dead');
    let looks = 0;
    const left = await endMembers(() => {
      looks++;
      return [pid];
    });
    expect({ left, looks }).toEqual({ left: [], looks: 1 });
  } finally {
    parent.kill('SIGKILL');
  }
});
