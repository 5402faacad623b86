// Walks what the official npm client can call on `/v1`: node walk.mjs BASE_URL KEY ASSISTANT RAW_MODEL EMBEDDING_MODEL
import assert from "node:assert/strict";
import OpenAI, { APIError, AuthenticationError, BadRequestError, NotFoundError } from "openai";

const [baseURL, apiKey, assistant, raw, embedding] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: "user", content: "What is it?" }];
const words = Array.from({ length: 16 }, (_, number) => `word${number} `).join("");

async function step(name, run) {
  await run();
  console.log(`ok  ${name}`);
}

await step("models.list", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  for (const id of [assistant, raw, embedding]) assert(ids.includes(id), `${id} is not among ${ids}`);
});
await step("models.retrieve", async () => {
  for (const id of [assistant, raw, embedding]) assert.equal((await client.models.retrieve(id)).id, id);
});
for (const model of [assistant, raw]) {
  await step(`chat.completions.create ${model === raw ? "raw" : "assistant"}`, async () => {
    const { data, response, request_id } = await client.chat.completions.create({ model, messages }).withResponse();
    assert.equal(data.choices[0].message.content, words);
    assert.equal(data.choices[0].finish_reason, "stop");
    assert.equal(data.usage.total_tokens, data.usage.prompt_tokens + data.usage.completion_tokens);
    assert(request_id.startsWith("req_") && response.headers.get("x-request-id") === request_id);
  });
  await step(`chat.completions.create stream ${model === raw ? "raw" : "assistant"}`, async () => {
    const stream = await client.chat.completions.create({
      model, messages, stream: true, stream_options: { include_usage: true },
    });
    let text = "", usage = null, roles = 0, finish = null;
    for await (const chunk of stream) {
      usage = chunk.usage ?? usage;
      const choice = chunk.choices[0];
      text += choice?.delta?.content ?? "";
      roles += choice?.delta?.role ? 1 : 0;
      finish = choice?.finish_reason ?? finish;
    }
    assert.deepEqual([text, roles, finish], [words, 1, "stop"]);
    assert(usage.total_tokens > 0);
  });
  await step(`chat.completions.stream ${model === raw ? "raw" : "assistant"}`, async () => {
    const final = await client.chat.completions.stream({ model, messages }).finalChatCompletion();
    assert.equal(final.choices[0].message.role, "assistant");
    assert.equal(final.choices[0].message.content, words);
  });
}
await step("no session unasked", async () => {
  const first = await client.chat.completions.create({ model: assistant, messages });
  assert.equal(first.parley?.session_id ?? null, null);
});
await step("embeddings.create", async () => {
  const packed = await client.embeddings.create({ model: embedding, input: ["one", "two"] });
  const plain = await client.embeddings.create({ model: embedding, input: ["one", "two"], encoding_format: "float" });
  assert.equal(packed.data.length, 2);
  packed.data[0].embedding.forEach((value, at) => assert(Math.abs(value - plain.data[0].embedding[at]) < 1e-6));
});
await step("completions.create", async () => {
  const answer = await client.completions.create({ model: raw, prompt: "Once" });
  assert.equal(answer.object, "text_completion");
  assert(answer.choices[0].text.length > 0);
});
await step("errors are typed", async () => {
  const wrong = new OpenAI({ baseURL, apiKey: "nobody", maxRetries: 0 });
  await assert.rejects(wrong.models.list(), AuthenticationError);
  await assert.rejects(client.models.retrieve("nothing"), NotFoundError);
  await assert.rejects(client.chat.completions.create({ model: raw, messages: [] }), BadRequestError);
  await assert.rejects(
    client.chat.completions.create({ model: raw, messages, temperature: 9 }),
    (error) => error instanceof APIError && error.param === "temperature",
  );
});
await step("a stream that is given up", async () => {
  const stream = await client.chat.completions.create({ model: assistant, messages, stream: true });
  for await (const chunk of stream) if (chunk.choices[0]?.delta?.content) break;
});
