import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test"; // or from "vitest"
import OpenAI from "openai";
import { reply } from "./assistant.mjs";
import { open } from "./replay.mjs";

let tape, client;

beforeEach(async () => {
  tape = await open("assistant");
  client = new OpenAI({ baseURL: tape.baseURL });
});

afterEach(() => tape.end()); // throws the explanation of a miss, even if the app has swallowed it

test("sells bells", async () => {
  assert.match(await reply("Do you sell bells?", client), /bells/);
});

test("knows its address", async () => {
  assert.match(await reply("Where are you?", client), /Where/);
});
