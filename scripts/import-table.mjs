// Compares the table of ARCHITECTURE.md with the rules that hold it: a row for each folder, and the same imports in the same order.

import { readFileSync } from 'node:fs';

/** Where the two differ, a sentence each. */
export function compareTable(mayImport) {
  const rows = new Map(
    [...readFileSync('ARCHITECTURE.md', 'utf8').matchAll(/^\| `src\/([\w-]+)` \|[^|]*\| ([^|]*) \|$/gm)].map(([, folder, allowed]) => [
      folder,
      allowed.replaceAll('`', ''),
    ]),
  );
  const faults = [...rows.keys()].filter((folder) => !(folder in mayImport)).map((folder) => `ARCHITECTURE.md: no rule holds '${folder}'`);
  for (const [folder, allowed] of Object.entries(mayImport)) {
    const ruled = allowed.map((name) => name.replaceAll('\\', '').replace(/\(([^)]*)\)/, (_, names) => `{${names.replaceAll('|', ',')}}`));
    const wanted = ruled.length === 0 ? 'nothing' : ruled.join(', ');
    if (rows.get(folder) !== wanted)
      faults.push(`ARCHITECTURE.md: the row of '${folder}' says '${rows.get(folder)}', the rules '${wanted}'`);
  }
  return faults;
}
