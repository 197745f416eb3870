// Checks that a worker runs before it takes work (worker-protocol: fitness checks).

/** Runs them in order; the first that fails is told to the server, and ends the process with code 1. */
export async function runChecks(checks, { call, url }) {
  for (const check of checks) {
    try {
      await check();
    } catch (error) {
      const name = check.name || 'check';
      const reason = String(error instanceof Error ? `${error.name}: ${error.message}` : error).slice(0, 256);
      const report = `&status=unhealthy&check=${encodeURIComponent(name)}&reason=${encodeURIComponent(reason)}&runpod_version=wherry-node`;
      if (url) await call('GET', url + report, { limitMs: 2_000 });
      process.stderr.write(`fitness check ${name} failed: ${reason}\n`);
      process.exit(1);
    }
  }
}
