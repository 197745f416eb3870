import type { Platform } from '../oci/descriptor.js';
import type { HandlerProject } from '../project/read.js';
import type { BaseImage } from './assemble.js';
import { type FoundFile, stampOf, toEntry } from './files.js';
import { type LayerPlan, type LayerRole, planEntries } from './layers.js';

/** The layers of a handler project and how its worker is started. */
export interface Plan {
  readonly layers: readonly LayerPlan[];
  readonly entrypoint: readonly string[];
  readonly env: readonly string[];
  /** `python@3.11`, `node@20`: what the layers were made for. */
  readonly interpreter: string;
  readonly warnings: readonly string[];
}

export interface PlanRequest {
  readonly project: HandlerProject;
  readonly platform: Platform;
  /** Undefined for `scratch`. */
  readonly base: BaseImage | undefined;
  readonly cacheDir: string;
  /** Whoever removes what is cached holds it. */
  readonly lockFile: string;
  /** Directories with the worker SDKs' sources: `*.mjs`, and the package `wherry` of `*.py`. */
  readonly sdk: { readonly node: string; readonly python: string };
  /** The environment of this machine, for the installers that are run. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Gets a line when a longer step goes on. */
  readonly report: (line: string) => void;
  /** Ends the installers. */
  readonly signal: AbortSignal;
}

export const NO_DEPENDENCIES: LayerPlan = planEntries('dependencies', 'none', []);

export const DEFAULT_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** A layer of files as they are, below `prefix`. */
export function planFiles(role: LayerRole, files: readonly FoundFile[], prefix: string): LayerPlan {
  return planEntries(
    role,
    `${prefix}\n${stampOf(files)}`,
    files.map((file) => toEntry(file, prefix)),
  );
}

const NAMED = 20;

/** Says which files were left out as possible secrets. */
export function secretWarnings(secrets: readonly string[]): string[] {
  return secrets.length === 0 ? [] : [`left out because they may hold secrets: ${listNames(secrets)}`];
}

/** The first of many names. */
export function listNames(names: readonly string[]): string {
  const more = names.length > NAMED ? ` and ${names.length - NAMED} more` : '';
  return `${names.slice(0, NAMED).join(', ')}${more}`;
}
