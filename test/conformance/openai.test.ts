import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStage, type Stage, until } from '../stage.js';

/** Speaks worker-vllm's formats: raw event text in chunks, an aggregated list with one object, a list of models. */
const VLLM = `
import { start } from '@wherry/worker';
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const event = (data) => 'data: ' + JSON.stringify(data) + '\\n\\n';
const base = { id: 'cmpl-1', created: 1, model: 'echo' };
async function* answer({ input: { openai_route: route, openai_input: body } }) {
  if (route === '/v1/models') { yield { object: 'list', data: [{ id: 'echo', object: 'model', created: 1, owned_by: 'wherry' }] }; return; }
  if (body.model === 'missing') { yield { object: 'error', message: 'x' }; return; }
  const text = route === '/v1/completions' ? body.prompt : body.messages.at(-1).content;
  if (text === 'throw') throw new Error('out of memory');
  if (!body.stream) {
    yield route === '/v1/completions'
      ? { ...base, object: 'text_completion', choices: [{ index: 0, text, finish_reason: 'stop', logprobs: null }] }
      : { ...base, object: 'chat.completion', choices: [{ index: 0, message: { role: 'assistant', content: text }, finish_reason: 'stop' }] };
    return;
  }
  const words = text.split(' ');
  for (const word of words.slice(0, -1)) {
    yield event({ ...base, object: 'chat.completion.chunk', choices: [{ index: 0, delta: { content: word + ' ' } }] });
    await sleep(word === 'slow' ? 60_000 : 20);
    if (word === 'break') throw new Error('lost the model');
  }
  yield event({ ...base, object: 'chat.completion.chunk', choices: [{ index: 0, delta: { content: words.at(-1) }, finish_reason: 'stop' }] })
    + 'data: [DONE]\\n\\n';
}
await start({ handler: answer, return_aggregate_stream: true });
`;

let stage: Stage;
let client: OpenAI;
beforeAll(async () => {
  stage = await openStage();
  const files = { 'wherry.yaml': 'name: vllm\nhandler: handler.mjs:answer\nbase: scratch\nscale: { max: 2 }\n', 'handler.mjs': VLLM };
  await stage.cli('deploy', stage.project('vllm', files));
  client = new OpenAI({ apiKey: stage.key, baseURL: `${stage.url}/v2/vllm/openai/v1`, maxRetries: 0 });
});
afterAll(() => stage.close());

const chat = (content: string) => ({ model: 'echo', messages: [{ role: 'user' as const, content }] });
const newest = async () => ((await stage.call('/v2/vllm/requests')).json as { requests: { id: string; status: string }[] }).requests[0];

describe('the official OpenAI client with only its base URL changed (row 64)', () => {
  it('gets a chat completion, from zero workers', async () => {
    const answer = await client.chat.completions.create(chat('hello there'));
    expect(answer).toMatchObject({ object: 'chat.completion', choices: [{ message: { content: 'hello there' } }] });
  });

  it('gets a stream whose parts make up the answer, each as soon as it is there', async () => {
    const stream = await client.chat.completions.create({ ...chat('one two three four'), stream: true });
    const parts: string[] = [];
    const times: number[] = [];
    for await (const { choices } of stream) {
      parts.push(choices[0]?.delta.content ?? '');
      times.push(performance.now());
    }
    expect(parts.join('')).toBe('one two three four');
    expect(parts.length).toBe(4);
    expect((times.at(-1) ?? 0) - (times[0] ?? 0)).toBeGreaterThan(30);
  });

  it('gets completions and the list of models', async () => {
    const completion = await client.completions.create({ model: 'echo', prompt: 'once' });
    expect(completion.choices[0]?.text).toBe('once');
    const models = await client.models.list();
    expect(models.data.map(({ id }) => id)).toEqual(['echo']);
  });

  it('sees the failure of a worker as an API error with its message, also in the middle of a stream', async () => {
    await expect(client.chat.completions.create(chat('throw'))).rejects.toMatchObject({
      status: 500,
      message: expect.stringContaining('out of memory'),
    });
    const stream = await client.chat.completions.create({ ...chat('break it'), stream: true });
    const parts: string[] = [];
    const read = (async () => {
      for await (const { choices } of stream) parts.push(choices[0]?.delta.content ?? '');
    })();
    await expect(read).rejects.toThrow('lost the model');
    expect(parts).toEqual(['break ']);
  });

  it('refuses a wrong key and an unknown route in the form the client reads', async () => {
    const stranger = new OpenAI({ apiKey: 'wh_no_no', baseURL: `${stage.url}/v2/vllm/openai/v1`, maxRetries: 0 });
    await expect(stranger.models.list()).rejects.toMatchObject({ status: 401 });
    expect((await stage.call('/v2/vllm/openai/other', { method: 'POST', body: {} })).status).toBe(404);
    expect((await stage.call('/v2/vllm/openai/v1/chat/completions', { method: 'POST', body: 'no json' })).json).toMatchObject({
      error: { type: 'invalid_request_error', code: 'REQUEST_INVALID' },
    });
  });

  it('cancels its job when it goes away in the middle (row 64)', async () => {
    const stream = await client.chat.completions.create({ ...chat('now slow end'), stream: true });
    for await (const { choices } of stream) if (choices[0]?.delta.content === 'slow ') break;
    await until(async () => (await newest())?.status === 'CANCELLED', 'the job to be cancelled', 5_000);
    const answer = await client.chat.completions.create(chat('still there'));
    expect(answer.choices[0]?.message.content).toBe('still there');
  });
});
