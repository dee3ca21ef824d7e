// Contract client: the official Node SDK through fixed scenarios in a fixed order.
//
//   OPENAI_BASE_URL=http://127.0.0.1:PORT/v1 OPENAI_API_KEY=sk-test node client.mjs
//
// Prints one JSON document, {scenario: what the client saw}, without times: the output of a run against the simulated
// upstream, of one through a recording proxy and of one through a replay can be compared for equality.
// The scenarios are those of python_client.py, under the same names.

import { createHash } from "node:crypto";
import OpenAI, { toFile } from "openai";

const client = new OpenAI({ maxRetries: 0, timeout: 30_000, logLevel: "off" });

const ASKED = [{ role: "user", content: "Greet the world. Où est-ce? 🌍" }];
const WEATHER = { type: "object", properties: { city: { type: "string" }, unit: { type: "string" } } };
const CHAT_TOOL = { type: "function", function: { name: "weather", parameters: WEATHER } };
const RESPONSES_TOOL = { type: "function", name: "weather", parameters: WEATHER, strict: false };
const AUDIO = Buffer.from([0xff, 0xf3, 0xe4, 0xc4, ...Array.from({ length: 4096 }, (_, at) => at % 256)]);
const BINARY = Buffer.concat(Array(500).fill(Buffer.from("\r\n--not-a-boundary\r\n\x00\x01\xfe\xff", "latin1")));

// What the client saw.

const sha = (data) => ({ bytes: data.length, sha256: createHash("sha256").update(data).digest("hex") });
const everything = (values) => sha(Buffer.from(JSON.stringify(values))).sha256;

function failure(error) {
  const { status, code, type, param, requestID, message } = error;
  const cause = error.cause?.code ?? error.cause?.constructor.name;
  const seen = { class: error.constructor.name, cause, status, code, type, param, requestID, message };
  return Object.fromEntries(Object.entries(seen).map(([name, value]) => [name, value ?? null]));
}

async function failing(promise) {
  try {
    return { unexpected: await promise };
  } catch (error) {
    return failure(error);
  }
}

/** Read a stream to its end, good or bad. `kinds` are in order, each with how often it came in a row. */
async function seen(stream, textOf, kindOf) {
  const items = [];
  let error = null;
  try {
    for await (const item of await stream) items.push(item);
  } catch (problem) {
    error = failure(problem);
  }
  const texts = items.map(textOf).filter((text) => text !== undefined && text !== null);
  const kinds = [];
  for (const kind of items.map(kindOf)) {
    if (kinds.at(-1)?.[0] === kind) kinds.at(-1)[1] += 1;
    else kinds.push([kind, 1]);
  }
  return { count: items.length, kinds, texts, all: everything(items), error };
}

const chatText = (chunk) => chunk.choices.map((choice) => [choice.index, choice.delta.content, choice.finish_reason]);
const responseText = (event) => event.delta;
const assistantText = (event) =>
  event.event === "thread.message.delta" ? event.data.delta.content[0].text.value : undefined;

const chat = (more) => client.chat.completions.create({ model: "gpt-4o-mini", messages: ASKED, ...more });
const chatStream = (more) => seen(chat({ stream: true, ...more }), chatText, (chunk) => chunk.id);
const respond = (more) => client.responses.create({ model: "gpt-5", input: "Say hello.", ...more });
const respondStream = (more) => seen(respond({ stream: true, ...more }), responseText, (event) => event.type);

// The scenarios, in the order they run.

const scenarios = {
  async models() {
    return (await client.models.list()).data.map((model) => model.id);
  },

  async chat() {
    const answer = await chat();
    const [choice] = answer.choices;
    return [answer.id, answer._request_id, choice.message.content, choice.finish_reason, everything([answer])];
  },

  chat_stream: () => chatStream({ stream_options: { include_usage: true } }),

  async chat_tool() {
    const answer = await chat({ tools: [CHAT_TOOL] });
    return [answer.id, answer.choices[0].message];
  },

  async chat_tool_stream() {
    const calls = [];
    const note = (chunk) => {
      for (const choice of chunk.choices) calls.push(...(choice.delta.tool_calls ?? []));
    };
    const stream = chat({ tools: [CHAT_TOOL], stream: true });
    const result = await seen(stream, note, (chunk) => chunk.choices[0].finish_reason);
    return { ...result, calls, arguments: JSON.parse(calls.map((call) => call.function.arguments).join("")) };
  },

  async chat_n2() {
    const answer = await chat({ n: 2 });
    const texts = answer.choices.map((choice) => [choice.index, choice.message.content]);
    return [answer.id, texts, await chatStream({ n: 2 })];
  },

  async responses() {
    const answer = await respond();
    return [answer.id, answer.output_text, everything([answer])];
  },

  responses_stream: () => respondStream(),

  async responses_tool() {
    const answer = await respond({ input: "Weather in Oslo", tools: [RESPONSES_TOOL] });
    return [answer.id, answer.output[0]];
  },

  responses_tool_stream: () => respondStream({ input: "Weather in Oslo", tools: [RESPONSES_TOOL] }),

  async assistants_run_stream() {
    const messages = [{ role: "user", content: "Hello, assistant" }];
    const kindOf = (event) => event.event;
    const { runs } = client.beta.threads;
    const run = runs.create("thread_1", { assistant_id: "asst_1", additional_messages: messages, stream: true });
    const first = await seen(run, assistantText, kindOf);
    const both = { assistant_id: "asst_1", thread: { messages }, stream: true };
    return [first, await seen(client.beta.threads.createAndRun(both), assistantText, kindOf)];
  },

  // The same request three times, three different answers.
  async assistants_run_polled() {
    const { runs } = client.beta.threads;
    const run = await runs.create("thread_1", { assistant_id: "asst_1" });
    const states = [run.id, run.status];
    for (let poll = 0; poll < 3; poll += 1) {
      states.push((await runs.retrieve(run.id, { thread_id: "thread_1" })).status);
    }
    return states;
  },

  async completions() {
    const asked = { model: "gpt-3.5-turbo-instruct", prompt: "Once upon" };
    const answer = await client.completions.create(asked);
    const stream = client.completions.create({ ...asked, stream: true });
    const streamed = await seen(stream, (chunk) => chunk.choices[0].text, (chunk) => chunk.id);
    return [answer.id, answer.choices[0].text, streamed];
  },

  async embeddings() {
    const asked = { model: "text-embedding-3-small", input: ["first", "second"] };
    const packed = await client.embeddings.create(asked); // base64 on the wire
    const plain = await client.embeddings.create({ ...asked, encoding_format: "float", dimensions: 64 });
    const vectors = [...packed.data, ...plain.data].map(({ embedding }) => [embedding.length, embedding.slice(0, 3)]);
    return [...vectors, everything([packed, plain])];
  },

  async moderations() {
    const answer = await client.moderations.create({ model: "omni-moderation-latest", input: "Be nice." });
    return [answer.id, everything([answer])];
  },

  async speech() {
    const response = await client.audio.speech.create({ model: "tts-1", voice: "alloy", input: "Hello there" });
    const pieces = [];
    for await (const piece of response.body) pieces.push(piece);
    return [response.headers.get("content-type"), sha(Buffer.concat(pieces))];
  },

  async transcription() {
    const file = () => toFile(AUDIO, "hällo.mp3", { type: "audio/mpeg" });
    const { transcriptions } = client.audio;
    const answer = await transcriptions.create({ model: "whisper-1", file: await file() });
    const asked = { model: "gpt-4o-mini-transcribe", file: await file(), stream: true };
    return [answer.text, await seen(transcriptions.create(asked), responseText, (event) => event.type)];
  },

  async image() {
    const answer = await client.images.generate({ model: "gpt-image-1", prompt: "An isolated stop sign." });
    return answer.data.map((item) => sha(Buffer.from(item.b64_json)));
  },

  async files() {
    const file = await toFile(BINARY, "data.bin", { type: "application/octet-stream" });
    const made = await client.files.create({ file, purpose: "user_data" });
    const listed = await client.files.list();
    const one = await client.files.retrieve(made.id);
    const content = await (await client.files.content(made.id)).arrayBuffer();
    const deleted = await client.files.delete(made.id);
    const gone = await failing(client.files.retrieve(made.id));
    const empty = await client.files.list();
    const ids = (page) => page.data.map(({ id }) => id);
    return [made, ids(listed), one, sha(Buffer.from(content)), deleted, gone, ids(empty)];
  },

  error_401: () => failing(chat({ model: "error-401" })),

  async error_429_retried() {
    const asked = { model: "error-429", messages: ASKED };
    const answer = await client.chat.completions.create(asked, { maxRetries: 1 });
    return [answer.id, answer.choices[0].message.content];
  },

  error_500: () => failing(chat({ model: "error-500" })),
  error_503_stream: () => failing(chat({ model: "error-503", stream: true })),
  error_empty: () => failing(chat({ model: "error-empty" })),
  not_found: () => failing(client.models.retrieve("no-such-model")),

  stream_error: async () => [
    await chatStream({ model: "stream-error" }),
    await respondStream({ model: "stream-error" }),
  ],
  stream_cut: () => chatStream({ model: "stream-cut" }),
  stream_reset: () => chatStream({ model: "stream-reset" }),
  utf8: async () => [await chatStream({ model: "utf8" }), await respondStream({ model: "utf8" })],
  keepalive: async () => [await chatStream({ model: "keepalive" }), await respondStream({ model: "keepalive" })],
  slow: () => chatStream({ model: "slow" }),

  // The same request, two answers: a proxy must neither fold nor swap them.
  async same_twice() {
    const messages = [{ role: "user", content: "Twice, please." }];
    const answers = [await chat({ messages }), await chat({ messages })];
    return answers.map((answer) => [answer.id, answer._request_id, answer.choices[0].message.content]);
  },

  // Last, so that an upstream that is still busy with it cannot disturb another scenario.
  async cancelled() {
    const texts = [];
    for await (const chunk of await chat({ model: "long", stream: true })) {
      texts.push(chunk.choices[0].delta.content);
      if (texts.length === 5) break; // aborts the request
    }
    return texts;
  },
};

const results = {};
for (const [name, scenario] of Object.entries(scenarios)) {
  console.error(name);
  results[name] = await scenario();
}
console.log(JSON.stringify(results, null, 1));
