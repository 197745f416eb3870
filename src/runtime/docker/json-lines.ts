/** Reads a stream of JSON values, one a line, as the Engine API tells events and progress. What is no JSON is left out. */
export async function* readJsonLines(stream: AsyncIterable<Uint8Array>): AsyncIterable<Readonly<Record<string, unknown>>> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) yield* parse(line);
  }
  yield* parse(rest);
}

function* parse(line: string): Iterable<Readonly<Record<string, unknown>>> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return;
  }
  if (typeof value === 'object' && value !== null) yield value as Readonly<Record<string, unknown>>;
}
