import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test"; // or from "vitest"
import OpenAI from "openai";
import { reply } from "./assistant.mjs";
import { open } from "./replay.mjs";

let session, client;

beforeEach(async () => {
  session = await open("assistant");
  client = new OpenAI({ baseURL: session.baseURL });
});

afterEach(() => session.end()); // throws the explanation of a miss, even if the app has swallowed it

test("sells bells", async () => {
  assert.match(await reply("Do you sell bells?", client), /bells/);
});

test("knows its address", async () => {
  assert.match(await reply("Where are you?", client), /Where/);
});
