// Holds the import table of ARCHITECTURE.md with dependency-cruiser, the limits of size, and that what is exported is used; fails when it saw no module.

import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cruise } from 'dependency-cruiser';
import rules from '../.dependency-cruiser.cjs';
import { compareTable } from './import-table.mjs';
import { ROOT } from './setup.mjs';
import { findOversized } from './sizes.mjs';
import { listUnusedValues } from './unused-values.mjs';
import { listVendorNames } from './vendor-names.mjs';

process.chdir(ROOT);
const { output } = await cruise(['src'], { ruleSet: { forbidden: rules.forbidden }, validate: true, ...rules.options }, undefined, {
  tsConfig: {},
});
const { violations, totalCruised } = output.summary;
for (const { from, to, rule } of violations) console.error(`${rule.severity}: ${rule.name}: ${from} → ${to}`);
if (totalCruised < 20) {
  console.error(`architecture: only ${totalCruised} modules were seen; the check itself is broken`);
  process.exit(1);
}
const sources = execFileSync('git', ['ls-files', '-co', '--exclude-standard', 'src', 'sdk'], { encoding: 'utf8' }).split('\n');
const present = sources.filter((file) => /\.(ts|mjs|py)$/.test(file) && existsSync(file));
const faults = [...findOversized(present), ...compareTable(rules.mayImport), ...listVendorNames(), ...listUnusedValues()];
for (const fault of faults) console.error(`error: ${fault}`);
console.log(`architecture: ${totalCruised} modules, ${violations.length} violations`);
process.exit(violations.some(({ rule }) => rule.severity === 'error') || faults.length > 0 ? 1 : 0);
