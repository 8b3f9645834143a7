// A model server whose every answer is scripted: what of Ollama's HTTP treefort asks for, on a port of its own.

import { createServer } from "node:http";

export const MODEL = "scripted:1b";

const details = { parent_model: "", format: "gguf", family: "scripted", families: ["scripted"], parameter_size: "1B", quantization_level: "Q4_0" };

const line = (content, done) => ({
  model: MODEL,
  created_at: "2026-11-20T12:00:00.000000Z",
  message: { role: "assistant", content },
  done,
  ...(done && {
    done_reason: "stop",
    total_duration: 5_000_000,
    load_duration: 1_000_000,
    prompt_eval_count: 412,
    prompt_eval_duration: 2_000_000,
    eval_count: 96,
    eval_duration: 2_000_000,
  }),
});

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Answers of a conversation, by what it asks. */
const ANSWERS = [
  [
    /house|treehouse/i,
    `A treehouse wants a tree that is alive and thick: oak, beech or maple, at least 30 cm across where the platform sits.

1. **Hang it, do not clamp it.** Two bolts made for trees carry more than twenty nails, and the tree grows around them.
2. **Let it move.** A tree sways. One end of each beam is fixed, the other lies on a bracket in which it can slide.
3. **Keep it light.** Larch or cedar for what is outside, and no more than four metres high.

Shall I draw up a list of what to buy?`,
  ],
  [/shop|buy|list/i, "Two tree bolts, four beams of larch (10 × 20 cm, 3 m), 6 m² of boards, sliding brackets for one end of each beam, a rope ladder, and somebody who holds the other end."],
  [/name/i, "Leaf, Larch, or Loft."],
];

/** What a message makes the server do. */
async function* answer(message, server) {
  const [, word] = /^\s*([\w-]+)/.exec(message) ?? [];
  if (word === "slow") {
    for (let n = 1; n <= 200; n += 1) {
      yield `word${n} `;
      await pause(60);
    }
    return;
  }
  if (word === "hold") {
    yield "I am thinking about it. ";
    await new Promise((resolve) => server.held.push(resolve));
    yield "Done thinking.";
    return;
  }
  if (word === "say") {
    yield message.replace(/^\s*say\s/, "");
    return;
  }
  const text = ANSWERS.find(([asked]) => asked.test(message))?.[1] ?? `You said: ${message}`;
  for (const piece of text.match(/\S+\s*/g) ?? []) {
    yield piece;
    await pause(server.pace);
  }
}

export class Model {
  held = [];
  chats = [];
  pace = 4;

  static async start(port = 0) {
    const model = new Model();
    model.server = createServer((request, response) => void model.serve(request, response).catch(() => response.destroy()));
    await new Promise((resolve) => model.server.listen(port, "127.0.0.1", resolve));
    model.url = `http://127.0.0.1:${model.server.address().port}`;
    return model;
  }

  /** Lets everybody go on who asked for a pause. */
  release() {
    for (const go of this.held.splice(0)) go();
  }

  stop() {
    this.release();
    this.server.closeAllConnections();
    this.server.close();
  }

  async serve(request, response) {
    let body = "";
    for await (const chunk of request) body += chunk;
    const json = (value) => {
      response.setHeader("Content-Type", "application/json");
      response.end(JSON.stringify(value));
    };
    if (request.url === "/api/version") return json({ version: "0.0.0-scripted" });
    if (request.url === "/api/tags") {
      const model = { name: MODEL, model: MODEL, modified_at: "2026-11-20T12:00:00.000000Z", size: 1_000_000, digest: "5c".repeat(32), details };
      return json({ models: [model, { ...model, name: "larger:8b", model: "larger:8b" }] });
    }
    if (request.url === "/api/show") {
      return json({
        license: "",
        modelfile: "FROM scratch",
        parameters: "",
        template: "{{ .Prompt }}",
        details,
        model_info: { "general.architecture": "scripted", "scripted.context_length": 4096 },
        capabilities: ["completion"],
        modified_at: "2026-11-20T12:00:00.000000Z",
      });
    }
    if (request.url !== "/api/chat") {
      response.statusCode = 404;
      return json({ error: "not found" });
    }
    const chat = JSON.parse(body);
    this.chats.push(chat);
    const last = chat.messages.filter((message) => message.role === "user").at(-1)?.content ?? "";
    if (/^fail/.test(last)) {
      response.statusCode = 500;
      return json({ error: "this model is out of order" });
    }
    response.setHeader("Content-Type", "application/x-ndjson");
    for await (const piece of answer(last, this)) {
      if (response.destroyed) return;
      response.write(`${JSON.stringify(line(piece, false))}\n`);
    }
    response.end(`${JSON.stringify(line("", true))}\n`);
  }
}
