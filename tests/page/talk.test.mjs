// Conversations: they go on, stop, stay private, and nothing that was written is lost.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { accessible, ask, Browser, clean, enter, Fort, notices, shot, stands, stored } from "./harness.mjs";

let browser;
let fort;
before(async () => {
  browser = await Browser.start();
  fort = await Fort.start();
});
after(async () => {
  await browser.stop();
  await fort.stop();
});

test("text appears while it is written, and a conversation goes on in the same view", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await ask(page, "slow, please");
  await stands(page, "working");
  const live = page.locator(".story", { hasText: "word12 " });
  await live.waitFor();
  assert.equal(await page.getByText("word199").count(), 0);
  await page.getByText("The agent is writing").waitFor();
  await accessible(page);
  await shot(page, "live");
  await page.getByRole("button", { name: "Stop" }).click();
  await stands(page, "stopped");
  await page.locator("[data-field]").fill("What do I buy for it?");
  await page.keyboard.press("Control+Enter");
  await page.getByText("somebody who holds the other end").waitFor();
  await stands(page, "done");
  assert.equal(await page.locator("nav .recent li").count(), 1);
  // The same after a reload: the request that was stopped is gone from the relay, and its place is known still.
  await page.reload();
  await page.getByText("somebody who holds the other end").waitFor();
  await page.getByText("slow, please").first().waitFor();
  assert.equal(await page.locator("nav .recent li").count(), 1);
  await accessible(page);
  await shot(page, "conversation");
  clean(page);
});

test("a private conversation leaves no word on the record, and its owner reads it all", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await page.getByRole("switch", { name: "Private" }).click();
  await page.getByText("what is said is kept encrypted, for you alone").waitFor();
  await ask(page, "say my secret is a walnut");
  await stands(page, "done");
  await page.locator(".story", { hasText: "my secret is a walnut" }).waitFor();
  await page.locator("[data-field]").fill("say it was eaten by a jackdaw");
  await page.keyboard.press("Enter");
  await page.locator(".story", { hasText: "it was eaten by a jackdaw" }).waitFor();
  await stands(page, "done");
  await page.reload();
  await page.locator(".story", { hasText: "it was eaten by a jackdaw" }).waitFor();
  await page.getByRole("heading", { name: "say my secret is a walnut" }).waitFor();
  await accessible(page);
  await shot(page, "private");
  const said = JSON.stringify(await stored(page));
  assert.ok(said.length > 10_000);
  assert.ok(!/walnut|jackdaw/.test(said));
  clean(page);
});

test("a failure says why, and the same can be asked again", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await page.locator("input[type=file]").setInputFiles({ name: "plan.txt", mimeType: "text/plain", buffer: Buffer.from("oak, four metres") });
  await page.locator(".attached li:not(.busy)").waitFor();
  await ask(page, "fail, please");
  await stands(page, "failed");
  await page.getByText("It stopped here.").waitFor();
  await accessible(page);
  await shot(page, "failed");
  await page.getByText("With plan.txt").waitFor();
  await page.getByRole("button", { name: "Ask again" }).click();
  // Its files come along.
  await page.locator(".attached li", { hasText: "plan.txt" }).waitFor();
  await shot(page, "ask-again");
  assert.equal(await page.locator("[data-field]").inputValue(), "fail, please");
  await page.locator("[data-field]").fill("Three names for it?");
  await page.keyboard.press("Enter");
  await page.getByText("Leaf, Larch, or Loft.").waitFor();
  assert.match(JSON.stringify(fort.model.chats.at(-1).messages), /oak, four metres/);
  clean(page);
});

test("who failed can be asked another way: all that was chosen stands in the field again", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await page.locator("input[type=file]").setInputFiles({ name: "plan.txt", mimeType: "text/plain", buffer: Buffer.from("oak") });
  await page.locator(".attached li:not(.busy)").waitFor();
  await ask(page, "fail once more");
  await stands(page, "failed");
  await page.getByRole("button", { name: "Choose another agent or model…" }).click();
  await page.locator("#start-title").waitFor();
  assert.equal(await page.locator("[data-field]").inputValue(), "fail once more");
  assert.equal(await page.locator(".attached li", { hasText: "plan.txt" }).count(), 1);
  clean(page);
});

test("what was chosen for one question is not chosen for the next", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  const first = page.getByRole("switch", { name: "Ask me first" });
  await page.getByLabel("Who does it").selectOption("opencode");
  await first.click();
  await page.getByLabel("Who does it").selectOption("shell");
  assert.equal(await first.count(), 0, "a command asks nothing");
  await page.getByRole("switch", { name: "Private" }).click();
  await ask(page, "true");
  await stands(page, "done");
  await page.locator(".nav .mark").click();
  await page.locator("#start-title").waitFor();
  assert.equal(await page.getByLabel("Who does it").inputValue(), "chat");
  assert.equal(await page.getByRole("switch", { name: "Private" }).getAttribute("aria-checked"), "false");
  await page.getByLabel("Who does it").selectOption("opencode");
  assert.equal(await first.getAttribute("aria-checked"), "false");
  clean(page);
});

test("a picture for a model that cannot look at it is refused before anything starts", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await page.locator("[data-field]").fill("What is this?");
  await page.locator("input[type=file]").setInputFiles({ name: "leaf.png", mimeType: "image/png", buffer: Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]) });
  await page.locator(".attached li:not(.busy)").waitFor();
  await page.getByRole("alert").getByText("The model scripted:1b cannot look at pictures. Choose one that can (larger:8b), or take the picture away.").waitFor();
  assert.equal(await page.getByRole("button", { name: "Start", exact: true }).isDisabled(), true);
  await accessible(page);
  await shot(page, "blind");
  await page.getByLabel("Model", { exact: true }).selectOption("larger:8b");
  assert.equal(await page.getByRole("button", { name: "Start", exact: true }).isDisabled(), false);
  await page.getByLabel("Model", { exact: true }).selectOption("");
  await page.getByRole("button", { name: "Remove leaf.png" }).click();
  assert.equal(await page.getByRole("button", { name: "Start", exact: true }).isDisabled(), false);
  clean(page);
});

test("who wants to be told is told when it is done, and nobody is asked before", async () => {
  const context = await browser.context();
  await notices(context);
  const page = await browser.tabIn(context);
  await enter(page, fort);
  await ask(page, "hold this");
  await page.getByText("I am thinking about it.").waitFor();
  assert.equal(await page.evaluate(() => window.asked), 0);
  await page.getByRole("button", { name: "Tell me when it is done" }).click();
  await page.getByRole("button", { name: "You will be told when it is done, or asks" }).waitFor();
  await page.evaluate(() => (window.away = true));
  fort.model.release();
  await stands(page, "done");
  assert.deepEqual(await page.evaluate(() => window.told), ["Done: hold this"]);
  clean(page);
});

test("a draft, and files that were added, survive looking elsewhere; a draft survives a reload", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await page.locator("[data-field]").fill("a long thought");
  await page.locator("input[type=file]").setInputFiles([
    { name: "plan.txt", mimeType: "text/plain", buffer: Buffer.from("oak, 4 m") },
    { name: "big.bin", mimeType: "application/octet-stream", buffer: Buffer.alloc(17 * 1024 * 1024) },
  ]);
  await page.getByText("big.bin is larger than 16 MB").waitFor();
  await page.locator(".attached li:not(.busy)", { hasText: "plan.txt" }).waitFor();
  await accessible(page);
  await shot(page, "attached");
  await page.getByRole("link", { name: "What it can touch" }).click();
  await page.getByRole("heading", { name: "The sandbox" }).waitFor();
  await page.locator(".nav .mark").click();
  assert.equal(await page.locator("[data-field]").inputValue(), "a long thought");
  assert.equal(await page.locator(".attached li").count(), 1);
  await page.reload();
  await page.locator("#start-title").waitFor();
  assert.equal(await page.locator("[data-field]").inputValue(), "a long thought");
  clean(page);
});

test("what was added reaches who was asked", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await page.locator("input[type=file]").setInputFiles({ name: "plan.txt", mimeType: "text/plain", buffer: Buffer.from("oak, four metres") });
  await page.locator(".attached li:not(.busy)").waitFor();
  await ask(page, "Three names for what is in this plan?");
  await stands(page, "done");
  await page.getByText("With plan.txt").waitFor();
  const asked = fort.model.chats.at(-1).messages.map((message) => message.content).join("\n");
  assert.match(asked, /oak, four metres/);
  clean(page);
});

test("files come by dropping and pasting too", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  const give = (kind) =>
    page.evaluate((kind) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array([137, 80, 78, 71])], `${kind}.png`, { type: "image/png" }));
      const field = document.querySelector("[data-field]");
      if (kind === "paste") field.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
      else for (const name of ["dragover", "drop"]) field.dispatchEvent(new DragEvent(name, { dataTransfer: data, bubbles: true, cancelable: true }));
    }, kind);
  await give("paste");
  await page.locator(".attached li:not(.busy)", { hasText: "paste.png" }).waitFor();
  await give("drop");
  await page.locator(".attached li:not(.busy)", { hasText: "drop.png" }).waitFor();
  await page.getByRole("button", { name: "Remove paste.png" }).click();
  assert.equal(await page.locator(".attached li").count(), 1);
});
