// A stranger's first minute: the door, what is missing, the first question, and where everything is.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { accessible, ask, Browser, clean, enter, Fort, freePort, shot, stands } from "./harness.mjs";
import { Model } from "./model.mjs";

let browser;
before(async () => (browser = await Browser.start()));
after(async () => await browser.stop());

test("who has no link sees a door that says how to come in, and nothing else", async () => {
  const fort = await Fort.start();
  try {
    const page = await browser.tab();
    await page.goto(fort.url);
    await page.getByRole("heading", { name: "This is somebody's treefort" }).waitFor();
    await page.getByText("treefort page", { exact: true }).waitFor();
    await accessible(page);
    await shot(page, "door");
    // The same link twice is worth nothing the second time.
    const link = await fort.link();
    await page.goto(link);
    await page.locator("#start-title").waitFor();
    assert.ok(!page.url().includes("t="), "the code is still in the address");
    const stranger = await browser.tab();
    await stranger.goto(link);
    await stranger.getByRole("alert").waitFor();
    assert.equal(await stranger.locator("#start-title").count(), 0);
    assert.deepEqual(await stranger.evaluate(() => [document.cookie, Object.keys(localStorage)]), ["", []]);
    clean(page);
  } finally {
    await fort.stop();
  }
});

test("without a model it says what to install, offers the demo, and notices when one is there", async () => {
  const fort = await Fort.start({ model: null, modelPort: await freePort() });
  try {
    const page = await browser.tab();
    await enter(page, fort);
    const missing = page.getByRole("heading", { name: "One thing is missing: a model" });
    await missing.waitFor();
    await accessible(page);
    await shot(page, "no-model");
    await page.getByRole("button", { name: "Show me the demo" }).waitFor();
    // What cannot work does not start, and what to type can be copied.
    await page.locator("[data-field]").fill("Build a treehouse");
    assert.equal(await page.getByRole("button", { name: "Start", exact: true }).isDisabled(), true);
    assert.ok((await page.locator(".note .command").count()) > 0);
    // Somebody starts a model server meanwhile.
    fort.model = await Model.start(fort.modelPort);
    await missing.waitFor({ state: "detached", timeout: 90_000 });
    await ask(page, "Three names for it?");
    await page.getByText("Leaf, Larch, or Loft.").waitFor();
    await stands(page, "done");
    clean(page);
  } finally {
    await fort.stop();
  }
});

test("the demo, from the page: a treefort of its own, where something was built and can be looked at", async () => {
  const fort = await Fort.start({ model: null });
  try {
    const context = await browser.context();
    const page = await browser.tabIn(context);
    await enter(page, fort);
    const [demo] = await Promise.all([context.waitForEvent("page"), page.getByRole("button", { name: "Show me the demo" }).click()]);
    await demo.locator("#start-title").waitFor({ timeout: 60_000 });
    assert.notEqual(new URL(demo.url()).origin, new URL(fort.url).origin);
    await demo.locator("nav .recent a", { hasText: "What keeps an AI agent from breaking things" }).waitFor();
    await demo.getByText("This is the demo: a script plays the model").waitFor();
    // Its door says how to come to a demo, and not to this treefort.
    const stranger = await browser.tab();
    await stranger.goto(`${new URL(demo.url()).origin}/#t=${"A".repeat(43)}`);
    await stranger.getByText("treefort demo --page", { exact: true }).waitFor();
    assert.equal(await stranger.getByText("treefort page", { exact: true }).count(), 0);
    await shot(stranger, "demo-door");
    const built = demo.locator("nav .recent a", { hasText: "Build a page for a treehouse" });
    await built.waitFor({ timeout: 60_000 });
    await built.click();
    await stands(demo, "done", 60_000);
    await demo.getByRole("complementary").getByText("index.html").waitFor();
    await accessible(demo);
    await shot(demo, "demo");
    // What was built, in a tab of its own.
    const [shown] = await Promise.all([context.waitForEvent("page"), demo.getByRole("button", { name: "Look at it" }).click()]);
    await shown.getByRole("heading", { name: "The treehouse" }).waitFor();
    await shot(shown, "demo-built");
    clean(page);
  } finally {
    await fort.stop();
  }
});

test("a first question: from the field to the answer, with its story", async () => {
  const fort = await Fort.start();
  try {
    const page = await browser.tab();
    await enter(page, fort);
    await page.getByText("Answers in words, and reads the files that you add").waitFor();
    await accessible(page);
    await shot(page, "start");
    await ask(page, "How do I build a treehouse that lasts?");
    await stands(page, "done");
    await page.getByText("Shall I draw up a list of what to buy?").waitFor();
    await page.getByText("without a network").waitFor();
    await page.getByText("scripted:1b").first().waitFor();
    await accessible(page);
    await shot(page, "answer");
    // It is found again: at the side, in the list, and by its words.
    await page.getByRole("link", { name: "All sessions" }).click();
    await page.getByPlaceholder("Search what was asked and answered").fill("TREEHOUSE");
    await page.locator(".session-row", { hasText: "How do I build a treehouse" }).waitFor();
    await page.getByPlaceholder("Search what was asked and answered").fill("nothing of the kind");
    await page.getByText("Nothing like that.").waitFor();
    await page.getByRole("link", { name: "What it can touch" }).click();
    await page.getByRole("heading", { name: "The sandbox" }).waitFor();
    await page.getByText("Your network: an agent has none, unless you give its job one.").waitFor();
    await page.getByText("There are no copies.").waitFor();
    await accessible(page);
    await shot(page, "touch");
    clean(page);
  } finally {
    await fort.stop();
  }
});

test("the keyboard does it all", async () => {
  const fort = await Fort.start();
  try {
    const page = await browser.tab();
    await enter(page, fort);
    assert.equal(await page.evaluate(() => document.activeElement?.tagName), "TEXTAREA");
    await page.keyboard.type("Two names");
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("for a treehouse, please");
    await page.keyboard.press("Enter");
    await stands(page, "done");
    assert.match(await page.locator(".story").innerText(), /Two names\nfor a treehouse/);
    await page.keyboard.press("Escape");
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keyboard" }).waitFor();
    await accessible(page);
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await page.keyboard.press("s");
    await page.getByRole("heading", { name: "All sessions" }).waitFor();
    await page.keyboard.press("j");
    await page.keyboard.press("Enter");
    await page.locator(".session .head h1").waitFor();
    await page.keyboard.press("Escape");
    await page.keyboard.press("a");
    await page.locator("#start-title").waitFor();
    await page.keyboard.press("Escape");
    await page.keyboard.press("/");
    assert.equal(await page.evaluate(() => document.activeElement?.tagName), "TEXTAREA");
    // What the focus is on can be seen.
    await page.keyboard.press("Tab");
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement.closest(".pill") ?? document.activeElement).outlineStyle);
    assert.equal(outline, "solid");
    clean(page);
  } finally {
    await fort.stop();
  }
});
