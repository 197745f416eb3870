// Holds docs/adr/0025: which files of src may have RunPod's names, as they stand in environments, files, hosts and packages. Prose may speak of RunPod.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const NAME = /RUNPOD|runpod/;

/** Files, and folders that end with a slash. */
const ALLOWED = {
  'the environment of the worker protocol': ['src/domain/worker-environment.ts'],
  'the doors': ['src/server/doors/'],
  'test files, the action, and the servers of others that they run on': [
    'src/check/find-suite.ts',
    'src/check/schemas.ts',
    'src/check/suite.ts',
    'src/cli/action/',
    'src/cli/commands/test.ts',
    'src/cli/test/server.ts',
  ],
  'the name under which programs import an SDK': [
    'src/build/python-layers.ts',
    'src/build/requirements.ts',
    'src/cli/templates.ts',
    'src/runtime/process/fork/program/watch.py',
  ],
};

/** Sentences for files that have such a name and may not, and for single files that may and have none. */
export function listVendorNames() {
  const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard', 'src'], { encoding: 'utf8' }).split('\n').filter(Boolean);
  const named = files.filter((file) => !file.endsWith('.test.ts') && NAME.test(readFileSync(file, 'utf8')));
  const allowed = Object.values(ALLOWED).flat();
  const isOf = (file, place) => (place.endsWith('/') ? file.startsWith(place) : file === place);
  return [
    ...named
      .filter((file) => !allowed.some((place) => isOf(file, place)))
      .map((file) => `${file} has a name of RunPod's, which stands in few files only (docs/adr/0025)`),
    ...allowed
      .filter((place) => !place.endsWith('/') && !named.includes(place))
      .map((place) => `${place} has no name of RunPod's: take it out of scripts/vendor-names.mjs`),
  ];
}
