// The same question to several: watched side by side, how they did, one taken home; and what other clients see of it.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { accessible, Browser, clean, enter, Fort, shot, stored, until } from "./harness.mjs";

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

/** Two commands on a folder; each leaves something else. */
const COMMAND = "sleep 8; n=$(cat /proc/sys/kernel/random/uuid); printf '# Dice\\n\\n%s\\n' $n > README.md; echo $n > thrown.txt; echo threw $n";

async function chooseFolder(page, name) {
  await page.getByRole("button", { name: "a new, empty folder" }).click();
  await page.getByRole("dialog").getByRole("button", { name, exact: true }).click();
  await page.getByRole("button", { name: `Use “${name}”` }).click();
}

/** Asks two shells and one to talk to the same. */
async function askThree(page, text) {
  await page.getByLabel("Who does it").selectOption("shell");
  await page.getByRole("button", { name: "Compare", exact: true }).click();
  await page.getByRole("button", { name: "Compare", exact: true }).click();
  await page.getByLabel("Who does it").nth(2).selectOption("chat");
  await chooseFolder(page, "dice");
  await page.locator("[data-field]").fill(text);
  await shot(page, "compare-start");
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.getByRole("heading", { name: "Side by side" }).waitFor();
}

test("three at once: watched, compared, and one taken home", async () => {
  const folder = await fort.project("dice", { "README.md": "# Dice\n" });
  const page = await browser.tab();
  await enter(page, fort);
  await askThree(page, COMMAND);
  assert.match(page.url(), /#\/compare\/=[0-9a-f]{64}$/);
  const columns = page.locator(".column");
  await columns.nth(2).waitFor();
  await columns.locator(".chip.working").first().waitFor();
  await shot(page, "compare-live");
  await accessible(page);

  // How they did, once all are over.
  const standings = page.getByRole("region", { name: "How they did" });
  await standings.waitFor();
  const rows = standings.locator("ol > li");
  assert.equal(await rows.count(), 3);
  await rows.nth(1).getByText("2 (+3 −0)").waitFor();
  assert.equal(await rows.locator(".chip.done").count(), 3);
  await accessible(page);
  await shot(page, "compare-standings");

  // The one that is chosen comes home, after a look.
  const said = await columns.nth(1).locator(".answer").innerText();
  const thrown = /threw (\S+)/.exec(said)[1];
  await rows.nth(1).getByRole("button", { name: "Apply…" }).click();
  const apply = page.getByRole("dialog", { name: "Apply to your folder" });
  await apply.getByText("thrown.txt").waitFor();
  await apply.getByRole("button", { name: "Apply", exact: true }).click();
  await until(() => existsSync(join(folder, "thrown.txt")), "the file is there");
  assert.equal(await readFile(join(folder, "thrown.txt"), "utf8"), `${thrown}\n`);
  await apply.getByRole("button", { name: "Close" }).last().click();

  // From one of them back to all.
  await columns.nth(0).getByRole("link", { name: "Open" }).click();
  await page.getByRole("link", { name: "One of 3 side by side" }).click();
  await standings.waitFor();

  // Any client sees it: a note that opens it, one as each begins, one with what came of it.
  const notes = await until(async () => {
    const notes = (await stored(page)).filter((event) => event.kind === 1 && event.tags.some(([name, value]) => name === "t" && value === "agents"));
    const root = notes.find((note) => note.content.startsWith("🏁 The same question to 3"));
    const replies = (await stored(page)).filter((event) => event.kind === 1 && event.tags.some(([name, id]) => name === "e" && id === root?.id));
    return replies.length === 4 && { root, replies };
  }, "the notes");
  const closing = notes.replies.find((note) => note.content.startsWith("🏁 3 of 3 done"));
  assert.match(closing.content, /✅ 1\. shell/);
  assert.equal(notes.replies.filter((note) => note.tags.some(([name]) => name === "q")).length, 3);
  const jobs = (await stored(page)).filter((event) => event.tags.some(([name, id]) => name === "comparison" && id === notes.root.id));
  assert.deepEqual(jobs.map(({ kind }) => kind).sort(), [5050, 5870, 5870, 5870, 5870, 5870]);
  // The command line knows it, too.
  assert.match(await fort.command("compare"), /3 of 3 done/);
  clean(page);
});

test("on a phone they stand one below the other, and in the dark", async () => {
  const page = await browser.tab({ phone: true, dark: true });
  await enter(page, fort);
  const [id] = (await fort.command("compare", "--json")).trim().split("\n").map((text) => JSON.parse(text).comparison);
  await page.evaluate((id) => (location.hash = `#/compare/=${id}`), id);
  await page.getByRole("region", { name: "How they did" }).waitFor();
  await page.locator(".column").nth(2).waitFor();
  const [first, second] = await page.locator(".column").evaluateAll((all) => all.map((one) => one.getBoundingClientRect()).map(({ left, top, width }) => ({ left, top, width })));
  assert.ok(second.top > first.top && second.left === first.left);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing is wider than the phone");
  await accessible(page);
  await shot(page, "compare-phone");
  clean(page);
});

test("what was asked on the command line is here too, with what its checks said", async () => {
  const folder = await fort.project("cart", { "cart.js": "let total = 0;\n" });
  const run = fort.command("run", "--workspace", folder, "--agents", "asker,asker", "--check", "test -f page.html", "--check", "false", "write a page, please");
  await assert.rejects(run, /none of these passed its checks/);
  const [summary] = (await fort.command("compare", "--json")).trim().split("\n").map((text) => JSON.parse(text));
  const page = await browser.tab();
  await enter(page, fort);
  await page.evaluate((id) => (location.hash = `#/compare/=${id}`), summary.comparison);
  const standings = page.getByRole("region", { name: "How they did" });
  const checks = standings.getByRole("listitem").nth(0).locator("dl div", { hasText: "Checks" });
  await checks.getByText("1 of 2").waitFor();
  assert.equal(await checks.getAttribute("title"), "false: exit code 1");
  await standings.getByText(/1 \(\+\d+ −0\)/).first().waitFor();
  await accessible(page);
  await shot(page, "compare-checks");
  clean(page);
});

test("of what is private nothing is said, and it is side by side all the same", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  const before = (await stored(page)).filter((event) => event.kind === 1).length;
  await page.getByLabel("Who does it").selectOption("chat");
  await page.getByRole("button", { name: "Compare", exact: true }).click();
  await page.getByRole("switch", { name: "Private" }).click();
  await page.locator("[data-field]").fill("What rhymes with treehouse?");
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.locator(".column .chip.done").nth(1).waitFor();
  await page.getByRole("region", { name: "How they did" }).waitFor();
  const events = await stored(page);
  assert.equal(events.filter((event) => event.kind === 1).length, before);
  assert.ok(!JSON.stringify(events).includes("rhymes with treehouse"));
  const id = /=([0-9a-f]{64})/.exec(page.url())[1];
  assert.ok(!JSON.stringify(events).includes(id), "what ties private jobs together is private");
  assert.match(await fort.command("compare", id.slice(0, 12)), /rhymes with treehouse/);
  clean(page);
});
