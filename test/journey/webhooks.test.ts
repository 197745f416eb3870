import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStage, ROOT, type Stage, until } from '../stage.js';
import { ECHO, nodeProject } from './projects.js';
import { openReceiver, type Receiver } from './receiver.js';

interface Delivery {
  readonly id: string;
  readonly jobId: string;
  readonly jobStatus: string;
  readonly state: string;
  readonly dueAt: string | null;
  readonly attempts: readonly { readonly status: number | null; readonly reason: string | null }[];
}

const PARKED = { scale: { min: 0, max: 0 } };

async function deliveriesOf(stage: Stage, endpoint: string, jobId: string): Promise<readonly Delivery[]> {
  const { json } = await stage.call(`/api/v1/endpoints/${endpoint}/deliveries?job=${jobId}`);
  return (json as { items: Delivery[] }).items;
}

/** The one delivery of the job once it is as asked. */
async function delivery(stage: Stage, endpoint: string, jobId: string, isFit: (delivery: Delivery) => boolean): Promise<Delivery> {
  return until(async () => (await deliveriesOf(stage, endpoint, jobId)).find(isFit), `a delivery of ${jobId}`, 50_000);
}

const hasEnded = ({ state }: Delivery) => state !== 'PENDING';

/** /status tells more than RunPod's fields while it is asked; a webhook has RunPod's. */
const withoutNotes = ({ timeline: _timeline, ...job }: object & { timeline?: unknown }) => job;

describe('webhooks', () => {
  let stage: Stage;
  let receiver: Receiver;
  beforeAll(async () => {
    receiver = await openReceiver((path, number) => {
      if (path === '/third') return number < 2 ? 500 : 200;
      if (path === '/created') return 201;
      if (path === '/away') return (_request, response) => response.writeHead(302, { location: `${receiver.url}/inside` }).end();
      return path === '/never' ? 503 : 200;
    });
    stage = await openStage({ WHERRY_WEBHOOK_ALLOW: '10.9.0.0/16, 127.0.0.1' });
    await stage.cli('deploy', stage.project('hooks', nodeProject('hooks', ECHO, 'scale: { max: 2, idle: 3s }\n')));
    await stage.call('/api/v1/endpoints', { method: 'POST', body: { id: 'parked', settings: PARKED } });
  });
  afterAll(async () => {
    await stage.close();
    await receiver.close();
  });

  const submit = async (endpoint: string, input: unknown, path = '/ok', policy = {}) =>
    (await stage.submit(endpoint, input, { webhook: `${receiver.url}${path}`, policy })).id;
  const received = (jobId: string) => until(() => receiver.of(jobId)[0], `the webhook of ${jobId}`);
  const bodyOf = async (jobId: string) => JSON.parse((await received(jobId)).body) as unknown;

  it('post every terminal state once, with the body of /status (row 53)', async () => {
    const completed = await submit('hooks', { value: { snow: '☃' } });
    const failed = await submit('hooks', { throw: 'broken' });
    const timedOut = await submit('hooks', { sleepMs: 30_000 }, '/ok', { executionTimeout: 5_000 });
    const cancelled = await submit('parked', 1);
    await stage.call(`/v2/parked/cancel/${cancelled}`, { method: 'POST' });
    const purged = await submit('parked', 2);
    const expired = await submit('parked', 3, '/ok', { ttl: 10_000 });
    const running = await submit('hooks', { sleepMs: 30_000 });
    await until(async () => (await stage.status('hooks', running)).status === 'IN_PROGRESS', 'the job to run');
    await stage.call(`/v2/hooks/cancel/${running}`, { method: 'POST' });
    for (const [endpoint, id, status] of [
      ['hooks', completed, 'COMPLETED'],
      ['hooks', failed, 'FAILED'],
      ['hooks', timedOut, 'TIMED_OUT'],
      ['parked', cancelled, 'CANCELLED'],
      ['hooks', running, 'CANCELLED'],
    ] as const) {
      const body = await bodyOf(id);
      expect(body).toMatchObject({ id, status });
      expect(body).toEqual(withoutNotes(await stage.status(endpoint, id)));
    }
    expect(await bodyOf(expired)).toMatchObject({ status: 'TIMED_OUT', error: expect.stringContaining('ttl') });
    expect((await stage.call('/v2/parked/purge-queue', { method: 'POST' })).json).toMatchObject({ removed: 1 });
    expect(await bodyOf(purged)).toEqual(withoutNotes(await stage.status('parked', purged)));
    const all = [completed, failed, timedOut, cancelled, running, expired, purged];
    expect(all.map((id) => receiver.of(id).length)).toEqual(all.map(() => 1));
    expect((await received(completed)).headers).toMatchObject({ 'content-type': 'application/json', host: new URL(receiver.url).host });
  });

  it('post each run of a job that is tried again (row 53)', async () => {
    const id = await submit('hooks', { throw: 'again' });
    await received(id);
    await stage.call(`/v2/hooks/retry/${id}`, { method: 'POST' });
    await until(() => receiver.of(id).length === 2, 'the second end');
    expect(new Set(receiver.of(id).map(({ headers }) => headers['wherry-webhook-id'])).size).toBe(2);
  });

  it('are tried three times ten seconds apart unless the answer is 200, and every try is listed (row 53)', async () => {
    const [third, never, created, away] = await Promise.all(
      ['/third', '/never', '/created', '/away'].map((path) => submit('hooks', { value: 1 }, path)),
    );
    const delivered = await delivery(stage, 'hooks', third ?? '', hasEnded);
    expect(delivered).toMatchObject({ state: 'DELIVERED', dueAt: null });
    expect(delivered.attempts.map(({ status }) => status)).toEqual([500, 500, 200]);
    const tries = receiver.of(third ?? '');
    expect(new Set(tries.map(({ headers, body }) => `${headers['wherry-webhook-id']} ${body}`)).size).toBe(1);
    const gaps = tries.slice(1).map(({ at }, index) => at - (tries[index]?.at ?? 0));
    for (const gap of gaps) {
      expect(gap).toBeGreaterThanOrEqual(9_990);
      expect(gap).toBeLessThan(12_000);
    }
    for (const [id, reason] of [
      [never, 'the receiver answered 503'],
      [created, 'the receiver answered 201'],
      [away, 'the receiver answered 302; redirects are not followed'],
    ] as const) {
      const failed = await delivery(stage, 'hooks', id ?? '', hasEnded);
      expect(failed).toMatchObject({ state: 'FAILED', attempts: [{ reason }, { reason }, { reason }] });
    }
    expect(receiver.received.filter(({ path }) => path === '/inside')).toEqual([]);
  }, 90_000);

  it('go on after three tries when the endpoint says so (row 53)', async () => {
    await stage.call('/api/v1/endpoints/parked', { method: 'PATCH', body: { settings: { limits: { webhookRetryMs: 86_400_000 } } } });
    expect((await stage.call('/api/v1/endpoints/parked/webhook')).json).toEqual({ retryMs: 86_400_000, secrets: [] });
    const id = await submit('parked', 1, '/never');
    await stage.call(`/v2/parked/cancel/${id}`, { method: 'POST' });
    const tried = await delivery(stage, 'parked', id, ({ attempts }) => attempts.length === 3);
    expect(tried.state).toBe('PENDING');
    expect(Date.parse(tried.dueAt ?? '') - Date.now()).toBeGreaterThan(50_000);
  }, 60_000);

  it('are signed so that the samples of the manual verify them, also while a secret is rotated (row 54, S3)', async () => {
    const first = (await stage.cli('webhooks', 'secret', 'parked')).trim();
    expect(first).toMatch(/^whsec_/);
    const again = await stage.tryCli('webhooks', 'secret', 'parked');
    expect(again).toMatchObject({ code: 5, stderr: expect.stringContaining('--rotate') });
    const signed = await cancelled();
    const headers = signed.headers as Record<string, string>;
    expect(headers['wherry-webhook-signature']).toMatch(/^v1=[0-9a-f]{64}$/);
    expect(await verify(stage.dir, { ...signed, secret: first })).toEqual([true, true]);
    expect(await verify(stage.dir, { ...signed, secret: 'whsec_other' })).toEqual([false, false]);
    expect(await verify(stage.dir, { ...signed, body: `${signed.body} `, secret: first })).toEqual([false, false]);
    const old = { ...headers, 'wherry-webhook-timestamp': String(Number(headers['wherry-webhook-timestamp']) - 600) };
    expect(await verify(stage.dir, { headers: old, body: signed.body, secret: first })).toEqual([false, false]);
    expect(await verify(stage.dir, { headers: { ...headers, 'wherry-webhook-signature': '' }, body: signed.body, secret: first })).toEqual([
      false,
      false,
    ]);

    const second = (await stage.cli('webhooks', 'secret', 'parked', '--rotate')).trim();
    const both = await cancelled();
    for (const secret of [first, second]) expect(await verify(stage.dir, { ...both, secret })).toEqual([true, true]);
    expect((await stage.call('/api/v1/endpoints/parked/webhook')).json).toMatchObject({
      secrets: [{ expiresAt: null }, { expiresAt: expect.any(String) }],
    });
    const atRest = readFileSync(join(stage.dataDir, 'wherry.db'), 'latin1') + readFileSync(join(stage.dataDir, 'wherry.db-wal'), 'latin1');
    for (const secret of [first, second]) expect(atRest).not.toContain(secret);
    await stage.call('/api/v1/endpoints/parked/webhook/secret', { method: 'POST', body: { rotate: true, overlapMs: 0 } });
    expect(await verify(stage.dir, { ...(await cancelled()), secret: second })).toEqual([false, false]);
    await stage.cli('webhooks', 'secret', 'parked', '--remove');
    expect((await cancelled()).headers['wherry-webhook-signature']).toBeUndefined();
  });

  /** What the receiver got of a job that was cancelled just now. */
  async function cancelled() {
    const id = await submit('parked', 1);
    await stage.call(`/v2/parked/cancel/${id}`, { method: 'POST' });
    return received(id);
  }

  it('are listed, read and sent again by hand with the same id and body (B16, S3)', async () => {
    const id = await submit('hooks', { value: 'again' });
    const { id: deliveryId } = await delivery(stage, 'hooks', id, hasEnded);
    expect(await stage.cli('webhooks', 'hooks')).toContain(`${deliveryId}  DELIVERED`);
    const said = await stage.cli('webhooks', 'redeliver', 'hooks', deliveryId);
    expect(said).toContain(deliveryId);
    await until(() => receiver.of(id).length === 2, 'the redelivery');
    const [one, two] = receiver.of(id);
    expect([two?.body, two?.headers['wherry-webhook-id']]).toEqual([one?.body, deliveryId]);
    expect((await delivery(stage, 'hooks', id, hasEnded)).attempts).toHaveLength(2);
    expect((await stage.call(`/api/v1/endpoints/hooks/deliveries/${deliveryId}`)).json).toMatchObject({
      state: 'DELIVERED',
      body: one?.body,
    });
    const { items } = JSON.parse(await stage.cli('webhooks', 'hooks', '--state', 'FAILED', '--json')) as { items: Delivery[] };
    expect(new Set(items.map(({ state }) => state))).toEqual(new Set(['FAILED']));
    expect(await stage.tryCli('webhooks', 'redeliver', 'hooks', 'nothing')).toMatchObject({ code: 4 });
    expect((await stage.call('/api/v1/endpoints/parked/deliveries/nothing')).status).toBe(404);
  });

  it('leave nothing behind when their endpoint is removed', async () => {
    await stage.call('/api/v1/endpoints', { method: 'POST', body: { id: 'gone', settings: PARKED } });
    const id = await submit('gone', 1, '/never');
    await stage.call(`/v2/gone/cancel/${id}`, { method: 'POST' });
    await delivery(stage, 'gone', id, ({ attempts }) => attempts.length === 1);
    await stage.call('/api/v1/endpoints/gone', { method: 'DELETE' });
    await stage.call('/api/v1/endpoints', { method: 'POST', body: { id: 'gone', settings: PARKED } });
    expect((await stage.call('/api/v1/endpoints/gone/deliveries')).json).toEqual({ items: [] });
  });
});

describe('webhooks to places that are not allowed', () => {
  let stage: Stage;
  let receiver: Receiver;
  beforeAll(async () => {
    receiver = await openReceiver();
    stage = await openStage({ WHERRY_WEBHOOK_ALLOW: '' });
    await stage.call('/api/v1/endpoints', { method: 'POST', body: { id: 'parked', settings: PARKED } });
  });
  afterAll(async () => {
    await stage.close();
    await receiver.close();
  });

  it.each([
    'http://127.0.0.1:PORT/',
    'http://2130706433:PORT/',
    'http://0x7f000001:PORT/',
    'http://0177.0.0.1:PORT/',
    'http://127.1:PORT/',
    'http://0.0.0.0:PORT/',
    'http://[::1]:PORT/',
    'http://[::ffff:127.0.0.1]:PORT/',
    'http://[::ffff:7f00:1]:PORT/',
    'http://169.254.169.254/latest/meta-data/',
    'http://[fd00:ec2::254]/',
    'http://10.0.0.1/',
    'http://100.64.0.1/',
    'http://user:pass@example.com/',
    'file:///etc/passwd',
    'gopher://example.com/',
  ])('are refused with 400 when submitted: %s (S2, B16)', async (url) => {
    const { status, json } = await stage.call('/v2/parked/run', {
      method: 'POST',
      body: { input: 1, webhook: url.replace('PORT', String(receiver.port)) },
    });
    expect(status).toBe(400);
    expect(json).toEqual({ error: expect.stringMatching(/^webhook /) });
  });

  it.each(['localhost', 'LOCALHOST', 'localhost.'])(
    'are refused when the name %s resolves there, and nothing is connected (S2, B16)',
    async (host) => {
      const { id } = await stage.submit('parked', 1, { webhook: `http://${host}:${receiver.port}/\r\nX-Injected: 1` });
      await stage.call(`/v2/parked/cancel/${id}`, { method: 'POST' });
      const { attempts } = await delivery(stage, 'parked', id, (found) => found.attempts.length > 0);
      expect(attempts[0]).toMatchObject({
        status: null,
        reason: expect.stringMatching(/is (127\.0\.0\.1|::1), which is not an address of the open internet|ENOTFOUND localhost\.$/),
      });
      expect(receiver.received).toEqual([]);
    },
  );

  it('come with a clear reason when the name is unknown', async () => {
    const { id } = await stage.submit('parked', 1, { webhook: 'http://nowhere.invalid/' });
    await stage.call(`/v2/parked/cancel/${id}`, { method: 'POST' });
    const { attempts } = await delivery(stage, 'parked', id, (found) => found.attempts.length > 0);
    expect(attempts[0]?.reason).toContain('nowhere.invalid');
  });
});

describe('webhooks over TLS', () => {
  it('check the certificate for the name of the URL (S2)', async () => {
    const stage = await openStage({ WHERRY_WEBHOOK_ALLOW: 'localhost,127.0.0.1' });
    const key = join(stage.dir, 'key.pem');
    const cert = join(stage.dir, 'cert.pem');
    const made = [
      'req',
      '-x509',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-days',
      '2',
      '-subj',
      '/CN=localhost',
      '-addext',
      'subjectAltName=DNS:localhost',
    ];
    execFileSync('openssl', [...made, '-keyout', key, '-out', cert], { stdio: 'ignore' });
    const bodies: string[] = [];
    const secured = createTlsServer({ key: readFileSync(key), cert: readFileSync(cert) }, (request, response) => {
      request.on('data', (part: Buffer) => bodies.push(part.toString()));
      request.on('end', () => response.end('thanks'));
    });
    await new Promise<void>((resolve) => secured.listen(0, '127.0.0.1', resolve));
    const { port } = secured.address() as AddressInfo;
    await stage.kill();
    await stage.restart({ NODE_EXTRA_CA_CERTS: cert });
    await stage.call('/api/v1/endpoints', { method: 'POST', body: { id: 'parked', settings: PARKED } });
    const end = async (host: string) => {
      const { id } = await stage.submit('parked', 1, { webhook: `https://${host}:${port}/` });
      await stage.call(`/v2/parked/cancel/${id}`, { method: 'POST' });
      return delivery(stage, 'parked', id, ({ attempts }) => attempts.length > 0);
    };
    expect(await end('localhost')).toMatchObject({ state: 'DELIVERED' });
    expect(bodies).toHaveLength(1);
    expect(await end('127.0.0.1')).toMatchObject({ attempts: [{ status: null, reason: expect.stringContaining('not reached') }] });
    expect(bodies).toHaveLength(1);
    await stage.close();
    secured.closeAllConnections();
    await new Promise((resolve) => secured.close(resolve));
  });
});

describe('a server that dies around a webhook', () => {
  it.each(['settle.after-commit', 'webhook.before-send', 'webhook.after-send'])(
    'loses none and may send one twice with the same id: %s (A1, I10)',
    async (point) => {
      const receiver = await openReceiver();
      const stage = await openStage({ WHERRY_WEBHOOK_ALLOW: '127.0.0.1', WHERRY_FAULT: point });
      await stage.cli('deploy', stage.project('dies', nodeProject('dies', ECHO)));
      const { id } = await stage.submit('dies', { value: 'kept' }, { webhook: `${receiver.url}/` });
      await stage.died();
      await stage.restart({ WHERRY_FAULT: '' });
      const { attempts, id: deliveryId } = await delivery(stage, 'dies', id, ({ state }) => state === 'DELIVERED');
      expect(attempts).toHaveLength(1);
      const got = receiver.of(id);
      expect(got).toHaveLength(point === 'webhook.after-send' ? 2 : 1);
      for (const { headers, body } of got) {
        expect(headers['wherry-webhook-id']).toBe(deliveryId);
        expect(JSON.parse(body)).toMatchObject({ status: 'COMPLETED', output: 'kept' });
      }
      await stage.close();
      await receiver.close();
    },
  );

  it('sends after a restart what was due while it was away, and stops without waiting for a silent receiver (I10)', async () => {
    let isSilent = true;
    const receiver = await openReceiver(async () => {
      await until(() => !isSilent, 'the receiver to speak');
      return 200;
    });
    const stage = await openStage({ WHERRY_WEBHOOK_ALLOW: '127.0.0.1' });
    await stage.call('/api/v1/endpoints', { method: 'POST', body: { id: 'parked', settings: PARKED } });
    const { id } = await stage.submit('parked', 1, { webhook: `${receiver.url}/` });
    await stage.call(`/v2/parked/cancel/${id}`, { method: 'POST' });
    await until(() => receiver.of(id).length === 1, 'the first try');
    process.kill(stage.pid, 'SIGTERM');
    const began = performance.now();
    await stage.died();
    expect(performance.now() - began).toBeLessThan(5_000);
    isSilent = false;
    await stage.restart();
    expect(await delivery(stage, 'parked', id, hasEnded)).toMatchObject({ state: 'DELIVERED', attempts: [{ status: 200 }] });
    await stage.close();
    await receiver.close();
  });
});

interface Signed {
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
  readonly secret: string;
}

/** What the samples of docs/webhooks.md say, Node's and then Python's: their text is taken from the page and run. */
async function verify(dir: string, signed: Signed): Promise<[boolean, boolean]> {
  const page = readFileSync(join(ROOT, 'docs/webhooks.md'), 'utf8');
  const sample = (language: string) => new RegExp(`\`\`\`${language}\n(.*?)\`\`\``, 's').exec(page)?.[1] ?? '';
  const given = join(dir, 'given.json');
  writeFileSync(given, JSON.stringify(signed));
  writeFileSync(
    join(dir, 'verify.mjs'),
    `${sample('js')}\nimport { readFileSync } from 'node:fs';
const { headers, body, secret } = JSON.parse(readFileSync(process.argv[2], 'utf8'));
console.log(isFromWherry(headers, Buffer.from(body), secret));\n`,
  );
  writeFileSync(
    join(dir, 'verify.py'),
    `${sample('python')}\nimport json, sys
given = json.load(open(sys.argv[1], encoding="utf-8"))
print(str(is_from_wherry(given["headers"], given["body"].encode(), given["secret"])).lower())\n`,
  );
  const run = (program: string, file: string) => execFileSync(program, [join(dir, file), given], { encoding: 'utf8' }).trim() === 'true';
  return [run(process.execPath, 'verify.mjs'), run('python3', 'verify.py')];
}
