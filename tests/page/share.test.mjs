// A session in one HTML file: opened from the disk with the network off, it shows the session, checks its signatures
// itself, and is believed in nothing that was changed.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test, { after, before } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

import { finalizeEvent, generateSecretKey } from "../../src/web/page/node_modules/nostr-tools/lib/esm/pure.js";

import { accessible, ask, Browser, clean, enter, Fort, shot, stands } from "./harness.mjs";
import { exported, Recorder } from "./story/stage.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "treefort-share-"));
let browser;
before(async () => {
  browser = await Browser.start();
});
after(async () => {
  await browser?.stop();
  rmSync(folder, { recursive: true, force: true });
});

let files = 0;
/** A shared file with these events in it, as `web::share` writes it. */
function file(events) {
  const viewer = readFileSync(join(here, "../../src/web/assets/share.html"), "utf8");
  const lines = events.map((event) => JSON.stringify(event)).join("\n").replaceAll("<", "\\u003c").replace(/[\u2028\u2029]/g, (c) => (c === "\u2028" ? "\\u2028" : "\\u2029"));
  const path = join(folder, `${(files += 1)}.html`);
  writeFileSync(path, viewer.replace("{{TITLE}}", () => "A session").replace("{{RECORD}}", () => lines));
  return path;
}

/** Opens a file from the disk, with the network off. */
async function open(path, options = {}) {
  const context = await browser.context({ offline: true, height: 1000, width: 1200, ...options });
  const page = await browser.tabIn(context);
  page.on("request", (request) => {
    if (request.url().split("#")[0] !== pathToFileURL(path).href) page.problems.push(`asked ${request.url()}`);
  });
  page.on("dialog", () => page.problems.push("a dialog"));
  await page.goto(pathToFileURL(path).href + (options.hash ?? ""));
  return page;
}

const verdict = (page) => page.locator(".h-verdict");

test("a session that the program exported is whole, beautiful and alone", async () => {
  const fort = await Fort.start();
  try {
    const project = await fort.project("shop", { "list.txt": "apples\nplums\n" });
    await fort.command("run", "--workspace", project, "--agent", "shell", "echo pears >> list.txt; printf '<b>&amp;</b>\\n' > page.html; ls");
    const path = join(folder, "real.html");
    await fort.command("export", "--html", path, "--bundle", join(folder, "real.jsonl"));
    for (const name of ["real.html", "real.jsonl"]) assert.match(await fort.command("verify", join(folder, name)), /✓ \d+ records in an unbroken chain/);
    const page = await open(path);
    await page.locator(".h-badge.good").waitFor();
    assert.match(await verdict(page).innerText(), /^(\d+) of \1 steps verified; nothing left out$/);
    assert.match(await page.title(), /^echo pears .* · treefort$/);
    assert.match(await page.locator("h1").innerText(), /^echo pears/);
    await page.getByText("<b>&amp;</b>", { exact: false }).first().waitFor();
    assert.equal(await page.getByRole("button", { name: /Undo/ }).count(), 0);
    clean(page);
  } finally {
    await fort.stop();
  }
});

test("it looks like something to show, in light and dark, on a wide screen and a phone", async () => {
  const path = file(exported("builder"));
  for (const [name, options] of Object.entries({ light: {}, dark: { dark: true }, phone: { phone: true } })) {
    const page = await open(path, options);
    await page.locator(".h-badge.good").waitFor();
    assert.equal(await verdict(page).innerText(), "28 of 28 steps verified; nothing left out");
    await page.locator(".h-badge summary").click();
    await accessible(page);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${wide} pixels too wide`);
    await shot(page, `share-${name}`);
    clean(page);
    await page.context().close();
  }
});

test("what was changed, left out or put in is said to be, and marked where it stands", async () => {
  const all = exported("builder");
  const at = (kind, n = 0) => all.findIndex((event, i) => event.kind === kind && all.slice(0, i).filter((before) => before.kind === kind).length === n);
  const message = all.findIndex((event) => event.content.startsWith("The to-do list"));
  const cases = [
    [all.map((event, n) => (n === message ? { ...event, content: "All is well." } : event)), /Step \d+ is not what was signed/],
    [all.filter((_, n) => n !== at(4783, 2)), /Step \d+ is missing/],
    [all.filter((event) => event.kind !== 4781), /The beginning is missing/],
    [[...all, { ...all[at(4782)], id: "0".repeat(64) }], /is there twice/],
    [all.map((event) => (event.kind === 4785 ? { ...event, tags: event.tags.map((tag) => (tag[0] === "actions" ? ["actions", "3"] : tag)) } : event)), /The end counts other steps/],
  ];
  for (const [events, says] of cases) {
    const page = await open(file(events));
    await page.locator(".h-badge.bad").waitFor();
    await page.locator(".h-problems").getByText(says).first().waitFor();
    clean(page);
    await page.context().close();
  }
  const page = await open(file(cases[0][0]), { hash: `#${all[message].id.slice(0, 16)}` });
  await page.locator(".h-badge.bad").waitFor();
  await page.locator(".s-row.suspect.said").getByText("This is not what was signed").waitFor();
  await shot(page, "share-changed");
});

test("what others put in beside a record is not shown as what was asked or answered", async () => {
  const all = exported("builder");
  const key = generateSecretKey();
  const start = all.find((event) => event.kind === 4781);
  const root = start.tags.find((tag) => tag[0] === "E")[1];
  const asked = finalizeEvent({ kind: 5870, created_at: 1, tags: [["i", "please rob the bank", "text"], ["p", start.pubkey], ["E", root]], content: "" }, key);
  const answer = finalizeEvent({ kind: 6870, created_at: 1, tags: [["e", root], ["E", root], ["encrypted"]], content: "x" }, key);
  const words = { of: answer.id, plain: "the bank was robbed" };
  const page = await open(file([...all.filter((event) => event.kind !== 5870), asked, answer, words]));
  await page.locator(".h-badge.good").waitFor();
  assert.doesNotMatch(await page.locator("body").innerText(), /bank/);
  clean(page);
});

test("a session that goes on is said to be open, and an empty file to be empty", async () => {
  const open_ = await open(file(exported("builder").filter((event) => event.kind !== 4785)));
  await open_.locator(".h-badge.open").waitFor();
  assert.equal(await verdict(open_).innerText(), "27 of 27 steps verified; the session had not ended, or its end was left out");
  const none = await open(file([]));
  await none.getByText("There is no session in this file.").waitFor();
  clean(open_);
  clean(none);
});

test("a link into the file leads to its step; the map and the bars do too", async () => {
  const all = exported("builder");
  const wanted = all.find((event) => event.content.includes("export function toggle"));
  const page = await open(file(all), { hash: `#${wanted.id.slice(0, 16)}` });
  await page.locator(".s-row.file.current").waitFor();
  await page.evaluate(() => scrollTo(0, 0));
  await page.locator(".h-bar.problems").first().click();
  await page.locator(".s-row.differs.current").waitFor();
  clean(page);
});

test("a private session shows nothing, unless its owner asks for its words", async () => {
  const fort = await Fort.start({ config: "[sessions]\nidle_s = 0\n" });
  try {
    const tab = await browser.tab();
    await enter(tab, fort);
    await tab.getByRole("switch", { name: "Private" }).click();
    await ask(tab, "my secret question");
    await stands(tab, "done");
    const [quiet, told] = [join(folder, "quiet.html"), join(folder, "told.html")];
    await fort.command("export", "--html", quiet);
    await fort.command("export", "--words", "--html", told);
    const written = readFileSync(quiet, "utf8");
    assert.doesNotMatch(written, /secret question/);
    const record = /id="record">(.*?)<\/script>/s.exec(written)[1];
    assert.match(record, /"kind":4781/);
    assert.doesNotMatch(record, /encrypted/);
    assert.match(await fort.command("verify", told), /2 texts of a private job in the clear: its owner added it/);
    const page = await open(quiet);
    await page.locator(".h-badge.good").waitFor();
    assert.equal(await page.locator("h1").innerText(), "A private session");
    await page.getByText("but not what.").waitFor();
    const more = await open(told);
    await more.locator(".h-badge.good").waitFor();
    assert.equal(await more.locator("h1").innerText(), "my secret question");
    await more.getByText("Its owner added what was asked and answered").waitFor();
    assert.ok((await more.locator(".s-row.result").innerText()).length > 10);
    for (const tab of [page, more]) clean(tab);
  } finally {
    await fort.stop();
  }
});

test("hostile content ends no element and runs nothing", async () => {
  const evil = `</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028\u2029{{RECORD}}<!--`;
  const recorder = new Recorder();
  const start = recorder.record(4781, [["role", evil], ["model", evil], ["env", evil], ["E", "e".repeat(64), "", recorder.pubkey]], evil);
  const ask = { ...start, id: "e".repeat(64), kind: 5870, tags: [["i", evil, "text"]] };
  const events = [
    ask,
    start,
    recorder.action("message", [], evil),
    recorder.action("file", [["path", evil], ["op", "modify"], ["lines", "+1", "-1"]], evil),
    recorder.record(4784, [["code", evil], ["recoverable", "true"]], evil),
    recorder.record(4785, [["l", evil, "agent.outcome"]], evil),
  ];
  const page = await open(file(events));
  await page.locator(".h-badge.bad").waitFor();
  assert.ok((await page.locator("h1").innerText()).startsWith("</script><script>alert(1)"));
  assert.equal(await page.locator("#share img, #share script").count(), 0);
  clean(page);
});
