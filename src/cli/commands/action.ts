import { WherryError } from '../../base/errors.js';
import type { Command } from '../command.js';

/** What `action/action.yml` runs; its inputs come in the environment. */
export const action: Command = {
  name: 'action',
  summary: 'a step of the action of CI runners: run or clean',
  args: '<step>',
  example: 'wherry action run',
  isHidden: true,
  async run(context) {
    const [step] = context.args;
    if (step === 'run') return (await import('../action/run.js')).runAction(context);
    if (step === 'clean') return (await import('../action/clean.js')).cleanAction(context);
    throw new WherryError('USAGE', `'${step}' is no step of the action`, { hint: 'the steps are run and clean' });
  },
};
