import picomatch from 'picomatch';
import { WherryError } from '../base/errors.js';
import type { FoundFile } from './files.js';
import type { LayerPlan } from './layers.js';
import { planFiles } from './plan.js';

export interface Assets {
  /** One for each glob, in their order. */
  readonly layers: readonly LayerPlan[];
  /** The files that no glob takes. */
  readonly rest: readonly FoundFile[];
  readonly warnings: readonly string[];
}

/** From here on a file in the code layer is worth a word: it is packed and sent again with every change. */
const LARGE_BYTES = 50 * 1024 * 1024;

/** Takes the files that `include` names out of the code and into layers of their own. Throws BUILD_FAILED for a glob without a file. */
export function planAssets(include: readonly string[], files: readonly FoundFile[]): Assets {
  const layers: LayerPlan[] = [];
  const taken = new Set<string>();
  for (const glob of include) {
    const isMatch = picomatch(glob, { dot: true });
    const matched = files.filter(({ path }) => isMatch(path) && !taken.has(path));
    if (matched.length === 0) throw withoutFile(glob);
    for (const { path } of matched) taken.add(path);
    layers.push(planFiles('assets', matched, 'wherry/app'));
  }
  const rest = files.filter(({ path }) => !taken.has(path));
  return { layers, rest, warnings: rest.filter(({ size }) => size > LARGE_BYTES).map(adviseInclude) };
}

function adviseInclude({ path, size }: FoundFile): string {
  return `'${path}' has ${Math.round(size / 1024 / 1024)} MiB and is sent again with every change of the code; name it under 'include' in wherry.yaml`;
}

function withoutFile(glob: string): WherryError {
  return new WherryError('BUILD_FAILED', `'${glob}' under 'include' matches no file of the image`, {
    hint: 'globs begin at the project; what .dockerignore names, and what may hold secrets, is never in the image',
  });
}
