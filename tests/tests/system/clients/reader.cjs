// Reads masked answers and tool calls with the official client for Node, and prints what it has read as JSON.

const { OpenAI, APIError } = require("openai");

const [baseURL, said] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });

async function chat(model) {
  const calls = [];
  let text = "";
  let reason = null;
  try {
    const stream = await client.chat.completions.create({
      model,
      messages: [{ role: "user", content: said }],
      stream: true,
    });
    for await (const chunk of stream) {
      for (const choice of chunk.choices) {
        text += choice.delta.content ?? "";
        reason = choice.finish_reason ?? reason;
        for (const call of choice.delta.tool_calls ?? []) {
          const [name, args] = calls[call.index] ?? ["", ""];
          calls[call.index] = [name + (call.function.name ?? ""), args + (call.function.arguments ?? "")];
        }
      }
    }
  } catch (error) {
    if (!(error instanceof APIError)) throw error;
    return { text, error: error.error?.message ?? error.message };
  }
  return { text, calls, reason };
}

async function response() {
  let [deltas, done, completed] = ["", null, null];
  for await (const event of await client.responses.create({ model: "echo", input: said, stream: true })) {
    if (event.type === "response.output_text.delta") deltas += event.delta;
    else if (event.type === "response.output_text.done") done = event.text;
    else if (event.type === "response.completed") {
      completed = event.response.output.flatMap((item) => item.content ?? []).map((part) => part.text).join("");
    }
  }
  return [deltas, done, completed];
}

(async () => {
  const masked = [(await chat("echo")).text, ...(await response())];
  const calls = [await chat("api"), await chat("api"), await chat("api")];
  console.log(JSON.stringify({ masked, calls }));
})();
