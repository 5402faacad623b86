// Walks the helpers of the official npm client: node chat_walk.mjs BASE_URL KEY RAW_MODEL ASSISTANT KNOWING EMBEDDING
// The models are scripted: what stands behind `@@` in a question tells them what to do (tests/upstream/directives.py).
import assert from "node:assert/strict";
import OpenAI, {
  APIConnectionTimeoutError, APIError, APIUserAbortError, BadRequestError, ConflictError, InternalServerError, NotFoundError,
  RateLimitError,
} from "openai";
import { ContentFilterFinishReasonError, LengthFinishReasonError } from "openai/error";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const [baseURL, apiKey, raw, assistant, knowing, embedding] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const Load = z.object({ tons: z.number() });
const says = (directive, question = "How?") => [{ role: "user", content: `${question} @@${JSON.stringify(directive)}` }];
const calls = [{ name: "weather", arguments: '{"city":"Zürich"}', id: "a" }, { name: "weather", arguments: '{"city":"東京"}', id: "b" }];
const weather = (run) => ({
  type: "function",
  function: { name: "weather", parse: JSON.parse, function: run, description: "", parameters: { type: "object", properties: {} } },
});
const declared = [{ type: "function", function: { name: "weather", parameters: { type: "object", properties: {} } } }];
const chats = client.chat.completions;

async function step(name, run) {
  await run();
  console.log(`ok  ${name}`);
}

for (const [kind, model] of [["raw", raw], ["assistant", assistant]]) {
  await step(`${kind}: parse with zod`, async () => {
    const asked = { model, messages: says({ text: '{"tons": 40}', gap_ms: 1 }), response_format: zodResponseFormat(Load, "load") };
    assert.deepEqual((await chats.parse(asked)).choices[0].message.parsed, { tons: 40 });
    const stream = chats.stream(asked);
    let told = "";
    stream.on("content", (delta) => { told += delta; });
    assert.deepEqual((await stream.finalChatCompletion()).choices[0].message.parsed, { tons: 40 });
    assert.equal(told, '{"tons": 40}');
  });
  await step(`${kind}: two calls of tools, also when their pieces are mixed`, async () => {
    for (const mixes_calls of [false, true]) {
      const messages = says({ calls, finish: "tool_calls", mixes_calls });
      const stream = chats.stream({ model, messages, tools: [zodFunction({ name: "weather", parameters: z.object({ city: z.string() }) })] });
      const done = [];
      stream.on("tool_calls.function.arguments.done", (one) => done.push([one.index, one.name, one.arguments]));
      const final = await stream.finalChatCompletion();
      assert.deepEqual(done, [[0, "weather", calls[0].arguments], [1, "weather", calls[1].arguments]]);
      assert.deepEqual(final.choices[0].message.tool_calls.map((one) => one.function.parsed_arguments), [{ city: "Zürich" }, { city: "東京" }]);
      assert.equal(final.choices[0].finish_reason, "tool_calls");
      assert.equal(final.choices[0].message.role, "assistant");
    }
  });
  await step(`${kind}: runTools goes round`, async () => {
    for (const stream of [false, true]) {
      const asked = [];
      const run = ({ city }) => { asked.push(city); return "sunny"; };
      const runner = chats.runTools({
        model, messages: says({ calls, then: "Sunny in both.", finish: "tool_calls" }), tools: [weather(run)], stream,
      });
      assert.equal(await runner.finalContent(), "Sunny in both.");
      assert.deepEqual(asked, ["Zürich", "東京"]);
      assert((await runner.totalUsage()).total_tokens >= 0);
    }
  });
  await step(`${kind}: refusal, length and filter`, async () => {
    const refused = await chats.stream({ model, messages: says({ refusal: "I will not." }) }).finalChatCompletion();
    assert.deepEqual([refused.choices[0].message.refusal, refused.choices[0].message.content], ["I will not.", null]);
    const response_format = zodResponseFormat(Load, "load");
    for (const [finish, error] of [["length", LengthFinishReasonError], ["content_filter", ContentFilterFinishReasonError]]) {
      const asked = { model, messages: says({ text: '{"tons"', finish }), response_format };
      await assert.rejects(chats.parse(asked), error);
      await assert.rejects(chats.stream(asked).finalChatCompletion(), error);
    }
  });
  await step(`${kind}: stop, usage, request id`, async () => {
    const { data, request_id } = await chats.create({
      model, messages: says({ text: "One two END three", ignores_stop: true }), stop: ["END"], user: "u-1", seed: 7,
    }).withResponse();
    assert.equal(data.choices[0].message.content, "One two ");
    assert.equal(data._request_id, request_id);
    const stream = await chats.create({ model, messages: says({ pieces: 3 }), stream: true, stream_options: { include_usage: true } });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    assert.deepEqual(chunks.at(-1).choices, []);
    assert(chunks.slice(0, -1).every((one) => one.usage === null && one.choices.length === 1));
    const read = [];
    for await (const line of (await chats.create({ model, messages: says({ pieces: 3 }), stream: true })).toReadableStream()) read.push(line);
    assert(read.length >= 5);
  });
  await step(`${kind}: failures are typed, before and after the first byte`, async () => {
    const fails = (status) => chats.create({ model, messages: says({ status }), stream: true });
    await assert.rejects(fails(429), (error) => error instanceof RateLimitError && error.code === "rate_limit_exceeded");
    await assert.rejects(fails(500), (error) => error instanceof InternalServerError && error.status === 502);
    await assert.rejects(fails(401), (error) => error instanceof InternalServerError && error.code === "upstream_error");
    await assert.rejects(chats.create({ model, messages: says({}), n: 0 }), (error) => error instanceof BadRequestError && error.param === "n");
    const read = async () => {
      for await (const _ of await chats.create({ model, messages: says({ error_after: 3, message: "it broke" }), stream: true }));
    };
    await assert.rejects(read(), (error) => error instanceof APIError && error.status === undefined && error.code === "upstream_error");
    await assert.rejects(chats.stream({ model, messages: says({ error_after: 3 }) }).finalChatCompletion(), APIError);
    await assert.rejects(chats.stream({ model, messages: says({ cut_after: 3 }) }).finalChatCompletion(), APIError);
  });
  await step(`${kind}: retries, timeouts and aborts`, async () => {
    const retried = await chats.create({ model, messages: says({ status: 429, times: 2, text: "At last." }, `${kind}?`) }, { maxRetries: 2 });
    assert.equal(retried.choices[0].message.content, "At last.");
    await assert.rejects(chats.create({ model, messages: says({ head_ms: 3000 }) }, { timeout: 300 }), APIConnectionTimeoutError);
    const stream = chats.stream({ model, messages: says({ pieces: 500, gap_ms: 20 }) });
    stream.on("content", () => stream.abort());
    await assert.rejects(stream.finalChatCompletion(), APIUserAbortError);
    assert(stream.aborted);
  });
}
await step("silence is filled with comments, and both streams come to their end", async () => {
  await Promise.all([raw, assistant].map(async (model) => {
    let told = "";
    const messages = says({ text: "At last.", gap_ms: 1300 });
    for await (const chunk of await chats.create({ model, messages, stream: true })) told += chunk.choices[0].delta.content ?? "";
    assert.equal(told, "At last.");
  }));
});
await step("raw: n choices and logprobs", async () => {
  const two = await chats.stream({ model: raw, messages: says({ text: "a b", logprobs: true }), n: 2, logprobs: true }).finalChatCompletion();
  assert.deepEqual(two.choices.map((one) => [one.index, one.message.content]), [[0, "a b"], [1, "a b"]]);
  assert.equal(two.choices[1].logprobs.content.map((one) => one.token).join(""), "a b");
  await assert.rejects(chats.create({ model: assistant, messages: says({}), n: 2 }), BadRequestError);
});
await step("assistant: annotations and reference are on the final message", async () => {
  const messages = says({ text: "Forty tons [ID:0]." }, "How much does the harbour crane lift?");
  const whole = (await chats.create({ model: knowing, messages })).choices[0].message;
  const final = (await chats.stream({ model: knowing, messages }).finalChatCompletion()).choices[0].message;
  for (const message of [whole, final]) {
    assert.equal(message.content, "Forty tons [1].");
    const { url, title, start_index, end_index } = message.annotations[0].url_citation;
    assert.equal(message.content.slice(start_index, end_index), "[1]");
    assert.equal(title, "cranes.txt");
    assert.equal(message.reference.chunks[0].url, url);
  }
});
await step("assistant: a busy session is refused, and retried", async () => {
  const made = await fetch(`${baseURL.replace("/v1", "/api/v1")}/chats/${assistant}/sessions`, {
    method: "POST", headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" }, body: '{"name":"s"}',
  });
  const session_id = (await made.json()).data.id;
  const slow = await chats.create({ model: assistant, messages: says({ pieces: 8, gap_ms: 150 }), stream: true, session_id });
  const second = { model: assistant, messages: says({ text: "Second." }), session_id };
  await assert.rejects(chats.create(second), (error) => error instanceof ConflictError && error.code === "conversation_locked");
  const waiting = chats.create(second, { maxRetries: 2 });
  for await (const _ of slow);
  assert.equal((await waiting).choices[0].message.content, "Second.");
});
await step("completions, whole and streamed", async () => {
  const prompt = `Once @@${JSON.stringify({ text: "upon a time" })}`;
  const whole = await client.completions.create({ model: raw, prompt, n: 2 });
  assert.deepEqual(whole.choices.map((one) => one.text), ["upon a time", "upon a time"]);
  let text = "";
  for await (const chunk of await client.completions.create({ model: raw, prompt, stream: true })) text += chunk.choices[0].text;
  assert.equal(text, "upon a time");
  await assert.rejects(client.completions.create({ model: assistant, prompt }), BadRequestError);
});
await step("embeddings: texts, tokens, dimensions", async () => {
  const [text] = (await client.embeddings.create({ model: embedding, input: "hello world" })).data;
  const [tokens] = (await client.embeddings.create({ model: embedding, input: [15339, 1917] })).data;
  assert.deepEqual(tokens.embedding, text.embedding);
  await assert.rejects(client.embeddings.create({ model: embedding, input: "x", dimensions: 3 }), BadRequestError);
  await assert.rejects(client.embeddings.create({ model: raw, input: "x" }), BadRequestError);
});
await step("what is not served is not found, once", async () => {
  await assert.rejects(client.moderations.create({ input: "x" }), (error) => error instanceof NotFoundError && error.code === "unknown_url");
  await assert.rejects(client.models.delete("x"), (error) => error.status === 405);
});
