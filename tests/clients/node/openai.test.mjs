// openai-node: what an application does with it all day.
import assert from "node:assert/strict";
import test from "node:test";
import OpenAI from "openai";

const model = process.env.CLIENTS_MODEL;
const client = new OpenAI({ baseURL: process.env.CLIENTS_BASE_URL, apiKey: "sk-clients-own-key", maxRetries: 0 });
const messages = [{ role: "user", content: "Who are you?" }];
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", function: { name: "weather", parameters } }];

test("a chat completion", async () => {
  const answer = await client.chat.completions.create({ model, messages });
  assert.ok(answer.choices[0].message.content);
  assert.equal(answer.model, model);
  assert.ok(answer.usage.total_tokens > 0);
});

test("a stream with its usage", async () => {
  const stream = await client.chat.completions.create({
    model, messages, stream: true, stream_options: { include_usage: true },
  });
  let text = "", usage = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.ok(text);
  assert.ok(usage.completion_tokens > 0);
});

test("a streamed tool call adds up", async () => {
  const final = await client.chat.completions.stream({ model, messages, tools }).finalChatCompletion();
  const call = final.choices[0].message.tool_calls[0];
  assert.equal(call.function.name, "weather");
  assert.ok(JSON.parse(call.function.arguments).city);
});

test("the models are listed", async () => {
  const ids = [];
  for await (const each of client.models.list()) ids.push(each.id);
  assert.ok(ids.includes(model));
});

test("embeddings in base64, the SDK's default", async () => {
  const answer = await client.embeddings.create({ model: process.env.CLIENTS_EMBEDDING, input: ["one", "two"] });
  assert.equal(answer.data.length, 2);
  assert.ok(answer.data[0].embedding.length > 0);
});

test("a response and its stream", async () => {
  const answer = await client.responses.create({ model, input: "Who are you?" });
  assert.ok(answer.output_text);
  const types = [];
  for await (const event of await client.responses.create({ model, input: "Who?", stream: true })) types.push(event.type);
  assert.equal(types[0], "response.created");
  assert.equal(types.at(-1), "response.completed");
});

test("an abort ends the stream", async () => {
  const controller = new AbortController();
  const stream = await client.chat.completions.create({ model, messages, stream: true }, { signal: controller.signal });
  let seen = 0;
  const ended = (async () => {
    for await (const _ of stream) { seen += 1; controller.abort(); }
  })();
  // Node's fetch sometimes never settles a read that was aborted, whoever the server is; the timer keeps the loop alive.
  await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 2000))]);
  assert.ok(seen > 0 && controller.signal.aborted);
});
