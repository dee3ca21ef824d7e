// An app on top of the API. Like many apps, it swallows errors: its customers get an excuse.
import OpenAI from "openai";

export const PROMPT = "You answer the customers of a bicycle shop in one sentence.";
export const EXCUSE = "Sorry, nobody is here right now.";

export async function reply(question, client = new OpenAI()) {
  try {
    const messages = [{ role: "system", content: PROMPT }, { role: "user", content: question }];
    const stream = await client.chat.completions.create({ model: "gpt-4o-mini", messages, stream: true });
    let text = "";
    for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
    return text;
  } catch {
    return EXCUSE;
  }
}
