// Deleting for good: one tab does it, and it is gone in every one.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { accessible, ask, Browser, clean, enter, Fort, shot, stands } from "./harness.mjs";

let browser;
before(async () => (browser = await Browser.start()));
after(async () => await browser.stop());

test("what one tab deletes for good is gone in both, and stays gone", async () => {
  const fort = await Fort.start();
  try {
    const context = await browser.context();
    const one = await browser.tabIn(context);
    await enter(one, fort);
    await ask(one, "Three names for it?");
    await stands(one, "done");
    const gone = new URL(one.url()).hash;
    const two = await browser.tabIn(context);
    await two.goto(`${fort.url}/${gone}`);
    await two.getByText("Leaf, Larch, or Loft.").waitFor();

    await one.goto(`${fort.url}/#/`);
    await ask(one, "hello to what stays");
    await stands(one, "done");
    await one.goto(`${fort.url}/${gone}`);
    await one.getByRole("button", { name: "Delete for good…" }).click();
    const dialog = one.getByRole("dialog");
    await dialog.getByText("Three names for it?").waitFor();
    await dialog.getByText(/^1 question, /).waitFor();
    await accessible(one);
    await shot(one, "purge");
    // Nothing goes before it is said so.
    await dialog.getByRole("button", { name: "Cancel" }).click();
    await one.getByText("Leaf, Larch, or Loft.").waitFor();
    await one.getByRole("button", { name: "Delete for good…" }).click();
    await dialog.getByRole("button", { name: "Delete for good" }).click();
    await dialog.getByText("Deleted for good:").waitFor();
    await dialog.getByRole("button", { name: "Close" }).last().click();
    await one.getByRole("heading", { name: "All sessions" }).waitFor();
    await two.getByText("There is no such session here.").waitFor();
    for (const tab of [one, two]) {
      await tab.locator("nav .recent a", { hasText: "hello to what stays" }).waitFor();
      assert.equal(await tab.getByText("Three names for it?").count(), 0);
      assert.equal(await tab.getByText("Leaf, Larch, or Loft.").count(), 0);
    }
    await two.reload();
    await two.getByText("There is no such session here.").waitFor();

    // Several at once, from the list.
    await one.getByRole("checkbox", { name: "hello to what stays" }).check();
    await one.getByRole("button", { name: "Delete for good…" }).click();
    await dialog.getByRole("button", { name: "Delete for good" }).click();
    await dialog.getByText("Deleted for good:").waitFor();
    await dialog.getByRole("button", { name: "Close" }).last().click();
    await one.getByText("Nothing here yet.").waitFor();
    await two.locator("nav").getByText("hello to what stays").waitFor({ state: "detached" });
    clean(one);
    clean(two);
  } finally {
    await fort.stop();
  }
});
