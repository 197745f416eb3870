import { spawnSync } from 'node:child_process';

/** The files below a directory that hold a text, whatever else they hold. */
export function filesWith(dir: string, text: string): readonly string[] {
  const { stdout, status } = spawnSync('grep', ['--recursive', '--text', '--fixed-strings', '--files-with-matches', '-e', text, dir]);
  // What ends meanwhile may take a file along (2); a search that found nothing is 1.
  if (status === null) throw new Error('there is no grep');
  return String(stdout).split('\n').filter(Boolean);
}
