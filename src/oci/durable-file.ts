import { randomUUID } from 'node:crypto';
import { type FileHandle, open, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Writes every byte at `position`: one write call may take only a part of them, as on a disk that is nearly full. */
export async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}

/** Makes renames, removals and new names in a directory durable. */
export async function syncDirectory(dir: string): Promise<void> {
  const handle = await open(dir, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Writes a small file that gets its name when it is whole, so that nobody reads a part of it, however many write it at once. */
export function replaceFile(file: string, text: string): Promise<void> {
  return replace(file, text, { flush: false });
}

/** As {@link replaceFile}; what was written is there after a power cut, too. */
export async function replaceDurably(file: string, text: string): Promise<void> {
  await replace(file, text, { flush: true });
  await syncDirectory(dirname(file));
}

async function replace(file: string, text: string, how: { readonly flush: boolean }): Promise<void> {
  const temporary = `${file}.${randomUUID()}`;
  try {
    await writeFile(temporary, text, how);
    await rename(temporary, file);
  } catch (thrown) {
    await rm(temporary, { force: true });
    throw thrown;
  }
}
