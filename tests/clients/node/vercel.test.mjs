// The Vercel AI SDK: text, streams, objects and tools, over chat completions and over its default, responses.
import assert from "node:assert/strict";
import test from "node:test";
import { createOpenAI } from "@ai-sdk/openai";
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const openai = createOpenAI({ baseURL: process.env.CLIENTS_BASE_URL, apiKey: "sk-clients-own-key" });
const name = process.env.CLIENTS_MODEL;
const schema = z.object({ name: z.string(), age: z.number().int() });
const weather = tool({
  description: "Tell the weather.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `sunny in ${city}`,
});

for (const [over, model] of [["chat", openai.chat(name)], ["responses", openai(name)]]) {
  const shared = { model, maxRetries: 0, prompt: "Who are you?" };

  test(`${over}: text`, async () => {
    const { text, usage } = await generateText(shared);
    assert.ok(text);
    assert.ok(usage.outputTokens > 0);
  });

  test(`${over}: a stream`, async () => {
    const result = streamText(shared);
    let text = "";
    for await (const part of result.textStream) text += part;
    assert.ok(text);
    assert.equal(await result.finishReason, "stop");
  });

  test(`${over}: an object`, async () => {
    const { object } = await generateObject({ ...shared, schema });
    assert.equal(typeof object.name, "string");
  });

  test(`${over}: a tool's round`, async () => {
    const { text, steps } = await generateText({ ...shared, tools: { weather }, stopWhen: stepCountIs(3) });
    assert.ok(steps[0].toolCalls.length > 0);
    assert.ok(text);
  });
}
