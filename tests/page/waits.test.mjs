// Who waits for a turn says so everywhere, and behind how many; and what is known of a job that was taken back.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { accessible, Browser, chooseMore, clean, enter, Fort, option, shot, stands, starter, stored, until } from "./harness.mjs";

let browser;
let fort;
before(async () => {
  browser = await Browser.start();
  fort = await Fort.start({ agents: ["asker"], config: "[jobs]\nmax_running = 1\n" });
});
after(async () => {
  await browser.stop();
  await fort.stop();
});

const recent = (page, text) => page.locator("nav .recent li", { hasText: text });

test("one that waits for its turn says so, and behind how many, until it is its turn", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  const running = fort.command("run", "hold the first");
  await until(async () => (await stored(page)).some((event) => event.kind === 4781), "the first one begins");
  const second = fort.command("run", "the second question");
  await recent(page, "the second question").waitFor();
  // What is asked in the same second has no order.
  await new Promise((resolve) => setTimeout(resolve, 1100));
  const third = fort.command("run", "the third question");

  await recent(page, "the third question").locator("a").click();
  await stands(page, "waiting");
  assert.equal(await page.locator(".head .chip").innerText(), "Waiting");
  await page.getByText("Waits for its turn: one works at a time, and 1 waits before it.").waitFor();
  await recent(page, "the third question").locator(".dot.waiting").waitFor();
  await recent(page, "hold the first").locator(".dot.working").waitFor();
  await accessible(page);
  await shot(page, "waits");
  for (const [name, options] of [
    ["phone", { phone: true }],
    ["dark", { dark: true }],
  ]) {
    const other = await browser.tab(options);
    await enter(other, fort);
    await other.goto(page.url());
    await stands(other, "waiting");
    await other.getByText("and 1 waits before it.").waitFor();
    assert.ok(await other.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing sticks out");
    await accessible(other);
    await shot(other, `waits-${name}`);
    clean(other);
    await other.context().close();
  }
  await recent(page, "the second question").locator("a").click();
  await page.getByText("Waits for its turn: one works at a time, and it is next.").waitFor();
  await page.goto(`${fort.url}/#/sessions`);
  await page.locator("main .chip.waiting").nth(1).waitFor();
  assert.equal(await page.locator("main .chip.waiting").count(), 2);
  assert.equal(await page.locator("main .chip.working").count(), 1);
  await shot(page, "waits-sessions");

  await until(() => fort.model.held.length === 1, "the first one is at work");
  fort.model.held.shift()();
  await Promise.all([running, second, third]);
  await recent(page, "the third question").locator("a").click();
  await stands(page, "done");
  clean(page);
});

test("what a job might reach is still said when it was stopped, also after a reload", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await chooseMore(page, fort, "asker");
  await option(page, "Packages").click();
  await page.locator("[data-field]").fill("work on this for long");
  await starter(page).click();
  const reaches = page.locator(".head .about").getByText("Network: packages");
  await reaches.waitFor();
  await page.locator(".story", { hasText: "step 1" }).waitFor();
  await page.getByRole("button", { name: "Stop", exact: true }).click();
  await stands(page, "stopped");
  await reaches.waitFor();
  await page.reload();
  await stands(page, "stopped");
  await reaches.waitFor();
  assert.match(await page.locator(".head .about").first().innerText(), /Asker/, "who did it");
  assert.match(await reaches.getAttribute("title"), /registry\.npmjs\.org/);
  await shot(page, "stopped-network");
  clean(page);
});

test("what is offered first can begin now", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  const agents = await until(async () => {
    const said = (await stored(page)).find((event) => event.kind === 30078 && event.tags.some((tag) => tag[1] === "treefort/status"));
    const all = JSON.parse(said.content).agents;
    return all.some((agent) => agent.ready) && all;
  }, "the agents that are ready are said");
  const ready = agents.filter((agent) => agent.ready);
  assert.ok(ready.some((agent) => agent.name === "asker"));
  assert.ok(ready.every((agent) => agent.missing === undefined));
  assert.ok(agents.some((agent) => !agent.ready), "here all are ready, so nothing is shown");
  const options = page.getByLabel("Who does it").locator("option");
  await until(async () => (await options.count()) >= ready.length, "all that are ready are offered");
  const offered = await options.evaluateAll((options) => options.map((option) => option.value));
  const first = offered.slice(0, ready.length).sort();
  assert.deepEqual(first, ready.map((agent) => agent.name).sort());
  await page.getByRole("button", { name: /^Something new/ }).click();
  const chosen = await page.getByLabel("Who does it").inputValue();
  assert.ok(ready.some((agent) => agent.name === chosen), chosen);
  await shot(page, "something-new");
  clean(page);
});
