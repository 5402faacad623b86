// What Vercel's AI SDK makes of chats: node ai_sdk_walk.mjs BASE_URL KEY RAW_MODEL ASSISTANT KNOWING EMBEDDING
import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const [baseURL, apiKey, raw, assistant, knowing, embedding] = process.argv.slice(2);
const official = createOpenAI({ baseURL, apiKey });
const compatible = createOpenAICompatible({ baseURL, apiKey, name: "parley", includeUsage: true });
const says = (directive, question = "How?") => `${question} @@${JSON.stringify(directive)}`;
const weather = tool({ description: "", inputSchema: z.object({ city: z.string() }), execute: () => "sunny" });
const calls = [{ name: "weather", arguments: '{"city":"Zürich"}', id: "a" }, { name: "weather", arguments: '{"city":"東京"}', id: "b" }];

async function parts(stream) {
  const found = [];
  for await (const part of stream.fullStream) {
    if (part.type === "error") throw part.error;
    found.push(part);
  }
  return found;
}

async function step(name, run) {
  await run();
  console.log(`ok  ${name}`);
}

for (const [kind, chat] of [["openai", (id) => official.chat(id)], ["openai-compatible", (id) => compatible(id)]]) {
  for (const [sort, id] of [["raw", raw], ["assistant", assistant]]) {
    const model = chat(id);
    await step(`${kind}, ${sort}: text, whole and streamed`, async () => {
      const whole = await generateText({ model, prompt: says({ text: "Forty two.", think: "Hm." }) });
      assert.deepEqual([whole.text, whole.finishReason], ["Forty two.", "stop"]);
      assert(whole.usage.totalTokens > 0);
      const streamed = streamText({ model, prompt: says({ text: "Forty two.", think: "Hm." }) });
      await parts(streamed);
      assert.deepEqual([await streamed.text, await streamed.finishReason], ["Forty two.", "stop"]);
      assert((await streamed.usage).totalTokens > 0);
    });
    await step(`${kind}, ${sort}: tools go round`, async () => {
      for (const mixes_calls of [false, true]) {
        const prompt = says({ calls, then: "Sunny in both.", finish: "tool_calls", mixes_calls });
        const stream = streamText({ model, prompt, tools: { weather }, stopWhen: stepCountIs(3) });
        const made = (await parts(stream)).filter((part) => part.type === "tool-call");
        assert.deepEqual(made.map((one) => one.input.city), ["Zürich", "東京"]);
        assert.equal(await stream.text, "Sunny in both.");
      }
    });
    await step(`${kind}, ${sort}: objects and errors`, async () => {
      const found = await generateText({
        model, prompt: says({ text: '{"tons": 40}' }), output: Output.object({ schema: z.object({ tons: z.number() }) }),
      });
      assert.deepEqual(found.output, { tons: 40 });
      const failing = generateText({ model, prompt: says({ status: 400, message: "Too odd." }), maxRetries: 0 });
      await assert.rejects(failing, (error) => error.statusCode === 400 && error.message === "Too odd.");
    });
  }
}
await step("sources surface", async () => {
  const prompt = says({ text: "Forty tons [ID:0]." }, "How much does the harbour crane lift?");
  const whole = await generateText({ model: official.chat(knowing), prompt });
  const streamed = streamText({ model: official.chat(knowing), prompt });
  const told = (await parts(streamed)).filter((part) => part.type === "source");
  for (const sources of [whole.sources, told]) {
    assert.equal(sources.length, 1);
    assert.equal(sources[0].title, "cranes.txt");
    assert(sources[0].url.startsWith("http"));
  }
  assert.equal(await streamed.text, "Forty tons [1].");
});
await step("embeddings", async () => {
  const { embedding: vector } = await embed({ model: official.embedding(embedding), value: "one" });
  assert.equal(vector.length, 8);
});
