import { WherryError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { Blobs } from './blobs.js';
import type { Collected } from './collect.js';
import type { Figures } from './measure.js';
import type { VerifyEvent, VerifyOptions } from './verify-all.js';

/** What the owner of the server decides about its registry. Times in milliseconds. */
export interface RegistryRules {
  /** Pushes, deletions and collections are refused. */
  readonly isReadOnly: boolean;
  /** Most bytes in blobs and uploads; undefined for no limit. */
  readonly quotaBytes: number | undefined;
  /** How many tags of a repository stay beside semantic versions; undefined for all. */
  readonly keepTags: number | undefined;
  /** How long a manifest stays after its last tag went. */
  readonly untaggedMs: number;
  /** How long what was copied from a mirrored registry stays after it was asked for last. */
  readonly copiedMs: number | undefined;
  /** How often a collection runs by itself; undefined for never. */
  readonly collectEveryMs: number | undefined;
}

export interface RegistryState extends Figures {
  readonly quotaBytes: number | null;
  readonly isReadOnly: boolean;
}

/** The care of the embedded registry: how large it is, what may go, whether it is whole. */
export interface Upkeep {
  measure(): Promise<RegistryState>;
  /** Throws UNSUPPORTED in read-only mode, except for a dry run. */
  collect(options?: { readonly isDryRun?: boolean; readonly signal?: AbortSignal }): Promise<Collected>;
  /** Collects when the last collection, or the start, is long enough ago. Aborting the signal ends it without an error. */
  collectWhenDue(signal: AbortSignal): Promise<void>;
  /** Throws UNSUPPORTED for a repair in read-only mode. */
  verifyAll(options?: VerifyOptions): AsyncIterable<VerifyEvent>;
}

export interface UpkeepOptions {
  readonly blobs: Pick<Blobs, 'measure' | 'collect' | 'verifyAll'>;
  readonly rules: RegistryRules;
  readonly log: Log;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** Upkeep by the owner's rules; the time to the first collection begins now. */
export function createUpkeep({ blobs, rules, log, now }: UpkeepOptions): Upkeep {
  const { isReadOnly, quotaBytes = null, keepTags, untaggedMs, copiedMs, collectEveryMs } = rules;
  let collectedAt = now();
  const refuseReadOnly = (what: string) => {
    if (isReadOnly) throw readOnly(what);
  };
  return {
    measure: async () => ({ ...(await blobs.measure()), quotaBytes, isReadOnly }),
    async collect({ isDryRun = false, signal } = {}) {
      if (!isDryRun) refuseReadOnly('the collection');
      return blobs.collect({ untaggedMs, keepTags, copiedMs, isDryRun, signal });
    },
    async collectWhenDue(signal) {
      if (isReadOnly || collectEveryMs === undefined || now() - collectedAt < collectEveryMs) return;
      collectedAt = now();
      const collected = await blobs.collect({ untaggedMs, keepTags, copiedMs, signal }).catch((thrown: unknown) => {
        if (!signal.aborted) throw thrown;
      });
      if (!collected) return;
      const { skipped, blobs: freed, freedBytes } = collected;
      for (const { repository, reason } of skipped) log.warn({ repository, reason }, 'a repository was not collected');
      log.info({ blobs: freed, freedBytes }, 'collected what nothing needs');
    },
    verifyAll(options = {}) {
      if (options.isRepairing) refuseReadOnly('the repair');
      return blobs.verifyAll(options);
    },
  };
}

/** UNSUPPORTED (distribution-spec, "Error Codes") for what would change a registry that is not to change. */
export function readOnly(what: string): WherryError {
  return new WherryError('UNSUPPORTED', `${what} is refused: the registry is in read-only mode`, {
    hint: 'pulls and deploys of what it holds work; the owner ends the mode by a start without WHERRY_REGISTRY_READ_ONLY',
  });
}
