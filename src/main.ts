#!/usr/bin/env node
declare const __WHERRY_VERSION__: string;

// The version is answered before anything is loaded: scripts ask for it often.
if (process.argv.length === 3 && (process.argv[2] === '--version' || process.argv[2] === '-V')) {
  process.stdout.write(`${__WHERRY_VERSION__}\n`);
} else {
  const { runCli } = await import('./cli/program.js');
  process.exitCode = await runCli({ argv: process.argv.slice(2), environment: process.env, version: __WHERRY_VERSION__ });
}
