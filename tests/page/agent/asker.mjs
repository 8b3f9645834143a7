// Speaks the Agent Client Protocol on its standard input and output, a JSON object a line.
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createInterface } from "node:readline";

const send = (message) => process.stdout.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
const waiting = new Map();
let next = 1;
let cancelled = false;
let folder = "/workspace";

function ask(method, params) {
  const id = `a${next++}`;
  send({ id, method, params });
  return new Promise((resolve) => waiting.set(id, resolve));
}

const say = (sessionId, text) =>
  send({ method: "session/update", params: { sessionId, update: { sessionUpdate: "agent_message_chunk", content: { type: "text", text } } } });

async function prompt(id, { sessionId, prompt }) {
  cancelled = false;
  const asked = prompt.map((part) => part.text ?? `(${part.type})`).join("\n");
  const done = (stopReason) => send({ id, result: { stopReason } });
  if (/work on/.test(asked)) {
    for (let n = 1; n <= 300 && !cancelled; n += 1) {
      say(sessionId, `step ${n}, `);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    return done(cancelled ? "cancelled" : "end_turn");
  }
  if (/serve/.test(asked)) {
    const server = createServer((_, response) => {
      response.setHeader("Content-Type", "text/html");
      response.end("<!doctype html><title>built</title><h1>Hello from the sandbox</h1>");
    });
    await new Promise((resolve) => server.listen(8000, "127.0.0.1", resolve));
    say(sessionId, "It is being served.");
    return done("end_turn");
  }
  if (/write roses/.test(asked)) {
    writeFileSync(`${folder}/beds.txt`, "beans and roses\n");
    say(sessionId, "There are roses now.");
    return done("end_turn");
  }
  if (/slowly/.test(asked)) await new Promise((resolve) => setTimeout(resolve, 3000));
  if (/write/.test(asked)) {
    const names = /both/.test(asked) ? ["one.html", "two.html"] : ["page.html"];
    const wants = async (name) => {
      const { outcome } = (await ask("session/request_permission", {
        sessionId,
        toolCall: {
          toolCallId: name,
          title: `Write ${name}`,
          kind: "edit",
          locations: [{ path: `${folder}/${name}` }],
          ...(/at length/.test(asked) && { rawInput: { command: `${"echo nothing; ".repeat(600)}echo hidden-tail` } }),
        },
        options: [
          { optionId: "yes", kind: "allow_once", name: "Allow" },
          { optionId: "no", kind: "reject_once", name: "Do not allow" },
        ],
      })) ?? { outcome: { outcome: "cancelled" } };
      const allowed = outcome?.outcome === "selected" && outcome.optionId === "yes";
      if (allowed) writeFileSync(`${folder}/${name}`, "<h1>Page</h1>\n");
      return allowed;
    };
    const allowed = await Promise.all(names.map(wants));
    if (names.length === 1) say(sessionId, allowed[0] ? "It is written." : "Then I leave it.");
    else say(sessionId, names.map((name, at) => `${name}: ${allowed[at] ? "written" : "left"}`).join(", "));
    return done("end_turn");
  }
  say(sessionId, `I was told: ${asked}`);
  return done("end_turn");
}

createInterface({ input: process.stdin }).on("line", (line) => {
  const message = JSON.parse(line);
  if (message.method === undefined) {
    waiting.get(message.id)?.(message.result);
    waiting.delete(message.id);
    return;
  }
  const { id, method, params } = message;
  if (method === "initialize") send({ id, result: { protocolVersion: 1, agentCapabilities: { promptCapabilities: { image: true } } } });
  else if (method === "session/new") {
    folder = params.cwd ?? folder;
    send({ id, result: { sessionId: "s1" } });
  } else if (method === "session/prompt") void prompt(id, params);
  else if (method === "session/cancel") {
    cancelled = true;
    for (const go of waiting.values()) go(undefined);
    waiting.clear();
  } else if (id !== undefined) send({ id, result: {} });
});
