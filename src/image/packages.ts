const PACKAGE_KINDS = ['deb', 'apk', 'pypi', 'npm'] as const;
export type PackageKind = (typeof PACKAGE_KINDS)[number];

/** A package that an image holds, as its package manager's files tell. */
export interface Package {
  readonly kind: PackageKind;
  readonly name: string;
  readonly version: string;
  /** As the package manager names it, for instance `amd64`; undefined where packages have none. */
  readonly architecture: string | undefined;
  /** The file that tells of it. */
  readonly path: string;
}

/** What one file tells. */
export interface FoundPackages {
  readonly packages: readonly Package[];
  /** Of os-release. */
  readonly distribution: Distribution | undefined;
}

/** ID and VERSION_ID of os-release(5). */
export interface Distribution {
  readonly id: string;
  readonly version: string | undefined;
}

/** Names and versions longer than this are no package's, and would only fill memory. */
const WORD_LIMIT = 256;

type Parse = (text: string, path: string) => readonly Package[];

/** Where package managers write what is installed. rpm's database is in none of these forms and is not read. */
const SOURCES: readonly { readonly pattern: RegExp; readonly parse: Parse }[] = [
  { pattern: /^var\/lib\/dpkg\/status$/, parse: parseDpkg },
  // Images without dpkg itself have one file for each package.
  { pattern: /^var\/lib\/dpkg\/status\.d\/[^/]+(?<!\.md5sums)$/, parse: parseDpkg },
  { pattern: /^(usr\/)?lib\/apk\/db\/installed$/, parse: parseApk },
  { pattern: /\.dist-info\/METADATA$|\.egg-info\/PKG-INFO$|\.egg-info$/, parse: parsePython },
  { pattern: /(^|\/)node_modules\/(@[^/]+\/)?[^/@.][^/]*\/package\.json$/, parse: parseNpm },
];

const OS_RELEASE = /^(usr\/lib|etc)\/os-release$/;

/** Whether the content of the file at a path is wanted by {@link readPackages}. */
export function tellsOfPackages(path: string): boolean {
  return OS_RELEASE.test(path) || SOURCES.some(({ pattern }) => pattern.test(path));
}

/** What the file at a path tells; text that is not what it should be tells nothing. */
export function readPackages(path: string, bytes: Uint8Array): FoundPackages {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  if (OS_RELEASE.test(path)) return { packages: [], distribution: parseOsRelease(text) };
  const source = SOURCES.find(({ pattern }) => pattern.test(path));
  const packages = (source?.parse(text, path) ?? []).filter(({ name, version }) => isWord(name) && isWord(version));
  return { packages, distribution: undefined };
}

/** Each name and version of a kind once, in order of kind, name and version. */
export function sortPackages(packages: Iterable<Package>): readonly Package[] {
  const known = new Map<string, Package>();
  for (const found of packages) {
    const key = [found.kind, found.name, found.version, found.architecture ?? ''].join('\0');
    if (!known.has(key)) known.set(key, found);
  }
  return [...known].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, found]) => found);
}

function isWord(text: string): boolean {
  return text.length > 0 && text.length <= WORD_LIMIT;
}

/** deb-control(5) paragraphs; one whose status is not `installed` is only configuration that was left. */
function parseDpkg(text: string, path: string): readonly Package[] {
  return text.split(/\n\n+/).flatMap((paragraph) => {
    const fields = readFields(paragraph);
    const status = fields.get('status');
    if (status !== undefined && !status.endsWith(' installed')) return [];
    const architecture = copyOf(fields.get('architecture')) || undefined;
    return [{ kind: 'deb', name: copyOf(fields.get('package')), version: copyOf(fields.get('version')), architecture, path }];
  });
}

/** Header fields up to the first empty line; names in lower case, the first of a name counts, continuation lines do not. */
function readFields(paragraph: string): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  for (const line of paragraph.split(/\r?\n/)) {
    if (line === '' && fields.size > 0) break;
    const colon = line.indexOf(':');
    if (colon <= 0 || /^\s/.test(line)) continue;
    const name = line.slice(0, colon).toLowerCase();
    if (!fields.has(name)) fields.set(name, line.slice(colon + 1).trim());
  }
  return fields;
}

/** apk's database: paragraphs of `P:name`, `V:version`, `A:architecture`; letters are case-sensitive. */
function parseApk(text: string, path: string): readonly Package[] {
  return text.split(/\n\n+/).flatMap((paragraph) => {
    const lines = paragraph.split('\n');
    const read = (letter: string) => lines.find((line) => line.startsWith(`${letter}:`))?.slice(2);
    return [{ kind: 'apk', name: copyOf(read('P')), version: copyOf(read('V')), architecture: copyOf(read('A')) || undefined, path }];
  });
}

/** Core metadata of Python packages: header fields, then the description. */
function parsePython(text: string, path: string): readonly Package[] {
  const fields = readFields(text);
  return [{ kind: 'pypi', name: copyOf(fields.get('name')), version: copyOf(fields.get('version')), architecture: undefined, path }];
}

function parseNpm(text: string, path: string): readonly Package[] {
  const { name, version } = parseJson(text);
  if (typeof name !== 'string' || typeof version !== 'string') return [];
  return [{ kind: 'npm', name, version, architecture: undefined, path }];
}

function parseJson(text: string): { readonly name?: unknown; readonly version?: unknown } {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}

function parseOsRelease(text: string): Distribution | undefined {
  const read = (name: string) => new RegExp(`^${name}=["']?([^"'\n]{1,64})`, 'm').exec(text)?.[1];
  const id = read('ID');
  return id === undefined ? undefined : { id, version: read('VERSION_ID') };
}

/** V8 keeps a whole text alive for a slice of it; a database of megabytes must go when it was read. */
function copyOf(slice: string | undefined): string {
  return slice === undefined ? '' : Buffer.from(slice).toString();
}
