import { existsSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, posix, resolve, sep } from 'node:path';
import { type BuildFailure, build as bundle, type Metafile } from 'esbuild';
import { messageOf, WherryError } from '../base/errors.js';

export interface Bundle {
  /** The handler and the project's own modules as one ES module. */
  readonly code: Uint8Array;
  /** Project files that went into it, relative to the project, with `/`. */
  readonly inputs: readonly string[];
  /** Bare imports left outside: what is imported and by which file (absolute). */
  readonly imports: readonly { readonly specifier: string; readonly importer: string }[];
  readonly warnings: readonly string[];
}

export interface BundleRequest {
  readonly dir: string;
  /** Handler file, relative to `dir`. */
  readonly entry: string;
  /** How the worker SDK is reached from the bundle. */
  readonly sdkSpecifier: string;
}

const SDK_PACKAGE = '@wherry/worker';

/** Bundles a Node or TypeScript handler; packages stay outside, so that a code change never changes their layer. Throws BUILD_FAILED. */
export async function bundleHandler({ dir, entry, sdkSpecifier }: BundleRequest): Promise<Bundle> {
  const result = await bundle({
    absWorkingDir: dir,
    entryPoints: [join(dir, entry)],
    bundle: true,
    write: false,
    metafile: true,
    outfile: 'handler.mjs',
    format: 'esm',
    platform: 'node',
    target: 'node20',
    packages: 'external',
    loader: { '.node': 'empty' },
    logLevel: 'silent',
    charset: 'utf8',
    plugins: [
      {
        name: 'worker-sdk',
        setup: ({ onResolve }) => {
          onResolve({ filter: /^@wherry\/worker$/ }, () => ({ path: sdkSpecifier, external: true }));
          onResolve({ filter: /\.node$/ }, ({ path }) => ({ path, external: true }));
        },
      },
    ],
  }).catch((thrown: unknown) => {
    throw bundleError(thrown, entry);
  });
  const [output] = result.outputFiles;
  if (!output)
    throw new WherryError('BUILD_FAILED', `the bundler gave no output for '${entry}'`, { hint: 'check that the file exports the handler' });
  const { inputs } = result.metafile;
  const needsRequire = Object.values(inputs).some(({ format }) => format === 'cjs');
  return {
    code: needsRequire ? Buffer.concat([Buffer.from(COMMONJS), output.contents]) : output.contents,
    inputs: Object.keys(inputs).map((input) => input.split(sep).join('/')),
    imports: bareImports(result.metafile, dir),
    warnings: result.warnings.map(formatMessage),
  };
}

/** What CommonJS sources expect and an ES module does not have. */
const COMMONJS =
  "import { createRequire as createRequireOf } from 'node:module';\nimport { fileURLToPath as pathOfUrl } from 'node:url';\n" +
  "const require = createRequireOf(import.meta.url);\nconst __filename = pathOfUrl(import.meta.url);\nconst __dirname = pathOfUrl(new URL('.', import.meta.url));\n";

function bareImports(metafile: Metafile, dir: string): Bundle['imports'] {
  return Object.entries(metafile.inputs).flatMap(([input, { imports }]) =>
    imports
      .filter(({ external, path, kind }) => external && kind !== 'url-token' && isBare(path))
      .map(({ path }) => ({ specifier: path, importer: resolve(dir, input) })),
  );
}

const BUILTINS = new Set(builtinModules);

const isBare = (path: string) => !/^(\.|\/|node:|data:|https?:)/.test(path) && path !== SDK_PACKAGE && !BUILTINS.has(path);

/** The package directory that `specifier` means for `importer`, by Node's rule of walking up; undefined when not installed. */
export function findPackage(specifier: string, importer: string): string | undefined {
  const name = packageName(specifier);
  for (let dir = dirname(importer); ; dir = dirname(dir)) {
    const candidate = join(dir, 'node_modules', name);
    if (existsSync(join(candidate, 'package.json'))) return candidate;
    if (dir === dirname(dir)) return undefined;
  }
}

/** `@scope/name` or `name` of an import. */
export function packageName(specifier: string): string {
  const parts = specifier.split('/');
  return parts.slice(0, specifier.startsWith('@') ? 2 : 1).join('/');
}

/** Path of the worker SDK as seen from the bundled handler. */
export function sdkSpecifierFor(handlerPath: string): string {
  const fromHandler = posix.relative(posix.dirname(`/wherry/app/${handlerPath}`), '/wherry/sdk/node/index.mjs');
  return fromHandler.startsWith('.') ? fromHandler : `./${fromHandler}`;
}

/** The bundle keeps the handler's place, so that paths relative to it still work. */
export function bundledPath(handlerPath: string): string {
  return handlerPath.replace(/\.[cm]?[jt]sx?$/, '.mjs');
}

function bundleError(thrown: unknown, entry: string): WherryError {
  const errors = (thrown as Partial<BuildFailure> | null)?.errors;
  if (!errors?.length)
    return new WherryError('BUILD_FAILED', `'${entry}' could not be bundled: ${messageOf(thrown)}`, {
      hint: 'install the tool anew with npm install; esbuild did not run',
      cause: thrown,
    });
  const [first] = errors;
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : '';
  return new WherryError('BUILD_FAILED', `'${entry}' could not be bundled: ${first ? formatMessage(first) : ''}${more}`, {
    hint: 'correct the source, or install the missing package with npm install',
    detail: errors.map(formatMessage),
  });
}

function formatMessage({ text, location }: BuildFailure['errors'][number]): string {
  return location ? `${location.file}:${location.line}:${location.column + 1}: ${text}` : text;
}
