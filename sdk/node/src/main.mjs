// The entry of images: `node main.mjs /path/handler.mjs:function`. A handler file that only defines its function needs no SDK call.
import { hasStarted, start } from './worker.mjs';

const target = process.argv[2] ?? '';
const colon = target.lastIndexOf(':');
const file = target.slice(0, colon);
const name = target.slice(colon + 1);
if (colon < 1) {
  process.stderr.write('usage: main.mjs /path/to/handler.mjs:function\n');
  process.exit(2);
}
const loaded = await import(file);
if (!hasStarted()) {
  const handler = loaded[name] ?? loaded.default?.[name] ?? (typeof loaded.default === 'function' ? loaded.default : undefined);
  if (typeof handler !== 'function') {
    process.stderr.write(`${file} has no function '${name}'; it exports ${Object.keys(loaded).join(', ') || 'nothing'}\n`);
    process.exit(1);
  }
  await start({ handler });
}
