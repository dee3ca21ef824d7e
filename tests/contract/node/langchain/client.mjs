// Contract client: LangChain for JavaScript, ChatOpenAI over Chat Completions and over Responses.
//
//   OPENAI_BASE_URL=http://127.0.0.1:PORT/v1 OPENAI_API_KEY=sk-test node client.mjs
//
// Prints one JSON document, {scenario: what the client saw}, without times and without ids that LangChain makes up.

import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";
import { z } from "zod";

const GREET = "Greet the world. Où est-ce? 🌍";
const ASK_WEATHER = "What is the weather in Oslo?";
const Report = z.object({ city: z.string(), degrees: z.number().int(), notes: z.array(z.string()) });
const weather = tool(async ({ city }) => `-3 °C and snow in ${city}`, {
  name: "weather",
  description: "The weather in a city.",
  schema: z.object({ city: z.string() }),
});

const chat = (more) => new ChatOpenAI({ model: "gpt-4o-mini", maxRetries: 0, ...more });

/** What a user sees of an error. */
const failure = ({ name, message, status, code }) => ({ name, message, status: status ?? null, code: code ?? null });

async function failing(promise) {
  try {
    return { unexpected: await promise };
  } catch (error) {
    return failure(error);
  }
}

const told = ({ content, tool_calls, usage_metadata, response_metadata }) => [
  content, tool_calls, usage_metadata ?? null, response_metadata,
];

/** Read a stream to its end, good or bad. Returns what was seen and the whole message. */
async function streamed(model, asked) {
  const contents = [];
  let whole = null;
  let failed = null;
  try {
    for await (const chunk of await model.stream(asked)) {
      contents.push(chunk.content);
      whole = whole ? whole.concat(chunk) : chunk;
    }
  } catch (error) {
    failed = failure(error);
  }
  return [[contents, whole && told(whole), failed], whole];
}

/** Ask, run the tools that are asked for, tell their answers, and listen again; each time as a stream. */
async function toolLoop(model) {
  const bound = model.bindTools([weather]);
  const messages = [new HumanMessage(ASK_WEATHER)];
  const seen = [];
  for (let turn = 0; turn < 3; turn += 1) {
    const [so_far, answer] = await streamed(bound, messages);
    seen.push(so_far);
    if (!answer?.tool_calls?.length) break;
    messages.push(answer);
    for (const call of answer.tool_calls) {
      messages.push(new ToolMessage({ content: await weather.invoke(call.args), tool_call_id: call.id }));
    }
  }
  return seen;
}

const scenarios = {
  stream: async () => (await streamed(chat(), GREET))[0],
  invoke: async () => told(await chat().invoke(GREET)),
  tool_loop: () => toolLoop(chat()),
  structured_output: () => chat().withStructuredOutput(Report).invoke(ASK_WEATHER),
  structured_output_by_tool: () => chat().withStructuredOutput(Report, { method: "functionCalling" }).invoke(ASK_WEATHER),
  responses_stream: async () => (await streamed(chat({ model: "gpt-5", useResponsesApi: true }), GREET))[0],
  responses_tool_loop: () => toolLoop(chat({ model: "gpt-5", useResponsesApi: true })),

  async embeddings() {
    return new OpenAIEmbeddings({ model: "text-embedding-3-small", dimensions: 8 }).embedDocuments(["first", "second"]);
  },

  error_400: () => failing(chat({ model: "error-400" }).invoke(GREET)),
  error_401: () => failing(chat({ model: "error-401" }).invoke(GREET)),
  error_429_retried: async () => told(await chat({ model: "error-429", maxRetries: 1 }).invoke(GREET)),
  stream_error: async () => (await streamed(chat({ model: "stream-error" }), GREET))[0],
  stream_cut: async () => (await streamed(chat({ model: "stream-cut" }), GREET))[0],
  utf8: async () => (await streamed(chat({ model: "utf8" }), GREET))[0],
};

const results = {};
for (const [name, scenario] of Object.entries(scenarios)) {
  console.error(name);
  results[name] = await scenario();
}
console.log(JSON.stringify(results, null, 1));
