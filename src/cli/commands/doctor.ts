import type { Check } from '../../compose-doctor.js';
import type { Command } from '../command.js';
import { colours } from '../output.js';

export const doctor: Command = {
  name: 'doctor',
  summary: 'look at what a server on this machine needs, the docker engine too, and say how to mend what is wrong',
  example: 'wherry doctor',
  async run({ settings, environment, output }) {
    const { examine } = await import('../../compose-doctor.js');
    const { dataDir } = await settings();
    const checks = await examine({ dataDir, environment });
    output.result({ checks }, checks.map(format).join('\n'));
    return checks.some(({ status }) => status === 'fail') ? 1 : 0;
  },
};

const PAINT = { ok: colours.green, warn: colours.yellow, fail: colours.red } as const;

function format({ name, status, found, fix }: Check): string {
  const line = `${PAINT[status](status.padEnd(4))}  ${name.padEnd(20)}  ${found}`;
  return fix === undefined ? line : `${line}\n      ${''.padEnd(20)}  ${colours.dim('fix')}  ${fix}`;
}
