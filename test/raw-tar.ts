/** One entry of a tar, written byte by byte: other tools write what ours would never. */
export interface RawEntry {
  readonly name: string | Buffer;
  /** Type flag of POSIX or GNU; a file by default. */
  readonly type?: string;
  readonly link?: string | Buffer;
  readonly text?: string;
  /** Bytes that the header promises; those of the text by default. */
  readonly size?: number;
  readonly mode?: number;
  /** Records of a pax header before it (POSIX.1-2008, pax). */
  readonly pax?: Readonly<Record<string, string>>;
  /** GNU's long name and long link before it. */
  readonly longName?: string;
  readonly longLink?: string;
}

export const file = (name: string | Buffer, text = 'content', more: Partial<RawEntry> = {}): RawEntry => ({ name, text, ...more });
export const folder = (name: string, mode = 0o755): RawEntry => ({ name, type: '5', mode });
export const symlink = (name: string, link: string | Buffer): RawEntry => ({ name, type: '2', link });
export const hardLink = (name: string, link: string): RawEntry => ({ name, type: '1', link });

/** The bytes of a tar with its end. */
export function rawTar(entries: readonly RawEntry[]): Buffer {
  return Buffer.concat([...entries.map(rawEntry), Buffer.alloc(1024)]);
}

/** As a layer's stream. */
export async function* rawLayer(entries: readonly RawEntry[]): AsyncIterable<Uint8Array> {
  yield rawTar(entries);
}

function rawEntry({ pax, longName, longLink, ...entry }: RawEntry): Buffer {
  const before = [
    pax && { name: 'pax', type: 'x', text: Object.entries(pax).map(paxRecord).join('') },
    longName && { name: '././@LongLink', type: 'L', text: `${longName}\0` },
    longLink && { name: '././@LongLink', type: 'K', text: `${longLink}\0` },
  ];
  return Buffer.concat([...before.flatMap((header) => (header ? [rawBlocks(header)] : [])), rawBlocks(entry)]);
}

function rawBlocks({ name, type = '0', link = '', text = '', mode = 0o644, ...more }: RawEntry): Buffer {
  const content = Buffer.from(text);
  const { size = content.length } = more;
  const head = Buffer.alloc(512);
  Buffer.from(name).copy(head, 0, 0, 100);
  head.write(octal(mode, 7), 100);
  head.write(`${octal(0, 7)}${octal(0, 7)}`, 108);
  if (size < 8 ** 11) head.write(octal(size, 11), 124);
  // Sizes that need more digits are binary (GNU).
  else {
    head[124] = 0x80;
    head.writeBigUInt64BE(BigInt(size), 128);
  }
  head.write(`${octal(0, 11)}        ${type}`, 136);
  Buffer.from(link).copy(head, 157, 0, 100);
  head.write('ustar\x0000', 257);
  const sum = head.reduce((total, byte) => total + byte, 0);
  head.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([head, content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
}

const octal = (value: number, digits: number) => `${value.toString(8).padStart(digits, '0')}\0`;

/** Its length, which counts itself; key and value. */
function paxRecord([key, value]: readonly [string, string]): string {
  const rest = ` ${key}=${value}\n`;
  const length = Buffer.byteLength(rest);
  const digits = String(length + String(length).length).length;
  return `${length + digits}${rest}`;
}
