// Holds the import table of ARCHITECTURE.md with dependency-cruiser; fails when it saw no module or a file is too long.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cruise } from 'dependency-cruiser';
import rules from '../.dependency-cruiser.cjs';
import { ROOT } from './setup.mjs';
import { listVendorNames } from './vendor-names.mjs';

process.chdir(ROOT);
const { output } = await cruise(['src'], { ruleSet: rules, validate: true, ...rules.options }, undefined, {
  tsConfig: {},
});
const { violations, totalCruised } = output.summary;
for (const { from, to, rule } of violations) console.error(`${rule.severity}: ${rule.name}: ${from} → ${to}`);
if (totalCruised < 20) {
  console.error(`architecture: only ${totalCruised} modules were seen; the check itself is broken`);
  process.exit(1);
}
const sources = execFileSync('git', ['ls-files', '-co', '--exclude-standard', 'src', 'sdk'], { encoding: 'utf8' }).split('\n');
const long = sources.filter((file) => /\.(ts|mjs|py)$/.test(file) && readFileSync(file, 'utf8').split('\n').length > 401);
for (const file of long) console.error(`error: ${file} is longer than 400 lines`);
const named = listVendorNames();
for (const sentence of named) console.error(`error: ${sentence}`);
console.log(`architecture: ${totalCruised} modules, ${violations.length} violations`);
process.exit(violations.some(({ rule }) => rule.severity === 'error') || long.length > 0 || named.length > 0 ? 1 : 0);
