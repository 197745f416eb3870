import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { openClock } from '../../base/clock.js';
import { WherryError } from '../../base/errors.js';
import { type Command, type Context, textOf } from '../command.js';
import { formatAgo, formatTable } from '../output.js';

export const init: Command = {
  name: 'init',
  summary: 'write a new handler project',
  args: '[dir]',
  options: [
    { flags: '--template <kind>', text: 'python or node (default python)' },
    { flags: '--base <image>', text: 'base image, or scratch (default: a slim image of the language)' },
  ],
  example: 'wherry init my-worker --base scratch',
  async run({ args, options, output }) {
    const dir = resolve(args[0] ?? '.');
    const kind = textOf(options, 'template') ?? 'python';
    if (kind !== 'python' && kind !== 'node')
      throw new WherryError('USAGE', `there is no template '${kind}'`, { hint: 'use python or node' });
    const { initFiles } = await import('../templates.js');
    const base = textOf(options, 'base') ?? (kind === 'python' ? 'docker.io/library/python:3.12-slim' : 'docker.io/library/node:20-slim');
    const name =
      basename(dir)
        .toLowerCase()
        .replace(/[^a-z0-9-]+/g, '-')
        .replace(/^-+|-+$/g, '') || 'worker';
    const files = initFiles({ name, base, kind });
    const taken = files.filter(({ path }) => existsSync(join(dir, path)));
    if (taken.length > 0) {
      throw new WherryError('NAME_TAKEN', `'${dir}' has ${taken.map(({ path }) => path).join(', ')} already`, {
        hint: 'choose another directory; nothing was written',
      });
    }
    for (const { path, text } of files) {
      await mkdir(dirname(join(dir, path)), { recursive: true });
      await writeFile(join(dir, path), text);
    }
    const paths = files.map(({ path }) => path);
    output.talk(`next: wherry deploy ${args[0] ?? '.'}`);
    output.result({ dir, name, files: paths }, paths.map((path) => join(args[0] ?? '.', path)).join('\n'));
    return 0;
  },
};

export const keys: Command = {
  name: 'keys',
  summary: 'list API keys; create, disable, enable or remove one',
  args: '[action] [name-or-id]',
  options: [
    { flags: '-e, --endpoint <id>', text: 'create: a key for this endpoint only (default: an admin key)' },
    { flags: '--read-only', text: 'create: a key that sees everything but secrets, and changes nothing' },
  ],
  example: 'wherry keys create ci -e hello-node',
  async run(context) {
    const [action = 'list', subject] = context.args;
    if (action === 'list') return listKeys(context);
    if (subject === undefined)
      throw new WherryError('USAGE', `keys ${action}: which one?`, { hint: 'add a name for create, else the id that `wherry keys` lists' });
    const client = await context.client();
    if (action === 'create') return createKey(context, subject);
    if (action === 'disable' || action === 'enable') {
      const key = await client.updateKey(subject, { isEnabled: action === 'enable' });
      context.output.result(key, `${key.id} ${key.isEnabled ? 'enabled' : 'disabled'}`);
      return 0;
    }
    if (action === 'remove') {
      await client.removeKey(subject);
      context.output.result({ id: subject }, `${subject} removed`);
      return 0;
    }
    throw new WherryError('USAGE', `'${action}' is not something to do with keys`, {
      hint: 'use list, create NAME, disable ID, enable ID or remove ID',
    });
  },
};

async function listKeys({ client, output }: Context): Promise<number> {
  const items = await (await client()).listKeys();
  const now = openClock().now();
  const rows = items.map(({ id, name, scope, endpointId, isEnabled, createdAt }) => [
    id,
    name,
    endpointId ?? scope,
    isEnabled ? 'enabled' : 'disabled',
    formatAgo(createdAt, now),
  ]);
  output.result({ items }, formatTable(['key', 'name', 'opens', 'state', 'made'], rows));
  return 0;
}

async function createKey({ client, output, options }: Context, name: string): Promise<number> {
  const endpointId = textOf(options, 'endpoint');
  const isReadOnly = options['readOnly'] === true;
  if (isReadOnly && endpointId !== undefined) {
    throw new WherryError('USAGE', 'a key is read-only for all endpoints or opens one, not both', { hint: 'leave out --read-only or -e' });
  }
  const scope = isReadOnly ? 'read-only' : 'admin';
  const made = await (await client()).createKey(endpointId === undefined ? { name, scope } : { name, scope: 'endpoint', endpointId });
  output.talk('  shown once: keep it now');
  output.result(made, made.key);
  return 0;
}

export const explain: Command = {
  name: 'explain',
  summary: 'explain a field of wherry.yaml, or list them',
  args: '[field]',
  example: 'wherry explain scale.idle',
  async run({ args, output }) {
    const { explainField, listFields } = await import('../../project/explain.js');
    if (args[0] === undefined) {
      const items = listFields();
      output.result(
        { items },
        formatTable(
          ['field', 'type', 'default'],
          items.map((field) => [field.path, field.type, formatDefault(field.default)]),
        ),
      );
      return 0;
    }
    const field = explainField(args[0]);
    output.result(
      field,
      [
        `${field.path} (${field.type})`,
        field.description,
        `default  ${formatDefault(field.default) || 'none'}`,
        `goes to  ${field.goesTo}`,
        `example  ${field.example}`,
      ].join('\n'),
    );
    return 0;
  },
};

function formatDefault(value: unknown): string {
  if (value === null || value === undefined) return '';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
