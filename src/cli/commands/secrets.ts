import { text as readAll } from 'node:stream/consumers';
import { openClock } from '../../base/clock.js';
import { WherryError } from '../../base/errors.js';
import type { Command, Context } from '../command.js';
import { formatAgo, formatTable } from '../output.js';

export const secrets: Command = {
  name: 'secrets',
  summary: 'list secrets, which workers get as environment variables; set one (without VALUE: from standard input) or remove it (rm)',
  args: '[action] [name] [value]',
  options: [{ flags: '--force', text: 'rm: also when a release in use refers to it, whose workers then do not start any more' }],
  example: 'wherry secrets set HF_TOKEN < token.txt',
  async run(context) {
    const [action = 'list', name, value] = context.args;
    if (action === 'list') return list(context);
    if (name === undefined)
      throw new WherryError('USAGE', `secrets ${action}: which one?`, { hint: 'add its name, for instance HF_TOKEN' });
    if (action === 'set') return set(context, name, value ?? (await readValue()));
    if (action === 'rm' && value === undefined) return remove(context, name);
    throw new WherryError('USAGE', `'${action}' with what follows is not something to do with secrets`, {
      hint: 'use list, set NAME [VALUE] or rm NAME',
    });
  },
};

async function list({ client, output }: Context): Promise<number> {
  const items = await (await client()).listSecrets();
  const now = openClock().now();
  const rows = items.map(({ name, updatedAt, usedBy }) => [name, formatAgo(updatedAt, now), usedBy.join(', ') || '-']);
  output.result({ items }, rows.length === 0 ? 'no secrets' : formatTable(['secret', 'set', 'used by'], rows));
  return 0;
}

async function set({ client, output }: Context, name: string, value: string): Promise<number> {
  const stored = await (await client()).putSecret(name, { value });
  const { usedBy } = stored;
  output.result(stored, `${name} is stored${usedBy.length === 0 ? '' : `; new workers of ${usedBy.join(', ')} get it`}`);
  return 0;
}

/** Rather than from the command line, where every process of the machine could read it. */
async function readValue(): Promise<string> {
  const hint = 'pipe it in: `wherry secrets set NAME < FILE`, or write it behind the name';
  if (process.stdin.isTTY) throw new WherryError('USAGE', 'secrets set reads the value from standard input, not from a terminal', { hint });
  const value = (await readAll(process.stdin)).replace(/\r?\n$/, '');
  if (value !== '') return value;
  throw new WherryError('USAGE', 'standard input held no value', { hint });
}

async function remove({ client, options, output }: Context, name: string): Promise<number> {
  const isForced = options['force'] === true;
  await (await client()).removeSecret(name, isForced ? { force: true } : {});
  output.result({ name }, `the secret ${name} is removed`);
  return 0;
}
