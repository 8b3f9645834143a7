// An agent that asks before it acts, that is paused and steered, and whose app is looked at.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { accessible, Browser, clean, enter, Fort, shot, stands, stored } from "./harness.mjs";

let browser;
let fort;
before(async () => {
  browser = await Browser.start();
  fort = await Fort.start({ agents: ["asker"] });
});
after(async () => {
  await browser.stop();
  await fort.stop();
});

/** Asks the agent that asks. */
async function asker(page, text, { first = false, hidden = false } = {}) {
  await page.getByLabel("Who does it").selectOption("asker");
  const toggle = page.getByRole("switch", { name: "Ask me first" });
  if (((await toggle.getAttribute("aria-checked")) === "true") !== first) await toggle.click();
  if (hidden) await page.getByRole("switch", { name: "Private" }).click();
  await page.locator("[data-field]").fill(text);
  await page.getByRole("button", { name: "Start", exact: true }).click();
}

test("a permission is answered in place, by the mouse or by a number", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await asker(page, "write a page, please", { first: true });
  await stands(page, "asking");
  const asks = page.getByRole("alertdialog", { name: "It asks" });
  await asks.getByText("edit page.html").waitFor();
  assert.match(await page.title(), /Needs you/);
  await accessible(page);
  await shot(page, "asks");
  await asks.getByRole("button", { name: "Do not allow" }).click();
  await page.getByText("Then I leave it.").waitFor();
  await stands(page, "done");
  await page.locator("[data-field]").fill("write it after all");
  await page.keyboard.press("Enter");
  await asks.waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("1");
  await page.getByText("It is written.").waitFor();
  await stands(page, "done");
  await page.getByRole("complementary").getByText("page.html").waitFor();
  await page.getByText("You answered").first().waitFor();
  clean(page);
});

test("a private job asks too, and nothing of it is on the record", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await asker(page, "write a diary", { first: true, hidden: true });
  const asks = page.getByRole("alertdialog", { name: "It asks" });
  await asks.getByText("edit page.html").waitFor();
  await asks.getByRole("button", { name: /^Allow/ }).click();
  await stands(page, "done");
  await page.locator(".story", { hasText: "It is written." }).waitFor();
  const said = JSON.stringify(await stored(page));
  assert.ok(!/diary/.test(said));
  clean(page);
});

test("an agent stands still, goes on, and is told something else while it works", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await asker(page, "work on it");
  await page.locator(".story", { hasText: "step 3," }).waitFor();
  await page.getByRole("button", { name: "Pause" }).click();
  await stands(page, "paused");
  await accessible(page);
  await shot(page, "paused");
  await page.getByRole("button", { name: "Go on", exact: true }).click();
  await stands(page, "working");
  await page.locator("[data-field]").fill("Make it shorter");
  await page.keyboard.press("Enter");
  await page.getByText("I was told: ").waitFor();
  await page.getByText("You steered").waitFor();
  await stands(page, "done");
  assert.equal(await page.locator("[data-field]").inputValue(), "");
  await shot(page, "steered");
  clean(page);
});

test("what an agent serves opens in a tab of its own, on another origin", async () => {
  const context = await browser.context();
  const page = await browser.tabIn(context);
  await enter(page, fort);
  await asker(page, "serve it");
  await stands(page, "done");
  const button = page.getByRole("button", { name: "Open the app (port 8000)" });
  await button.waitFor();
  await accessible(page);
  await shot(page, "app");
  const [tab] = await Promise.all([context.waitForEvent("page"), button.click()]);
  await tab.getByText("Hello from the sandbox").waitFor();
  assert.notEqual(new URL(tab.url()).origin, new URL(fort.url).origin);
  assert.equal(await tab.evaluate(() => window.opener), null);
  clean(page);
});
