// What few need, behind "More": what an agent may reach, what its result is checked with, how often it is asked.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { accessible, Browser, clean, enter, Fort, freePort, notices, shot, stands, stored, until } from "./harness.mjs";

let browser;
let fort;
/** A server of the owner's in a private network, which the settings let jobs be given. */
let server;
let place;
const asked = [];
before(async () => {
  browser = await Browser.start();
  const port = await freePort();
  // By a name: an address is nothing that its owner is asked about.
  place = `localhost:${port}`;
  server = createServer((request, response) => {
    asked.push(request.url);
    response.end("hello from the network\n");
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  fort = await Fort.start({ agents: ["asker"], config: `[jobs]\nmax_running = 2\n[network]\nprivate = ["${place}"]\n` });
});
after(async () => {
  await browser.stop();
  await fort.stop();
  server.close();
});

/** Asks the server by the proxy, and says what came back. */
const reach = (path) => `bash -c 'exec 3<>/dev/tcp/127.0.0.1/3128 && printf "GET http://${place}/${path} HTTP/1.1\\r\\nHost: ${place}\\r\\nConnection: close\\r\\n\\r\\n" >&3 && timeout 20 cat <&3'`;

const more = (page) => page.getByRole("region", { name: "More choices" });
const option = (page, name) => more(page).getByRole("button", { name, exact: true });
const start = (page) => page.getByRole("button", { name: "Start", exact: true });

/** Chooses who does it and opens what more can be chosen. */
async function choose(page, agent) {
  await page.goto(`${fort.url}/#/`);
  await page.getByLabel("Who does it").selectOption(agent);
  await page.getByRole("button", { name: "More", exact: true }).click();
  await more(page).waitFor();
}

/** The parameters of the job that was asked with these words. */
async function params(page, text, name) {
  const job = await until(async () => (await stored(page)).findLast((event) => event.kind === 5870 && event.tags.some((tag) => tag[0] === "i" && tag[1] === text)), "the job");
  return job.tags.filter((tag) => tag[0] === "param" && tag[1] === name).map((tag) => tag.slice(2));
}

test("more is there for who works on files, says what it means, and what cannot be is not sent", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await page.getByText("Answers in words, and reads the files that you add").waitFor();
  assert.equal(await page.getByRole("button", { name: "More", exact: true }).count(), 0, "a conversation reaches nothing");
  await choose(page, "asker");
  assert.equal(await option(page, "Nothing").getAttribute("aria-pressed"), "true");
  await more(page).getByText("No network at all, not even to your own computer.").waitFor();
  await accessible(page);
  await shot(page, "more");
  await option(page, "Packages").click();
  const said = more(page).locator(".hint.risk");
  assert.equal(
    await said.innerText(),
    "It may reach registry.npmjs.org, pypi.org, files.pythonhosted.org, crates.io, index.crates.io, static.crates.io, deb.debian.org, security.debian.org, and nothing else. What it may reach, it may also send your files to.",
  );
  await option(page, "Ask me each time").click();
  assert.match(await said.innerText(), /; you are asked about every other host\. What it may reach/);
  assert.equal(await option(page, "Nothing").getAttribute("aria-pressed"), "false");

  // A host is typed at once, and an address of a page is no host.
  await page.locator("[data-field]").fill("look around");
  await option(page, "These hosts…").click();
  await page.getByRole("alert").getByText("Name a host that it may reach").waitFor();
  assert.equal(await start(page).isDisabled(), true);
  await page.keyboard.type("https://example.com/docs");
  await page.getByRole("alert").getByText("“https://example.com/docs” is more than a host").waitFor();
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#start-title").count(), 1, "it is not sent");
  await more(page).getByLabel("Names of hosts").fill("example.com");
  await page.getByRole("alert").waitFor({ state: "detached" });
  await more(page).getByRole("textbox", { name: "Checks" }).fill(Array(9).fill("true").join("\n"));
  await page.getByRole("alert").getByText("8 checks are the most.").waitFor();
  await more(page).getByRole("textbox", { name: "Checks" }).fill("npm test\n\n  npm run lint  ");
  await accessible(page);
  await shot(page, "more-chosen");

  // Out of sight it is still said.
  await page.getByRole("button", { name: "More", exact: true }).click();
  await page.getByText("Network: packages, example.com, asks you for others. What it may reach, it may also send your files to.").waitFor();
  await page.getByText("Checked with: npm test, npm run lint.").waitFor();
  await accessible(page);
  await shot(page, "more-closed");
  // A command says itself how it ended; who only talks has none of this.
  await page.getByLabel("Who does it").selectOption("shell");
  await page.getByText("Network: packages, example.com, asks you for others.").waitFor();
  assert.equal(await page.getByText("Checked with:").count(), 0);
  await page.getByLabel("Who does it").selectOption("chat");
  assert.equal(await page.getByText("Network: packages").count(), 0);
  clean(page);
});

for (const [name, options] of [
  ["phone", { phone: true }],
  ["phone-dark", { phone: true, dark: true }],
  ["dark", { dark: true }],
]) {
  test(`more on ${name}`, async () => {
    const page = await browser.tab(options);
    await enter(page, fort);
    await choose(page, "asker");
    await option(page, "Packages").click();
    await option(page, "These hosts…").click();
    await page.keyboard.type("example.com");
    await more(page).getByRole("textbox", { name: "Checks" }).fill("npm test");
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing sticks out");
    await accessible(page);
    await more(page).scrollIntoViewIfNeeded();
    await shot(page, `more-${name}`);
    clean(page);
  });
}

test("the keyboard opens it and chooses", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await page.getByLabel("Who does it").selectOption("shell");
  await page.getByRole("button", { name: "More", exact: true }).focus();
  await page.keyboard.press("Enter");
  await more(page).waitFor();
  assert.equal(await more(page).getByRole("textbox", { name: "Checks" }).count(), 0, "a command's own exit code counts");
  await option(page, "Nothing").focus();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Space");
  assert.equal(await option(page, "Packages").getAttribute("aria-pressed"), "true");
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("Enter");
  assert.equal(await option(page, "Packages").getAttribute("aria-pressed"), "false");
  clean(page);
});

test("a job reaches the hosts that it was given, once, and no later one does unless that is said", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await choose(page, "shell");
  await option(page, "These hosts…").click();
  await page.keyboard.type(place);
  const command = reach("first");
  await page.locator("[data-field]").fill(command);
  await start(page).click();
  await stands(page, "done");
  await page.locator(".story", { hasText: "hello from the network" }).waitFor();
  await page.getByText("Reached localhost").first().waitFor();
  // What it may reach stands with the session.
  const about = page.locator(".head .about").getByText(`Network: ${place}`);
  assert.match(await about.getAttribute("title"), /and nothing else\. What it may reach, it may also send your files to\./);
  assert.deepEqual(asked.splice(0), ["/first"]);
  assert.deepEqual(await params(page, command, "network"), [[place]]);
  assert.deepEqual(await params(page, command, "check"), []);
  await accessible(page);
  await shot(page, "network-done");

  // What comes next has none, unless its owner says so; and then once.
  const again = page.getByRole("switch", { name: "Network again" });
  assert.equal(await again.getAttribute("aria-checked"), "false");
  const second = reach("second");
  await page.locator("[data-field]").fill(second);
  await page.keyboard.press("Control+Enter");
  await page.locator(".story", { hasText: "/second" }).waitFor();
  await stands(page, "done");
  assert.deepEqual(await params(page, second, "network"), []);
  assert.deepEqual(asked.splice(0), []);
  await again.click();
  await page.getByText(`It may reach ${place}, and nothing else.`).waitFor();
  await accessible(page);
  await shot(page, "network-again");
  const third = reach("third");
  await page.locator("[data-field]").fill(third);
  await page.keyboard.press("Control+Enter");
  await until(() => asked.includes("/third"), "it was reached again");
  await stands(page, "done");
  assert.equal(await again.getAttribute("aria-checked"), "false");
  asked.splice(0);

  // Nor is it chosen for the next question, also after a reload.
  for (const reload of [false, true]) {
    if (reload) await page.reload();
    await choose(page, "shell");
    assert.equal(await option(page, "Nothing").getAttribute("aria-pressed"), "true");
    await page.getByRole("button", { name: "More", exact: true }).click();
  }
  clean(page);
});

test("asked each time, the owner says for each host", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await choose(page, "shell");
  await option(page, "Ask me each time").click();
  await more(page).getByText("You are asked about every host.").waitFor();
  await page.locator("[data-field]").fill(`${reach("asked")}; ${reach("asked-again")}`);
  await start(page).click();
  const asks = page.getByRole("alertdialog", { name: "It asks" });
  await asks.getByText(`It wants to reach ${place} on the network. What an agent may reach, it may also send your files to.`).waitFor();
  await accessible(page);
  await shot(page, "network-asks");
  await asks.getByRole("button", { name: /^Once/ }).click();
  await until(() => asked.includes("/asked"), "it was reached");
  await asks.getByText("It wants to reach").waitFor();
  await asks.getByRole("button", { name: /^No/ }).click();
  await stands(page, "done");
  assert.deepEqual(asked.splice(0), ["/asked"]);
  clean(page);
});

test("a private job's rules and checks are on no record, and hold", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await choose(page, "asker");
  await option(page, "These hosts…").click();
  await page.keyboard.type("walnut.example");
  await more(page).getByRole("textbox", { name: "Checks" }).fill("test -f jackdaw.html");
  await page.getByRole("switch", { name: "Private" }).click();
  await page.locator("[data-field]").fill("write a diary");
  await start(page).click();
  await page.locator(".head .chip.unmet").waitFor();
  await page.locator(".head .about").getByText("Network: walnut.example").waitFor();
  // Its owner reads which one failed.
  await page.locator(".ending code", { hasText: "test -f jackdaw.html" }).waitFor();
  const said = JSON.stringify(await stored(page));
  assert.ok(!/walnut|jackdaw/.test(said));
  clean(page);
});

test("done, and its check failed: that is seen wherever it stands, and it can be told to mend it", async () => {
  const folder = await fort.project("garden", { "beds.txt": "beans\n" });
  const page = await browser.tab();
  await enter(page, fort);
  await choose(page, "asker");
  await page.getByRole("button", { name: "a new, empty folder" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "garden", exact: true }).click();
  await page.getByRole("button", { name: "Use “garden”" }).click();
  await more(page).getByRole("textbox", { name: "Checks" }).fill("test -f page.html\necho no roses in the beds; grep roses beds.txt");
  await page.locator("[data-field]").fill("write a page, please");
  await start(page).click();
  await page.locator(".head .chip.unmet").getByText("Done, 1 of 2 checks failed").waitFor();
  const ending = page.locator(".ending");
  await ending.getByText("Done, but 1 of 2 checks failed.").waitFor();
  assert.equal(await ending.getByRole("listitem").innerText(), "echo no roses in the beds; grep roses beds.txt exit code 1");
  await accessible(page);
  await shot(page, "check-failed");
  assert.deepEqual(await params(page, "write a page, please", "check"), [["test -f page.html"], ["echo no roses in the beds; grep roses beds.txt"]]);
  assert.deepEqual(await params(page, "write a page, please", "workspace"), [[folder]]);
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
  await choose(page, "asker");
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
    await choose(page, "asker");
    await option(page, "Packages").click();
    await more(page).getByRole("textbox", { name: "Checks" }).fill("false\nexit 4\nexit 5\nexit 6\ntrue");
    await page.getByRole("button", { name: "Compare", exact: true }).click();
    await page.locator("[data-field]").fill("write a page about a cat, with a title that is too long for one line");
    await start(page).click();
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

test("what the coordinator refuses says why, and all that was chosen stands in the field again", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await choose(page, "asker");
  await option(page, "Packages").click();
  await option(page, "These hosts…").click();
  await page.keyboard.type("nodots");
  await more(page).getByRole("textbox", { name: "Checks" }).fill("npm test");
  await page.locator("[data-field]").fill("write a page, please");
  await start(page).click();
  await stands(page, "failed");
  await page.getByText("`nodots` is neither a list of hosts nor a host").or(page.locator(".ending", { hasText: "is neither a list of hosts nor a host" })).first().waitFor();
  await shot(page, "network-refused");
  await page.getByRole("button", { name: "Choose another agent or model…" }).click();
  await page.getByText("Network: packages, nodots.").waitFor();
  await page.getByText("Checked with: npm test.").waitFor();
  clean(page);
});

test("an agent that cannot run here is not started", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await page.locator("[data-field]").fill("Build a page");
  await page.getByLabel("Who does it").selectOption("opencode");
  const missing = page.getByText("OpenCode cannot run here yet.");
  // Where it is installed there is nothing to see.
  const state = await page.evaluate(() => document.querySelector(".note.warn") !== null);
  assert.equal(await missing.count(), state ? 1 : 0);
  assert.equal(await start(page).isDisabled(), state);
  clean(page);
});

test("a command that failed is not well either", async () => {
  const context = await browser.context();
  await notices(context);
  const page = await browser.tabIn(context);
  await enter(page, fort);
  await page.getByLabel("Who does it").selectOption("shell");
  await page.locator("[data-field]").fill("echo so far; exit 3");
  await start(page).click();
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

test("as many as fit one comparison can be chosen, and no more", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await choose(page, "asker");
  const compare = page.getByRole("button", { name: "Compare", exact: true });
  for (let n = 1; n < 7; n += 1) await compare.click();
  const rows = page.locator(".choices .choice");
  assert.equal(await rows.count(), 7);
  await more(page).getByLabel("How often").selectOption("5");
  await page.getByRole("alert").getByText("That makes 35 at once; 32 are the most.").waitFor();
  assert.equal(await compare.count(), 0);
  await accessible(page);
  await shot(page, "many-chosen");
  await more(page).getByLabel("How often").selectOption("4");
  await page.getByText("28 in all: 2 work at the same time, the others wait for their turn.").waitFor();
  await page.getByRole("alert").waitFor({ state: "detached" });
  assert.equal(await compare.count(), 1);
  clean(page);
});

test("several, several times: a wall of them, some wait for their turn, and what it comes to", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await choose(page, "asker");
  await page.getByRole("button", { name: "Compare", exact: true }).click();
  await page.getByLabel("Who does it").nth(1).selectOption("asker");
  await more(page).getByLabel("How often").selectOption("4");
  await more(page).getByRole("textbox", { name: "Checks" }).fill("test -f page.html");
  await page.getByText("8 in all: 2 work at the same time, the others wait for their turn.").waitFor();
  await page.locator("[data-field]").fill("write a page, slowly");
  await accessible(page);
  await shot(page, "repeat-start");
  await start(page).click();
  const columns = page.locator(".column");
  await columns.nth(7).waitFor();
  const live = page.getByRole("region", { name: "How they are doing" });
  await live.waitFor();
  // Beside them they are one.
  await page.locator("nav .recent li", { hasText: "write a page, slowly" }).getByText("8", { exact: false }).waitFor();
  assert.equal(await page.locator("nav .recent li", { hasText: "write a page, slowly" }).count(), 1);
  await columns.nth(7).getByText("Waits for its turn: 2 work at the same time.").waitFor();
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
