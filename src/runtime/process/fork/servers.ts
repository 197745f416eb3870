import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../../base/errors.js';
import type { Cgroups } from '../cgroup.js';
import type { MainProcess } from '../main-process.js';
import { residentBytes } from '../members.js';
import type { ForkPlan, SpawnOrder } from '../protocol.js';
import { ForkRefusal } from './process.js';
import { ForkServer } from './server.js';
import { type ForkStreams, openForkStreams } from './streams.js';

/** A first worker is spawned; its fork server begins a while after its end, or when it runs for long: not beside its start, or the next. */
const SETTLE_MS = { ended: 250, running: 2_000 } as const;
/** A server that nothing was forked from for so long, and that has no workers, ends. */
const IDLE_MS = 6 * 60 * 60_000;
/** So many packages are left to the workers; when another is at fault too, they are spawned. */
const MOST_LEFT = 5;
/** After so many forks in a row that failed, workers are spawned. */
const MOST_FAILURES = 3;
/** A server that died is replaced after the first pause, and each time later up to the second; one that lived as long as that begins anew. */
const PAUSE_MS = { first: 1_000, longest: 60_000 } as const;

export interface ForkServersOptions {
  readonly dir: string;
  readonly instanceId: string;
  readonly cgroups: Cgroups | null;
  /** Where forked processes connect. */
  readonly socket: string;
  /** What all servers together may hold in memory; those that were used last stay. */
  readonly mostBytes: number;
  /** Tells what operators may want to know. */
  note(text: string): void;
  now(): number;
}

/** The fork server of one plan, wanted since the first worker of the plan was spawned. */
interface Entry {
  readonly plan: ForkPlan;
  /** What packages do when they are imported for which they are left to the workers. */
  readonly left: Map<string, string>;
  /** From the start of a server to its end. */
  isOpen: boolean;
  /** The one that is starting, then the one that serves. */
  server: ForkServer | null;
  isReady: boolean;
  /** Why workers of the plan are spawned for good. */
  refusal: string | null;
  deaths: number;
  failures: number;
  usedAt: number;
  readyAt: number;
  timer: NodeJS.Timeout | undefined;
}

/** The fork servers of a supervisor, by plan. */
export class ForkServers {
  readonly #options: ForkServersOptions;
  readonly #entries = new Map<string, Entry>();
  /** Those that end with their last worker. */
  readonly #retired = new Set<ForkServer>();
  #streams: Promise<ForkStreams> | null = null;
  #isStopped = false;

  constructor(options: ForkServersOptions) {
    this.#options = options;
  }

  /** A forked worker, or null when it must be spawned. */
  async begin(order: SpawnOrder): Promise<MainProcess | null> {
    const entry = order.fork === undefined ? undefined : this.#entries.get(order.fork.key);
    // A worker's mark is written over its server's.
    if (!entry?.server || !entry.isReady || order.workerId.length > nameOf(entry.plan).length) return null;
    entry.usedAt = this.#options.now();
    try {
      const main = await entry.server.begin(order);
      entry.failures = 0;
      return main;
    } catch (cause) {
      this.#note(entry.plan, `did not fork: ${messageOf(cause)}`);
      entry.failures += 1;
      if (entry.failures === MOST_FAILURES) {
        this.#refuse(entry, `the fork server did not fork: ${messageOf(cause)}`);
        this.#end(entry);
      }
      return null;
    }
  }

  /** Makes the next workers of a plan forks. `settled`: the worker that was spawned has ended. */
  prepare(plan: ForkPlan, settled: Promise<unknown>): void {
    if (this.#isStopped || this.#entries.has(plan.key)) return;
    for (const entry of this.#entries.values())
      if (entry.plan.image === plan.image && entry.plan.sealId !== plan.sealId) this.#remove(entry);
    const now = this.#options.now();
    const state = { isOpen: false, isReady: false, deaths: 0, failures: 0, usedAt: now, readyAt: now };
    const entry: Entry = { plan, left: new Map(), server: null, refusal: null, timer: undefined, ...state };
    this.#entries.set(plan.key, entry);
    this.#openAfter(entry, SETTLE_MS.running);
    const open = () => this.#openAfter(entry, SETTLE_MS.ended);
    settled.then(open, open);
  }

  /** What the log of a worker of the plan should say of how it was started. */
  remark({ key }: ForkPlan, path: MainProcess['path']): string | null {
    const entry = this.#entries.get(key);
    if (path === 'spawn') return entry?.refusal ? `spawned, not forked: ${entry.refusal}` : null;
    const left = [...(entry?.left ?? [])].map(([name, does]) => `'${name}' (${does})`);
    return left.length === 0 ? null : `forked; left to the worker to import: ${left.join(', ')}`;
  }

  /** Servers of other images end when their workers have. */
  keep(images: readonly string[]): void {
    for (const entry of this.#entries.values()) if (!images.includes(entry.plan.image)) this.#remove(entry);
  }

  /** Ends all of them; the workers are gone already. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const entry of this.#entries.values()) this.#remove(entry);
    await Promise.all([...this.#retired].map((server) => server.stop()));
    const streams = await this.#streams?.catch(() => null);
    streams?.close();
  }

  #note({ image }: ForkPlan, text: string): void {
    this.#options.note(`fork server of ${image} ${text}`);
  }

  #dirOf({ key }: ForkPlan): string {
    return join(this.#options.dir, key);
  }

  #openAfter(entry: Entry, delayMs: number): void {
    if (entry.isOpen) return;
    clearTimeout(entry.timer);
    entry.timer = setTimeout(() => this.#open(entry), delayMs);
  }

  /** Starts a server without the packages that were at fault before. Nothing happens when there is one, or none is wanted. */
  #open(entry: Entry): void {
    clearTimeout(entry.timer);
    if (entry.isOpen || entry.refusal !== null || !this.#isWanted(entry)) return;
    entry.isOpen = true;
    this.#start(entry).catch((cause: unknown) => {
      entry.isOpen = false;
      entry.server = null;
      if (!this.#isWanted(entry)) return;
      if (!(cause instanceof ForkRefusal)) return this.#refuse(entry, `the fork server could not be started: ${messageOf(cause)}`);
      const { culprit, message } = cause;
      if (culprit === null || entry.left.size >= MOST_LEFT)
        return this.#refuse(entry, `${culprit === null ? 'the fork server' : `'${culprit}'`} ${message}`);
      entry.left.set(culprit, message);
      this.#note(entry.plan, `begins anew: '${culprit}' ${message}`);
      this.#open(entry);
    });
  }

  #isWanted(entry: Entry): boolean {
    return this.#entries.get(entry.plan.key) === entry;
  }

  async #start(entry: Entry): Promise<void> {
    const { plan, left } = entry;
    const { instanceId, cgroups, socket, now } = this.#options;
    const beganAt = now();
    this.#streams ??= openForkStreams(socket);
    const except = [...left.keys()];
    const streams = await this.#streams;
    if (!this.#isWanted(entry)) return;
    const server = new ForkServer({ plan, except, name: nameOf(plan), dir: this.#dirOf(plan), instanceId, cgroups }, streams);
    entry.server = server;
    await server.start();
    if (!this.#isWanted(entry)) return;
    entry.isReady = true;
    entry.readyAt = now();
    void server.ended.then(() => this.#lose(entry, server));
    const megabytes = Math.round(residentBytes(server.pid) / 1e6);
    this.#note(plan, `is ready: ${megabytes} MB, ${entry.readyAt - beganAt} ms`);
    this.#watchIdle(entry);
    this.#makeRoom(entry);
  }

  #refuse(entry: Entry, reason: string): void {
    entry.refusal = reason;
    this.#note(entry.plan, `is given up: ${reason}`);
    this.#clean(entry.plan);
  }

  /** It died by itself. */
  #lose(entry: Entry, server: ForkServer): void {
    if (entry.server !== server) return;
    const livedMs = this.#options.now() - entry.readyAt;
    entry.isOpen = false;
    entry.server = null;
    entry.isReady = false;
    entry.deaths = livedMs > PAUSE_MS.longest ? 1 : entry.deaths + 1;
    const pauseMs = Math.min(PAUSE_MS.longest, PAUSE_MS.first * 2 ** (entry.deaths - 1));
    this.#note(entry.plan, `ended by itself; another begins in ${pauseMs} ms`);
    this.#openAfter(entry, pauseMs);
  }

  #watchIdle(entry: Entry): void {
    entry.timer = setTimeout(
      () => {
        const isIdle = this.#options.now() - entry.usedAt >= IDLE_MS && entry.server?.workers === 0;
        if (isIdle) this.#remove(entry);
        else this.#watchIdle(entry);
      },
      Math.max(IDLE_MS / 10, entry.usedAt + IDLE_MS - this.#options.now()),
    );
  }

  /** Ends servers without workers, the one used longest ago first, until all fit; one that is too large by itself is given up. */
  #makeRoom(newest: Entry): void {
    const { mostBytes } = this.#options;
    const bytesOf = ({ server }: Entry) => residentBytes(server?.pid ?? 0);
    const others = [...this.#entries.values()].filter((entry) => entry.isReady && entry !== newest);
    const endable = others.filter(({ server }) => server?.workers === 0).sort((a, b) => a.usedAt - b.usedAt);
    let bytes = [newest, ...others].reduce((sum, entry) => sum + bytesOf(entry), 0);
    for (const entry of endable) {
      if (bytes <= mostBytes) return;
      bytes -= bytesOf(entry);
      this.#remove(entry);
    }
    const [held, most] = [bytesOf(newest), mostBytes].map((size) => `${Math.round(size / 1e6)} MB`);
    if (bytesOf(newest) <= mostBytes) return;
    this.#refuse(newest, `the fork server holds ${held}, and all of them together may hold ${most}`);
    this.#end(newest);
  }

  #remove(entry: Entry): void {
    this.#entries.delete(entry.plan.key);
    this.#end(entry);
  }

  #end(entry: Entry): void {
    const { server, plan } = entry;
    clearTimeout(entry.timer);
    entry.isOpen = false;
    entry.server = null;
    entry.isReady = false;
    if (server === null) return;
    this.#retired.add(server);
    const forget = (): void => {
      this.#retired.delete(server);
      this.#note(plan, 'has ended');
      this.#clean(plan);
    };
    server.ended.then(forget, forget);
    server.retire().catch(() => {});
  }

  /** Removes its folder unless a server uses it. */
  #clean(plan: ForkPlan): void {
    if (this.#entries.get(plan.key)?.isOpen) return;
    rm(this.#dirOf(plan), { recursive: true, force: true, maxRetries: 3 }).catch(() => {});
  }
}

/** Of its group and its mark. */
function nameOf({ key }: ForkPlan): string {
  return `fork-${key}`;
}
