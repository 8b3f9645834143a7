// Tabs and connections: two at once, one that breaks, one that comes back; nothing is lost, nothing happens twice.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { accessible, ask, Browser, clean, enter, Fort, shot, stands, until } from "./harness.mjs";

let browser;
before(async () => (browser = await Browser.start()));
after(async () => await browser.stop());

test("a second tab is let in by the first, and both see the same as it happens", async () => {
  const fort = await Fort.start();
  try {
    const context = await browser.context();
    const one = await browser.tabIn(context);
    await enter(one, fort);
    const two = await browser.tabIn(context);
    await two.goto(fort.url);
    await two.locator("#start-title").waitFor();
    await ask(one, "slow, please");
    await two.locator("nav .recent a").click();
    await two.locator(".story", { hasText: "word9 " }).waitFor();
    await one.locator(".story", { hasText: "word9 " }).waitFor();
    await two.getByRole("button", { name: "Stop" }).click();
    await stands(one, "stopped");
    await stands(two, "stopped");
    // One tab's draft is its own.
    await one.locator("[data-field]").fill("mine");
    assert.equal(await two.locator("[data-field]").inputValue(), "");
    // Another person's browser is not let in by anybody's tab.
    const stranger = await browser.tab();
    await stranger.goto(fort.url);
    await stranger.getByRole("heading", { name: "This is somebody's treefort" }).waitFor();
    clean(one);
    clean(two);
  } finally {
    await fort.stop();
  }
});

test("a link is not lost when treefort cannot be reached in that moment", async () => {
  const fort = await Fort.start();
  try {
    const page = await browser.tab();
    let away = true;
    await page.route("**/api/enter", (route) => (away ? route.abort("connectionrefused") : route.continue()));
    await page.goto(await fort.link());
    await page.getByText("treefort up").waitFor();
    assert.ok(!page.url().includes("t="), "the code is still in the address");
    away = false;
    await page.locator("#start-title").waitFor();
    clean(page);
  } finally {
    await fort.stop();
  }
});

test("treefort dies in the middle of an answer and comes back: the page says so, keeps all, and shows the answer", async () => {
  const fort = await Fort.start();
  try {
    const page = await browser.tab();
    await enter(page, fort);
    await ask(page, "hold on");
    await page.getByText("I am thinking about it.").waitFor();
    await page.locator("[data-field]").fill("and after that");
    await fort.kill();
    await page.getByText("Connection lost.").waitFor();
    await accessible(page);
    await shot(page, "lost");
    assert.equal(await page.locator("[data-field]").inputValue(), "and after that");
    await fort.up();
    // Whoever had the port meanwhile could have asked this tab for all it knows, so it has to come in anew.
    await page.getByRole("heading", { name: "treefort was started again" }).waitFor();
    await accessible(page);
    await shot(page, "again");
    // What the browser itself says of a bearer that is none any more.
    assert.match(page.problems.join(), /^console: Failed to load resource: [^,]* 401 [^,]*$/);
    page.problems.length = 0;
    const other = await browser.tabIn(page.context());
    await enter(other, fort);
    await page.getByText("I am thinking about it.").waitFor();
    await other.close();
    // It is tried once more.
    await until(() => fort.model.held.length > 1, "the model is asked again");
    fort.model.release();
    await stands(page, "done");
    await page.getByText("Done thinking.").waitFor();
    assert.equal(await page.locator("[data-field]").inputValue(), "and after that");
    await page.keyboard.press("Control+Enter");
    await page.locator(".story", { hasText: "You said: and after that" }).waitFor();
    await stands(page, "done");
    clean(page);
  } finally {
    await fort.stop();
  }
});

test("a program that takes the port while treefort is away is told nothing by an open tab", async () => {
  const fort = await Fort.start();
  const asked = [];
  let squatter;
  try {
    const page = await browser.tab();
    await enter(page, fort);
    await ask(page, "hold on");
    await page.getByText("I am thinking about it.").waitFor();
    await fort.kill();
    await page.getByText("Connection lost.").waitFor();
    squatter = createServer((request, response) => {
      asked.push(`${request.method} ${request.url} ${request.headers.authorization ?? ""}`);
      response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify({ pubkey: "0".repeat(64), tags: [] }));
    });
    squatter.on("upgrade", (request, socket) => {
      asked.push(`${request.method} ${request.url} upgrade`);
      socket.destroy();
    });
    await new Promise((done) => squatter.listen(Number(new URL(fort.url).port), "127.0.0.1", done));
    await until(() => asked.length > 2, "the page tries again");
    for (const line of asked) assert.match(line, /^GET \/\.well-known\/treefort\?challenge=[0-9a-f]{64} $/);
  } finally {
    squatter?.close();
    squatter?.closeAllConnections();
    await fort.stop();
  }
});

test("a job that the relay never acknowledged is sent again, under the same id, also after a reload", async () => {
  const fort = await Fort.start();
  try {
    const page = await browser.tab();
    const sent = [];
    let deaf = true;
    await page.routeWebSocket(/^ws:/, (socket) => {
      const server = socket.connectToServer();
      socket.onMessage((text) => {
        const [word, event] = JSON.parse(text);
        if (word === "EVENT" && event.kind === 5050) {
          sent.push(event.id);
          if (deaf) return;
        }
        server.send(text);
      });
    });
    await enter(page, fort);
    await ask(page, "Three names for it?");
    await until(() => sent.length === 1, "the job is sent");
    await stands(page, "waiting");
    await page.getByText("Not sent yet").waitFor();
    deaf = false;
    await page.reload();
    await page.getByText("Leaf, Larch, or Loft.").waitFor();
    await stands(page, "done");
    assert.equal(new Set(sent).size, 1);
    assert.ok(sent.length > 1);
    assert.equal(fort.model.chats.length, 1);
    assert.equal(await page.evaluate(() => sessionStorage.getItem("treefort.outbox")), "[]");
  } finally {
    await fort.stop();
  }
});

test("a relay that lets only those read whom it knows is told who we are", async () => {
  const fort = await Fort.start({ config: '[relay]\nread = "auth"\n' });
  try {
    const page = await browser.tab();
    await enter(page, fort);
    await page.getByText("A private conversation with a local model").waitFor();
    await ask(page, "Three names for it?");
    await page.getByText("Leaf, Larch, or Loft.").waitFor();
    await stands(page, "done");
    await page.reload();
    await page.getByText("Leaf, Larch, or Loft.").waitFor();
    clean(page);
  } finally {
    await fort.stop();
  }
});
