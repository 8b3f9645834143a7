// An agent that asks before it acts, that is paused and steered, and whose app is looked at.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { accessible, Browser, clean, enter, Fort, notices, shot, stands, stored, until } from "./harness.mjs";

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

/** Asks the agent that asks; two of it if there is to be `another`. */
async function asker(page, text, { first = false, hidden = false, another = false } = {}) {
  await page.getByLabel("Who does it").selectOption("asker");
  if (another) await page.getByRole("button", { name: "Compare", exact: true }).click();
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
  // Also for who comes back to it: the record, which withholds what is asked, comes after what its owner was told.
  await page.reload();
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "All sessions" }).click();
  await page.locator(".session-row", { hasText: "write a diary" }).getByRole("link").click();
  await page.locator(".story .s-row.question").waitFor();
  await asks.getByText("edit page.html").waitFor();
  await accessible(page);
  assert.match(await asks.innerText(), /edit page\.html/);
  await asks.getByRole("button", { name: /^Allow/ }).click();
  await stands(page, "done");
  await page.locator(".story", { hasText: "It is written." }).waitFor();
  const said = JSON.stringify(await stored(page));
  assert.ok(!/diary/.test(said));
  clean(page);
});

test("all that is asked for can be read, however long it is", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await asker(page, "write a page at length", { first: true });
  const asks = page.getByRole("alertdialog", { name: "It asks" });
  const text = asks.locator(".said");
  await text.getByText("hidden-tail").waitFor();
  assert.ok((await text.innerText()).length > 8000);
  // It scrolls, by the keyboard too, and what can be answered stays in sight.
  await text.focus();
  await page.keyboard.press("End");
  await until(() => text.evaluate((box) => box.scrollTop + box.clientHeight >= box.scrollHeight - 2), "the end is in sight");
  assert.ok(await asks.getByRole("button", { name: /^Allow/ }).isVisible());
  await accessible(page);
  await shot(page, "asks-long");
  await asks.getByRole("button", { name: /^Allow/ }).click();
  await stands(page, "done");
  clean(page);
});

test("who looks elsewhere is told that an agent asks", async () => {
  const context = await browser.context();
  await notices(context);
  const page = await browser.tabIn(context);
  await enter(page, fort);
  await asker(page, "write for somebody else", { first: true });
  await stands(page, "asking");
  await page.getByRole("button", { name: "Tell me when it is done" }).click();
  await page.getByRole("alertdialog").getByRole("button", { name: "Do not allow" }).click();
  await stands(page, "done");
  assert.deepEqual(await page.evaluate(() => window.told), []);
  await page.evaluate(() => (window.away = true));
  await page.locator("[data-field]").fill("write it after all");
  await page.keyboard.press("Enter");
  await stands(page, "asking");
  assert.deepEqual(await page.evaluate(() => window.told), ["It asks you something: write for somebody else"]);
  await page.getByRole("alertdialog").getByRole("button", { name: "Do not allow" }).click();
  await stands(page, "done");
  clean(page);
});

test("side by side, a number answers the one that has the focus, and one question after the other", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await asker(page, "write both", { first: true, another: true });
  await page.getByRole("heading", { name: "Side by side" }).waitFor();
  const [left, right] = [0, 1].map((at) => page.locator(".column").nth(at));
  const asks = (column, name) => column.getByRole("alertdialog").getByText(`edit ${name}.html`).waitFor();
  await asks(left, "one");
  await asks(right, "one");
  await accessible(page);
  await shot(page, "compare-asks");
  // It is for neither as long as neither has the focus.
  await page.evaluate(() => document.activeElement?.blur());
  await page.keyboard.press("1");
  assert.equal(await page.getByText("Sending your answer…").count(), 0);
  await left.getByRole("button", { name: /^Allow/ }).focus();
  await page.keyboard.press("2");
  await asks(left, "two");
  await asks(right, "one");
  await right.getByRole("button", { name: /^Do not allow/ }).focus();
  await page.keyboard.press("1");
  await asks(right, "two");
  await asks(left, "two");
  // The next one can be answered too.
  await left.getByRole("button", { name: /^Allow/ }).click();
  await right.getByRole("button", { name: /^Do not allow/ }).click();
  await left.getByText("one.html: left, two.html: written").waitFor();
  await right.getByText("one.html: written, two.html: left").waitFor();
  await page.locator(".column .chip.done").nth(1).waitFor();
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
  await page.getByText("You said meanwhile").waitFor();
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
