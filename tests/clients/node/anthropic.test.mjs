// The Anthropic SDK for TypeScript: messages, streams and tools.
import assert from "node:assert/strict";
import test from "node:test";
import Anthropic from "@anthropic-ai/sdk";

const model = process.env.CLIENTS_CLAUDE;
const client = new Anthropic({ baseURL: process.env.CLIENTS_ANTHROPIC_URL, apiKey: "sk-clients-own-key", maxRetries: 0 });
const messages = [{ role: "user", content: "Who are you?" }];
const input_schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };

test("a message", async () => {
  const message = await client.messages.create({ model, max_tokens: 100, messages });
  assert.ok(message.content[0].text);
  assert.equal(message.stop_reason, "end_turn");
});

test("a stream adds up", async () => {
  const stream = client.messages.stream({ model, max_tokens: 100, messages });
  assert.ok(await stream.finalText());
});

test("a streamed tool call adds up", async () => {
  const tools = [{ name: "weather", description: "The weather.", input_schema }];
  const message = await client.messages.stream({ model, max_tokens: 100, messages, tools }).finalMessage();
  const call = message.content.find((block) => block.type === "tool_use");
  assert.ok(call.input.city);
});
