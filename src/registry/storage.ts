import type { Turns } from '../base/turns.js';
import type { Digest } from '../oci/digest.js';
import type { OwnedBlobFiles } from './blob-files.js';
import type { OwnedRepositories } from './repositories.js';

/** An image that somebody depends on: a kept release of an endpoint. */
export interface Need {
  /** Who needs it, for people: `release r3 of 'hello'`. */
  readonly by: string;
  readonly repository: string;
  /** Of the manifest. */
  readonly digest: Digest;
}

/** The parts of the storage that collecting, measuring and checking work on. */
export interface Storage {
  readonly files: OwnedBlobFiles;
  readonly repositories: OwnedRepositories;
  /** Naming and removing of the same digest wait for each other here. */
  readonly inTurn: Turns;
  /** Whether somebody pushed, mounted or asked for the digest, or is deploying it, within the last hour. */
  readonly isSpared: (digest: Digest) => boolean;
  /** See {@link BlobsOptions.isCopied}. */
  readonly isCopied: (repository: string) => boolean;
  readonly needs: () => Promise<readonly Need[]>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}
