import { createTurns } from '../base/turns.js';

/** Who waits for work: until when, and what hears of it on the way. */
export interface Holder<News> {
  readonly signal: AbortSignal;
  readonly onNews: (news: News) => void;
}

/** What work gets: a signal that aborts when the last holder left, and a voice to all of them. */
export interface Work<News> {
  readonly signal: AbortSignal;
  readonly tell: (news: News) => void;
}

export interface WorkName {
  /** Work with the same key is the same: who asks for it while it is under way waits for it. */
  readonly key: string;
  /** Work on the same place is done one after the other, also behind what was given up and is still ending. */
  readonly place: string;
}

/** Work that several wait for, done once for all of them. */
export interface SharedWork<T, News> {
  /** Joins what is under way, or begins it. One that leaves rejects at once with its signal's reason, and the others go on. */
  join(name: WorkName, holder: Holder<News>, begin: (work: Work<News>) => Promise<T>): Promise<T>;
  /** Nothing is under way, nor ending. */
  isIdle(): boolean;
}

interface Share<T, News> {
  readonly done: Promise<T>;
  readonly holders: Set<Holder<News>>;
  readonly ending: AbortController;
}

export function createSharedWork<T, News>(): SharedWork<T, News> {
  const shares = new Map<string, Share<T, News>>();
  const inTurn = createTurns();
  let unsettled = 0;

  const start = ({ key, place }: WorkName, begin: (work: Work<News>) => Promise<T>): Share<T, News> => {
    const holders = new Set<Holder<News>>();
    const ending = new AbortController();
    const { signal } = ending;
    const tell = (news: News) => {
      for (const { onNews } of holders) onNews(news);
    };
    unsettled++;
    const step = async () => {
      signal.throwIfAborted();
      return begin({ signal, tell });
    };
    const done = inTurn(place, step).finally(() => {
      unsettled--;
      if (shares.get(key) === share) shares.delete(key);
    });
    const share = { done, holders, ending };
    shares.set(key, share);
    return share;
  };

  return {
    async join(name, holder, begin) {
      const { signal } = holder;
      signal.throwIfAborted();
      const share = shares.get(name.key) ?? start(name, begin);
      share.holders.add(holder);
      let leave = () => {};
      const left = new Promise<never>((_, reject) => {
        leave = () => {
          share.holders.delete(holder);
          reject(signal.reason);
          if (share.holders.size > 0) return;
          // At once: who comes now must not join what is ending.
          if (shares.get(name.key) === share) shares.delete(name.key);
          share.ending.abort();
        };
      });
      signal.addEventListener('abort', leave, { once: true });
      try {
        return await Promise.race([share.done, left]);
      } finally {
        signal.removeEventListener('abort', leave);
      }
    },
    isIdle: () => unsettled === 0,
  };
}
