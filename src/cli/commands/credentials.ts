import { text as readAll } from 'node:stream/consumers';
import { openClock } from '../../base/clock.js';
import { WherryError } from '../../base/errors.js';
import { type Command, type Context, textOf } from '../command.js';
import { formatAgo, formatTable } from '../output.js';

export const credentials: Command = {
  name: 'credentials',
  summary: 'list credentials with which the server pulls from private registries; add or remove one',
  args: '[action] [registry]',
  options: [
    { flags: '-u, --username <name>', text: 'add: the user; without it, standard input is an identity token' },
    { flags: '--password-stdin', text: 'add: read the password, or the token, from standard input' },
    { flags: '--no-try', text: 'add: do not log in at the registry first' },
  ],
  example: 'wherry credentials add ghcr.io/acme -u ada --password-stdin < token.txt',
  async run(context) {
    const [action = 'list', registry] = context.args;
    if (action === 'list') return list(context);
    if (registry === undefined) {
      throw new WherryError('USAGE', `credentials ${action}: for which registry?`, { hint: 'add HOST, HOST:PORT or HOST/PATH' });
    }
    if (action === 'add') return add(context, registry);
    if (action === 'remove') return remove(context, registry);
    throw new WherryError('USAGE', `'${action}' is not something to do with credentials`, {
      hint: 'use list, add REGISTRY or remove REGISTRY',
    });
  },
};

async function list({ client, output }: Context): Promise<number> {
  const items = await (await client()).listCredentials();
  const now = openClock().now();
  const rows = items.map(({ registry, username, createdAt }) => [registry, username ?? 'identity token', formatAgo(createdAt, now)]);
  output.result({ items }, rows.length === 0 ? 'no credentials' : formatTable(['registry', 'user', 'made'], rows));
  return 0;
}

async function add({ client, options, output }: Context, registry: string): Promise<number> {
  const secret = await readSecret(options['passwordStdin'] === true);
  const username = textOf(options, 'username');
  const isTried = options['try'] !== false;
  const body = { ...(username === undefined ? { identityToken: secret } : { username, password: secret }), try: isTried };
  const kept = await (await client()).putCredential(registry, body);
  output.result(kept, `${registry} ${isTried ? 'accepts these credentials: kept' : 'kept, not tried'}`);
  return 0;
}

/** Not from the command line, where every process of the machine could read it. */
async function readSecret(isPiped: boolean): Promise<string> {
  if (!isPiped) {
    throw new WherryError('USAGE', 'credentials add reads the secret from standard input', {
      hint: 'add --password-stdin and pipe it in: `wherry credentials add HOST -u USER --password-stdin < FILE`',
    });
  }
  const secret = (await readAll(process.stdin)).replace(/\r?\n$/, '');
  if (secret !== '') return secret;
  throw new WherryError('USAGE', 'standard input held no secret', { hint: 'pipe the password or token in' });
}

async function remove({ client, output }: Context, registry: string): Promise<number> {
  await (await client()).removeCredential(registry);
  output.result({ registry }, `the credentials for ${registry} are removed`);
  return 0;
}
