// A long session of the real program, through the real relay: five thousand signed records, loaded a page at a time.

import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { after, before } from "node:test";

import { Browser, clean, enter, Fort, until } from "./harness.mjs";

/** What the host records of one turn, at most a thousand, and turns. */
const CLAIMS = 990;
const TURNS = 5;

const MANIFEST = `
name = "talker"
title = "Talker"
description = "Says that it does a lot."
version = "1"
argv = ["/usr/bin/node", "/agent.mjs"]
kinds = [5050, 5870]
workspace = true
history = "prompt"
prewarm = false
grace_s = 1
[image]
dockerfile = "Dockerfile"
[embedded]
system = true
files = { "agent.mjs" = "/agent.mjs" }
`;

const SCRIPT = `
import { createInterface } from "node:readline";
const send = (message) => process.stdout.write(JSON.stringify({ jsonrpc: "2.0", ...message }) + "\\n");
const update = (update) => send({ method: "session/update", params: { sessionId: "s", update } });
for await (const line of createInterface({ input: process.stdin })) {
  const { id, method } = JSON.parse(line);
  if (method === "initialize") send({ id, result: { protocolVersion: 1, agentCapabilities: {}, authMethods: [] } });
  else if (method === "session/new") send({ id, result: { sessionId: "s" } });
  else if (method === "session/prompt") {
    for (let n = 1; n <= ${CLAIMS}; n += 1) {
      const kind = n % 5 === 0 ? "execute" : "read";
      update({ sessionUpdate: "tool_call", toolCallId: "c" + n, title: "thing " + n, kind, status: "completed", rawInput: kind === "read" ? { filePath: "/workspace/f" + n } : { command: "do thing " + n }, content: [{ type: "content", content: { type: "text", text: "output " + n } }] });
    }
    update({ sessionUpdate: "agent_message_chunk", content: { type: "text", text: "All of it is done." } });
    send({ id, result: { stopReason: "end_turn" } });
  }
}
`;

let browser;
let fort;
before(async () => {
  browser = await Browser.start();
  fort = await Fort.start();
  const agent = join(fort.home, "agents", "talker");
  await mkdir(agent, { recursive: true });
  await writeFile(join(agent, "agent.toml"), MANIFEST);
  await writeFile(join(agent, "Dockerfile"), "FROM scratch\n");
  await writeFile(join(agent, "agent.mjs"), SCRIPT);
  await fort.kill();
  await fort.up();
});
after(async () => {
  await browser?.stop();
  await fort?.stop();
});

test("five thousand records of a real session are read from the relay, all of them and in order", async (context) => {
  const project = await fort.project("p", { "a.txt": "a\n" });
  const asked = Date.now();
  await fort.command("run", "--workspace", project, "--agent", "talker", "Do a lot");
  for (let n = 1; n < TURNS; n += 1) await fort.command("run", "--workspace", project, "--agent", "talker", "--continue", "Do more");
  assert.match(await fort.command("verify"), /[45]\d{3} records in an unbroken chain/);
  context.diagnostic(`the session took ${Date.now() - asked} ms`);
  const page = await browser.tab();
  await enter(page, fort);
  const opened = Date.now();
  await page.getByRole("link", { name: /Do a lot/ }).first().click();
  await page.locator(".s-row.ended, .s-row.said").first().waitFor();
  context.diagnostic(`first view after ${Date.now() - opened} ms on the wall`);
  await page.getByText("All of it is done.").waitFor();
  // Up to the beginning, as it comes.
  const box = page.locator(".s-scroll");
  const paged = Date.now();
  await until(async () => {
    await box.evaluate((box) => (box.scrollTop = 0));
    return (await page.locator(".s-row.started").count()) === 1;
  }, "the beginning", 60_000);
  context.diagnostic(`all of it after ${Date.now() - paged} ms on the wall`);
  assert.equal(await page.locator(".s-row.gap").count(), 0);
  await page.locator(".s-search input").fill("do thing 985");
  await until(async () => (await page.locator(".s-found").innerText()) === `0 of ${TURNS}`, "what it says it ran in each turn");
  const size = await page.locator(".s-row").first().getAttribute("aria-setsize");
  context.diagnostic(`${size} rows`);
  assert.ok(Number(size) > (CLAIMS / 5) * TURNS);
  clean(page);
});
