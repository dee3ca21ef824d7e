// Contract client: the AI SDK with its OpenAI provider, over Responses (the default) and over Chat Completions.
//
//   OPENAI_BASE_URL=http://127.0.0.1:PORT/v1 OPENAI_API_KEY=sk-test node client.mjs
//
// Prints one JSON document, {scenario: what the client saw}, without times and without ids that the SDK makes up.

import { createOpenAI, openai } from "@ai-sdk/openai";
import { embedMany, generateObject, generateText, stepCountIs, streamObject, streamText, tool } from "ai";
import { z } from "zod";

globalThis.AI_SDK_LOG_WARNINGS = false;

const GREET = "Greet the world. Où est-ce? 🌍";
const ASK_WEATHER = "What is the weather in Oslo?";
const Report = z.object({ city: z.string(), degrees: z.number().int(), notes: z.array(z.string()) });
const tools = {
  weather: tool({
    description: "The weather in a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `-3 °C and snow in ${city}`,
  }),
};
const loop = { prompt: ASK_WEATHER, tools, stopWhen: stepCountIs(3) };

/** What a user sees of an error, and of the last of several attempts. */
function failure(error) {
  const { name, message, statusCode, lastError, reason } = error;
  return { name, message, status: statusCode ?? null, reason: reason ?? null, last: lastError ? failure(lastError) : null };
}

async function failing(promise) {
  try {
    return { unexpected: await promise };
  } catch (error) {
    return failure(error);
  }
}

/** Read a stream to its end, good or bad. */
async function streamed(options) {
  const parts = [];
  let failed = null;
  const result = streamText({ maxRetries: 0, onError: ({ error }) => (failed = failure(error)), ...options });
  try {
    for await (const part of result.fullStream) parts.push([part.type, part.text ?? part.delta ?? part.output ?? null]);
    if (!failed) parts.push(await told(result));
  } catch (error) {
    failed ??= failure(error);
  }
  return { parts, failed };
}

async function told(result) {
  const [text, steps, usage] = [await result.text, await result.steps, await result.totalUsage];
  const seen = steps.map(({ text, toolCalls, toolResults, finishReason, response }) => [
    text, toolCalls.map(({ toolName, input }) => [toolName, input]), toolResults.map(({ output }) => output),
    finishReason, response.id, response.modelId,
  ]);
  return [text, seen, usage.inputTokens, usage.outputTokens];
}

const scenarios = {
  stream: () => streamed({ model: openai("gpt-4o"), prompt: GREET }),
  stream_of_a_reasoning_model: () => streamed({ model: openai("gpt-5"), prompt: GREET }),
  tool_loop_streamed: () => streamed({ model: openai("gpt-4o"), ...loop }),
  tool_loop: async () => told(await generateText({ model: openai("gpt-4o"), ...loop })),
  tool_loop_not_stored: async () =>
    told(await generateText({ model: openai("gpt-4o"), ...loop, providerOptions: { openai: { store: false } } })),
  object: async () => (await generateObject({ model: openai("gpt-4o"), schema: Report, prompt: ASK_WEATHER })).object,

  async object_streamed() {
    const { partialObjectStream } = streamObject({ model: openai("gpt-4o"), schema: Report, prompt: ASK_WEATHER });
    const parts = [];
    for await (const part of partialObjectStream) parts.push(part);
    return parts;
  },

  chat_stream: () => streamed({ model: openai.chat("gpt-4o-mini"), prompt: GREET }),
  chat_tool_loop_streamed: () => streamed({ model: openai.chat("gpt-4o-mini"), ...loop }),

  async embeddings() {
    const model = openai.embedding("text-embedding-3-small");
    const { embeddings, usage } = await embedMany({ model, values: ["first", "second"] });
    return [embeddings.map((one) => one.slice(0, 3)), usage];
  },

  error_400: () => failing(generateText({ model: openai("error-400"), prompt: GREET })),
  error_401: () => failing(generateText({ model: openai("error-401"), prompt: GREET })),
  async error_429_retried() {
    return told(await generateText({ model: openai("error-429"), prompt: GREET }));
  },
  error_500_after_retries: () => failing(generateText({ model: openai("error-500"), prompt: GREET, maxRetries: 1 })),
  error_429_before_a_stream: () => streamed({ model: openai("error-429"), prompt: GREET, maxRetries: 1 }),
  stream_error: () => streamed({ model: openai("stream-error"), prompt: GREET }),
  stream_cut: () => streamed({ model: openai("stream-cut"), prompt: GREET }),
  utf8: () => streamed({ model: openai.chat("utf8"), prompt: GREET }),

  // A provider that is made, not imported: it finds the base URL in the environment as well.
  async provider_that_is_made() {
    return told(await generateText({ model: createOpenAI().chat("gpt-4o-mini"), prompt: GREET }));
  },
};

const results = {};
for (const [name, scenario] of Object.entries(scenarios)) {
  console.error(name);
  results[name] = await scenario();
}
console.log(JSON.stringify(results, null, 1));
