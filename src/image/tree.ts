import type { ForeignType } from '../oci/foreign-tar.js';
import { type Distribution, type FoundPackages, type Package, sortPackages } from './packages.js';

/** One entry of a layer, with what its content told. `path` is relative, with `/`, without `.` and `..`; never empty. */
export interface LayerEntry {
  readonly path: string;
  readonly type: ForeignType;
  /** Permission bits. */
  readonly mode: number;
  /** Bytes; 0 for what is no file. */
  readonly size: number;
  /** Of a link. */
  readonly target: string | undefined;
  /** Equal for equal content; undefined when nobody asked. */
  readonly content: string | undefined;
  readonly found: FoundPackages | undefined;
}

/** What an image runs on and with. */
export interface Software {
  readonly packages: readonly Package[];
  readonly distribution: Distribution | undefined;
}

/** A file of the image as a container sees it. */
export interface ImageFile extends LayerEntry {
  /** Index of the layer it is from. */
  readonly layer: number;
}

const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';
/** As many links on one way as Linux follows. */
const LINKS_FOLLOWED = 40;

/** Content that hard links may share: it is wasted when its last name is gone. */
interface Bytes {
  readonly size: number;
  readonly layer: number;
  names: number;
}

interface Held extends ImageFile {
  readonly bytes: Bytes | undefined;
}

/** A directory that no layer named has no entry; most nodes are files and never get a map. */
interface Node {
  entry: Held | undefined;
  children: Map<string, Node> | undefined;
}

/** The files of an image while its layers are put over one another (OCI image-spec, layer.md, "Applying Changesets"). */
export class FileTree {
  readonly #root: Node = { entry: undefined, children: undefined };
  readonly #wasted = new Map<number, number>();
  #nodes = 0;

  /** Entries and the directories that lead to them, as many as are in memory. */
  get nodes(): number {
    return this.#nodes;
  }

  /** Puts one entry of a layer over what is there; layers come in order. */
  apply(entry: LayerEntry, layer: number): void {
    const parts = entry.path.split('/');
    const name = parts.pop() ?? '';
    if (name.startsWith(WHITEOUT)) this.#hide(parts, name, layer);
    else this.#place(this.#openParent(parts, layer), name, this.#hold(entry, layer));
  }

  /** Everything that is left, parents before children, names in order of code units. */
  files(): Iterable<ImageFile> {
    return listFiles(this.#root, '');
  }

  /** What the files that are left tell of. */
  software(): Software {
    const told = [...this.files()].flatMap(({ found }) => found ?? []);
    const distribution = told.find((found) => found.distribution)?.distribution;
    return { packages: sortPackages(told.flatMap(({ packages }) => packages)), distribution };
  }

  /** Bytes of a layer's files that later layers replaced or removed. */
  wastedBytes(layer: number): number {
    return this.#wasted.get(layer) ?? 0;
  }

  /** A directory over a directory changes only what is known of it; everything else replaces what is there. */
  #place(parent: Node, name: string, held: Held): void {
    const node = parent.children?.get(name) ?? this.#put(parent, name, undefined);
    const isKept = held.type === 'directory' && isDirectory(node);
    if (!isKept) this.#empty(node, held.layer);
    if (node.entry) this.#release(node.entry, held.layer);
    node.entry = held;
  }

  /** Whiteouts hide what lower layers brought; what their own layer brings stays, wherever it stands in the tar. */
  #hide(parts: readonly string[], name: string, layer: number): void {
    const parent = this.#follow(parts);
    const hidden = name === OPAQUE ? [...(parent?.children?.keys() ?? [])] : [name.slice(WHITEOUT.length)];
    for (const child of hidden) {
      const node = parent?.children?.get(child);
      if (parent && node && this.#hideLower(node, layer)) this.#drop(parent, child);
    }
  }

  /** True when nothing of this layer is in it. */
  #hideLower(node: Node, layer: number): boolean {
    for (const [name, child] of node.children ?? []) if (this.#hideLower(child, layer)) this.#drop(node, name);
    if (node.entry && node.entry.layer < layer) {
      this.#release(node.entry, layer);
      node.entry = undefined;
    }
    return node.entry === undefined && (node.children?.size ?? 0) === 0;
  }

  #empty(node: Node, layer: number): void {
    for (const [name, child] of node.children ?? []) {
      this.#empty(child, layer);
      if (child.entry) this.#release(child.entry, layer);
      this.#drop(node, name);
    }
  }

  /** The directory at a path, made when missing; links to directories are followed, other things in the way give way. */
  #openParent(parts: readonly string[], layer: number): Node {
    const found = this.#follow(parts);
    if (found && isDirectory(found)) return found;
    return parts.reduce((parent, part, index) => {
      const known = this.#follow(parts.slice(0, index + 1));
      if (known && isDirectory(known)) return known;
      const inTheWay = parent.children?.get(part);
      if (inTheWay === undefined) return this.#put(parent, part, undefined);
      if (inTheWay.entry) this.#release(inTheWay.entry, layer);
      inTheWay.entry = undefined;
      return inTheWay;
    }, this.#root);
  }

  /** What is at a path when links are followed, the last one too; undefined when there is nothing. */
  #follow(parts: readonly string[]): Node | undefined {
    const left = [...parts].reverse();
    const way: Node[] = [this.#root];
    let links = 0;
    for (let part = left.pop(); part !== undefined; part = left.pop()) {
      if (part === '' || part === '.') continue;
      if (part === '..') {
        if (way.length > 1) way.pop();
        continue;
      }
      const node = way.at(-1)?.children?.get(part);
      if (!node) return undefined;
      const target = node.entry?.type === 'symlink' ? (node.entry.target ?? '') : undefined;
      if (target === undefined) {
        way.push(node);
        continue;
      }
      links += 1;
      if (links > LINKS_FOLLOWED) return undefined;
      if (target.startsWith('/')) way.length = 1;
      left.push(...target.split('/').reverse());
    }
    return way.at(-1);
  }

  #hold(entry: LayerEntry, layer: number): Held {
    if (entry.type === 'file') return { ...entry, layer, bytes: { size: entry.size, layer, names: 1 } };
    const bytes = entry.type === 'link' ? this.#follow((entry.target ?? '').split('/'))?.entry?.bytes : undefined;
    if (bytes) bytes.names += 1;
    return { ...entry, layer, bytes };
  }

  #release({ bytes }: Held, layer: number): void {
    if (!bytes) return;
    bytes.names -= 1;
    if (bytes.names === 0 && bytes.layer < layer) this.#wasted.set(bytes.layer, this.wastedBytes(bytes.layer) + bytes.size);
  }

  #put(parent: Node, name: string, entry: Held | undefined): Node {
    const node: Node = { entry, children: undefined };
    parent.children ??= new Map();
    parent.children.set(name, node);
    this.#nodes += 1;
    return node;
  }

  #drop(parent: Node, name: string): void {
    parent.children?.delete(name);
    this.#nodes -= 1;
  }
}

function isDirectory({ entry }: Node): boolean {
  return entry === undefined || entry.type === 'directory';
}

/** A path that led through a link is told as it really is. */
function* listFiles({ children }: Node, folder: string): Iterable<ImageFile> {
  for (const name of [...(children?.keys() ?? [])].sort()) {
    const { entry, children: inside } = children?.get(name) ?? {};
    const path = `${folder}${name}`;
    if (entry) yield entry.path === path ? entry : { ...entry, path };
    if (inside) yield* listFiles({ entry, children: inside }, `${path}/`);
  }
}
