import type { DeliveryView } from '../../api/resources.js';
import { openClock } from '../../base/clock.js';
import { WherryError } from '../../base/errors.js';
import { type Command, type Context, textOf } from '../command.js';
import { endpointOf } from '../endpoint.js';
import { formatAgo, formatTable } from '../output.js';

export const webhooks: Command = {
  name: 'webhooks',
  summary: 'list deliveries of webhooks; send one again; make, rotate or remove the secret that signs them',
  args: '[endpoint-or-action] [endpoint] [delivery]',
  options: [
    { flags: '--rotate', text: 'secret: make a new one; those before sign a day longer' },
    { flags: '--remove', text: 'secret: sign no more' },
    { flags: '--state <state>', text: 'list: only PENDING, DELIVERED or FAILED ones' },
    { flags: '--limit <n>', text: 'list: at most so many (default 20)' },
  ],
  example: 'wherry webhooks hello-node',
  async run(context) {
    const [first, endpointId, deliveryId] = context.args;
    if (endpointId === undefined) return listDeliveries(context, first ?? (await endpointOf(context)));
    if (first === 'redeliver' && deliveryId !== undefined) return redeliver(context, endpointId, deliveryId);
    if (first === 'secret' && deliveryId === undefined) return changeSecret(context, endpointId);
    throw new WherryError('USAGE', `'${context.args.join(' ')}' is not something to do with webhooks`, {
      hint: 'use ENDPOINT, redeliver ENDPOINT DELIVERY or secret ENDPOINT',
    });
  },
};

async function listDeliveries({ client, options, output }: Context, endpointId: string): Promise<number> {
  const api = await client();
  const state = textOf(options, 'state') as DeliveryView['state'] | undefined;
  const [webhook, items] = await Promise.all([
    api.getWebhook(endpointId),
    api.listDeliveries(endpointId, { limit: Number(textOf(options, 'limit') ?? 20), ...(state !== undefined && { state }) }),
  ]);
  output.talk(`  ${webhook.secrets.length === 0 ? 'not signed' : `signed with ${webhook.secrets.length} secret(s)`}`);
  const now = openClock().now();
  const rows = items.map(({ id, state: shown, jobId, jobStatus, createdAt, attempts, url }) => {
    const last = attempts.at(-1);
    const said = last?.reason ?? (last ? String(last.status) : '');
    return [id, shown, `${jobId} ${jobStatus}`, formatAgo(createdAt, now), String(attempts.length), url, said];
  });
  const table = formatTable(['delivery', 'state', 'job', 'made', 'tries', 'to', 'last answer'], rows);
  output.result({ webhook, items }, rows.length === 0 ? 'no deliveries' : table);
  return 0;
}

async function redeliver({ client, output }: Context, endpointId: string, deliveryId: string): Promise<number> {
  const again = await (await client()).redeliver(endpointId, deliveryId);
  output.result(again, `${again.id} is sent again to ${again.url}`);
  return 0;
}

async function changeSecret({ client, options, output }: Context, endpointId: string): Promise<number> {
  const api = await client();
  if (options['remove'] === true) {
    await api.removeWebhookSecrets(endpointId);
    output.result({ endpointId }, `webhooks of ${endpointId} are not signed any more`);
    return 0;
  }
  const made = await api.makeWebhookSecret(endpointId, { rotate: options['rotate'] === true });
  output.talk('  shown once: keep it now');
  output.result(made, made.secret);
  return 0;
}
