// What results were checked with, seen wherever they stand; and many at once, several times.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { accessible, Browser, chooseMore, clean, enter, Fort, more, notices, option, paramsOf, shot, stands, starter, stored, until } from "./harness.mjs";

let browser;
let fort;
before(async () => {
  browser = await Browser.start();
  fort = await Fort.start({ agents: ["asker"], config: "[jobs]\nmax_running = 2\n" });
});
after(async () => {
  await browser.stop();
  await fort.stop();
});

test("done, and its check failed: that is seen wherever it stands, and it can be told to mend it", async () => {
  const folder = await fort.project("garden", { "beds.txt": "beans\n" });
  const page = await browser.tab();
  await enter(page, fort);
  await chooseMore(page, fort, "asker");
  await page.getByRole("button", { name: "a new, empty folder" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "garden", exact: true }).click();
  await page.getByRole("button", { name: "Use “garden”" }).click();
  await more(page).getByRole("textbox", { name: "Checks" }).fill("test -f page.html\necho no roses in the beds; grep roses beds.txt");
  await page.locator("[data-field]").fill("write a page, please");
  await starter(page).click();
  await page.locator(".head .chip.unmet").getByText("Done, 1 of 2 checks failed").waitFor();
  const ending = page.locator(".ending");
  await ending.getByText("Done, but 1 of 2 checks failed.").waitFor();
  assert.equal(await ending.getByRole("listitem").innerText(), "echo no roses in the beds; grep roses beds.txt exit code 1");
  await accessible(page);
  await shot(page, "check-failed");
  assert.deepEqual(await paramsOf(page, "write a page, please", "check"), [["test -f page.html"], ["echo no roses in the beds; grep roses beds.txt"]]);
  assert.deepEqual(await paramsOf(page, "write a page, please", "workspace"), [[folder]]);
  // On the list, and beside it.
  await page.locator("nav .recent .dot.unmet").first().waitFor();
  await page.locator("nav .recent").getByText("Done, 1 of 2 checks failed:").first().waitFor({ state: "attached" });
  await page.getByRole("link", { name: "All sessions" }).click();
  await page.locator(".session-row", { hasText: "write a page, please" }).locator(".chip.unmet").waitFor();
  await accessible(page);
  await shot(page, "check-failed-list");
  await page.goBack();

  // It is told what failed and what was said, and the same checks run again.
  await ending.getByRole("button", { name: "Ask it to mend this" }).click();
  const text = await page.locator("[data-field]").inputValue();
  assert.match(text, /grep roses beds\.txt: exit code 1/);
  assert.match(text, /no roses in the beds/);
  assert.equal(await page.getByRole("switch", { name: "Check again" }).getAttribute("aria-checked"), "true");
  await accessible(page);
  await shot(page, "check-mend");
  await page.locator("[data-field]").fill("write roses into the beds");
  await page.keyboard.press("Enter");
  await page.getByText("2 checks passed").waitFor();
  await stands(page, "done");
  assert.equal(await page.locator(".head .chip.unmet").count(), 0);
  await accessible(page);
  await shot(page, "check-passed");

  // For this folder the same can be had with a click; it is not there by itself.
  await chooseMore(page, fort, "asker");
  await page.getByRole("button", { name: "garden", exact: true }).waitFor();
  assert.equal(await more(page).getByRole("textbox", { name: "Checks" }).inputValue(), "");
  await more(page).getByRole("button", { name: /^As last time: test -f page\.html/ }).click();
  assert.match(await more(page).getByRole("textbox", { name: "Checks" }).inputValue(), /^test -f page\.html\necho no roses/);
  clean(page);
});

for (const [name, options] of [
  ["phone", { phone: true }],
  ["phone-dark", { phone: true, dark: true }],
]) {
  test(`a failed check on ${name}`, async () => {
    const page = await browser.tab(options);
    await enter(page, fort);
    await chooseMore(page, fort, "asker");
    await option(page, "Packages").click();
    await more(page).getByRole("textbox", { name: "Checks" }).fill("false\nexit 4\nexit 5\nexit 6\ntrue");
    await page.getByRole("button", { name: "Compare", exact: true }).click();
    await page.locator("[data-field]").fill("write a page about a cat, with a title that is too long for one line");
    await starter(page).click();
    await page.getByRole("region", { name: "How they did" }).waitFor();
    const look = async (view) => {
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing sticks out");
      await accessible(page);
      await shot(page, `check-failed-${view}-${name}`);
    };
    await page.locator(".column .ran .bad").nth(7).waitFor();
    await look("compare");
    await page.locator(".column").first().getByRole("link", { name: "Open" }).click();
    await page.locator(".ending").getByText("and 1 other").waitFor();
    await look("session");
    // What can be touched there lies beside what is read.
    const [chip, search] = await Promise.all([page.locator(".head .chip").boundingBox(), page.getByRole("button", { name: "Search this session" }).boundingBox()]);
    assert.ok(chip.y + chip.height <= search.y || chip.x + chip.width <= search.x, "they do not overlap");
    await page.goto(`${fort.url}/#/sessions`);
    await page.locator(".session-row .chip.unmet").first().waitFor();
    const title = await page.locator(".session-row", { hasText: "about a cat" }).locator(".title").first().boundingBox();
    assert.ok(title.width > 200, `the title has ${title.width} pixels`);
    await look("list");
    clean(page);
  });
}

test("a command that failed is not well either", async () => {
  const context = await browser.context();
  await notices(context);
  const page = await browser.tabIn(context);
  await enter(page, fort);
  await page.getByLabel("Who does it").selectOption("shell");
  await page.locator("[data-field]").fill("echo so far; exit 3");
  await starter(page).click();
  await page.locator(".head .chip.unmet").getByText("Done, exit code 3").waitFor();
  await page.locator("nav .recent .dot.unmet").first().waitFor();
  await accessible(page);
  await shot(page, "command-failed");
  await page.getByRole("button", { name: "Tell me when it is done" }).click();
  await page.evaluate(() => (window.away = true));
  await page.locator("[data-field]").fill("exit 4");
  await page.keyboard.press("Control+Enter");
  await page.locator(".head .chip.unmet").getByText("Done, exit code 4").waitFor();
  assert.deepEqual(await page.evaluate(() => window.told), ["Done, but not well: echo so far; exit 3"]);
  clean(page);
});

test("several, several times: a wall of them, some wait for their turn, and what it comes to", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await chooseMore(page, fort, "asker");
  await page.getByRole("button", { name: "Compare", exact: true }).click();
  await page.getByLabel("Who does it").nth(1).selectOption("asker");
  await more(page).getByLabel("How often").selectOption("4");
  await more(page).getByRole("textbox", { name: "Checks" }).fill("test -f page.html");
  await page.getByText("8 in all: 2 work at the same time, the others wait for their turn.").waitFor();
  await page.locator("[data-field]").fill("write a page, slowly");
  await accessible(page);
  await shot(page, "repeat-start");
  await starter(page).click();
  const columns = page.locator(".column");
  await columns.nth(7).waitFor();
  const live = page.getByRole("region", { name: "How they are doing" });
  await live.waitFor();
  // Beside them they are one.
  await page.locator("nav .recent li", { hasText: "write a page, slowly" }).getByText("8", { exact: false }).waitFor();
  assert.equal(await page.locator("nav .recent li", { hasText: "write a page, slowly" }).count(), 1);
  await columns.nth(7).getByText(/^Waits for its turn: 2 work at the same time, and [1-5] waits? before it\.$/).waitFor();
  await live.locator(".chip.waiting").first().waitFor();
  await accessible(page);
  await shot(page, "repeat-live");
  const standings = page.getByRole("region", { name: "How they did" });
  await standings.waitFor();
  await standings.getByText(/^1 \(\+\d+ −0\)$/).nth(7).waitFor();
  assert.equal(await standings.locator("ol > li").count(), 8);
  assert.equal(await standings.locator("ol").getByText("1 of 1").count(), 8);
  const sums = standings.locator(".sums li");
  assert.match(await sums.first().innerText(), /^Asker · .*4 of 4 done · time .* · checks passed 4 of 4 · all came to the same result$/);
  await accessible(page);
  await shot(page, "repeat-standings");
  // The command line names them alike.
  const id = /=([0-9a-f]{64})/.exec(page.url())[1];
  const notes = (await stored(page)).filter((event) => event.kind === 1);
  assert.match(notes.find((note) => note.id === id).content, /1\. asker · scripted:1b #1\n/);
  const closing = await until(async () => (await stored(page)).find((event) => event.kind === 1 && event.content.startsWith("🏁 8 of 8 done")), "the closing note");
  assert.match(closing.content, /checks passed: 1 of 1/);
  await fort.command("compare", id.slice(0, 12));
  clean(page);

  for (const [name, options] of [
    ["phone", { phone: true }],
    ["phone-dark", { phone: true, dark: true }],
    ["wide-dark", { width: 2200, height: 1200, dark: true }],
  ]) {
    const other = await browser.tab(options);
    await enter(other, fort);
    await other.evaluate((id) => (location.hash = `#/compare/=${id}`), id);
    await other.getByRole("region", { name: "How they did" }).waitFor();
    await other.locator(".column").nth(7).waitFor();
    const places = await other.locator(".column").evaluateAll((all) => all.map((one) => one.getBoundingClientRect()).map(({ left, top }) => ({ left, top })));
    const besides = new Set(places.map(({ left }) => left)).size;
    if (options.phone) assert.equal(besides, 1);
    else assert.ok(besides >= 4, `${besides} beside each other`);
    assert.ok(await other.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing sticks out");
    await accessible(other);
    await shot(other, `repeat-${name}`);
    clean(other);
  }
});
