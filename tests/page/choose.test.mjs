// What few need, behind "More": what can be chosen, what an agent may reach then, and that it is asked once.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { accessible, Browser, chooseMore, clean, enter, Fort, freePort, more, option, paramsOf, shot, stands, starter, stored, until } from "./harness.mjs";

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

test("more is there for who works on files, says what it means, and what cannot be is not sent", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await page.getByText("Answers in words, and reads the files that you add").waitFor();
  assert.equal(await page.getByRole("button", { name: "More", exact: true }).count(), 0, "a conversation reaches nothing");
  await chooseMore(page, fort, "asker");
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
  assert.equal(await starter(page).isDisabled(), true);
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
    await chooseMore(page, fort, "asker");
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
  await chooseMore(page, fort, "shell");
  await option(page, "These hosts…").click();
  await page.keyboard.type(place);
  const command = reach("first");
  await page.locator("[data-field]").fill(command);
  await starter(page).click();
  await stands(page, "done");
  await page.locator(".story", { hasText: "hello from the network" }).waitFor();
  await page.getByText("Reached localhost").first().waitFor();
  // What it may reach stands with the session.
  const about = page.locator(".head .about").getByText(`Network: ${place}`);
  assert.match(await about.getAttribute("title"), /and nothing else\. What it may reach, it may also send your files to\./);
  assert.deepEqual(asked.splice(0), ["/first"]);
  assert.deepEqual(await paramsOf(page, command, "network"), [[place]]);
  assert.deepEqual(await paramsOf(page, command, "check"), []);
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
  assert.deepEqual(await paramsOf(page, second, "network"), []);
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
    await chooseMore(page, fort, "shell");
    assert.equal(await option(page, "Nothing").getAttribute("aria-pressed"), "true");
    await page.getByRole("button", { name: "More", exact: true }).click();
  }
  clean(page);
});

test("asked each time, the owner says for each host", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await chooseMore(page, fort, "shell");
  await option(page, "Ask me each time").click();
  await more(page).getByText("You are asked about every host.").waitFor();
  await page.locator("[data-field]").fill(`${reach("asked")}; ${reach("asked-again")}`);
  await starter(page).click();
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
  await chooseMore(page, fort, "asker");
  await option(page, "These hosts…").click();
  await page.keyboard.type("walnut.example");
  await more(page).getByRole("textbox", { name: "Checks" }).fill("test -f jackdaw.html");
  await page.getByRole("switch", { name: "Private" }).click();
  await page.locator("[data-field]").fill("write a diary");
  await starter(page).click();
  await page.locator(".head .chip.unmet").waitFor();
  await page.locator(".head .about").getByText("Network: walnut.example").waitFor();
  // Its owner reads which one failed.
  await page.locator(".ending code", { hasText: "test -f jackdaw.html" }).waitFor();
  const said = JSON.stringify(await stored(page));
  assert.ok(!/walnut|jackdaw/.test(said));
  clean(page);
});

test("what the coordinator refuses says why, and all that was chosen stands in the field again", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await chooseMore(page, fort, "asker");
  await option(page, "Packages").click();
  await option(page, "These hosts…").click();
  await page.keyboard.type("nodots");
  await more(page).getByRole("textbox", { name: "Checks" }).fill("npm test");
  await page.locator("[data-field]").fill("write a page, please");
  await starter(page).click();
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
  assert.equal(await starter(page).isDisabled(), state);
  clean(page);
});

test("as many as fit one comparison can be chosen, and no more", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await chooseMore(page, fort, "asker");
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
