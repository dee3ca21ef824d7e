// A session for one test. `openai-replay play cassettes -- ...` (or `record`) has set OPENAI_BASE_URL.
const server = new URL(process.env.OPENAI_BASE_URL).origin;

async function control(method, path, body) {
  const response = await fetch(`${server}/@/sessions${path}`, { method, body: body && JSON.stringify(body) });
  if (!response.ok) throw new Error((await response.json()).error.message);
  return response.json();
}

export async function open(cassette, settings = {}) {
  const { id, base_url } = await control("POST", "", { cassette, on_exhausted: "error", ...settings });
  const end = async () => {
    const { missed } = await control("DELETE", `/${id}`);
    if (missed.length) throw new Error(missed.join("\n\n"));
  };
  return { baseURL: base_url, end };
}
