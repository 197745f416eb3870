import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type ApiClient, createApiClient } from '../../api/client.js';
import { openClock } from '../../base/clock.js';
import { toWherryError } from '../../base/errors.js';
import type { StartedServer } from '../../compose.js';
import type { Context } from '../command.js';
import { colours } from '../output.js';
import { composeOwner } from '../owner.js';
import type { TestInputSource } from '../test-input.js';
import { formatKeys, type Key, listenKeys } from './keys.js';
import { createScreen, type Screen } from './screen.js';
import { createSession, type Reload, type Session } from './session.js';
import { changesOf } from './watch.js';

export interface DevOptions {
  readonly dir: string;
  readonly port: number | undefined;
  /** One reload and one request, then the end. */
  readonly isOnce: boolean;
  readonly input: TestInputSource;
}

interface Dev {
  readonly options: DevOptions;
  readonly dataDir: string;
  readonly started: StartedServer;
  readonly client: ApiClient;
  readonly session: Session;
  readonly screen: Screen;
  readonly signal: AbortSignal;
  readonly log: LogPane;
  quit(): void;
}

/** Runs a project on a server of its own and brings each change of its files there. Gives the exit code. */
export async function runDev(context: Context, options: DevOptions): Promise<number> {
  const { environment } = context;
  const dir = resolve(options.dir);
  const dataDir = dataDirOf((await context.settings()).dataDir, dir);
  const server = await composeOwner({ dataDir, environment, port: options.port });
  const end = new AbortController();
  const signal = AbortSignal.any([context.signal, end.signal]);
  const isOnTerminal = !options.isOnce && !context.output.isJson && context.output.isTalking && process.stdin.isTTY === true;
  const screen = createScreen(context.output, isOnTerminal ? process.stderr : undefined);
  const { output } = screen;
  let session: Session | undefined;
  try {
    const started = await server.start();
    if (started.notice) output.warn(started.notice);
    const embedded = { url: started.url, key: (await readFile(started.keyFile, 'utf8')).trim() };
    const client = createApiClient(embedded);
    const log = createLogPane(client, screen, signal);
    const input = options.input;
    session = createSession({ dir, dataDir, environment, client, embedded, input, output, signal, onEndpoint: log.follow });
    const dev = { options: { ...options, dir }, dataDir, started, client, session, screen, signal, log, quit: () => end.abort() };
    return options.isOnce ? await interruptible(once(dev), signal) : await watch(dev, isOnTerminal);
  } finally {
    end.abort();
    screen.close();
    // What still builds writes to the data directory.
    await session?.settle();
    await server.stop({ stopWorkers: true });
  }
}

/** One server for each project directory, below the data directory: its port, key and layers stay from one session to the next. */
function dataDirOf(base: string, dir: string): string {
  return join(base, 'dev', createHash('sha256').update(dir).digest('hex').slice(0, 12));
}

/** The exit code of the work, or 130 as soon as the signal aborts: requests that are held for long would keep Ctrl-C waiting. */
async function interruptible(work: Promise<number>, signal: AbortSignal): Promise<number> {
  const interrupted = new Promise<number>((resolve) => {
    if (signal.aborted) resolve(130);
    signal.addEventListener('abort', () => resolve(130), { once: true });
  });
  return Promise.race([work, interrupted]);
}

async function once({ session, screen }: Dev): Promise<number> {
  const reload = await session.reload();
  if (reload) sayReload(screen, reload);
  const job = await session.request();
  return job?.status === 'COMPLETED' ? 0 : 1;
}

async function watch(dev: Dev, isOnTerminal: boolean): Promise<number> {
  const { options, session, screen, signal } = dev;
  let isTold = false;
  const reload = () =>
    reported(dev, async () => {
      const done = await session.reload();
      if (!done) return;
      sayReload(screen, done);
      if (!isTold) sayWhere(dev);
      isTold = true;
    });
  const stopKeys = isOnTerminal ? showKeys(dev, reload) : () => {};
  try {
    void reload();
    for await (const _ of changesOf(options.dir, signal)) {
      screen.output.talk('a file changed');
      void reload();
    }
    return 0;
  } finally {
    stopKeys();
  }
}

/** What went wrong is shown, and the session goes on: the release before still serves. */
async function reported({ screen, signal }: Dev, work: () => Promise<void>): Promise<void> {
  await work().catch((thrown: unknown) => {
    // At the end everything that is under way breaks.
    if (!signal.aborted) screen.output.error(toWherryError(thrown));
  });
}

function sayReload({ output }: Screen, { release: { endpointId, number, image }, rollout, ms }: Reload): void {
  output.line(
    { type: 'release', endpointId, release: number, digest: image.digest, isNew: rollout !== null, ms },
    `${endpointId} r${number} ${rollout ? 'serves' : 'serves already, nothing changed'} · ${(ms / 1000).toFixed(2)} s`,
  );
}

function sayWhere({ screen: { output }, session: { endpointId }, started: { url, keyFile }, dataDir }: Dev): void {
  if (endpointId === undefined) return;
  const lines = [
    `curl -s ${url}/v2/${endpointId}/runsync -H "Authorization: $(cat '${keyFile}')" -d '{"input":{}}'`,
    `wherry run -e ${endpointId} --data '${dataDir}'`,
  ];
  output.line({ type: 'ready', url: `${url}/v2/${endpointId}`, keyFile, dataDir }, lines.map((line) => `  ${line}`).join('\n'));
}

function showKeys(dev: Dev, reload: () => Promise<void>): () => void {
  const { session, screen, signal, log } = dev;
  const keys: readonly Key[] = [
    {
      key: 'r',
      text: 'request',
      run: () =>
        void reported(dev, async () => {
          if (!(await session.request())) screen.output.warn('nothing serves yet');
        }),
    },
    { key: 'd', text: 'deploy', run: () => void reload() },
    {
      key: 'l',
      text: 'system lines',
      isRare: true,
      run: () => screen.output.talk(`system lines ${log.toggleSystem() ? 'shown' : 'hidden'}`),
    },
    { key: 'c', text: 'clear', isRare: true, run: () => screen.clear() },
    {
      key: 'h',
      text: 'help',
      run: () => {
        screen.output.talk(formatKeys(keys));
        sayWhere(dev);
      },
    },
    { key: 'q', text: 'quit', run: () => dev.quit() },
  ];
  void keepFooter(dev, formatKeys(keys.filter(({ isRare }) => !isRare)));
  const stop = listenKeys(process.stdin, keys);
  signal.addEventListener('abort', () => screen.setFooter(''), { once: true });
  return stop;
}

/** Between two looks at the queue and the workers. */
const HEALTH_MS = 1_000;

async function keepFooter({ session, client, screen, signal }: Dev, keys: string): Promise<void> {
  while (!signal.aborted) {
    const { endpointId, release } = session;
    const health = endpointId === undefined ? undefined : await client.health(endpointId).catch(() => undefined);
    const state = health && `${health.jobs.inQueue} queued · ${health.jobs.inProgress} running · ${health.workers.idle} idle`;
    const serving = endpointId === undefined || release === undefined ? 'nothing serves yet' : `${endpointId} r${release}`;
    if (!signal.aborted) screen.setFooter([keys, [serving, ...(state ? [state] : [])].join(' · ')].join('   '));
    await delay(HEALTH_MS, undefined, { signal }).catch(() => {});
  }
}

interface LogPane {
  follow(endpointId: string): void;
  /** True when the lines of the platform are shown from now on. */
  toggleSystem(): boolean;
}

/** Shows lines of workers as they come; those of earlier sessions are left out. */
function createLogPane(client: ApiClient, { output }: Screen, signal: AbortSignal): LogPane {
  const startedAt = openClock().now();
  let isSystemShown = true;
  const show = async (endpointId: string) => {
    for await (const line of client.followLogs(endpointId, { limit: 1000 }, signal)) {
      if (Date.parse(line.at) < startedAt || (line.source === 'system' && !isSystemShown)) continue;
      const text = `${line.at.slice(11, 23)} ${line.workerId.slice(0, 8)} ${line.text}`;
      output.line({ type: 'log', ...line }, line.source === 'system' ? colours.dim(text) : text);
    }
  };
  return {
    follow: (endpointId) => {
      void show(endpointId).catch((thrown: unknown) => {
        if (!signal.aborted) output.error(toWherryError(thrown));
      });
    },
    toggleSystem: () => {
      isSystemShown = !isSystemShown;
      return isSystemShown;
    },
  };
}
