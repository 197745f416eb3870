import { readFile, realpath } from 'node:fs/promises';
import { posix } from 'node:path';
import { messageOf, WherryError } from '../base/errors.js';
import { type FoundFile, findPackageFiles } from './files.js';
import { type Bundle, findPackage, packageName } from './node.js';

/** An installed package and where it goes below /wherry/node_modules. */
export interface PlacedPackage {
  readonly name: string;
  /** Real directory. */
  readonly dir: string;
  /** Below /wherry, for instance `node_modules/a/node_modules/b`. */
  readonly target: string;
  readonly files: readonly FoundFile[];
  /** Paths left out because they hold secrets, relative to `dir`. */
  readonly secrets: readonly string[];
}

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

/**
 * The packages that the bundle imports and, transitively, those they depend on, placed so that Node finds each from where
 * it is needed: at the top, or below its dependent when another version of the name is at the top already. Throws
 * BUILD_FAILED when a package that is imported, or a dependency that is not optional, is not installed. `lookFrom` says where the
 * project's own files would be beside the packages.
 */
export async function placePackages(
  imports: Bundle['imports'],
  lookFrom = (importer: string) => importer,
): Promise<readonly PlacedPackage[]> {
  const placed = new Map<string, { name: string; dir: string }>();
  const queue: { name: string; importer: string; parent: string; isRequired: boolean }[] = [];
  const seen = [...imports].sort((a, b) => (a.specifier < b.specifier ? -1 : 1));
  for (const { specifier, importer } of seen) queue.push({ name: packageName(specifier), importer, parent: '', isRequired: true });
  for (let next = queue.shift(); next; next = queue.shift()) {
    const found = findPackage(next.name, next.parent === '' ? lookFrom(next.importer) : next.importer);
    if (!found && next.isRequired) throw notInstalled(next);
    if (!found) continue;
    const dir = await realpath(found);
    const target = chooseTarget(next, dir, placed);
    if (target === undefined) continue;
    placed.set(target, { name: next.name, dir });
    for (const [name, isRequired] of await readDependencies(dir))
      queue.push({ name, importer: posix.join(dir, 'package.json'), parent: target, isRequired });
  }
  return Promise.all([...placed].map(async ([target, { name, dir }]) => ({ name, dir, target, ...(await findPackageFiles(dir)) })));
}

/** Where the package must go to be found from its dependent; undefined when that finds the same package already. */
function chooseTarget(
  wanted: { readonly name: string; readonly parent: string },
  dir: string,
  placed: ReadonlyMap<string, { readonly dir: string }>,
): string | undefined {
  for (let scope = wanted.parent; ; scope = scope.slice(0, Math.max(0, scope.lastIndexOf('/node_modules/')))) {
    const visible = placed.get(posix.join(scope, 'node_modules', wanted.name));
    if (visible) return visible.dir === dir ? undefined : posix.join(wanted.parent, 'node_modules', wanted.name);
    if (scope === '') return `node_modules/${wanted.name}`;
  }
}

/** Others would be looked for, and placed, in other folders than `node_modules`. */
const PACKAGE_NAME = /^(@[^/\\.][^/\\]*\/)?[^/\\.][^/\\]*$/;

async function readDependencies(dir: string): Promise<readonly (readonly [string, boolean])[]> {
  const { dependencies, optionalDependencies, peerDependencies } = await readManifest(dir);
  const wanted = { ...peerDependencies, ...optionalDependencies, ...dependencies };
  const wrong = Object.keys(wanted).find((name) => !PACKAGE_NAME.test(name));
  if (wrong !== undefined) {
    throw new WherryError('BUILD_FAILED', `the package in '${dir}' needs '${wrong}', which is no name of a package`, {
      hint: 'do not use the package, or mend its package.json',
    });
  }
  return Object.keys(wanted)
    .sort()
    .map((name) => [name, dependencies?.[name] !== undefined && optionalDependencies?.[name] === undefined] as const);
}

async function readManifest(dir: string): Promise<Manifest> {
  try {
    const manifest: unknown = JSON.parse(await readFile(posix.join(dir, 'package.json'), 'utf8'));
    if (typeof manifest === 'object' && manifest !== null) return manifest;
    throw new TypeError('it is no JSON object');
  } catch (cause) {
    throw new WherryError('BUILD_FAILED', `the package.json of the package in '${dir}' cannot be read: ${messageOf(cause)}`, {
      hint: 'install the package again: remove its directory and run npm install in the project',
      cause,
    });
  }
}

function notInstalled({ name, importer, parent }: { name: string; importer: string; parent: string }): WherryError {
  const isDirect = parent === '';
  return new WherryError('BUILD_FAILED', `package '${name}', ${isDirect ? 'imported' : 'needed'} by '${importer}', is not installed`, {
    hint: isDirect ? `run npm install ${name} in the project` : 'the installation is incomplete: run npm install in the project',
  });
}
