/** Everything random in a run comes from its seed: the same seed plans the same kills and the same jobs. */
export type Random = () => number;

/** Mulberry32: numbers from 0 to below 1. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const between = (random: Random, low: number, high: number) => Math.round(low + random() * (high - low));

function choose<T extends string>(random: Random, weights: Readonly<Record<T, number>>): T {
  const entries = Object.entries(weights) as [T, number][];
  let left = random() * entries.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [name, weight] of entries) {
    left -= weight;
    if (left < 0) return name;
  }
  return entries[0]?.[0] as T;
}

export type Act = 'kill-server' | 'kill-worker' | 'kill-supervisor' | 'pause-worker' | 'deploy';

export interface Blow {
  readonly atMs: number;
  readonly act: Act;
  /** Which of the workers that run then, as a share of the list. */
  readonly pick: number;
  /** How long the server stays away, or the worker stands still. */
  readonly forMs: number;
}

export interface Pace {
  readonly durationMs: number;
  /** Shortest and longest time between two blows. */
  readonly everyMs: readonly [number, number];
}

/** The blows of a run. */
export function planBlows(seed: number, { durationMs, everyMs }: Pace): readonly Blow[] {
  const random = createRandom(seed);
  const blows: Blow[] = [];
  for (let atMs = between(random, ...everyMs); atMs < durationMs; atMs += between(random, ...everyMs)) {
    const act = choose(random, { 'kill-server': 40, 'kill-worker': 40, 'kill-supervisor': 5, 'pause-worker': 10, deploy: 5 });
    blows.push({ atMs, act, pick: random(), forMs: between(random, 0, act === 'pause-worker' ? 3_000 : 600) });
  }
  return blows;
}

export type Deed = 'return' | 'sleep' | 'last' | 'throw' | 'exit';

export interface Order {
  readonly endpoint: string;
  readonly input: { readonly deed: Deed; readonly ms: number; readonly n: number };
  readonly wait: 'hold' | 'poll';
  /** Cancelled after so long; never when absent. */
  readonly cancelAfterMs?: number;
  /** Asked once more so long after its end. */
  readonly askAgainAfterMs?: number;
}

/** The jobs of a run, one after another. */
export function* planOrders(seed: number, endpoints: readonly string[]): Generator<Order, never> {
  const random = createRandom(seed ^ 0x5eed);
  for (let n = 0; ; n++) {
    const deed = choose(random, { return: 60, sleep: 25, last: 3, throw: 9, exit: 0.5 });
    const isCancelled = random() < 0.05;
    yield {
      endpoint: endpoints[Math.floor(random() ** 2 * endpoints.length)] ?? '',
      input: { deed, ms: deed === 'last' ? between(random, 800, 3_000) : between(random, 1, 120), n },
      wait: random() < 0.5 ? 'hold' : 'poll',
      ...(isCancelled && { cancelAfterMs: between(random, 0, 400) }),
      ...(random() < 0.1 && { askAgainAfterMs: between(random, 200, 5_000) }),
    };
  }
}
