// A browser as people have it: no debugger is attached to a tab while it loads. One that is makes the page slower by
// half (its scripts are parsed again for the places they ask from, and each request is told about).

import { spawn } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { freePort, until } from "../../tests/page/harness.mjs";

const { chromium } = createRequire(join(fileURLToPath(import.meta.url), "..", "..", "..", "tests", "page", "package.json"))("playwright-core");
/** How long a tab is left alone before it is asked what it painted, in milliseconds. */
const ALONE = 1200;

export class Plain {
  static async start() {
    const plain = new Plain();
    plain.folder = mkdtempSync(join(tmpdir(), "treefort-bench-"));
    plain.url = `http://127.0.0.1:${await freePort()}`;
    const args = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=1360,860", `--remote-debugging-port=${new URL(plain.url).port}`, `--user-data-dir=${plain.folder}`, "about:blank"];
    plain.process = spawn(process.env.CHROMIUM || "/usr/bin/chromium", args, { stdio: "ignore" });
    plain.over = new Promise((resolve) => plain.process.on("exit", resolve));
    await until(() => fetch(`${plain.url}/json/version`).then((answer) => answer.ok, () => false), "the browser is up");
    await new Promise((resolve) => setTimeout(resolve, 2 * ALONE));
    return plain;
  }

  /** Opens an address in a new tab. When was the element with this id painted, as the largest thing to read? In
      milliseconds since 1970. */
  async painted(address, id) {
    const tab = await (await fetch(`${this.url}/json/new?${encodeURIComponent(address)}`, { method: "PUT" })).json();
    await new Promise((resolve) => setTimeout(resolve, ALONE));
    const browser = await chromium.connectOverCDP(this.url);
    const page = browser.contexts()[0].pages().find((page) => page.url().startsWith(new URL(address).origin));
    const at = await page.evaluate(
      (id) =>
        new Promise((resolve) => {
          const observer = new PerformanceObserver((list) => {
            const first = list.getEntries().find((entry) => entry.element?.id === id);
            resolve(first === undefined ? undefined : performance.timeOrigin + first.startTime);
          });
          observer.observe({ type: "largest-contentful-paint", buffered: true });
        }),
      id,
    );
    await browser.close();
    await fetch(`${this.url}/json/close/${tab.id}`);
    if (at === undefined) throw new Error(`#${id} was not painted`);
    return at;
  }

  async stop() {
    this.process.kill();
    await this.over;
    await rm(this.folder, { recursive: true, force: true });
  }
}
