// A job on a folder: from the field to the result, what changed, back, home, and away.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { accessible, Browser, clean, enter, Fort, shot, stands } from "./harness.mjs";

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

const COMMAND = "printf '# Shop\\n\\nA larger shop.\\n' > README.md; mkdir -p web; echo '<h1>Shop</h1>' > web/index.html; rm src/a.js; echo built";

/** Chooses a command and a folder, and asks. */
async function onFolder(page, name, command) {
  await page.getByLabel("Who does it").selectOption("shell");
  await page.getByRole("button", { name: "a new, empty folder" }).click();
  await page.getByRole("dialog").getByRole("button", { name, exact: true }).click();
  await page.getByRole("button", { name: `Use “${name}”` }).click();
  await page.locator("[data-field]").fill(command);
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await stands(page, "done");
}

test("a job on a folder: the changes, an undo, an apply, a take-back, and the end of the copy", async () => {
  const folder = await fort.project("shop", { "README.md": "# Shop\n\nA small shop.\n", "src/a.js": "console.log(1)\n" });
  const page = await browser.tab();
  await enter(page, fort);
  await onFolder(page, "shop", COMMAND);

  const side = page.getByRole("complementary");
  await side.getByText("web/").waitFor();
  await side.getByText("Your folder is as it was.").waitFor();
  assert.equal(await readFile(join(folder, "README.md"), "utf8"), "# Shop\n\nA small shop.\n");
  await accessible(page);
  await shot(page, "work");

  // Its files, now and as they were.
  await side.getByRole("button", { name: "Files" }).click();
  const files = page.getByRole("dialog", { name: "Files" });
  await files.getByRole("button", { name: /README\.md/ }).click();
  await files.getByText("A larger shop.").waitFor();
  await files.getByRole("combobox").selectOption({ index: 2 });
  await files.getByText("A small shop.").waitFor();
  await accessible(page);
  await shot(page, "files");
  await page.keyboard.press("Escape");

  // Back to the beginning, after a look at what that would change; and back from there.
  await side.getByRole("tab", { name: "Checkpoints" }).click();
  await side.getByRole("button", { name: "Bring back" }).last().click();
  const sure = page.getByRole("dialog", { name: "Back to checkpoint 1?" });
  await sure.getByText("src/").waitFor();
  await accessible(page);
  await shot(page, "undo");
  await sure.getByRole("button", { name: "Bring back" }).click();
  await side.getByText("Checkpoint 1 is back").waitFor();
  await side.getByRole("tab", { name: "What changed" }).click();
  await side.getByText("Nothing has changed.").waitFor();
  await side.getByRole("tab", { name: "Checkpoints" }).click();
  await side.getByRole("button", { name: "Undo this" }).click();
  await side.getByText("Checkpoint 2 is back").waitFor();

  // Home, with a preview; and away again.
  await side.getByRole("button", { name: "Apply to my folder…" }).click();
  const apply = page.getByRole("dialog", { name: "Apply to your folder" });
  await apply.getByText("README.md").waitFor();
  await apply.getByText("src/a.js").waitFor();
  await accessible(page);
  await shot(page, "apply");
  await apply.getByRole("button", { name: "Apply", exact: true }).click();
  await apply.getByText("Applied: 2 files written, 1 removed.").waitFor();
  assert.equal(await readFile(join(folder, "README.md"), "utf8"), "# Shop\n\nA larger shop.\n");
  await apply.getByRole("button", { name: "Take it back" }).click();
  const back = page.getByRole("dialog", { name: "Take the last apply back?" });
  await back.getByRole("button", { name: "Take it back" }).click();
  await back.getByText("Taken back: 3 files as before.").waitFor();
  await back.getByRole("button", { name: "Close" }).last().click();
  assert.equal(await readFile(join(folder, "README.md"), "utf8"), "# Shop\n\nA small shop.\n");
  await stat(join(folder, "src/a.js"));

  await side.getByRole("button", { name: "Delete the copy…" }).click();
  const discard = page.getByRole("dialog", { name: "Delete the agent's copy?" });
  await accessible(page);
  await discard.getByRole("button", { name: "Delete for good" }).click();
  await discard.getByText("Deleted:").waitFor();
  await discard.getByRole("button", { name: "Close" }).last().click();
  await side.getByText("The agent's copy was deleted.").waitFor();
  // Also for who comes later.
  await page.reload();
  await side.getByText("The agent's copy was deleted.").waitFor();
  clean(page);
});

test("a preview of an undo tells of what changed since the last checkpoint too", async () => {
  await fort.project("garden", { "beds.txt": "beans\n" });
  const page = await browser.tab();
  await enter(page, fort);
  await onFolder(page, "garden", "echo peas >> beds.txt");
  const side = page.getByRole("complementary");
  await side.getByText("beds.txt").waitFor();
  await side.getByRole("tab", { name: "Checkpoints" }).click();
  await side.getByRole("button", { name: "Bring back" }).waitFor();
  // Somebody works in the copy by hand.
  const copies = (await readdir(join(fort.home, "workspaces"))).map((copy) => join(fort.home, "workspaces", copy, "tree"));
  const path = copies.find((copy) => existsSync(join(copy, "beds.txt")));
  await writeFile(join(path, "since.txt"), "since then\n");
  await side.getByRole("button", { name: "Bring back" }).click();
  const sure = page.getByRole("dialog", { name: "Back to checkpoint 1?" });
  await sure.getByText("beds.txt").waitFor();
  await sure.getByText("since.txt").waitFor();
  await sure.getByRole("button", { name: "Bring back" }).click();
  await side.getByText("Checkpoint 1 is back").waitFor();
  await assert.rejects(stat(join(path, "since.txt")));
  await side.getByRole("button", { name: "Undo this" }).click();
  await side.getByText("Checkpoint 3 is back").waitFor();
  assert.equal(await readFile(join(path, "since.txt"), "utf8"), "since then\n");
  clean(page);
});

test("a session that never had a copy is not said to have lost it", async () => {
  const fort = await Fort.start({ agents: ["asker"] });
  try {
    const manifest = join(fort.home, "agents", "asker", "agent.toml");
    const text = await readFile(manifest, "utf8");
    // It worked without files when it was asked, and works on files since.
    const restart = async (manifested) => {
      await fort.kill();
      await writeFile(manifest, manifested);
      await fort.up();
    };
    await restart(text.replace("workspace = true", "workspace = false").replace("5050, 5870", "5870"));
    await fort.command("run", "--agent", "asker", "tell me");
    await restart(text);
    const page = await browser.tab();
    await enter(page, fort);
    await page.locator("nav .recent a", { hasText: "tell me" }).click();
    await stands(page, "done");
    const side = page.getByRole("complementary");
    await side.getByText("This session has no copy of files.").waitFor();
    assert.equal(await side.getByText("was deleted").count(), 0);
    await accessible(page);
    clean(page);
  } finally {
    await fort.stop();
  }
});

test("a file of one's own that changed meanwhile is pointed out before an apply", async () => {
  const folder = await fort.project("notes", { "notes.txt": "one\ntwo\nthree\n" });
  const page = await browser.tab();
  await enter(page, fort);
  await onFolder(page, "notes", "printf 'one\\nTWO\\nthree\\n' > notes.txt; printf '#!/bin/sh\\nexit 0\\n' > go.sh; chmod +x go.sh");
  await fort.project("notes", { "notes.txt": "one\nzwei\nthree\n" });
  await page.getByRole("button", { name: "Apply to my folder…" }).click();
  const apply = page.getByRole("dialog", { name: "Apply to your folder" });
  await apply.getByText("Look at these first").waitFor();
  await apply.getByText("you and the agent changed the same lines").waitFor();
  await apply.getByText("can be run").waitFor();
  await accessible(page);
  await shot(page, "conflict");
  await apply.getByRole("button", { name: "Apply", exact: true }).click();
  await apply.getByText("Look at these: both versions are in the file").waitFor();
  assert.match(await readFile(join(folder, "notes.txt"), "utf8"), /<<<<<<</);
  clean(page);
});

test("the same question to several goes side by side", async () => {
  const page = await browser.tab();
  await enter(page, fort);
  await page.locator("[data-field]").fill("How do I build a treehouse that lasts?");
  await page.getByLabel("Who does it").selectOption("chat");
  await page.getByRole("button", { name: "Ask another one too" }).click();
  await page.getByLabel("Model", { exact: true }).nth(1).selectOption("larger:8b");
  await page.getByText("you see them side by side").waitFor();
  await accessible(page);
  await shot(page, "start-two");
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.getByRole("heading", { name: "Side by side" }).waitFor();
  await page.locator(".column .chip.done").nth(1).waitFor();
  await page.locator(".column", { hasText: "larger:8b" }).getByText("Shall I draw up a list").waitFor();
  await accessible(page);
  await shot(page, "compare");
  clean(page);
});

test("what several changed goes side by side, each with its own", async () => {
  await fort.project("dice", { "README.md": "# Dice\n" });
  const page = await browser.tab();
  await enter(page, fort);
  await page.getByLabel("Who does it").selectOption("shell");
  await page.getByRole("button", { name: "Ask another one too" }).click();
  await page.getByRole("button", { name: "a new, empty folder" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "dice", exact: true }).click();
  await page.getByRole("button", { name: "Use “dice”" }).click();
  // The same command, of which each has another outcome.
  await page.locator("[data-field]").fill("n=$(cat /proc/sys/kernel/random/uuid); echo $n > thrown.txt; echo threw $n");
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.getByRole("heading", { name: "Side by side" }).waitFor();
  const columns = page.locator(".column");
  await columns.locator(".chip.done").nth(1).waitFor();
  const thrown = [];
  for (const at of [0, 1]) {
    const column = columns.nth(at);
    const said = await column.locator(".answer", { hasText: "threw" }).innerText();
    const [, uuid] = /threw (\S+)/.exec(said) ?? [];
    await column.getByText("thrown.txt").waitFor();
    assert.equal(await column.locator(".figures div", { hasText: "Changed" }).locator("dd").innerText(), "1");
    await column.locator(".d-line", { hasText: uuid }).waitFor();
    thrown.push(uuid);
  }
  assert.notEqual(thrown[0], thrown[1]);
  await accessible(page);
  await shot(page, "compare-diffs");
  clean(page);
});
